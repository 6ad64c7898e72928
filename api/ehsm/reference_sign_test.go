package ehsm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

// What message is to each digest; SM3's is any 32 bytes.
var digests = map[string]struct {
	hash crypto.Hash
	of   func(message []byte) []byte
}{
	"EH_SHA_224": {crypto.SHA224, func(m []byte) []byte { d := sha256.Sum224(m); return d[:] }},
	"EH_SHA_256": {crypto.SHA256, func(m []byte) []byte { d := sha256.Sum256(m); return d[:] }},
	"EH_SHA_384": {crypto.SHA384, func(m []byte) []byte { d := sha512.Sum384(m); return d[:] }},
	"EH_SHA_512": {crypto.SHA512, func(m []byte) []byte { d := sha512.Sum512(m); return d[:] }},
	"EH_SM3":     {0, func([]byte) []byte { return bytes.Repeat([]byte{3}, 32) }},
}

// signing is what Sign and Verify are both given; "" leaves a member out.
func signing(id string, message []byte, kind, padding, digest string) payload {
	p := payload{"keyid": id, "message": message, "message_type": kind}
	if padding != "" {
		p["padding_mode"] = padding
	}
	if digest != "" {
		p["digest_mode"] = digest
	}
	return p
}

func (p payload) with(name string, v any) payload {
	q := payload{name: v}
	for k, old := range p {
		q[k] = old
	}
	return q
}

// verifies asks Verify for a signature that is good, altered, cut and prolonged.
// Where it is malformed eHSM says 500 or false, by the message type; here it is
// false.
func (s *site) verifies(p payload, signature []byte) {
	s.t.Helper()
	s.want(validated, "Verify", p.with("signature", signature))
	altered := bytes.Clone(signature)
	altered[len(altered)-1] ^= 1
	for _, bad := range [][]byte{altered, signature[:len(signature)-1], append(bytes.Clone(signature), 0), []byte("nonsense")} {
		s.want(rejected, "Verify", p.with("signature", bad))
	}
}

var (
	hello = []byte("hello")
	other = []byte("other message")
)

