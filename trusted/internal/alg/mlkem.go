package alg

import (
	"bytes"
	"crypto/mlkem"
	"crypto/sha3"
	"crypto/subtle"
)

// The parameter sets of FIPS 203 that are served (RFC 9935, section 3).
var (
	oidMLKEM768  = objectID{2, 16, 840, 1, 101, 3, 4, 4, 2}
	oidMLKEM1024 = objectID{2, 16, 840, 1, 101, 3, 4, 4, 3}
)

// Encapsulate makes a secret of 32 bytes and the ciphertext that Decapsulate
// makes the same of. The caller clears the secret.
func (k Key) Encapsulate() (shared, ciphertext []byte, err error) {
	if k.encapsulate == nil {
		return nil, nil, errMisused
	}
	shared, ciphertext = k.encapsulate()
	return shared, ciphertext, nil
}

// Decapsulate is the secret in a ciphertext. One that was not made for this key
// gives another secret, which is the same each time and tells nothing (FIPS 203,
// section 6.3); one of another length is DecryptFailed. The caller clears the secret.
func (k Key) Decapsulate(ciphertext []byte) ([]byte, error) {
	if k.decapsulate == nil {
		return nil, errMisused
	}
	shared, err := k.decapsulate(ciphertext)
	if err != nil {
		return nil, errDecrypt
	}
	return shared, nil
}

var kem768 = lattice{
	oid:  oidMLKEM768,
	size: mlkem.SeedSize,
	private: func(seed []byte) (Key, []byte, error) {
		priv, err := mlkem.NewDecapsulationKey768(seed)
		if err != nil {
			return Key{}, nil, err
		}
		public := priv.EncapsulationKey()
		return Key{encapsulate: public.Encapsulate, decapsulate: priv.Decapsulate}, public.Bytes(), nil
	},
	public: func(public []byte) (Key, error) {
		pub, err := mlkem.NewEncapsulationKey768(public)
		if err != nil {
			return Key{}, err
		}
		return Key{encapsulate: pub.Encapsulate}, nil
	},
	matches: matchesKEM,
}.algorithm()

var kem1024 = lattice{
	oid:  oidMLKEM1024,
	size: mlkem.SeedSize,
	private: func(seed []byte) (Key, []byte, error) {
		priv, err := mlkem.NewDecapsulationKey1024(seed)
		if err != nil {
			return Key{}, nil, err
		}
		public := priv.EncapsulationKey()
		return Key{encapsulate: public.Encapsulate, decapsulate: priv.Decapsulate}, public.Bytes(), nil
	},
	public: func(public []byte) (Key, error) {
		pub, err := mlkem.NewEncapsulationKey1024(public)
		if err != nil {
			return Key{}, err
		}
		return Key{encapsulate: pub.Encapsulate}, nil
	},
	matches: matchesKEM,
}.algorithm()

// matchesKEM compares the tail of an expanded key (FIPS 203, algorithm 16):
// dk_PKE ‖ ek ‖ H(ek) ‖ z, where z is the seed's second half and dk_PKE is 32
// bytes shorter than ek.
func matchesKEM(seed, public, expanded []byte) bool {
	digest := sha3.Sum256(public)
	tail := bytes.Join([][]byte{public, digest[:], seed[len(seed)/2:]}, nil)
	defer clear(tail)
	head := len(public) - 32
	return len(expanded) == head+len(tail) && subtle.ConstantTimeCompare(expanded[head:], tail) == 1
}
