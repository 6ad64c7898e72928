// Package root holds the master secrets of a domain, by generation, and
// derives everything that is derived from them.
//
//	S_g ─KMAC256→ wrapping key_g     → one key per CMK version, per credential, …
//	            → runtime signing key, runtime derivations, backup key
//	checksum_0 = KMAC256(S_0, domain id)
//	checksum_g = KMAC256(S_g, checksum_{g-1})
//
// so a replica proves each secret that it is handed before it stores it. No
// generation is derived from another or encrypted under another.
package root

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"sync"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// SecretSize is the length of a master secret in bytes.
const SecretSize = 32

// ChecksumSize is the length of a checksum in bytes.
const ChecksumSize = 32

// A Source says where master secrets come from. Today it is a set that the
// node holds whole; a secret shared by threshold among nodes can take its place.
type Source interface {
	// Secret returns the master secret of a generation. The error is NotFound
	// where this node does not hold it.
	Secret(generation uint32) (secret.Bytes, error)
	// Current is the newest generation in use.
	Current() uint32
}

// A Root derives keys from a Source, for one domain.
type Root struct {
	source Source
	domain kms.DomainID
	labels Labels

	mu       sync.RWMutex
	wrapping map[uint32]secret.Bytes // by generation; derived once
}

// New makes the Root of a domain.
func New(source Source, domain kms.DomainID, labels Labels) *Root {
	return &Root{source: source, domain: domain, labels: labels, wrapping: map[uint32]secret.Bytes{}}
}

// Current is the newest generation in use.
func (r *Root) Current() uint32 { return r.source.Current() }

// Checksum is the link of the checksum chain that S_g makes. previous is
// checksum_{g-1}; for generation 0 it is ignored and the domain id takes its place.
func (r *Root) Checksum(generation uint32, previous []byte) ([]byte, error) {
	s, err := r.source.Secret(generation)
	if err != nil {
		return nil, err
	}
	if generation == 0 {
		previous = r.domain[:]
	}
	var sum []byte
	err = s.Use(func(b []byte) error {
		sum = KMAC256(b, ChecksumSize, r.labels.Checksum, previous)
		return nil
	})
	return sum, err
}

// VerifyChecksum compares in constant time. The error is Damaged.
func (r *Root) VerifyChecksum(generation uint32, previous, want []byte) error {
	got, err := r.Checksum(generation, previous)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(got, want) != 1 {
		return kms.Errorf(kms.Damaged, "master secret %d does not match the checksum chain of the domain", generation)
	}
	return nil
}

