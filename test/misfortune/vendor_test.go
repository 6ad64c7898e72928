// Package misfortune_test runs a whole node on a machine that brings no
// collateral, so that it depends on a vendor's service, and sees what becomes of
// it when that service fails or has bad news, and when strangers and tenants
// make it work for nothing.
package misfortune_test

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

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
	if err := (simtee.Vendor{Platform: platform, At: at}).Answer(w, r); err != nil {
		v.t.Error(err)
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