func TestReferenceSignRSA(t *testing.T) {
	s := newSite(t)
	id, encrypting := s.create("EH_RSA_2048", internal, signs), s.create("EH_RSA_2048", internal, encrypts)
	public := rsaKey(t, text(s.ask("GetPublicKey", payload{"keyid": id}), "pubkey"))
	check := map[string]func(hash crypto.Hash, digest, signature []byte) error{
		pkcs1: func(hash crypto.Hash, digest, signature []byte) error {
			return rsa.VerifyPKCS1v15(public, hash, digest, signature)
		},
		pss: func(hash crypto.Hash, digest, signature []byte) error {
			return rsa.VerifyPSS(public, hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		},
	}
	for padding, verify := range check {
		for name, digest := range digests {
			raw, hashed := signing(id, hello, "EH_RAW", padding, name), signing(id, digest.of(hello), "EH_DIGEST", padding, name)
			if name == "EH_SM3" {
				s.want(misused, "Sign", raw)
				s.want(misused, "Sign", hashed)
				continue
			}
			for _, p := range []payload{raw, hashed} {
				signature := s.get("Sign", "signature", p)
				if err := verify(digest.hash, digest.of(hello), signature); err != nil || len(signature) != 256 {
					t.Errorf("%s, %s, %v: %d bytes, %v", padding, name, p["message_type"], len(signature), err)
				}
				s.verifies(raw, signature)
				s.verifies(hashed, signature)
				s.want(rejected, "Verify", signing(id, other, "EH_RAW", padding, name).with("signature", signature))
			}
			short := signing(id, digest.of(hello)[1:], "EH_DIGEST", padding, name)
			s.want(misused, "Sign", short)
			s.want(misused, "Verify", short.with("signature", make([]byte, 256)))
		}
		// The documents' default digest; and their spelling of the padding.
		signature := s.get("Sign", "signature", signing(id, hello, "EH_RAW", strings.Replace(padding, "EH_", "EH_PAD_", 1), ""))
		s.want(validated, "Verify", signing(id, hello, "EH_RAW", padding, "EH_SHA_256").with("signature", signature))
	}
	for _, padding := range []string{noPadding, oaep, ""} {
		p := signing(id, hello, "EH_RAW", padding, "EH_SHA_256")
		s.want(misused, "Sign", p)
		s.want(misused, "Verify", p.with("signature", make([]byte, 256)))
	}
	s.want(misused, "Sign", signing(encrypting, hello, "EH_RAW", pss, "EH_SHA_256"))
	s.want(misused, "Verify", signing(id, hello, "EH_RAW", pss, "EH_SHA_256").with("signature", make([]byte, 513)))
}

// spki is a SubjectPublicKeyInfo over a named curve.
type spki struct {
	Algorithm struct{ Kind, Curve asn1.ObjectIdentifier }
	Point     asn1.BitString
}

// publicKey reads PEM with 64 columns and a line end behind it.
func (s *site) publicKey(id string) []byte {
	s.t.Helper()
	got := s.ask("GetPublicKey", payload{"keyid": id})
	lines := strings.SplitAfter(text(got, "pubkey"), "\n")
	block, rest := pem.Decode([]byte(text(got, "pubkey")))
	if block == nil || len(rest) > 0 || block.Type != "PUBLIC KEY" || len(lines) > 4 && len(lines[1]) != 65 || lines[len(lines)-1] != "" || text(got, "keyid") != id {
		s.t.Fatalf("%v", got)
	}
	return block.Bytes
}

func TestReferenceSignEC(t *testing.T) {
	s := newSite(t)
	specs := map[string]struct {
		oid  string
		most int // bytes of a signature
	}{
		"EH_EC_P224": {"1.3.132.0.33", 66}, "EH_EC_P256": {"1.2.840.10045.3.1.7", 72}, "EH_EC_P256K": {"1.3.132.0.10", 72},
		"EH_EC_P384": {"1.3.132.0.34", 104}, "EH_EC_P521": {"1.3.132.0.35", 141},
	}
	for spec, want := range specs {
		id := s.create(spec, internal, signs)
		der := s.publicKey(id)
		var info spki
		if _, err := asn1.Unmarshal(der, &info); err != nil || info.Algorithm.Kind.String() != "1.2.840.10045.2.1" || info.Algorithm.Curve.String() != want.oid {
			t.Errorf("%s: %v, %v", spec, info.Algorithm, err)
		}
		key, err := x509.ParsePKIXPublicKey(der)
		if (err == nil) != (spec != "EH_EC_P256K") { // which the standard library does not know
			t.Errorf("%s: %v", spec, err)
		}
		for name, digest := range digests {
			hashed := signing(id, digest.of(hello), "EH_DIGEST", noPadding, name)
			signature := s.get("Sign", "signature", hashed)
			var pair struct{ R, S *big.Int }
			if rest, err := asn1.Unmarshal(signature, &pair); err != nil || len(rest) > 0 || len(signature) > want.most {
				t.Errorf("%s: %d bytes, %v", spec, len(signature), err)
			}
			if key, ok := key.(*ecdsa.PublicKey); ok && !ecdsa.VerifyASN1(key, digest.of(hello), signature) {
				t.Errorf("%s, %s: the public key does not verify it", spec, name)
			}
			s.verifies(hashed, signature)
			raw := signing(id, hello, "EH_RAW", noPadding, name)
			signature = s.get("Sign", "signature", raw)
			s.verifies(raw, signature)
			if name != "EH_SM3" {
				s.want(validated, "Verify", hashed.with("signature", signature))
			}
			s.want(rejected, "Verify", signing(id, other, "EH_RAW", "", name).with("signature", signature))
			// The padding must be known and means nothing: eHSM's tests verify with another one.
			s.want(validated, "Verify", signing(id, hello, "EH_RAW", pkcs1, name).with("signature", signature))
			s.want(misused, "Sign", signing(id, digest.of(hello)[1:], "EH_DIGEST", noPadding, name))
		}
		signature := s.get("Sign", "signature", signing(id, hello, "EH_RAW", "", ""))
		s.want(validated, "Verify", signing(id, hello, "EH_RAW", "", "EH_SHA_256").with("signature", signature))
	}
}

func TestReferenceSignSM2(t *testing.T) {
	s := newSite(t)
	id := s.create("EH_SM2", internal, signs)
	var info spki
	if _, err := asn1.Unmarshal(s.publicKey(id), &info); err != nil || info.Algorithm.Kind.String() != "1.2.840.10045.2.1" || info.Algorithm.Curve.String() != "1.2.156.10197.1.301" {
		t.Errorf("%v, %v", info.Algorithm, err)
	}
	for _, digest := range []string{"EH_SHA_256", "EH_SHA_512", "EH_SM3", ""} { // SM3 whatever is passed
		for _, kind := range []string{"EH_RAW", "EH_DIGEST"} { // which are the same
			signature := s.get("Sign", "signature", signing(id, hello, kind, noPadding, digest))
			for _, again := range []string{"EH_RAW", "EH_DIGEST"} {
				s.verifies(signing(id, hello, again, pkcs1, "EH_SM3"), signature)
				s.want(validated, "Verify", signing(id, hello, again, "", "").with("signature", signature))
			}
			if digest == "EH_SHA_256" {
				s.want(misused, "Verify", signing(id, hello, kind, noPadding, digest).with("signature", signature))
			}
		}
	}
	s.want(misused, "Sign", signing(s.create("EH_SM2", internal, encrypts), hello, "EH_RAW", noPadding, "EH_SM3"))
}

// TestReferenceSignEd25519: ours. It signs the message itself, so that neither a
// digest nor a name of one is taken.
func TestReferenceSignEd25519(t *testing.T) {
	s := newSite(t)
	id := s.create("EH_ED25519", internal, "")
	key, err := x509.ParsePKIXPublicKey(s.publicKey(id))
	public, ok := key.(ed25519.PublicKey)
	if err != nil || !ok {
		t.Fatalf("%T, %v", key, err)
	}
	p := signing(id, hello, "EH_RAW", noPadding, "")
	signature := s.get("Sign", "signature", p)
	if !ed25519.Verify(public, hello, signature) {
		t.Error("the public key does not verify it")
	}
	s.verifies(p, signature)
	s.want(misused, "Sign", signing(id, hello, "EH_RAW", noPadding, "EH_SHA_256"))
	s.want(misused, "Sign", signing(id, make([]byte, 64), "EH_DIGEST", noPadding, ""))
}
