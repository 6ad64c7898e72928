package client_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/client/clienttest"
	"github.com/holdfast-kms/holdfast/kms"
)

func create(t *testing.T, c *client.Client, req kms.CreateKeyRequest) kms.KeyID {
	t.Helper()
	id, err := c.CreateKey(t.Context(), req)
	return must(t, id, err)
}

// publicKey returns the public half of a key, parsed.
func publicKey[T crypto.PublicKey](t *testing.T, c *client.Client, id kms.KeyID, want kms.Spec) T {
	t.Helper()
	pub, err := c.PublicKey(t.Context(), id)
	ok(t, err)
	if pub.Spec != want || pub.Key.ID != id {
		t.Errorf("the public key is of %v, spec %v, want %v and %v", pub.Key.ID, pub.Spec, id, want)
	}
	parsed, err := x509.ParsePKIXPublicKey(pub.DER)
	ok(t, err)
	return parsed.(T)
}

// TestSignWithEverySpec verifies with the public key, here.
func TestSignWithEverySpec(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	message := []byte("message")
	digest := sha256.Sum256(message)
	pss := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	tests := []struct {
		name    string
		spec    kms.Spec
		padding kms.Padding
		verify  func(pub any, sig []byte) bool
	}{
		{"P-224", kms.ECP224, 0, nil}, {"P-384", kms.ECP384, kms.PaddingNone, nil}, {"P-521", kms.ECP521, kms.PaddingPKCS1, nil},
		{"RSA, padding left out", kms.RSA2048, 0, func(pub any, sig []byte) bool {
			return rsa.VerifyPSS(pub.(*rsa.PublicKey), crypto.SHA256, digest[:], sig, pss) == nil
		}},
		{"RSA, PSS", kms.RSA3072, kms.PaddingPSS, func(pub any, sig []byte) bool {
			return rsa.VerifyPSS(pub.(*rsa.PublicKey), crypto.SHA256, digest[:], sig, pss) == nil
		}},
		{"RSA, PKCS1", kms.RSA2048, kms.PaddingPKCS1, func(pub any, sig []byte) bool {
			return rsa.VerifyPKCS1v15(pub.(*rsa.PublicKey), crypto.SHA256, digest[:], sig) == nil
		}},
		{"Ed25519", kms.Ed25519, 0, func(pub any, sig []byte) bool { return ed25519.Verify(pub.(ed25519.PublicKey), message, sig) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.verify == nil {
				tt.verify = func(pub any, sig []byte) bool { return ecdsa.VerifyASN1(pub.(*ecdsa.PublicKey), digest[:], sig) }
			}
			id := create(t, c, kms.CreateKeyRequest{Spec: tt.spec})
			in := kms.SigningInput{Message: message, Padding: tt.padding}
			sig, err := c.Sign(t.Context(), id, in)
			ok(t, err)
			if !tt.verify(publicKey[any](t, c, id, tt.spec), sig) {
				t.Error("the public key does not verify the signature")
			}
			valid, err := c.Verify(t.Context(), id, in, sig)
			if !must(t, valid, err) {
				t.Error("the signature is not valid")
			}
			in.Message = []byte("massage")
			valid, err = c.Verify(t.Context(), id, in, sig)
			if must(t, valid, err) {
				t.Error("the signature is valid for another message")
			}
		})
	}
}

// TestSignatureV1WithEd25519: eHSM has a digest named always; a key that signs the
// message itself is asked again without.
func TestSignatureV1WithEd25519(t *testing.T) {
	cfg := clienttest.NewServer(t).Enroll()
	cfg.SignatureV1 = true
	c := newClient(t, cfg)
	id := create(t, c, kms.CreateKeyRequest{Spec: kms.Ed25519})
	message := []byte("message")
	sig, err := c.Sign(t.Context(), id, kms.SigningInput{Message: message})
	ok(t, err)
	if !ed25519.Verify(publicKey[ed25519.PublicKey](t, c, id, kms.Ed25519), message, sig) {
		t.Error("the public key does not verify the signature")
	}
	valid, err := c.Verify(t.Context(), id, kms.SigningInput{Message: message}, sig)
	if !must(t, valid, err) {
		t.Error("the signature is not valid")
	}
	if _, err := c.Sign(t.Context(), id, kms.SigningInput{Message: message, Digest: kms.SHA256}); !errors.Is(err, kms.Misused) {
		t.Errorf("with a digest that was asked for: %v", err)
	}
}

