package perf_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"
	"github.com/holdfast-kms/holdfast/kms"
)

// BenchmarkSignOverRaw is what a Sign request takes, without the network,
// beyond the bare operation with the same key on the same message: µs-over-raw
// is the median of as many pairs as there are iterations, low and high hold it
// with 95%. The two of a pair follow each other, in an order that alternates,
// so that what else the machine does hits both; a pair that something breaks
// into does not move a median. Run it with -benchtime 1000x or more.
func BenchmarkSignOverRaw(b *testing.B) {
	x := newBench(b, nil)
	for _, c := range []struct {
		spec    kms.Spec
		padding string
		options crypto.SignerOpts
	}{
		{kms.Ed25519, "", crypto.Hash(0)},
		{kms.ECP256, "", crypto.SHA256},
		{kms.SM2, "", sm2.DefaultSM2SignerOpts},
		{kms.RSA2048, "EH_RSA_PKCS1_PSS", pss},
		{kms.RSA3072, "EH_RSA_PKCS1_PSS", pss},
		{kms.RSA4096, "EH_RSA_PKCS1_PSS", pss},
	} {
		b.Run(c.spec.String(), func(b *testing.B) {
			id, signer := x.exported(b, c.spec)
			payload := fmt.Sprintf(`{"keyid":%q,"message":"bWVzc2FnZQ==","message_type":"EH_RAW"`, id)
			if c.padding != "" {
				payload += fmt.Sprintf(`,"digest_mode":"EH_SHA_256","padding_mode":%q`, c.padding)
			}
			payload += "}"
			x.do(b, "Sign", payload) // which says what is wrong with it
			var over, bare []time.Duration
			for i := 0; b.Loop(); i++ {
				body := x.body(payload)
				request := func() { x.serve(&sink{http.Header{}}, "Sign", body) }
				raw := func() { signRaw(b, signer, c.options) }
				var took, alone time.Duration
				if i%2 == 0 {
					took, alone = timed(request), timed(raw)
				} else {
					alone, took = timed(raw), timed(request)
				}
				over, bare = append(over, took-alone), append(bare, alone)
			}
			report(b, over, bare)
		})
	}
}

var pss = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}

// exported makes a key and takes it out again.
func (x *bench) exported(b *testing.B, spec kms.Spec) (kms.KeyID, crypto.Signer) {
	b.Helper()
	k, err := x.app.MustCaller().CreateKey(context.Background(), kms.CreateKeyRequest{Spec: spec, Origin: kms.Generated, Usages: kms.SignVerify, Exportable: true})
	if err != nil {
		b.Fatal(err)
	}
	out, err := x.app.MustCaller().ExportKey(context.Background(), kms.KeyRef{ID: k.ID})
	if err != nil {
		b.Fatal(err)
	}
	key, err := smx509.ParsePKCS8PrivateKey(out.Material)
	if err != nil {
		b.Fatal(err)
	}
	return k.ID, key.(crypto.Signer)
}

func signRaw(b *testing.B, signer crypto.Signer, options crypto.SignerOpts) {
	message := []byte("message")
	if options.HashFunc() != 0 {
		digest := sha256.Sum256(message)
		message = digest[:]
	}
	if _, err := signer.Sign(rand.Reader, message, options); err != nil {
		b.Fatal(err)
	}
}

func timed(do func()) time.Duration {
	start := time.Now()
	do()
	return time.Since(start)
}

func report(b *testing.B, over, bare []time.Duration) {
	slices.Sort(over)
	slices.Sort(bare)
	n := len(over)
	us := func(d time.Duration) float64 { return float64(d) / 1e3 }
	// The normal approximation of how many of n pairs are below the median.
	skip := max(0, int(float64(n)/2-0.98*math.Sqrt(float64(n))))
	b.ReportMetric(us(over[n/2]), "µs-over-raw")
	b.ReportMetric(us(over[skip]), "µs-low")
	b.ReportMetric(us(over[n-1-skip]), "µs-high")
	b.ReportMetric(us(bare[n/2]), "µs-raw")
	b.ReportMetric(0, "ns/op")
}
