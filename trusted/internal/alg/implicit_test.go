package alg

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
)

// A private operation that goes wrong in one of its two halves is an error, and
// its result, which betrays the primes, stays inside.
func TestMiscalculationIsNoticed(t *testing.T) {
	priv, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ciphertext := make([]byte, 256)
	ciphertext[255] = 2
	for name, fault := range map[string]func(*implicitRejection){
		"none": func(*implicitRejection) {},
		"dp":   func(r *implicitRejection) { r.dp[len(r.dp)-1] ^= 2 },
		"dq":   func(r *implicitRejection) { r.dq[len(r.dq)-1] ^= 2 },
	} {
		r, err := newImplicitRejection(priv)
		if err != nil {
			t.Fatal(err)
		}
		fault(r)
		out, _, err := r.decrypt(ciphertext)
		if name == "none" && err != nil || name != "none" && (!errors.Is(err, kms.Internal) || out != nil) {
			t.Errorf("fault in %s: %x, %v", name, out, err)
		}
	}
}
