package api

import (
	"io"
	"mime"
	"net/http"
	"sync"

	"github.com/holdfast-kms/holdfast/kms"
)

// A Buffer is pooled memory for what may be secret. Append to B only after
// Reserve, and never shorten it: Release wipes what lies below its length, and
// an append that moved it would leave a copy behind.
type Buffer struct {
	B []byte
}

const (
	minBuffer = 4 << 10  // smaller buffers would only make the pool miss
	maxPooled = 64 << 10 // larger ones are left to the garbage collector
)

var buffers = sync.Pool{New: func() any { return new(Buffer) }}

// NewBuffer returns an empty buffer with room for size bytes.
func NewBuffer(size int) *Buffer {
	b := buffers.Get().(*Buffer)
	b.Reserve(size)
	return b
}

// Reserve makes room for n more bytes. Where that moves the buffer, the memory
// it leaves is wiped: slices of B taken before are void.
func (b *Buffer) Reserve(n int) {
	if cap(b.B)-len(b.B) >= n {
		return
	}
	grown := make([]byte, len(b.B), max(minBuffer, 2*cap(b.B), len(b.B)+n))
	copy(grown, b.B)
	clear(b.B)
	b.B = grown
}

// Release wipes the buffer and returns it to the pool.
func (b *Buffer) Release() {
	clear(b.B)
	b.B = b.B[:0]
	if cap(b.B) > maxPooled {
		b.B = nil
	}
	buffers.Put(b)
}

// maxTrusted is how much memory a request gets for the length that it claims;
// for more it must send the bytes. So idle connections cannot claim much.
const maxTrusted = 16 << 10

// ReadBody reads a whole request body. The caller must Release it. The error is
// TooLarge for a body of more than limit bytes, whatever length it claims, and
// Invalid for one that ends early.
func ReadBody(r *http.Request, limit int) (*Buffer, error) {
	if r.ContentLength > int64(limit) {
		return nil, kms.TooLarge
	}
	size := int(min(max(r.ContentLength, 0), maxTrusted))
	b := NewBuffer(size + 1) // one more, so that the end is seen without growing
	if err := b.fill(r.Body, limit); err != nil {
		b.Release()
		return nil, err
	}
	return b, nil
}

func (b *Buffer) fill(from io.Reader, limit int) error {
	for {
		b.Reserve(1)
		n, err := from.Read(b.B[len(b.B):cap(b.B)])
		b.B = b.B[:len(b.B)+n]
		if len(b.B) > limit {
			return kms.TooLarge
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return kms.Errorf(kms.Invalid, "reading the request body: %w", err)
		}
	}
}

// IsJSON reports whether a content type is application/json, with or without
// parameters.
func IsJSON(contentType string) bool {
	const want = "application/json"
	if contentType == want {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == want
}
