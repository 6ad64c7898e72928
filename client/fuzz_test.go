package client_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
)

// FuzzPublicKey reads any PEM: a key that is taken is, as a SubjectPublicKeyInfo,
// the same key of the same spec again.
func FuzzPublicKey(f *testing.F) {
	for _, curve := range []string{"1.2.840.10045.3.1.7", "1.3.132.0.10", "1.2.156.10197.1.301", "1.2.3"} {
		block, _ := pem.Decode([]byte(strings.ReplaceAll(spki(curve), "\\n", "\n")))
		f.Add("PUBLIC KEY", block.Bytes)
	}
	for _, text := range []string{ed25519PEM, "-----BEGIN RSA PUBLIC KEY-----\nMAoCAwEAAQIDAQAB\n-----END RSA PUBLIC KEY-----\n"} {
		block, _ := pem.Decode([]byte(text))
		f.Add(block.Type, block.Bytes)
	}
	f.Fuzz(func(t *testing.T, kind string, der []byte) {
		spec, info, err := client.ParsePublicKey(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
		if err != nil {
			return
		}
		if kind == "PUBLIC KEY" && !bytes.Equal(info, der) {
			t.Fatalf("%x became %x", der, info)
		}
		if kind == "RSA PUBLIC KEY" {
			if _, err := x509.ParsePKIXPublicKey(info); err != nil {
				t.Fatal(err)
			}
		}
		again, info2, err := client.ParsePublicKey(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: info})))
		if err != nil || again != spec || !bytes.Equal(info2, info) {
			t.Fatalf("%v became %v: %v", spec, again, err)
		}
	})
}

// ed25519PEM is the Ed25519 key of RFC 8410, section 10.1.
const ed25519PEM = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n"
