package recovery

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// The content of a backup is encrypted in chunks of 64 KiB, of which the last
// alone may be shorter, and is not empty unless it is the only one. Each is
// AES-256-GCM under
//
//	HKDF-SHA-256(backup key, salt: digest of magic, length and header, info: streamLabel)
//
// with the nonce: zeros (3) ‖ number of the chunk (8, big endian) ‖ 1 for the last
// chunk, else 0. The header names domain, generation, head and a random salt, and
// all of it is in the digest: so no chunk opens behind another header, in another
// place, or as the last where it is not.
const (
	streamLabel = "holdfast/v1/backup-stream"
	chunkSize   = 64 << 10
	tagSize     = 16
)

type stream struct {
	aead  cipher.AEAD
	chunk uint64
}

func newStream(key secret.Bytes, header [32]byte) (*stream, error) {
	s := &stream{}
	return s, key.Use(func(b []byte) error {
		k, err := hkdf.Key(sha256.New, b, header[:], streamLabel, 32)
		if err != nil {
			return kms.Errorf(kms.Internal, "deriving a backup's key: %w", err)
		}
		defer clear(k)
		block, err := aes.NewCipher(k)
		if err == nil {
			s.aead, err = cipher.NewGCM(block)
		}
		return err
	})
}

func (s *stream) nonce(last bool) []byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[3:], s.chunk)
	if last {
		n[11] = 1
	}
	s.chunk++
	return n[:]
}

// A Writer encrypts what is written to it. Only after Close is it whole.
type Writer struct {
	to     io.Writer
	stream *stream
	plain  []byte
	sealed []byte
	err    error
}

// NewWriter encrypts under a backup key, behind the header with this digest, which
// is written already.
func NewWriter(to io.Writer, key secret.Bytes, header [32]byte) (*Writer, error) {
	s, err := newStream(key, header)
	if err != nil {
		return nil, err
	}
	return &Writer{to: to, stream: s, plain: make([]byte, 0, chunkSize), sealed: make([]byte, 0, chunkSize+tagSize)}, nil
}

func (w *Writer) Write(p []byte) (n int, err error) {
	for n < len(p) && w.err == nil {
		if len(w.plain) == chunkSize { // only now is it known not to be the last
			w.flush(false)
		}
		k := min(chunkSize-len(w.plain), len(p)-n)
		w.plain = append(w.plain, p[n:n+k]...)
		n += k
	}
	return n, w.err
}

func (w *Writer) flush(last bool) {
	w.sealed = w.stream.aead.Seal(w.sealed[:0], w.stream.nonce(last), w.plain, nil)
	if w.err == nil {
		_, w.err = w.to.Write(w.sealed)
	}
	clear(w.plain)
	w.plain = w.plain[:0]
}

// Close writes the last chunk.
func (w *Writer) Close() error {
	w.flush(true)
	err := w.err
	w.err = errors.New("recovery: the backup is closed")
	return err
}

// A Reader returns a backup's content, each chunk once it has been verified. It
// ends with io.EOF only after the last one. The other errors are Damaged and those
// of what it reads from.
type Reader struct {
	from   *bufio.Reader
	stream *stream
	sealed []byte
	plain  []byte
	chunk  []byte // of plain: not read yet
	err    error
}

// NewReader reads on behind the header with this digest.
func NewReader(from io.Reader, key secret.Bytes, header [32]byte) (*Reader, error) {
	s, err := newStream(key, header)
	if err != nil {
		return nil, err
	}
	return &Reader{from: bufio.NewReaderSize(from, chunkSize), stream: s, sealed: make([]byte, chunkSize+tagSize), plain: make([]byte, 0, chunkSize)}, nil
}

func (r *Reader) Read(p []byte) (int, error) {
	for len(r.chunk) == 0 && r.err == nil {
		r.next()
	}
	if len(r.chunk) == 0 {
		return 0, r.err
	}
	n := copy(p, r.chunk)
	r.chunk = r.chunk[n:]
	return n, nil
}

// next opens the next chunk. What follows it says whether it is the last.
func (r *Reader) next() {
	n, err := io.ReadFull(r.from, r.sealed)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		r.err = err
		return
	}
	last := err != nil
	if !last {
		if _, err := r.from.Peek(1); err != nil {
			if !errors.Is(err, io.EOF) {
				r.err = err
				return
			}
			last = true
		}
	}
	first := r.stream.chunk == 0
	plain, err := r.stream.aead.Open(r.plain[:0], r.stream.nonce(last), r.sealed[:n], nil)
	if err != nil || last && len(plain) == 0 && !first {
		r.err = kms.Errorf(kms.Damaged, "the backup does not open: it was cut or altered, or is not of this domain").
			WithHint("take another copy of it, or another backup")
		return
	}
	r.chunk = plain
	if last {
		r.err = io.EOF
	}
}
