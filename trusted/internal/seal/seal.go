// Package seal encrypts the records that a node hands to its host: every
// record is AES-256-GCM under a key that only the node has, so the host can
// neither read it nor alter it, nor pass off a record made for one purpose as
// one made for another.
//
// It does not keep the host from putting an older record back; whoever stores
// records binds their order through the additional data and by comparing tags.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/holdfast-kms/holdfast/kms"
)

// A record is
//
//	version (1) | salt (16) | counter (8, big endian) | ciphertext | tag (16)
//
// sealed under HKDF-SHA-256(key, salt, info | label) with the nonce 0 (4) | counter (8).
const (
	version    = 1
	saltLen    = 16
	counterLen = 8
	headerLen  = 1 + saltLen + counterLen

	// KeyLen is the length of a Box's key.
	KeyLen = 32
	// TagLen is the length of the authentication tag, which ends a record.
	TagLen = 16
	// Overhead is how much longer a record is than what it holds.
	Overhead = headerLen + TagLen

	info = "holdfast/seal/v1\x00"

	// maxOpeners bounds the record keys that are kept ready. Records of one
	// process start lie together, so a few do.
	maxOpeners = 32
)

var errOpen = kms.Errorf(kms.DecryptFailed, "sealed record does not open")

// A Box seals and opens records for one purpose. It is safe for concurrent
// use. Its only fields are functions, so that printing one prints no key.
//
// Random 96-bit nonces under one long-lived key would not do: NIST SP 800-38D
// stops at 2^32 records for them, which a busy log reaches within a day, and a
// counter that outlives the process would have to be stored where the host can
// roll it back. So each Box draws a random salt and derives a record key of
// its own from it, under which it counts. Two Boxes share a record key only if
// their 128-bit salts collide.
type Box struct {
	seal func(dst, plaintext, aad []byte) []byte
	open func(dst, record, aad []byte) ([]byte, error)
}

// New makes a Box under key (KeyLen bytes, copied) for the purpose that label
// names. Boxes with different labels cannot open each other's records; those
// with the same key and label can, in whichever process they were made.
func New(key []byte, label string) (*Box, error) {
	if len(key) != KeyLen {
		return nil, kms.Errorf(kms.Invalid, "sealing key has %d bytes, not %d", len(key), KeyLen)
	}
	c := &ciphers{label: label, openers: make(map[[saltLen]byte]cipher.AEAD)}
	copy(c.key[:], key)
	if _, err := rand.Read(c.salt[:]); err != nil {
		return nil, kms.Errorf(kms.Internal, "drawing a salt: %w", err)
	}
	var err error
	if c.own, err = c.derive(c.salt); err != nil {
		return nil, err
	}
	return &Box{seal: c.seal, open: c.open}, nil
}

// Seal appends to dst the record that holds plaintext, bound to aad, and
// returns the extended slice. Plaintext and dst must not overlap.
func (b *Box) Seal(dst, plaintext, aad []byte) []byte { return b.seal(dst, plaintext, aad) }

// Open appends to dst what record holds and returns the extended slice. The
// error is DecryptFailed, whatever the cause.
func (b *Box) Open(dst, record, aad []byte) ([]byte, error) { return b.open(dst, record, aad) }

// Tag returns the tag of a record that Seal made: no two records share one
// but by chance (2^-128), so it stands for the record.
func Tag(record []byte) (tag [TagLen]byte) {
	if len(record) >= Overhead {
		copy(tag[:], record[len(record)-TagLen:])
	}
	return tag
}

// ciphers is what a Box's functions close over.
type ciphers struct {
	key     [KeyLen]byte
	label   string
	salt    [saltLen]byte
	own     cipher.AEAD
	counter atomic.Uint64

	mu      sync.RWMutex
	openers map[[saltLen]byte]cipher.AEAD
	order   [][saltLen]byte // of openers, oldest first
}

func (c *ciphers) derive(salt [saltLen]byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, c.key[:], salt[:], info+c.label, KeyLen)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "deriving a record key: %w", err)
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "record cipher: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "record cipher: %w", err)
	}
	return aead, nil
}

func nonceOf(counter uint64) (nonce [12]byte) {
	binary.BigEndian.PutUint64(nonce[4:], counter)
	return nonce
}

func (c *ciphers) seal(dst, plaintext, aad []byte) []byte {
	counter := c.counter.Add(1)
	nonce := nonceOf(counter)
	dst = append(dst, version)
	dst = append(dst, c.salt[:]...)
	dst = binary.BigEndian.AppendUint64(dst, counter)
	return c.own.Seal(dst, nonce[:], plaintext, aad)
}

func (c *ciphers) open(dst, record, aad []byte) ([]byte, error) {
	if len(record) < Overhead || record[0] != version {
		return nil, errOpen
	}
	aead, err := c.opener([saltLen]byte(record[1 : 1+saltLen]))
	if err != nil {
		return nil, err
	}
	nonce := nonceOf(binary.BigEndian.Uint64(record[1+saltLen : headerLen]))
	out, err := aead.Open(dst, nonce[:], record[headerLen:], aad)
	if err != nil {
		return nil, errOpen
	}
	return out, nil
}

// opener returns the cipher for a salt. The host chooses the salts we see, so
// the ones that are kept are bounded; the price of a miss is one derivation.
func (c *ciphers) opener(salt [saltLen]byte) (cipher.AEAD, error) {
	if salt == c.salt {
		return c.own, nil
	}
	c.mu.RLock()
	aead := c.openers[salt]
	c.mu.RUnlock()
	if aead != nil {
		return aead, nil
	}
	aead, err := c.derive(salt)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, there := c.openers[salt]; !there {
		if len(c.order) == maxOpeners {
			delete(c.openers, c.order[0])
			c.order = c.order[1:]
		}
		c.openers[salt] = aead
		c.order = append(c.order, salt)
	}
	return aead, nil
}
