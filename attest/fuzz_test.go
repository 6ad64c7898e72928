package attest_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
)

// FuzzPolicy reads policies, and judges by those that can be read.
func FuzzPolicy(f *testing.F) {
	for _, p := range []attest.Policy{{}, sgxPolicy(), {TDX: attest.TDXPolicy{Identities: []attest.TDXIdentity{tdxIdentity()}}}} {
		text, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(`{"sgx":{"identities":[{"mrsigner":"` + filled(1, 32).String() + `","isv_prod_id":1}],"tolerate_advisories":[]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := attest.ParsePolicy(text)
		if err != nil {
			if attest.ReasonOf(err) != attest.BadPolicy {
				t.Error(err)
			}
			return
		}
		first, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := attest.ParsePolicy(first)
		if err != nil {
			t.Fatal(err)
		}
		if second, err := again.Encode(); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s printed as %s, %v", first, second, err)
		}
		for _, c := range []attest.Claims{sgxClaims(), tdxClaims(), snpClaims()} {
			p.Judge(c, now)
		}
	})
}

func FuzzRecognize(f *testing.F) {
	f.Add([]byte{3, 0, 2, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, quote []byte) {
		switch attest.Recognize(quote) {
		case "", attest.SGX, attest.TDX, attest.SNP:
		default:
			t.Error("an unknown kind")
		}
	})
}
