package replica

import "bytes"

// ReadAndWriteFrame reads a frame and returns what it is printed as.
func ReadAndWriteFrame(data []byte) ([]byte, error) {
	f, err := readFrame(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return f.append(nil), nil
}

// ReadAndWriteVerdict does so with the body of an outcome.
func ReadAndWriteVerdict(data []byte) ([]byte, error) {
	v, err := parseVerdict(data)
	if err != nil {
		return nil, err
	}
	return v.bytes(), nil
}
