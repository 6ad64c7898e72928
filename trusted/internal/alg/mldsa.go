package alg

import (
	"bytes"
	"crypto/sha3"
	"crypto/subtle"

	"filippo.io/mldsa"

	"github.com/holdfast-kms/holdfast/kms"
)

// The parameter sets of FIPS 204 (RFC 9881, section 2), the pure variant: the
// message itself is signed, without a context. Signatures are hedged.
var (
	dsa44 = mldsaOf(mldsa.MLDSA44(), dsaShape{objectID{2, 16, 840, 1, 101, 3, 4, 3, 17}, 4, 4, 2560})
	dsa65 = mldsaOf(mldsa.MLDSA65(), dsaShape{objectID{2, 16, 840, 1, 101, 3, 4, 3, 18}, 6, 5, 4032})
	dsa87 = mldsaOf(mldsa.MLDSA87(), dsaShape{objectID{2, 16, 840, 1, 101, 3, 4, 3, 19}, 8, 7, 4896})
)

// A dsaShape is of FIPS 204, tables 1 and 2.
type dsaShape struct {
	oid      objectID
	k, l     byte
	expanded int // bytes of a private key
}

func mldsaOf(params mldsa.Parameters, shape dsaShape) algorithm {
	return lattice{
		oid:  shape.oid,
		size: mldsa.PrivateKeySize,
		private: func(seed []byte) (Key, []byte, error) {
			priv, err := mldsa.NewPrivateKey(params, seed)
			if err != nil {
				return Key{}, nil, err
			}
			k := verifyingMLDSA(priv.PublicKey())
			k.sign = func(in kms.SigningInput) ([]byte, error) {
				if err := wholeMessage(in); err != nil {
					return nil, err
				}
				return priv.Sign(nil, in.Message, nil)
			}
			return k, priv.PublicKey().Bytes(), nil
		},
		public: func(public []byte) (Key, error) {
			pub, err := mldsa.NewPublicKey(params, public)
			if err != nil {
				return Key{}, err
			}
			return verifyingMLDSA(pub), nil
		},
		matches: shape.matches,
	}.algorithm()
}

func verifyingMLDSA(pub *mldsa.PublicKey) Key {
	return Key{verify: func(in kms.SigningInput, signature []byte) (bool, error) {
		if err := wholeMessage(in); err != nil {
			return false, err
		}
		return mldsa.Verify(pub, in.Message, signature, nil) == nil, nil
	}}
}

// matches compares the head of an expanded key (FIPS 204, algorithms 6 and 24):
// rho ‖ K ‖ tr, the last of which is a hash of the public key.
func (s dsaShape) matches(seed, public, expanded []byte) bool {
	h := sha3.NewSHAKE256()
	_, _ = h.Write(append(bytes.Clone(seed), s.k, s.l))
	drawn := make([]byte, 32+64+32) // rho ‖ rho' ‖ K
	defer clear(drawn)
	_, _ = h.Read(drawn)
	head := bytes.Join([][]byte{drawn[:32], drawn[96:], sha3.SumSHAKE256(public, 64)}, nil)
	defer clear(head)
	return len(expanded) == s.expanded && subtle.ConstantTimeCompare(expanded[:len(head)], head) == 1
}
