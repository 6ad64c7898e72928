package alg

import (
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg/sm"
)

// maxSM2 is the longest plaintext that SM2 encrypts, in bytes: eHSM's limit.
const maxSM2 = 255

// curveSM2 is SM2 (GB/T 32918) over its own curve. Signatures and ciphertexts
// are ASN.1 DER (GM/T 0009), the signer's id is 1234567812345678.
var curveSM2 = curve{
	oid:      oidSM2,
	size:     sm.ScalarSize,
	generate: func() ([]byte, error) { return sm.Generate(), nil },
	private: func(scalar []byte) (Key, []byte, error) {
		priv, err := sm.Parse(scalar)
		if err != nil {
			return Key{}, nil, err
		}
		return sm2Key(priv), priv.Public(), nil
	},
	public: func(point []byte) (Key, error) {
		pub, err := sm.ParsePublic(point)
		if err != nil {
			return Key{}, err
		}
		return sm2Public(pub), nil
	},
}.algorithm()

func sm2Public(pub *sm.PublicKey) Key {
	return Key{
		encTo: func(plaintext []byte, _ kms.Padding) ([]byte, error) {
			if len(plaintext) == 0 {
				return nil, kms.Errorf(kms.Misused, "SM2 encrypts no empty plaintext")
			}
			if len(plaintext) > maxSM2 {
				return nil, kms.Errorf(kms.TooLarge, "%d bytes, at most %d with SM2", len(plaintext), maxSM2)
			}
			return pub.Encrypt(plaintext)
		},
		verify: func(in kms.SigningInput, signature []byte) (bool, error) {
			hash, err := sm2Hash(pub, in)
			if err != nil {
				return false, err
			}
			return pub.Verify(hash, signature), nil
		},
	}
}

func sm2Key(priv *sm.PrivateKey) Key {
	k := sm2Public(priv.PublicKey)
	k.decFrom = func(ciphertext []byte, _ kms.Padding) ([]byte, error) {
		out, err := priv.Decrypt(ciphertext)
		if err != nil {
			return nil, errDecrypt
		}
		return out, nil
	}
	k.sign = func(in kms.SigningInput) ([]byte, error) {
		hash, err := sm2Hash(priv.PublicKey, in)
		if err != nil {
			return nil, err
		}
		return priv.Sign(hash)
	}
	return k
}

// sm2Hash is the digest of Z and the message: who hashes for SM2 hashes both.
func sm2Hash(pub *sm.PublicKey, in kms.SigningInput) ([]byte, error) {
	if in.Digest != kms.SM3 {
		return nil, errDigest(in.Digest)
	}
	if in.Prehashed {
		return digestOf(in)
	}
	return pub.Hash(in.Message), nil
}

// parseSM4CTR is SM4 in counter mode with a random first counter block, which
// follows the ciphertext. It has no integrity: an altered ciphertext opens to
// an altered plaintext. The additional data is ignored, as eHSM does.
func parseSM4CTR(material []byte) (Key, error) {
	block, err := sm.NewSM4(material)
	if err != nil {
		return Key{}, err
	}
	return Key{
		encrypt: func(dst, plaintext, _ []byte) ([]byte, error) {
			dst, out, iv := layOutSM4(dst, len(plaintext))
			cipher.NewCTR(block, iv).XORKeyStream(out, plaintext)
			return dst, nil
		},
		decrypt: func(dst, body, _ []byte) ([]byte, error) {
			n := len(body) - sm.BlockSize
			if n < 0 {
				return nil, errDecrypt
			}
			from := len(dst)
			dst = append(dst, body[:n]...)
			cipher.NewCTR(block, body[n:]).XORKeyStream(dst[from:], dst[from:])
			return dst, nil
		},
	}, nil
}

// parseSM4CBC is SM4 in cipher block chaining mode with PKCS #7 padding and a
// random vector, which follows the ciphertext. It has no integrity, and whether
// an altered ciphertext opens tells something of the plaintext (Vaudenay 2002):
// eHSM's clients have it, nobody else should. The additional data is ignored.
func parseSM4CBC(material []byte) (Key, error) {
	block, err := sm.NewSM4(material)
	if err != nil {
		return Key{}, err
	}
	return Key{
		encrypt: func(dst, plaintext, _ []byte) ([]byte, error) {
			padding := sm.BlockSize - len(plaintext)%sm.BlockSize
			dst, out, iv := layOutSM4(dst, len(plaintext)+padding)
			copy(out, plaintext)
			for i := len(plaintext); i < len(out); i++ {
				out[i] = byte(padding)
			}
			cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, out)
			return dst, nil
		},
		decrypt: func(dst, body, _ []byte) ([]byte, error) {
			n := len(body) - sm.BlockSize
			if n <= 0 || n%sm.BlockSize != 0 {
				return nil, errDecrypt
			}
			from := len(dst)
			dst = append(dst, body[:n]...)
			cipher.NewCBCDecrypter(block, body[n:]).CryptBlocks(dst[from:], dst[from:])
			padding, good := unpad(dst[from:])
			if !good {
				clear(dst[from:])
				return nil, errDecrypt
			}
			return dst[:len(dst)-padding], nil
		},
	}, nil
}

// layOutSM4 makes room behind dst for n bytes and a random vector.
func layOutSM4(dst []byte, n int) (all, out, iv []byte) {
	from := len(dst)
	dst = slices.Grow(dst, n+sm.BlockSize)[:from+n+sm.BlockSize]
	rand.Read(dst[from+n:])
	return dst, dst[from : from+n], dst[from+n:]
}

// unpad checks PKCS #7 padding, in the same steps whatever is wrong with it.
func unpad(padded []byte) (padding int, good bool) {
	last := padded[len(padded)-1]
	ok := subtle.ConstantTimeLessOrEq(1, int(last)) & subtle.ConstantTimeLessOrEq(int(last), sm.BlockSize)
	for i := range sm.BlockSize {
		inside := subtle.ConstantTimeLessOrEq(i+1, int(last))
		ok &= 1 ^ inside&(1^subtle.ConstantTimeByteEq(padded[len(padded)-1-i], last))
	}
	return int(last), ok == 1
}