// wrappingKey derives the wrapping key of a generation, once.
func (r *Root) wrappingKey(generation uint32) (secret.Bytes, error) {
	r.mu.RLock()
	k, ok := r.wrapping[generation]
	r.mu.RUnlock()
	if ok {
		return k, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.wrapping[generation]; ok {
		return k, nil
	}
	key, err := r.derive(generation, SecretSize, r.labels.Wrapping, r.domain[:])
	if err == nil {
		r.wrapping[generation] = key
	}
	return key, err
}

// derive returns size bytes of what a label and a context make of a generation's
// master secret itself.
func (r *Root) derive(generation uint32, size int, label string, context ...[]byte) (secret.Bytes, error) {
	s, err := r.source.Secret(generation)
	if err != nil {
		return secret.Bytes{}, err
	}
	var key secret.Bytes
	err = s.Use(func(b []byte) error {
		key = secret.New(KMAC256(b, size, label, context...))
		return nil
	})
	return key, err
}

// Forget wipes what was derived from a generation and kept, once the Source has
// it no more: nothing under it opens after that.
func (r *Root) Forget(generation uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.wrapping[generation]; ok {
		k.Wipe()
		delete(r.wrapping, generation)
	}
}

// A Purpose separates the keys that wrap different kinds of things. It is the
// customization string of the derivation, so no two purposes share a key.
type Purpose string

// The purposes.
const (
	WrapKey        Purpose = "holdfast/v1/wrap/cmk"
	WrapCredential Purpose = "holdfast/v1/wrap/credential"
	WrapCA         Purpose = "holdfast/v1/wrap/ca"
	WrapImport     Purpose = "holdfast/v1/wrap/import"
	WrapSecret     Purpose = "holdfast/v1/wrap/secret"
)

// A Slot is the place that a wrapped secret belongs to: what it is, where it
// is, and everything about it that must not be altered.
type Slot struct {
	Purpose    Purpose
	Generation uint32
	ID         []byte // of the key or credential
	Version    uint32
	Facts      []byte // bound as additional data: spec, usages, owner, …
}

// Overhead is what wrapping adds to a secret, in bytes: format, nonce, tag.
const Overhead = 1 + nonceSize + tagSize

const (
	wrapFormat = 1
	nonceSize  = 12
	tagSize    = 16
)

// Wrap encrypts a secret so that it opens only in this domain and this slot:
// AES-256-GCM under a key derived for purpose, id and version. A random nonce
// is safe there, since each derived key wraps a handful of times at most.
func (r *Root) Wrap(slot Slot, plain secret.Bytes) ([]byte, error) {
	aead, err := r.aead(slot)
	if err != nil {
		return nil, err
	}
	var out []byte
	err = plain.Use(func(b []byte) error {
		out = make([]byte, 1+nonceSize, Overhead+len(b))
		out[0] = wrapFormat
		rand.Read(out[1:])
		out = aead.Seal(out, out[1:], b, r.aad(slot))
		return nil
	})
	return out, err
}

// Unwrap opens what Wrap made. The error is Damaged: stored state is the only
// place wrapped secrets come from.
func (r *Root) Unwrap(slot Slot, wrapped []byte) (secret.Bytes, error) {
	if len(wrapped) < Overhead || wrapped[0] != wrapFormat {
		return secret.Bytes{}, kms.Errorf(kms.Damaged, "wrapped secret is malformed")
	}
	aead, err := r.aead(slot)
	if err != nil {
		return secret.Bytes{}, err
	}
	plain, err := aead.Open(nil, wrapped[1:1+nonceSize], wrapped[1+nonceSize:], r.aad(slot))
	if err != nil {
		return secret.Bytes{}, kms.Errorf(kms.Damaged, "wrapped secret does not open in its place")
	}
	return secret.New(plain), nil
}

// Rewrap opens what is wrapped in one slot and wraps it in another, which is to
// take its place. It opens the new one too before it returns it: the old one is
// about to be the only other copy, and then to be none. The error is Damaged, or
// that of a generation that is not held.
func (r *Root) Rewrap(from, to Slot, wrapped []byte) ([]byte, error) {
	plain, err := r.Unwrap(from, wrapped)
	if err != nil {
		return nil, err
	}
	defer plain.Wipe()
	out, err := r.Wrap(to, plain)
	if err != nil {
		return nil, err
	}
	again, err := r.Unwrap(to, out)
	if err != nil {
		return nil, err
	}
	defer again.Wipe()
	err = again.Use(func(b []byte) error {
		if !plain.Equal(b) {
			return kms.Errorf(kms.Damaged, "a secret does not come back as it was wrapped: this machine makes mistakes")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (r *Root) aead(slot Slot) (cipher.AEAD, error) {
	key, err := r.wrappingKey(slot.Generation)
	if err != nil {
		return nil, err
	}
	var aead cipher.AEAD
	err = key.Use(func(k []byte) error {
		version := binary.BigEndian.AppendUint32(nil, slot.Version)
		kek := KMAC256(k, SecretSize, string(slot.Purpose), version, slot.ID)
		defer clear(kek)
		block, err := aes.NewCipher(kek)
		if err != nil {
			return err
		}
		aead, err = cipher.NewGCM(block)
		return err
	})
	return aead, err
}

// aad binds domain, purpose, generation, id, version and facts, each with its
// length in front, so that no two slots share an encoding.
func (r *Root) aad(slot Slot) []byte {
	b := make([]byte, 0, 160)
	b = append(b, wrapFormat)
	b = append(b, r.domain[:]...)
	b = appendPart(b, []byte(slot.Purpose))
	b = binary.BigEndian.AppendUint32(b, slot.Generation)
	b = appendPart(b, slot.ID)
	b = binary.BigEndian.AppendUint32(b, slot.Version)
	return appendPart(b, slot.Facts)
}

func appendPart(dst, part []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(part)))
	return append(dst, part...)
}

// Derive returns size bytes for a purpose and context outside the wrapping of
// secrets, under the wrapping key of a generation.
func (r *Root) Derive(generation uint32, purpose Purpose, size int, context ...[]byte) (secret.Bytes, error) {
	key, err := r.wrappingKey(generation)
	if err != nil {
		return secret.Bytes{}, err
	}
	var out secret.Bytes
	err = key.Use(func(k []byte) error {
		out = secret.New(KMAC256(k, size, string(purpose), context...))
		return nil
	})
	return out, err
}
