package simtee

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-kms/holdfast/kms"
)

const (
	fusesFile     = "fuses.json"
	fusesVersion  = 2
	maxFusesBytes = 4096
	fusesWarning  = "DEVELOPMENT ONLY. Whoever reads this file can open everything that the simulated platform sealed, and can sign as its vendor."
	checksumLabel = "holdfast simulated platform fuses v2"

	hintMissing = "this folder holds no simulated platform; check the path. What an earlier one sealed cannot be opened without its " + fusesFile
	hintDamaged = "put " + fusesFile + " back from a copy; without it nothing that this platform sealed can be opened. To start anew, use another folder"
)

// fuses is what the pretended processor was burnt with.
type fuses struct {
	platform [platformIDLen]byte
	secret   [secretLen]byte
	root     [rootSecretLen]byte // of the vendor, which a real processor does not hold
}

// fusesJSON is the file's form.
type fusesJSON struct {
	Warning  string `json:"warning"`
	Version  int    `json:"version"`
	Platform string `json:"platform"`
	Secret   string `json:"secret"`
	Root     string `json:"root"`
	Checksum string `json:"checksum"`
}

// checksum finds damage. It is not keyed, so it does not find tampering; that
// shows where the altered secret fails to open what the true one sealed.
func (f *fuses) checksum() string {
	b := append([]byte(checksumLabel), f.platform[:]...)
	b = append(b, f.secret[:]...)
	sum := sha256.Sum256(append(b, f.root[:]...))
	return hex.EncodeToString(sum[:])
}

func (f *fuses) print() ([]byte, error) {
	b, err := json.Marshal(fusesJSON{
		Warning: fusesWarning, Version: fusesVersion,
		Platform: hex.EncodeToString(f.platform[:]), Secret: hex.EncodeToString(f.secret[:]), Root: hex.EncodeToString(f.root[:]),
		Checksum: f.checksum(),
	}, jsontext.WithIndent("  "))
	return append(b, '\n'), err
}

// parseFuses accepts exactly the bytes that print makes, and nothing else.
// Its errors quote nothing of the file.
func parseFuses(b []byte) (*fuses, error) {
	var j fusesJSON
	if json.Unmarshal(b, &j, json.RejectUnknownMembers(true)) != nil {
		return nil, errors.New("not the JSON that was written")
	}
	if j.Version != fusesVersion {
		return nil, errors.New("unknown version of the format")
	}
	var f fuses
	if !unhex(f.platform[:], j.Platform) || !unhex(f.secret[:], j.Secret) || !unhex(f.root[:], j.Root) {
		return nil, errors.New("platform id, secret or root has the wrong length or alphabet")
	}
	if subtle.ConstantTimeCompare([]byte(j.Checksum), []byte(f.checksum())) != 1 {
		return nil, errors.New("checksum does not match")
	}
	if again, err := f.print(); err != nil || !bytes.Equal(again, b) {
		return nil, errors.New("not written the way this program writes it")
	}
	return &f, nil
}

func unhex(dst []byte, s string) bool {
	if len(s) != hex.EncodedLen(len(dst)) {
		return false
	}
	_, err := hex.Decode(dst, []byte(s))
	return err == nil
}

func readFuses(dir string) (*fuses, error) {
	path := filepath.Join(dir, fusesFile)
	b, err := readRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, kms.Errorf(kms.NotFound, "opening the simulated platform: no such file").WithFile(path).WithHint(hintMissing)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, kms.Errorf(kms.Unavailable, "opening the simulated platform: %w", err).WithFile(path).WithHint("run as the user who made it")
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	f, err := parseFuses(b)
	if err != nil {
		return nil, damaged(path, err)
	}
	return f, nil
}

func damaged(path string, err error) error {
	return kms.Errorf(kms.Damaged, "opening the simulated platform: %w", err).WithFile(path).WithHint(hintDamaged)
}

// readRegular does not open what is no plain file: a pipe would block.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a plain file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxFusesBytes+1))
	if len(b) > maxFusesBytes {
		return nil, errors.New("too long")
	}
	return b, err
}

// writeFuses writes under a name of its own and links the result into place,
// which fails if fuses are there already. If we crash before the link there is
// no platform, and after it there is a whole one.
func writeFuses(dir string, f *fuses) error {
	path := filepath.Join(dir, fusesFile)
	b, err := f.print()
	if err != nil {
		return kms.Errorf(kms.Internal, "printing the fuses: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unwritable(dir, err)
	}
	tmp, err := writeTemp(dir, b)
	if err != nil {
		return unwritable(path, err)
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); errors.Is(err, fs.ErrExist) {
		return kms.Errorf(kms.Exists, "creating the simulated platform").WithFile(path).WithHint("open the platform that is there, or name another folder")
	} else if err != nil {
		return unwritable(path, err)
	}
	if err := syncDir(dir); err != nil {
		return unwritable(path, err)
	}
	return nil
}

// syncDir makes the link survive a power cut. Windows cannot sync a folder and
// does without.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func unwritable(path string, err error) error {
	return kms.Errorf(kms.Unavailable, "creating the simulated platform: %w", err).WithFile(path).
		WithHint("the folder must be writable, have room and lie on a file system with hard links")
}

// writeTemp returns the name of a new file of mode 0600 that holds b, synced.
func writeTemp(dir string, b []byte) (name string, err error) {
	file, err := os.CreateTemp(dir, fusesFile+".new-*")
	if err != nil {
		return "", err
	}
	_, err = file.Write(b)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}