// spki is a public key over a curve, as PEM in JSON.
func spki(curve string) string {
	var oid asn1.ObjectIdentifier
	for _, n := range strings.Split(curve, ".") {
		i, _ := strconv.Atoi(n)
		oid = append(oid, i)
	}
	var key struct {
		ID    struct{ Algorithm, Curve asn1.ObjectIdentifier }
		Point asn1.BitString
	}
	key.ID.Algorithm, key.ID.Curve = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, oid
	key.Point = asn1.BitString{Bytes: append([]byte{4}, make([]byte, 64)...), BitLength: 8 * 65}
	der, err := asn1.Marshal(key)
	if err != nil {
		panic(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	return strings.ReplaceAll(string(text), "\n", "\\n")
}

// TestPublicKeysOfEveryCurve has those that the standard library does not know.
func TestPublicKeysOfEveryCurve(t *testing.T) {
	s := clienttest.NewServer(t)
	c := newClient(t, s.Enroll())
	for curve, want := range map[string]kms.Spec{
		"1.3.132.0.33": kms.ECP224, "1.2.840.10045.3.1.7": kms.ECP256, "1.3.132.0.10": kms.ECSecp256k1, "1.3.132.0.34": kms.ECP384,
		"1.3.132.0.35": kms.ECP521, "1.2.156.10197.1.301": kms.SM2, "1.3.36.3.3.2.8.1.1.7": 0,
	} {
		s.Fault(say(200, `{"code":200,"message":"success!","result":{"pubkey":"`+spki(curve)+`"}}`))
		pub, err := c.PublicKey(t.Context(), kms.KeyID{1})
		if got := must(t, pub, err); got.Spec != want || len(got.DER) < 80 {
			t.Errorf("%s is %v, want %v", curve, got.Spec, want)
		}
	}
}

func TestAsymmetricEncryption(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	id := create(t, c, kms.CreateKeyRequest{Spec: kms.RSA2048, Usages: kms.EncryptDecrypt})
	pub := publicKey[*rsa.PublicKey](t, c, id, kms.RSA2048)
	plain := bytes.Repeat([]byte{7}, 190)
	for _, padding := range []kms.Padding{0, kms.PaddingOAEP, kms.PaddingPKCS1} {
		sealed, err := c.AsymmetricEncrypt(t.Context(), id, plain, padding)
		ok(t, err)
		got, err := c.AsymmetricDecrypt(t.Context(), id, sealed, padding)
		if !bytes.Equal(must(t, got, err), plain) || len(sealed) != 256 {
			t.Errorf("padding %v: %d bytes that open to %x", padding, len(sealed), got)
		}
	}
	// What others encrypt with the public key, of no length too.
	for _, plain := range []string{"x", ""} {
		sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, []byte(plain), nil)
		ok(t, err)
		got, err := c.AsymmetricDecrypt(t.Context(), id, sealed, 0)
		if string(must(t, got, err)) != plain {
			t.Errorf("opened to %q, want %q", got, plain)
		}
	}
	if _, err := c.AsymmetricDecrypt(t.Context(), id, make([]byte, 256), 0); !errors.Is(err, kms.DecryptFailed) {
		t.Errorf("an altered ciphertext: %v", err)
	}
	signing := createKey(t, c, kms.RSA2048)
	if _, err := c.AsymmetricEncrypt(t.Context(), signing, []byte("x"), 0); !errors.Is(err, kms.Misused) {
		t.Errorf("a key that signs: %v", err)
	}
}

func TestRewrap(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	from := createKey(t, c, kms.AES256GCM)
	to := create(t, c, kms.CreateKeyRequest{Spec: kms.RSA2048, Usages: kms.EncryptDecrypt})
	dk, err := c.GenerateDataKey(t.Context(), from, 32, []byte("aad"))
	ok(t, err)
	sealed, err := c.Rewrap(t.Context(), from, dk.Wrapped, []byte("aad"), to)
	ok(t, err)
	got, err := c.AsymmetricDecrypt(t.Context(), to, sealed, kms.PaddingOAEP)
	if !bytes.Equal(must(t, got, err), dk.Plaintext) {
		t.Error("it opens to another data key")
	}
	if _, err := c.Rewrap(t.Context(), from, dk.Wrapped, nil, to); !errors.Is(err, kms.DecryptFailed) {
		t.Errorf("without its aad: %v", err)
	}
}

func TestMAC(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	for spec, size := range map[kms.Spec]int{kms.HMACSHA224: 28, kms.HMACSHA256: 32, kms.HMACSHA384: 48, kms.HMACSHA512: 64} {
		t.Run(spec.String(), func(t *testing.T) {
			id := createKey(t, c, spec)
			mac, err := c.MAC(t.Context(), id, []byte("message"))
			if len(must(t, mac, err)) != size {
				t.Errorf("%d bytes, want %d", len(mac), size)
			}
			for _, tt := range []struct {
				message string
				mac     []byte
				want    bool
			}{{"message", mac, true}, {"massage", mac, false}, {"message", mac[:size-1], false}} {
				got, err := c.VerifyMAC(t.Context(), id, []byte(tt.message), tt.mac)
				if must(t, got, err) != tt.want {
					t.Errorf("%s with %d bytes is valid: %v", tt.message, len(tt.mac), got)
				}
			}
		})
	}
}

// TestImport brings keys in every form, uses them, and compares with what is
// computed here.
func TestImport(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	aes, mac := make([]byte, 32), make([]byte, 200)
	rand.Read(aes)
	rand.Read(mac)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	rsaDER, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	ok(t, err)
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	ok(t, err)
	edDER, err := x509.MarshalPKCS8PrivateKey(edKey)
	ok(t, err)

	t.Run("AES", func(t *testing.T) {
		id := create(t, c, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Imported, Exportable: true})
		ok(t, c.ImportKey(t.Context(), id, aes))
		sealed, err := c.Encrypt(t.Context(), id, []byte("x"), nil)
		ok(t, err)
		if len(sealed) != 29 {
			t.Errorf("%x", sealed)
		}
		back, err := c.ExportKey(t.Context(), id)
		if got := must(t, back, err); !bytes.Equal(got.Material, aes) || got.Spec != kms.AES256GCM {
			t.Errorf("another key came back, of spec %s", got.Spec)
		}
		if err := c.ImportKey(t.Context(), id, aes); !errors.Is(err, kms.Misused) {
			t.Errorf("imported again: %v", err)
		}
	})
	t.Run("HMAC", func(t *testing.T) {
		id := create(t, c, kms.CreateKeyRequest{Spec: kms.HMACSHA256, Origin: kms.Imported})
		ok(t, c.ImportKey(t.Context(), id, mac))
		got, err := c.MAC(t.Context(), id, []byte("m"))
		h := hmac.New(sha256.New, mac)
		h.Write([]byte("m"))
		if !bytes.Equal(must(t, got, err), h.Sum(nil)) {
			t.Error("another MAC")
		}
		if _, err := c.ExportKey(t.Context(), id); !errors.Is(err, kms.Misused) {
			t.Errorf("exported: %v", err)
		}
	})
	t.Run("RSA", func(t *testing.T) {
		id := create(t, c, kms.CreateKeyRequest{Spec: kms.RSA2048, Origin: kms.Imported})
		ok(t, c.ImportKey(t.Context(), id, rsaDER))
		if !publicKey[*rsa.PublicKey](t, c, id, kms.RSA2048).Equal(&rsaKey.PublicKey) {
			t.Error("another public key")
		}
	})
	t.Run("Ed25519", func(t *testing.T) {
		id := create(t, c, kms.CreateKeyRequest{Spec: kms.Ed25519, Origin: kms.Imported})
		ok(t, c.ImportKey(t.Context(), id, edDER))
		if !publicKey[ed25519.PublicKey](t, c, id, kms.Ed25519).Equal(edKey.Public()) {
			t.Error("another public key")
		}
	})
	t.Run("another spec", func(t *testing.T) {
		id := create(t, c, kms.CreateKeyRequest{Spec: kms.ECP256, Origin: kms.Imported})
		if err := c.ImportKey(t.Context(), id, rsaDER); !errors.Is(err, kms.Invalid) {
			t.Errorf("%v, want %v", err, kms.Invalid)
		}
	})
	t.Run("generated key", func(t *testing.T) {
		if err := c.ImportKey(t.Context(), createKey(t, c, kms.AES128GCM), aes); !errors.Is(err, kms.Misused) {
			t.Errorf("%v, want %v", err, kms.Misused)
		}
	})
}

