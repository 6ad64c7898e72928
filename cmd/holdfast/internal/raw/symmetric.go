package raw

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"hash"

	"github.com/emmansun/gmsm/sm4"

	"github.com/holdfast-kms/holdfast/kms"
)

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// symmetric is what AES and SM4 share: create draws a key; seal and open work on
// the message, or on a data key.
func symmetric(keySize int, message []byte, seal func([]byte) []byte, open func([]byte) ([]byte, error)) (Operations, error) {
	sealed := seal(message)
	return Operations{
		Create:  func() error { random(keySize); return nil },
		Encrypt: func() error { seal(message); return nil },
		Decrypt: func() error {
			got, err := open(sealed)
			return same(got, message, err)
		},
		DataKey: func() error { seal(random(DataKeySize)); return nil },
	}, nil
}

func same(got, want []byte, err error) error {
	if err == nil && !bytes.Equal(got, want) {
		err = errWrong
	}
	return err
}

func aesGCM(keySize int, message []byte) (Operations, error) {
	block, err := aes.NewCipher(random(keySize))
	if err != nil {
		return Operations{}, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return Operations{}, err
	}
	seal := func(p []byte) []byte {
		nonce := random(gcm.NonceSize())
		return gcm.Seal(nonce, nonce, p, nil)
	}
	open := func(c []byte) ([]byte, error) { return gcm.Open(nil, c[:gcm.NonceSize()], c[gcm.NonceSize():], nil) }
	return symmetric(keySize, message, seal, open)
}

func sm4Mode(spec kms.Spec, message []byte) (Operations, error) {
	block, err := sm4.NewCipher(random(sm4.BlockSize))
	if err != nil {
		return Operations{}, err
	}
	if spec == kms.SM4CTR {
		seal := func(p []byte) []byte {
			out := append(random(sm4.BlockSize), p...)
			cipher.NewCTR(block, out[:sm4.BlockSize]).XORKeyStream(out[sm4.BlockSize:], out[sm4.BlockSize:])
			return out
		}
		open := func(c []byte) ([]byte, error) { return openCTR(block, c), nil }
		return symmetric(sm4.BlockSize, message, seal, open)
	}
	seal := func(p []byte) []byte {
		pad := sm4.BlockSize - len(p)%sm4.BlockSize
		out := append(append(random(sm4.BlockSize), p...), bytes.Repeat([]byte{byte(pad)}, pad)...)
		cipher.NewCBCEncrypter(block, out[:sm4.BlockSize]).CryptBlocks(out[sm4.BlockSize:], out[sm4.BlockSize:])
		return out
	}
	open := func(c []byte) ([]byte, error) {
		out := bytes.Clone(c[sm4.BlockSize:])
		cipher.NewCBCDecrypter(block, c[:sm4.BlockSize]).CryptBlocks(out, out)
		return out[:len(out)-int(out[len(out)-1])], nil
	}
	return symmetric(sm4.BlockSize, message, seal, open)
}

// openCTR undoes counter mode: it is encryption again.
func openCTR(block cipher.Block, c []byte) []byte {
	out := bytes.Clone(c[sm4.BlockSize:])
	cipher.NewCTR(block, c[:sm4.BlockSize]).XORKeyStream(out, out)
	return out
}

func hmacOf(spec kms.Spec, message []byte) (Operations, error) {
	hashes := map[kms.Spec]func() hash.Hash{kms.HMACSHA224: sha256.New224, kms.HMACSHA256: sha256.New,
		kms.HMACSHA384: sha512.New384, kms.HMACSHA512: sha512.New}
	h, ok := hashes[spec]
	if !ok {
		return Operations{}, kms.Errorf(kms.Invalid, "no bare operations for spec %s", spec)
	}
	key := random(h().Size())
	compute := func() []byte {
		m := hmac.New(h, key)
		m.Write(message)
		return m.Sum(nil)
	}
	want := compute()
	return Operations{
		Create: func() error { random(h().Size()); return nil },
		MAC:    func() error { return same(compute(), want, nil) },
	}, nil
}
