// Package misfortune_test runs a whole node on a machine that brings no
// collateral, so that it depends on a vendor's service, and sees what becomes of
// it when that service fails or has bad news, and when strangers and tenants
// make it work for nothing.
package misfortune_test

import (
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
)

// A vendor plays Intel's service on the loopback interface.
type vendor struct {
	t   *testing.T
	url string
	now func() time.Time

	mu       sync.Mutex
	platform *simtee.Platform // about which it publishes
	fault    http.HandlerFunc // answers in its place; nil: it is well
	back     time.Duration    // how old what it publishes is
	asked    int
}

func newVendor(t *testing.T, now func() time.Time) *vendor {
	v := &vendor{t: t, now: now}
	s := httptest.NewServer(v)
	t.Cleanup(s.CloseClientConnections)
	t.Cleanup(s.Close)
	v.url = s.URL
	return v
}

// set changes how the vendor fares.
func (v *vendor) set(change func(*vendor)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

func (v *vendor) befalls(fault http.HandlerFunc) { v.set(func(v *vendor) { v.fault = fault }) }

func (v *vendor) publishes(p *simtee.Platform) { v.set(func(v *vendor) { v.platform = p }) }

// requests is how many came since it was last asked.
func (v *vendor) requests() (n int) {
	v.set(func(v *vendor) { n, v.asked = v.asked, 0 })
	return n
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	v.asked++
	fault, platform, at := v.fault, v.platform, v.now().Add(-v.back)
	v.mu.Unlock()
	if fault != nil {
		fault(w, r)
		return
	}
	said, err := platform.Published(attest.SGX, at)
	if err != nil {
		v.t.Error(err)
	}
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/certification/v4/tcb"):
		w.Header().Set("TCB-Info-Issuer-Chain", url.PathEscape(said.TCBInfoChain))
		w.Write(said.TCBInfo)
	case strings.HasSuffix(path, "/certification/v4/qe/identity"):
		w.Header().Set("SGX-Enclave-Identity-Issuer-Chain", url.PathEscape(said.QEIdentityChain))
		w.Write(said.QEIdentity)
	case strings.HasSuffix(path, "/certification/v4/pckcrl"):
		w.Header().Set("SGX-PCK-CRL-Issuer-Chain", url.PathEscape(said.PCKCRLChain))
		w.Write(said.PCKCRL)
	case strings.HasSuffix(path, "/certification/v4/rootcacrl"):
		w.Write([]byte(hex.EncodeToString(said.RootCRL)))
	default:
		http.NotFound(w, r)
	}
}

// outages are the ways in which a service is of no use.
var outages = []struct {
	name  string
	fault http.HandlerFunc
}{
	{"down", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	{"slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	{"too many requests", status(http.StatusTooManyRequests, "Retry-After", "600")},
	{"out of order", status(http.StatusInternalServerError)},
	{"garbage", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>please log in</html>")) }},
	{"endless", endless},
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if header != nil {
			w.Header().Set(header[0], header[1])
		}
		w.WriteHeader(code)
	}
}

// endless sends until nobody reads.
func endless(w http.ResponseWriter, r *http.Request) {
	junk := make([]byte, 64<<10)
	for r.Context().Err() == nil {
		if _, err := w.Write(junk); err != nil {
			return
		}
	}
}
