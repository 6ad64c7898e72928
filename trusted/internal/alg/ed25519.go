package alg

import (
	"crypto/ed25519"
	"crypto/x509"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// edwards25519 is Ed25519 as RFC 8032 defines it without context or prehash. The
// material is the seed, 32 bytes.
var edwards25519 = algorithm{
	generate: func() (secret.Bytes, error) { return secret.Random(ed25519.SeedSize), nil },
	parse: func(seed []byte) (Key, error) {
		if len(seed) != ed25519.SeedSize {
			return Key{}, kms.Errorf(kms.Damaged, "Ed25519 key has %d bytes, want %d", len(seed), ed25519.SeedSize)
		}
		return ed25519Key(ed25519.NewKeyFromSeed(seed)), nil
	},
	parsePublic: func(spki []byte) (Key, error) {
		parsed, err := x509.ParsePKIXPublicKey(spki)
		if err != nil {
			return Key{}, err
		}
		pub, ok := parsed.(ed25519.PublicKey)
		if !ok {
			return Key{}, errMaterial
		}
		return ed25519Public(pub), nil
	},
	load: func(brought []byte) (secret.Bytes, error) {
		if len(brought) == ed25519.SeedSize {
			return secret.Copy(brought), nil
		}
		key, err := x509.ParsePKCS8PrivateKey(brought)
		if err != nil || !isWhole(brought) {
			return secret.Bytes{}, errMaterial
		}
		priv, ok := key.(ed25519.PrivateKey)
		if !ok {
			return secret.Bytes{}, errMaterial
		}
		return secret.New(priv.Seed()), nil
	},
	export: func(seed []byte) (secret.Bytes, error) {
		der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(seed))
		return secret.New(der), err
	},
}

func ed25519Key(priv ed25519.PrivateKey) Key {
	k := ed25519Public(priv.Public().(ed25519.PublicKey))
	k.sign = func(in kms.SigningInput) ([]byte, error) {
		if err := wholeMessage(in); err != nil {
			return nil, err
		}
		return ed25519.Sign(priv, in.Message), nil
	}
	return k
}

func ed25519Public(pub ed25519.PublicKey) Key {
	return Key{
		verify: func(in kms.SigningInput, signature []byte) (bool, error) {
			if err := wholeMessage(in); err != nil {
				return false, err
			}
			return ed25519.Verify(pub, in.Message, signature), nil
		},
		public: func() ([]byte, error) { return x509.MarshalPKIXPublicKey(pub) },
	}
}

func wholeMessage(in kms.SigningInput) error {
	if in.Digest != 0 || in.Prehashed {
		return kms.Errorf(kms.Misused, "keys of this spec sign the message itself, not a digest")
	}
	return nil
}
