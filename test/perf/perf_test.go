// Package perf measures what one request costs inside a node, without the
// network. The figures in docs/performance.md name the commands that run it.
package perf_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

var count atomic.Int64

var jsonHeader = http.Header{"Content-Type": {"application/json"}}

// A bench is a node with the eHSM facade in front, and an app.
type bench struct {
	node    *trustedtest.Node
	app     *trustedtest.App
	handler http.Handler
}

func newBench(b testing.TB, edit func(*server.Config)) *bench {
	d := trustedtest.NewDomain(b, 1)
	n := d.Nodes[0]
	n.Edit = func(c *server.Config) {
		c.SegmentSize = 0
		if edit != nil {
			edit(c)
		}
	}
	n.Restart()
	facade := ehsm.New(ehsm.Config{Authenticate: func(ctx context.Context, c kms.Credential) (ehsm.Caller, error) {
		caller, err := n.Core().Authenticate(ctx, c)
		if err != nil {
			return nil, err
		}
		return caller, nil
	}})
	return &bench{node: n, app: n.Enrol(), handler: facade}
}

// body makes a signed request body; each is another one.
func (x *bench) body(payload string) []byte {
	unsigned := fmt.Sprintf(`{"appid":%q,"nonce":"%d","payload":%s,"timestamp":"%d"}`, x.app.ID, count.Add(1), payload, x.node.Clock.Now().UnixMilli())
	text, err := wire.StringToSign([]byte(unsigned))
	if err != nil {
		panic(err)
	}
	sign := base64.StdEncoding.EncodeToString(wire.MAC([]byte(x.app.APIKey), text))
	return []byte(fmt.Sprintf(`%s,"sign":%q}`, unsigned[:len(unsigned)-1], sign))
}

// A sink is a ResponseWriter that keeps nothing.
type sink struct{ h http.Header }

func (s *sink) Header() http.Header         { return s.h }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) WriteHeader(int)             {}

func (x *bench) serve(w http.ResponseWriter, action string, body []byte) {
	// By hand: httptest.NewRequest costs more than what is measured.
	x.handler.ServeHTTP(w, &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: "/ehsm", RawQuery: "Action=" + action}, ContentLength: int64(len(body)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: jsonHeader, Body: io.NopCloser(bytes.NewReader(body)),
	})
}

func (x *bench) do(b testing.TB, action, payload string) map[string]any {
	rec := httptest.NewRecorder()
	x.serve(rec, action, x.body(payload))
	var answer struct {
		Code   int
		Result map[string]any
	}
	raw, _ := io.ReadAll(rec.Body)
	if err := json.Unmarshal(raw, &answer); err != nil || answer.Code != 200 {
		b.Fatalf("%s: %s", action, raw)
	}
	return answer.Result
}

const (
	createAES = `{"keyspec":"EH_AES_GCM_256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}`
	createEC  = `{"keyspec":"EH_EC_P256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_SIGN_VERIFY"}`
)

// BenchmarkRequest is the path of a request between net/http and net/http: the
// facade, authentication, the core. Making the bodies is not in the time.
func BenchmarkRequest(b *testing.B) {
	x := newBench(b, nil)
	aes := x.do(b, "CreateKey", createAES)["keyid"]
	ec := x.do(b, "CreateKey", createEC)["keyid"]
	kib := base64.StdEncoding.EncodeToString(make([]byte, 1024))
	ct := x.do(b, "Encrypt", fmt.Sprintf(`{"keyid":%q,"plaintext":%q}`, aes, kib))["ciphertext"]
	for _, c := range []struct{ name, action, payload string }{
		{"Encrypt1K", "Encrypt", fmt.Sprintf(`{"keyid":%q,"plaintext":%q}`, aes, kib)},
		{"Decrypt1K", "Decrypt", fmt.Sprintf(`{"ciphertext":%q,"keyid":%q}`, ct, aes)},
		{"DataKey32", "GenerateDataKey", fmt.Sprintf(`{"keyid":%q,"keylen":32}`, aes)},
		{"SignP256", "Sign", fmt.Sprintf(`{"digest_mode":"EH_SHA_256","keyid":%q,"message":"bWVzc2FnZQ==","message_type":"EH_RAW","padding_mode":"EH_PAD_NONE"}`, ec)},
	} {
		b.Run(c.name, func(b *testing.B) {
			const batch = 1 << 12
			bodies := make([][]byte, batch)
			b.ReportAllocs()
			for i := range b.N {
				if i%batch == 0 {
					b.StopTimer()
					for j := range min(batch, b.N-i) {
						bodies[j] = x.body(c.payload)
					}
					b.StartTimer()
				}
				x.serve(&sink{http.Header{}}, c.action, bodies[i%batch])
			}
		})
	}
}

// BenchmarkCreateKey is durable key creation through the core, by 1 and by 64
// callers at once.
func BenchmarkCreateKey(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			x := newBench(b, nil)
			b.ReportAllocs()
			b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
			if callers == 1 {
				for b.Loop() {
					x.create(b)
				}
				return
			}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					x.create(b)
				}
			})
		})
	}
}

func (x *bench) create(b *testing.B) {
	c, err := x.app.Caller()
	if err == nil {
		_, err = c.CreateKey(context.Background(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	}
	if err != nil {
		b.Error(err)
	}
}

// TestMemoryIsFlat runs requests for a while with a small replay table: after
// a warm-up the live heap must not grow with the number of requests.
func TestMemoryIsFlat(t *testing.T) {
	x := newBench(t, func(c *server.Config) { c.ReplayLimit = 1 << 16 })
	key := x.do(t, "CreateKey", createAES)["keyid"]
	payload := fmt.Sprintf(`{"keyid":%q,"plaintext":"cGxhaW50ZXh0"}`, key)
	live := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	run := func(n int) {
		for range n {
			x.do(t, "Encrypt", payload)
		}
	}
	run(70_000) // until the replay table is full
	before, began := live(), time.Now()
	run(20_000)
	grown := live() - before
	t.Logf("20,000 requests in %v: live heap %.0f kB → %+.0f kB", time.Since(began).Round(time.Millisecond), before/1e3, grown/1e3)
	if grown > 1<<20 {
		t.Errorf("live heap grew by %.0f bytes", grown)
	}
}
