package alg_test

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"hash"
	"testing"

	dcrd "github.com/decred/dcrd/dcrec/secp256k1/v4"
	dcrdecdsa "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm4"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
)

// The benchmarks run each operation on 1 KiB as this package does it ("ours")
// and as the library alone does it ("raw"). A plaintext for an asymmetric key
// is a 32-byte data key.

var (
	benchMessage = make([]byte, 1024)
	benchKey     = make([]byte, 32)
)

func compare(b *testing.B, name string, ours, raw func() error) {
	b.Helper()
	for _, v := range []struct {
		name string
		run  func() error
	}{{"ours", ours}, {"raw", raw}} {
		b.Run(name+"/"+v.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := v.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func rsaOf(b *testing.B, s kms.Spec) *rsa.PrivateKey {
	priv, err := x509.ParsePKCS1PrivateKey(reveal(b, materials()[s]))
	if err != nil {
		b.Fatal(err)
	}
	return priv
}

func signOp(k alg.Key, in kms.SigningInput) func() error {
	return func() error { _, err := k.Sign(in); return err }
}

func verifyOp(b *testing.B, k alg.Key, in kms.SigningInput) (sig []byte, op func() error) {
	sig, err := k.Sign(in)
	if err != nil {
		b.Fatal(err)
	}
	return sig, func() error { _, err := k.Verify(in, sig); return err }
}

func BenchmarkSign(b *testing.B) {
	digest := sha256.Sum256(benchMessage)
	for _, s := range []kms.Spec{kms.RSA2048, kms.RSA3072, kms.RSA4096} {
		k, priv := keyOf(b, s), rsaOf(b, s)
		compare(b, s.String()+"/PSS", signOp(k, kms.SigningInput{Message: benchMessage, Digest: kms.SHA256, Padding: kms.PaddingPSS}),
			func() error {
				_, err := rsa.SignPSS(rand.Reader, priv, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
				return err
			})
		compare(b, s.String()+"/PKCS1", signOp(k, kms.SigningInput{Message: benchMessage, Digest: kms.SHA256, Padding: kms.PaddingPKCS1}),
			func() error { _, err := rsa.SignPKCS1v15(nil, priv, crypto.SHA256, digest[:]); return err })
	}
	in := kms.SigningInput{Message: benchMessage, Digest: kms.SHA256}
	for s, curve := range map[kms.Spec]elliptic.Curve{kms.ECP224: elliptic.P224(), kms.ECP256: elliptic.P256(), kms.ECP384: elliptic.P384(), kms.ECP521: elliptic.P521()} {
		priv, err := ecdsa.ParseRawPrivateKey(curve, reveal(b, materials()[s]))
		if err != nil {
			b.Fatal(err)
		}
		compare(b, s.String(), signOp(keyOf(b, s), in), func() error { _, err := ecdsa.SignASN1(rand.Reader, priv, digest[:]); return err })
	}
	k1 := dcrd.PrivKeyFromBytes(reveal(b, materials()[kms.ECSecp256k1]))
	compare(b, "EC-secp256k1", signOp(keyOf(b, kms.ECSecp256k1), in), func() error { dcrdecdsa.Sign(k1, digest[:]); return nil })
	sm, err := sm2.NewPrivateKey(reveal(b, materials()[kms.SM2]))
	if err != nil {
		b.Fatal(err)
	}
	compare(b, "SM2", signOp(keyOf(b, kms.SM2), kms.SigningInput{Message: benchMessage, Digest: kms.SM3}),
		func() error { _, err := sm2.SignASN1(rand.Reader, sm, digest[:], nil); return err })
	ed := ed25519.NewKeyFromSeed(reveal(b, materials()[kms.Ed25519]))
	compare(b, "Ed25519", signOp(keyOf(b, kms.Ed25519), kms.SigningInput{Message: benchMessage}),
		func() error { ed25519.Sign(ed, benchMessage); return nil })
}

func BenchmarkVerify(b *testing.B) {
	digest := sha256.Sum256(benchMessage)
	for _, s := range []kms.Spec{kms.RSA2048, kms.RSA3072, kms.RSA4096} {
		priv := rsaOf(b, s)
		sig, op := verifyOp(b, keyOf(b, s), kms.SigningInput{Message: benchMessage, Digest: kms.SHA256, Padding: kms.PaddingPKCS1})
		compare(b, s.String(), op, func() error { return rsa.VerifyPKCS1v15(&priv.PublicKey, crypto.SHA256, digest[:], sig) })
	}
	in := kms.SigningInput{Message: benchMessage, Digest: kms.SHA256}
	for s, curve := range map[kms.Spec]elliptic.Curve{kms.ECP224: elliptic.P224(), kms.ECP256: elliptic.P256(), kms.ECP384: elliptic.P384(), kms.ECP521: elliptic.P521()} {
		priv, err := ecdsa.ParseRawPrivateKey(curve, reveal(b, materials()[s]))
		if err != nil {
			b.Fatal(err)
		}
		sig, op := verifyOp(b, keyOf(b, s), in)
		compare(b, s.String(), op, func() error { ecdsa.VerifyASN1(&priv.PublicKey, digest[:], sig); return nil })
	}
	k1 := dcrd.PrivKeyFromBytes(reveal(b, materials()[kms.ECSecp256k1])).PubKey()
	sig, op := verifyOp(b, keyOf(b, kms.ECSecp256k1), in)
	compare(b, "EC-secp256k1", op, func() error {
		parsed, err := dcrdecdsa.ParseDERSignature(sig)
		parsed.Verify(digest[:], k1)
		return err
	})
	sm, err := sm2.NewPrivateKey(reveal(b, materials()[kms.SM2]))
	if err != nil {
		b.Fatal(err)
	}
	smSig, op := verifyOp(b, keyOf(b, kms.SM2), kms.SigningInput{Message: benchMessage, Digest: kms.SM3})
	compare(b, "SM2", op, func() error { sm2.VerifyASN1(&sm.PublicKey, digest[:], smSig); return nil })
	ed := ed25519.NewKeyFromSeed(reveal(b, materials()[kms.Ed25519])).Public().(ed25519.PublicKey)
	edSig, op := verifyOp(b, keyOf(b, kms.Ed25519), kms.SigningInput{Message: benchMessage})
	compare(b, "Ed25519", op, func() error { ed25519.Verify(ed, benchMessage, edSig); return nil })
}

func BenchmarkEncrypt(b *testing.B) {
	encryptOp := func(s kms.Spec) func() error {
		k := keyOf(b, s)
		return func() error { _, err := k.Encrypt(nil, benchMessage, nil); return err }
	}
	for _, s := range []kms.Spec{kms.AES128GCM, kms.AES192GCM, kms.AES256GCM} {
		block, _ := aes.NewCipher(reveal(b, materials()[s]))
		gcm, _ := cipher.NewGCM(block)
		nonce := make([]byte, 12)
		compare(b, s.String(), encryptOp(s), func() error { rand.Read(nonce); gcm.Seal(nil, nonce, benchMessage, nil); return nil })
	}
	iv := make([]byte, 16)
	ctr, _ := sm4.NewCipher(reveal(b, materials()[kms.SM4CTR]))
	compare(b, "SM4-CTR", encryptOp(kms.SM4CTR), func() error {
		rand.Read(iv)
		cipher.NewCTR(ctr, iv).XORKeyStream(make([]byte, len(benchMessage)), benchMessage)
		return nil
	})
	cbc, _ := sm4.NewCipher(reveal(b, materials()[kms.SM4CBC]))
	compare(b, "SM4-CBC", encryptOp(kms.SM4CBC), func() error {
		rand.Read(iv)
		cipher.NewCBCEncrypter(cbc, iv).CryptBlocks(make([]byte, len(benchMessage)), benchMessage)
		return nil
	})
	for _, s := range []kms.Spec{kms.RSA2048, kms.RSA3072, kms.RSA4096} {
		k, priv := keyOf(b, s), rsaOf(b, s)
		compare(b, s.String()+"/OAEP", func() error { _, err := k.AsymmetricEncrypt(benchKey, kms.PaddingOAEP); return err },
			func() error {
				_, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, &priv.PublicKey, benchKey, nil)
				return err
			})
	}
	k, sm := keyOf(b, kms.SM2), reveal(b, materials()[kms.SM2])
	priv, err := sm2.NewPrivateKey(sm)
	if err != nil {
		b.Fatal(err)
	}
	compare(b, "SM2", func() error { _, err := k.AsymmetricEncrypt(benchKey, 0); return err },
		func() error { _, err := sm2.EncryptASN1(rand.Reader, &priv.PublicKey, benchKey); return err })
}

func BenchmarkDecrypt(b *testing.B) {
	for _, s := range []kms.Spec{kms.RSA2048, kms.RSA3072, kms.RSA4096} {
		k, priv := keyOf(b, s), rsaOf(b, s)
		for _, p := range []kms.Padding{kms.PaddingOAEP, kms.PaddingPKCS1} {
			body, err := k.AsymmetricEncrypt(benchKey, p)
			if err != nil {
				b.Fatal(err)
			}
			raw := func() error { _, err := rsa.DecryptOAEP(sha256.New(), nil, priv, body, nil); return err }
			if p == kms.PaddingPKCS1 {
				//lint:ignore SA1019 what implicit rejection is compared with
				raw = func() error { _, err := rsa.DecryptPKCS1v15(nil, priv, body); return err }
			}
			compare(b, s.String()+"/"+p.String(), func() error { _, err := k.AsymmetricDecrypt(body, p); return err }, raw)
		}
	}
	k := keyOf(b, kms.SM2)
	priv, err := sm2.NewPrivateKey(reveal(b, materials()[kms.SM2]))
	if err != nil {
		b.Fatal(err)
	}
	body, err := k.AsymmetricEncrypt(benchKey, 0)
	if err != nil {
		b.Fatal(err)
	}
	compare(b, "SM2", func() error { _, err := k.AsymmetricDecrypt(body, 0); return err },
		func() error { _, err := sm2.Decrypt(priv, body); return err })
}

func BenchmarkMAC(b *testing.B) {
	for s, h := range map[kms.Spec]func() hash.Hash{kms.HMACSHA224: sha256.New224, kms.HMACSHA256: sha256.New, kms.HMACSHA384: sha512.New384, kms.HMACSHA512: sha512.New} {
		k, key := keyOf(b, s), reveal(b, materials()[s])
		compare(b, s.String(), func() error { _, err := k.MAC(benchMessage); return err },
			func() error { m := hmac.New(h, key); m.Write(benchMessage); m.Sum(nil); return nil })
	}
}

// What a loan costs where the key is not in the cache.
func BenchmarkParse(b *testing.B) {
	for _, row := range kms.Capabilities() {
		b.Run(row.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := alg.Parse(row.Spec, materials()[row.Spec]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkGenerate(b *testing.B) {
	for _, row := range kms.Capabilities() {
		if row.Family != kms.Asymmetric {
			continue
		}
		b.Run(row.Name+"/ours", func(b *testing.B) {
			for b.Loop() {
				if _, err := alg.Generate(row.Spec); err != nil {
					b.Fatal(err)
				}
			}
		})
		if row.Slow {
			b.Run(row.Name+"/raw", func(b *testing.B) {
				for b.Loop() {
					if _, err := rsa.GenerateKey(rand.Reader, row.Bits); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
