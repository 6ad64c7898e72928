package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/holdfast-kms/holdfast/kms"
)

// ChunkSize is how much is encrypted at a time, in bytes. Every chunk but the
// last has this size; the last is empty only where there is nothing at all.
const ChunkSize = 64 << 10

const (
	tagSize    = 16
	sealedSize = ChunkSize + tagSize
)

// Errors of what does not open, all of the kind DecryptFailed.
var (
	errAltered   = kms.Errorf(kms.DecryptFailed, "the sealed data was altered")
	errCutHeader = kms.Errorf(kms.DecryptFailed, "the sealed data ends in its header")
	errCut       = kms.Errorf(kms.DecryptFailed, "the end of the sealed data is missing")
	errExtended  = kms.Errorf(kms.DecryptFailed, "something follows the end of the sealed data")
)

var (
	errTooLong = kms.Errorf(kms.TooLarge, "too long to seal: 256 TiB is the most")
	errClosed  = errors.New("seal: write after Close")
)

// A stream encrypts or decrypts chunks in turn. Its nonces are prefix, 7 bytes ‖
// number of the chunk, 4 bytes big-endian ‖ 1 for the last chunk, else 0.
type stream struct {
	aead  cipher.AEAD
	nonce [prefixSize + 4 + 1]byte
	chunk uint64 // the next one's number
}

// set is the next chunk's nonce.
func (s *stream) set(last bool) []byte {
	binary.BigEndian.PutUint32(s.nonce[prefixSize:], uint32(s.chunk))
	s.nonce[len(s.nonce)-1] = 0
	if last {
		s.nonce[len(s.nonce)-1] = 1
	}
	return s.nonce[:]
}

// seal encrypts the next chunk where it lies; plain has room for the tag.
func (s *stream) seal(plain []byte, last bool) ([]byte, error) {
	if s.chunk > math.MaxUint32 {
		return nil, errTooLong
	}
	sealed := s.aead.Seal(plain[:0], s.set(last), plain, nil)
	s.chunk++
	return sealed, nil
}

// open decrypts the next chunk into dst.
func (s *stream) open(dst, sealed []byte, last bool) ([]byte, error) {
	if s.chunk > math.MaxUint32 {
		return nil, errAltered
	}
	plain, err := s.aead.Open(dst[:0], s.set(last), sealed, nil)
	if err != nil {
		return nil, s.diagnose(dst, sealed, last)
	}
	if last && len(plain) == 0 && s.chunk > 0 {
		return nil, errAltered // no writer ends so: there is one form for each content
	}
	s.chunk++
	return plain, nil
}

// diagnose finds out whether a chunk that did not open would have in another
// place: it then is genuine, and what is around it is not.
func (s *stream) diagnose(dst, sealed []byte, last bool) error {
	if _, err := s.aead.Open(dst[:0], s.set(!last), sealed, nil); err != nil {
		return errAltered
	}
	clear(dst[:cap(dst)])
	if last {
		return errCut
	}
	return errExtended
}

// A Writer seals what is written to it. Only after Close is it whole.
type Writer struct {
	dst    io.Writer
	stream *stream
	buf    []byte // plaintext of the next chunk, with room for its tag
	err    error
}

// NewWriter writes the header h, whose check it sets, and returns a Writer for
// the data. dataKey is what h.Wrapped wraps.
func NewWriter(dst io.Writer, h *Header, dataKey []byte) (*Writer, error) {
	if len(h.Wrapped) == 0 || len(h.Wrapped) > MaxWrapped {
		return nil, kms.Errorf(kms.Invalid, "a wrapped data key has 1 to %d bytes, not %d", MaxWrapped, len(h.Wrapped))
	}
	s, check, err := h.stream(dataKey)
	if err != nil {
		return nil, err
	}
	copy(h.check[:], check)
	if _, err := dst.Write(append(h.unchecked(), check...)); err != nil {
		return nil, err
	}
	return &Writer{dst: dst, stream: s, buf: make([]byte, 0, sealedSize)}, nil
}

// Write seals p. Bytes that fill no chunk are kept until more come, or Close.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		// A full chunk waits for what follows it: it may be the last.
		if len(w.buf) == ChunkSize {
			w.flush(false)
			continue
		}
		k := min(len(p), ChunkSize-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		n, p = n+k, p[k:]
	}
	return n, w.err
}

func (w *Writer) flush(last bool) {
	sealed, err := w.stream.seal(w.buf, last)
	if err == nil {
		_, err = w.dst.Write(sealed)
	}
	w.buf, w.err = w.buf[:0], err
}

// Close writes the last chunk. It does not close what the Writer writes to.
func (w *Writer) Close() error {
	if w.err != nil {
		return w.err
	}
	w.flush(true)
	if w.err == nil {
		w.err = errClosed
		return nil
	}
	return w.err
}

// A Reader opens sealed data. It hands out verified plaintext only, and io.EOF
// only once the last chunk has verified: whoever reads to io.EOF has all of it.
type Reader struct {
	src    io.Reader
	stream *stream
	buf    []byte // sealed: a chunk, and one byte that tells whether more follow
	have   int    // bytes in buf
	plain  []byte // room for a chunk
	unread []byte // of plain
	err    error
}

// NewReader returns a Reader of what follows the header h in src. The error is
// DecryptFailed where header and data key do not belong together.
func NewReader(src io.Reader, h *Header, dataKey []byte) (*Reader, error) {
	s, err := h.opens(dataKey)
	if err != nil {
		return nil, err
	}
	return &Reader{src: src, stream: s, buf: make([]byte, sealedSize+1), plain: make([]byte, 0, ChunkSize)}, nil
}

// Read opens the next bytes. The error of what does not verify is DecryptFailed.
func (r *Reader) Read(p []byte) (int, error) {
	for len(r.unread) == 0 && r.err == nil {
		r.unread, r.err = r.next()
	}
	if len(r.unread) == 0 {
		return 0, r.err
	}
	n := copy(p, r.unread)
	r.unread = r.unread[n:]
	return n, nil
}

// next opens the next chunk. Its error is io.EOF with the last one.
func (r *Reader) next() ([]byte, error) {
	n, err := io.ReadFull(r.src, r.buf[r.have:])
	r.have += n
	if err == nil {
		return r.middle()
	}
	if orEnd(err, nil) != nil {
		return nil, err
	}
	if r.have < tagSize {
		return nil, errCut
	}
	plain, err := r.stream.open(r.plain, r.buf[:r.have], true)
	if err != nil {
		return nil, err
	}
	return plain, io.EOF
}

// middle opens a chunk that another one follows.
func (r *Reader) middle() ([]byte, error) {
	plain, err := r.stream.open(r.plain, r.buf[:sealedSize], false)
	if err != nil {
		return nil, err
	}
	r.buf[0], r.have = r.buf[sealedSize], 1
	return plain, nil
}
