package core_test

import (
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// BenchmarkEncrypt is one Encrypt behind authentication: what counting its
// invocation and noting its use cost must not show.
func BenchmarkEncrypt(b *testing.B) {
	node := trustedtest.NewDomain(b, 1).Nodes[0]
	app := node.Enrol()
	k, err := app.MustCaller().CreateKey(b.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		b.Fatal(err)
	}
	caller := app.MustCaller()
	r := kms.EncryptRequest{Key: kms.KeyRef{ID: k.ID}, Plaintext: make([]byte, 64), Layout: kms.LayoutNative}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := caller.Encrypt(b.Context(), r); err != nil {
			b.Fatal(err)
		}
	}
}
