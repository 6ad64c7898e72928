package collateral_test

import (
	"context"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/attest/tdx"
	"github.com/holdfast-kms/holdfast/host/collateral"
)

// noon is the time that tests begin at: half a day after a set of statements
// came out.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A machine is a simulated platform whose misfortunes come and go.
type machine struct {
	t    *testing.T
	dir  string
	root *simtee.Root
}

func newMachine(t *testing.T) *machine {
	root := simtee.NewRoot()
	m := &machine{t: t, dir: t.TempDir(), root: root}
	if _, err := (simtee.Config{Root: root}).Create(m.dir); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *machine) with(misfortune simtee.Misfortune) *simtee.Platform {
	m.t.Helper()
	p, err := simtee.Config{Root: m.root, Misfortune: misfortune}.Open(m.dir)
	if err != nil {
		m.t.Fatal(err)
	}
	return p
}

// evidence is what the machine hands out without collateral.
func (m *machine) evidence(tee attest.TEE) attest.Evidence {
	m.t.Helper()
	ev, err := m.with(simtee.Misfortune{}).Evidence(tee, [64]byte{1}, noon)
	if err != nil {
		m.t.Fatal(err)
	}
	ev.Collateral = nil
	return ev
}

// A vendor plays PCS, PCCS and KDS at once.
type vendor struct {
	t   *testing.T
	now func() time.Time

	mu       sync.Mutex
	platform *simtee.Platform
	fault    func(w http.ResponseWriter, r *http.Request) bool // it answered
	asked    []string
	pcs      bool // headers as Intel's, and lists as DER
	back     time.Duration
}

func newVendor(t *testing.T, p *simtee.Platform, now func() time.Time) *vendor {
	return &vendor{t: t, now: now, platform: p}
}

// set changes how the vendor fares.
func (v *vendor) set(change func(*vendor)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	change(v)
}

func (v *vendor) fail(fault func(w http.ResponseWriter, r *http.Request) bool) {
	v.set(func(v *vendor) { v.fault = fault })
}

// requests are the paths and queries that were asked for since the last call.
func (v *vendor) requests() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	asked := v.asked
	v.asked = nil
	return asked
}

func (v *vendor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	v.asked = append(v.asked, r.URL.RequestURI())
	fault, platform, pcs, at := v.fault, v.platform, v.pcs, v.now().Add(-v.back)
	v.mu.Unlock()
	if fault != nil && fault(w, r) {
		return
	}
	v.answer(w, r, platform, pcs, at)
}

func (v *vendor) answer(w http.ResponseWriter, r *http.Request, platform *simtee.Platform, pcs bool, at time.Time) {
	if err := (simtee.Vendor{Platform: platform, At: at, PCS: pcs}).Answer(w, r); err != nil {
		v.t.Error(err)
	}
}

func blocksOf(text []byte) (all []*pem.Block) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return all
		}
		all, text = append(all, block), rest
	}
}

// inProcess makes requests without a socket, so that time can be simulated.
type inProcess struct{ http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		p.ServeHTTP(w, r)
	}()
	select {
	case broken := <-done:
		if broken != nil {
			return nil, http.ErrAbortHandler
		}
		return w.Result(), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// clock runs at the pace of the bubble that the test is in, from noon on.
func clock() func() time.Time {
	start := time.Now()
	return func() time.Time { return noon.Add(time.Since(start)) }
}

// config is the configuration for a vendor in this process.
func (v *vendor) config() collateral.Config {
	return collateral.Config{IntelURL: "https://pccs.test", AMDURL: "https://kds.test", Transport: inProcess{v}, Now: v.now, DevelopmentRoots: true}
}

func newClient(t *testing.T, cfg collateral.Config) *collateral.Client {
	t.Helper()
	c, err := collateral.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var verifiers = attest.Verifiers{SGX: sgx.Verify, TDX: tdx.Verify, SNP: snp.Verify}

// judge verifies ev with what c has for it.
func judge(t *testing.T, c *collateral.Client, ev attest.Evidence, at time.Time) (attest.Claims, error) {
	t.Helper()
	document, err := c.Collateral(t.Context(), ev)
	if err != nil {
		t.Fatalf("collateral: %v", err)
	}
	ev.Collateral = document
	switch ev.TEE {
	case attest.SGX:
		return verifiers.SGX(ev, at)
	case attest.TDX:
		return verifiers.TDX(ev, at)
	}
	return verifiers.SNP(ev, at)
}

// accepted fails the test unless verifiers take ev, with revocation checked.
func accepted(t *testing.T, c *collateral.Client, ev attest.Evidence, at time.Time) attest.Claims {
	t.Helper()
	claims, err := judge(t, c, ev, at)
	if err != nil {
		t.Fatalf("verifier: %v", err)
	}
	if !claims.RevocationChecked || !claims.Simulated {
		t.Errorf("revocation checked: %v, simulated: %v", claims.RevocationChecked, claims.Simulated)
	}
	return claims
}

// A journal keeps what was logged, as "LEVEL message".
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (*journal) Enabled(context.Context, slog.Level) bool { return true }
func (j *journal) WithAttrs([]slog.Attr) slog.Handler     { return j }
func (j *journal) WithGroup(string) slog.Handler          { return j }
func (j *journal) Handle(_ context.Context, r slog.Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, r.Level.String()+" "+r.Message)
	return nil
}

// count is how many lines there are at the level that have the text.
func (j *journal) count(level slog.Level, text string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, l := range j.lines {
		if strings.HasPrefix(l, level.String()+" ") && strings.Contains(l, text) {
			n++
		}
	}
	return n
}
