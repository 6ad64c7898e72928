package perf_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"net/http"
	"testing"
)

// BenchmarkSignRSA is a Sign request, without the network, next to the raw
// operation, in the same process: their difference is what Holdfast adds.
func BenchmarkSignRSA(b *testing.B) {
	x := newBench(b, nil)
	digest := sha256.Sum256([]byte("message"))
	for _, bits := range []int{2048, 3072, 4096} {
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			b.Fatal(err)
		}
		create := fmt.Sprintf(`{"keyspec":"EH_RSA_%d","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_SIGN_VERIFY"}`, bits)
		payload := fmt.Sprintf(`{"digest_mode":"EH_SHA_256","keyid":%q,"message":"bWVzc2FnZQ==","message_type":"EH_RAW","padding_mode":"EH_RSA_PKCS1_PSS"}`,
			x.do(b, "CreateKey", create)["keyid"])
		for round := range 3 { // in turn, so that what else the machine does hits both
			b.Run(fmt.Sprintf("%d/raw/%d", bits, round), func(b *testing.B) {
				for b.Loop() {
					if _, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(fmt.Sprintf("%d/request/%d", bits, round), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					body := x.body(payload)
					b.StartTimer()
					x.serve(&sink{http.Header{}}, "Sign", body)
				}
			})
		}
	}
}
