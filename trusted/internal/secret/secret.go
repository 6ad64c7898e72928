// Package secret holds key bytes so that they cannot leave by accident: a
// Bytes never prints, marshals or copies itself, whatever it is put into, and
// its bytes are cleared when it is wiped.
//
// The bytes sit behind a closure, the only field of Bytes. A reflecting
// printer or encoder that walks into a Bytes finds the address of a function.
package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// ErrWiped is what using a wiped or zero Bytes returns.
var ErrWiped = errors.New("secret is wiped or was never set")

// ErrMarshal is what every attempt to encode a Bytes returns.
var ErrMarshal = errors.New("a secret cannot be marshalled")

const redacted = "[secret]"

// Bytes is a secret. Copies of a Bytes share the same bytes: wiping one wipes
// all. The zero value is empty and every use of it fails.
type Bytes struct {
	lend func(use func([]byte) error, wipe bool) error
}

// New takes the secret out of b: the bytes are copied and b is cleared.
func New(b []byte) Bytes {
	s := Copy(b)
	clear(b)
	return s
}

// Copy makes a secret of a copy of b, which stays the caller's to clear.
func Copy(b []byte) Bytes {
	var (
		mu   sync.RWMutex
		held = append(make([]byte, 0, len(b)), b...)
		gone bool
	)
	return Bytes{lend: func(use func([]byte) error, wipe bool) error {
		if wipe {
			mu.Lock()
			defer mu.Unlock()
			clear(held)
			gone = true
			return nil
		}
		mu.RLock()
		defer mu.RUnlock()
		if gone {
			return ErrWiped
		}
		return use(held)
	}}
}

// Random makes a secret of n random bytes.
func Random(n int) Bytes {
	b := make([]byte, n)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return New(b)
}

// Use lends the bytes for the length of f, which must neither keep nor change them.
func (s Bytes) Use(f func(b []byte) error) error {
	if s.lend == nil {
		return ErrWiped
	}
	return s.lend(f, false)
}

// Len is the number of bytes, 0 when wiped.
func (s Bytes) Len() (n int) {
	_ = s.Use(func(b []byte) error { n = len(b); return nil })
	return n
}

// Equal compares with b in constant time. A wiped secret equals nothing.
func (s Bytes) Equal(b []byte) (same bool) {
	_ = s.Use(func(a []byte) error { same = subtle.ConstantTimeCompare(a, b) == 1; return nil })
	return same
}

// Same compares with another secret in constant time. A wiped one is like nothing.
func (s Bytes) Same(o Bytes) (same bool) {
	_ = o.Use(func(b []byte) error { same = s.Equal(b); return nil })
	return same
}

// Wipe clears the bytes, after every running Use has returned.
func (s Bytes) Wipe() {
	if s.lend != nil {
		_ = s.lend(nil, true)
	}
}

// IsZero reports whether s was never set.
func (s Bytes) IsZero() bool { return s.lend == nil }

// Every way out says the same thing.

func (s Bytes) String() string               { return redacted }
func (s Bytes) GoString() string             { return redacted }
func (s Bytes) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(redacted)) }
func (s Bytes) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (s Bytes) MarshalText() ([]byte, error) { return nil, ErrMarshal }
func (s Bytes) MarshalJSON() ([]byte, error) { return nil, ErrMarshal }
func (s Bytes) GobEncode() ([]byte, error)   { return nil, ErrMarshal }

// MarshalBinary fails.
func (s Bytes) MarshalBinary() ([]byte, error) { return nil, ErrMarshal }
