package ehsm_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPublicKeyForms: RSA as PKCS #1, everything else as SubjectPublicKeyInfo,
// also of curves that the standard library does not know.
func TestPublicKeyForms(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaDER, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	var sm2 spki
	sm2.Algorithm.Kind, sm2.Algorithm.Curve = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 301}
	sm2.Point = asn1.BitString{Bytes: make([]byte, 65), BitLength: 8 * 65}
	sm2DER, err := asn1.Marshal(sm2)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		core []byte
		want pem.Block
	}{
		"RSA":  {rsaDER, pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&key.PublicKey)}},
		"P256": {publicDER, pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}},
		"SM2":  {sm2DER, pem.Block{Type: "PUBLIC KEY", Bytes: sm2DER}},
	}
	for name, tt := range tests {
		for _, action := range []string{"GetPublicKey", "GetParametersForImport"} {
			g := newRig(t)
			g.public = tt.core
			if diff := cmp.Diff(string(pem.EncodeToMemory(&tt.want)), text(g.call(t, action, harmless[action]), "pubkey")); diff != "" {
				t.Errorf("%s, %s (-want +got):\n%s", name, action, diff)
			}
		}
	}
	for name, der := range map[string][]byte{"nothing": nil, "not DER": []byte("key"), "more behind it": append(publicDER[:len(publicDER):len(publicDER)], 0)} {
		g := newRig(t)
		g.public = der
		want := refusal(500, "Server internal error, please contact the administrator.")
		if diff := cmp.Diff(want, g.call(t, "GetPublicKey", harmless["GetPublicKey"])); diff != "" || !strings.Contains(g.log.String(), "action=GetPublicKey") {
			t.Errorf("%s: log %s, (-want +got):\n%s", name, &g.log, diff)
		}
	}
}
