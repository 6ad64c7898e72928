package perf_test

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
)

// A form is a request of the eHSM API in which nonce, time and signature are
// filled in each time: making one costs little of the processors that the client
// shares with the nodes.
type form struct {
	action, apiKey            string
	body, signed              []byte
	nonce, time, sign         int // where they are in body
	signedNonce, signedMillis int // and in what is signed
}

// What stands where something is filled in, which occurs nowhere else.
var (
	openNonce  = strings.Repeat("~", 32)
	openMillis = strings.Repeat("^", 13)
	openSign   = strings.Repeat("`", base64.StdEncoding.EncodedLen(wire.MACSize))
)

func (c *cluster) form(t *testing.T, action, payload string) *form {
	t.Helper()
	f := &form{action: action, apiKey: c.cred.APIKey, body: fmt.Appendf(nil, `{"appid":%q,"payload":%s,"nonce":"%s","timestamp":"%s","sign":"%s"}`,
		c.cred.AppID, payload, openNonce, openMillis, openSign)}
	var err error
	if f.signed, err = wire.StringToSign(f.body); err != nil {
		t.Fatal(err)
	}
	f.nonce, f.time, f.sign = at(t, f.body, openNonce), at(t, f.body, openMillis), at(t, f.body, openSign)
	f.signedNonce, f.signedMillis = at(t, f.signed, openNonce), at(t, f.signed, openMillis)
	return f
}

func at(t *testing.T, in []byte, what string) int {
	t.Helper()
	i := bytes.Index(in, []byte(what))
	if i < 0 {
		t.Fatalf("no %s in %s", what, in)
	}
	return i
}

// requests returns a source of requests to a node. Each is good until the next.
func (f *form) requests(host string) func() []byte {
	head := fmt.Appendf(nil, "POST /ehsm?Action=%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n",
		f.action, host, len(f.body))
	all, signed := append(head, f.body...), bytes.Clone(f.signed)
	body := all[len(head):]
	var nonce [16]byte
	return func() []byte {
		_, _ = rand.Read(nonce[:])
		hex.Encode(body[f.nonce:], nonce[:])
		copy(signed[f.signedNonce:], body[f.nonce:f.nonce+len(openNonce)])
		now := strconv.AppendInt(nil, time.Now().UnixMilli(), 10)
		copy(body[f.time:], now)
		copy(signed[f.signedMillis:], now)
		base64.StdEncoding.Encode(body[f.sign:], wire.MAC([]byte(f.apiKey), signed))
		return all
	}
}

// A result is what was measured of requests: their number in which time, the
// processor time of all nodes meanwhile, and how long each took.
type result struct {
	n       int
	elapsed time.Duration
	cpu     time.Duration
	took    []time.Duration // in order
}

func (r *result) add(o result) {
	r.n += o.n
	r.elapsed += o.elapsed
	r.cpu += o.cpu
	r.took = append(r.took, o.took...)
	slices.SortFunc(r.took, cmp.Compare)
}

func (r *result) rate() float64 { return float64(r.n) / r.elapsed.Seconds() }

func (r *result) each() time.Duration { return r.cpu / time.Duration(max(1, r.n)) }

func (r *result) quantile(q float64) time.Duration {
	if len(r.took) == 0 {
		return 0
	}
	return r.took[min(len(r.took)-1, int(q*float64(len(r.took))))]
}

// A phase is what a load is in.
const (
	warming = iota
	measuring
	ending
)

// A target is a node, and what it is asked.
type target struct {
	*process
	form *form
}

// targets are nodes of one domain.
func targets(f *form, nodes ...*process) (all []target) {
	for _, p := range nodes {
		all = append(all, target{p, f})
	}
	return all
}

// load sends requests over some connections for a time, the connections spread
// over the targets, and meters the processor time of some nodes meanwhile. A
// request that fails fails the test.
func load(t *testing.T, to []target, conns int, metered []*process, warm, d time.Duration) result {
	t.Helper()
	var phase atomic.Int32
	var all sync.WaitGroup
	var failed sync.Once // one is enough to tell
	took := make([][]time.Duration, conns)
	opened := make([]*connection, conns)
	for i := range conns {
		opened[i] = to[i%len(to)].dial(t)
	}
	for i, conn := range opened {
		next := to[i%len(to)].form.requests(conn.RemoteAddr().String())
		all.Go(func() {
			for p := phase.Load(); p != ending; p = phase.Load() {
				request := next()
				start := time.Now()
				if err := conn.try(request); err != nil {
					failed.Do(func() { t.Error(err) })
					return
				}
				if p == measuring {
					took[i] = append(took[i], time.Since(start))
				}
			}
		})
	}
	time.Sleep(warm)
	start, before := time.Now(), cpuOf(t, metered)
	phase.Store(measuring)
	time.Sleep(d)
	phase.Store(ending)
	r := result{elapsed: time.Since(start), cpu: cpuOf(t, metered) - before}
	all.Wait()
	for i, conn := range opened {
		_ = conn.Close()
		r.took = append(r.took, took[i]...)
	}
	r.n = len(r.took)
	slices.SortFunc(r.took, cmp.Compare)
	return r
}

func (p *process) dial(t *testing.T) *connection {
	t.Helper()
	pem, err := os.ReadFile(p.CA)
	ca := x509.NewCertPool()
	if err != nil || !ca.AppendCertsFromPEM(pem) {
		t.Fatal("the node's CA: ", err)
	}
	return dial(t, strings.TrimPrefix(p.URL, "https://"), ca)
}
