package raw

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	k1ecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"github.com/emmansun/gmsm/sm2"

	"github.com/holdfast-kms/holdfast/kms"
)

// truth turns the verdict on a signature into an error.
func truth(valid bool) error {
	if !valid {
		return errWrong
	}
	return nil
}

func rsaBits(bits int, message []byte) (Operations, error) {
	priv, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return Operations{}, err
	}
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	sign := func() ([]byte, error) {
		digest := sha256.Sum256(message)
		return rsa.SignPSS(rand.Reader, priv, crypto.SHA256, digest[:], pss)
	}
	plain := random(DataKeySize)
	encrypt := func() ([]byte, error) { return rsa.EncryptOAEP(sha256.New(), rand.Reader, &priv.PublicKey, plain, nil) }
	sig, err := sign()
	if err != nil {
		return Operations{}, err
	}
	sealed, err := encrypt()
	return Operations{
		Create:  func() error { _, err := rsa.GenerateKey(rand.Reader, bits); return err },
		Encrypt: func() error { _, err := encrypt(); return err },
		Decrypt: func() error {
			got, err := rsa.DecryptOAEP(sha256.New(), nil, priv, sealed, nil)
			return same(got, plain, err)
		},
		Sign: func() error { _, err := sign(); return err },
		Verify: func() error {
			digest := sha256.Sum256(message)
			return rsa.VerifyPSS(&priv.PublicKey, crypto.SHA256, digest[:], sig, pss)
		},
	}, err
}

func nist(spec kms.Spec, message []byte) (Operations, error) {
	curve := map[kms.Spec]elliptic.Curve{kms.ECP224: elliptic.P224(), kms.ECP256: elliptic.P256(),
		kms.ECP384: elliptic.P384(), kms.ECP521: elliptic.P521()}[spec]
	priv, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return Operations{}, err
	}
	sign := func() ([]byte, error) {
		digest := sha256.Sum256(message)
		return ecdsa.SignASN1(rand.Reader, priv, digest[:])
	}
	sig, err := sign()
	return Operations{
		Create: func() error { _, err := ecdsa.GenerateKey(curve, rand.Reader); return err },
		Sign:   func() error { _, err := sign(); return err },
		Verify: func() error {
			digest := sha256.Sum256(message)
			return truth(ecdsa.VerifyASN1(&priv.PublicKey, digest[:], sig))
		},
	}, err
}

// secp256k1Curve signs with a nonce that follows from key and message, which
// is what the library has.
func secp256k1Curve(message []byte) (Operations, error) {
	priv, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		return Operations{}, err
	}
	pub := priv.PubKey()
	digest := sha256.Sum256(message)
	sig := k1ecdsa.Sign(priv, digest[:]).Serialize()
	return Operations{
		Create: func() error {
			k, err := secp256k1.GeneratePrivateKey()
			if err == nil {
				k.PubKey()
			}
			return err
		},
		Sign: func() error {
			digest := sha256.Sum256(message)
			k1ecdsa.Sign(priv, digest[:]).Serialize()
			return nil
		},
		Verify: func() error {
			digest := sha256.Sum256(message)
			parsed, err := k1ecdsa.ParseDERSignature(sig)
			if err != nil {
				return err
			}
			return truth(parsed.Verify(digest[:], pub))
		},
	}, nil
}

func sm2Curve(message []byte) (Operations, error) {
	priv, err := sm2.GenerateKey(rand.Reader)
	if err != nil {
		return Operations{}, err
	}
	plain := random(DataKeySize)
	sign := func() ([]byte, error) { return priv.SignWithSM2(rand.Reader, nil, message) }
	encrypt := func() ([]byte, error) { return sm2.EncryptASN1(rand.Reader, &priv.PublicKey, plain) }
	sig, err := sign()
	if err != nil {
		return Operations{}, err
	}
	sealed, err := encrypt()
	return Operations{
		Create:  func() error { _, err := sm2.GenerateKey(rand.Reader); return err },
		Encrypt: func() error { _, err := encrypt(); return err },
		Decrypt: func() error {
			got, err := sm2.Decrypt(priv, sealed)
			return same(got, plain, err)
		},
		Sign:   func() error { _, err := sign(); return err },
		Verify: func() error { return truth(sm2.VerifyASN1WithSM2(&priv.PublicKey, nil, message, sig)) },
	}, err
}

func edwards(message []byte) (Operations, error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return Operations{}, err
	}
	sig := ed25519.Sign(priv, message)
	return Operations{
		Create: func() error { _, _, err := ed25519.GenerateKey(rand.Reader); return err },
		Sign:   func() error { ed25519.Sign(priv, message); return nil },
		Verify: func() error { return truth(ed25519.Verify(pub, message, sig)) },
	}, nil
}