// TestImportByHand wraps in each way, to keys of each size.
func TestImportByHand(t *testing.T) {
	c := newClient(t, clienttest.NewServer(t).Enroll())
	aes := make([]byte, 16)
	for _, w := range []kms.Wrapping{kms.WrapPKCS1, kms.WrapOAEP, kms.WrapOAEPAES} {
		for _, spec := range []kms.Spec{kms.RSA2048, kms.RSA3072} {
			id := create(t, c, kms.CreateKeyRequest{Spec: kms.AES128GCM, Origin: kms.Imported})
			p, err := c.ImportParameters(t.Context(), id, spec)
			ok(t, err)
			wrapped, err := client.WrapKey(p.PublicKey, w, aes)
			ok(t, err)
			req := kms.ImportRequest{Key: id, Token: []byte("another token"), Wrapping: w, Material: wrapped}
			if err := c.ImportKeyMaterial(t.Context(), req); !errors.Is(err, kms.Denied) {
				t.Errorf("with another token: %v", err)
			}
			req.Token = p.Token
			ok(t, c.ImportKeyMaterial(t.Context(), req))
			_, err = c.Encrypt(t.Context(), id, []byte("x"), nil)
			ok(t, err)
		}
	}
}

func TestWrapKeyRefuses(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	ok(t, err)
	pub, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	ok(t, err)
	ed, err := hex.DecodeString("302a300506032b6570032100d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
	ok(t, err)
	tests := []struct {
		name     string
		pub      []byte
		w        kms.Wrapping
		material int
		want     kms.Kind
	}{
		{"no key", nil, kms.WrapOAEP, 16, kms.Invalid},
		{"another sort of key", ed, kms.WrapOAEP, 16, kms.Invalid},
		{"no material", pub, kms.WrapOAEPAES, 0, kms.Invalid},
		{"no wrapping", pub, 0, 16, kms.Invalid},
		{"too long for OAEP", pub, kms.WrapOAEP, 191, kms.TooLarge},
		{"too long for PKCS1", pub, kms.WrapPKCS1, 246, kms.TooLarge},
		{"too long for a key", pub, kms.WrapOAEPAES, 1<<14 + 1, kms.TooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := client.WrapKey(tt.pub, tt.w, make([]byte, tt.material)); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}
