package ehsm_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/kms"
)

// A nullWriter is a connection that costs nothing.
type nullWriter struct{ header http.Header }

func (w nullWriter) Header() http.Header         { return w.header }
func (w nullWriter) WriteHeader(int)             {}
func (w nullWriter) Write(b []byte) (int, error) { return len(b), nil }

// An instant is a core that takes no time, so that the facade's own shows.
type instant struct {
	*core
	ciphertext []byte
}

func (c instant) Encrypt(_ context.Context, r kms.EncryptRequest) (kms.Ciphertext, error) {
	return kms.Ciphertext{Key: r.Key, Data: c.ciphertext[:len(r.Plaintext)+28]}, nil
}

// BenchmarkEncrypt is an Encrypt from request to response, without TLS, net/http
// and the core, in each version of the signature.
func BenchmarkEncrypt(b *testing.B) {
	for _, size := range []int{16, 1024, 6144} {
		payload := `{"keyid":"` + testKeyID + `","plaintext":"` + b64(string(make([]byte, size))) + `","aad":"YWFk"}`
		g := newRig(b)
		b.Run(fmt.Sprintf("v1/%d", size), func(b *testing.B) {
			body := g.body(payload, nil)
			benchmark(b, size, post("/ehsm?Action=Encrypt", body), body)
		})
		b.Run(fmt.Sprintf("v2/%d", size), func(b *testing.B) {
			body := bodyV2(payload)
			benchmark(b, size, g.postV2(b, "/ehsm?Action=Encrypt", body), body)
		})
	}
}

func benchmark(b *testing.B, size int, r *http.Request, body []byte) {
	caller := instant{ciphertext: make([]byte, size+64)}
	h := ehsm.New(ehsm.Config{Authenticate: func(context.Context, kms.Credential) (ehsm.Caller, error) { return caller, nil }})
	w := nullWriter{http.Header{}}
	in := bytes.NewReader(body)
	r.Body = io.NopCloser(in)
	b.ReportAllocs()
	for b.Loop() {
		in.Reset(body)
		h.ServeHTTP(w, r)
	}
}
