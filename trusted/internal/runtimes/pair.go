package runtimes

import (
	"crypto/ecdh"
	"crypto/hpke"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
)

// A Pair is the keys that belong together. Who made it wipes it.
type Pair struct {
	Public [Size]byte // X25519

	keys root.Pair
}

// Wipe clears the private halves.
func (p *Pair) Wipe() { p.keys.Wipe() }

// Use lends the X25519 private key and the state key, which f neither keeps nor
// changes.
func (p *Pair) Use(f func(private, state []byte) error) error {
	return p.keys.Private.Use(func(private []byte) error {
		return p.keys.State.Use(func(state []byte) error { return f(private, state) })
	})
}

// Open opens what was sealed with HPKE (RFC 9180, base mode, DHKEM X25519 with
// HKDF-SHA256, HKDF-SHA256, AES-256-GCM): the encapsulated key and the
// ciphertext. The error is DecryptFailed, whatever the cause.
func (p *Pair) Open(info, sealed []byte) (plain []byte, err error) {
	err = p.keys.Private.Use(func(b []byte) error {
		key, err := ecdh.X25519().NewPrivateKey(b)
		if err != nil {
			return err
		}
		private, err := hpke.NewDHKEMPrivateKey(key)
		if err != nil {
			return err
		}
		plain, err = hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
		return err
	})
	if err != nil {
		return nil, kms.Errorf(kms.DecryptFailed, "it does not open with this key")
	}
	return plain, nil
}

// MAC is KMAC256 of a message under the state key, 32 bytes, with a label of its
// own: whoever has the state key can make it too.
func (p *Pair) MAC(message []byte) (mac []byte, err error) {
	err = p.keys.State.Use(func(key []byte) error {
		mac = root.KMAC256(key, Size, macLabel, message)
		return nil
	})
	return mac, err
}
