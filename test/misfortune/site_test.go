package misfortune_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/host/collateral"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

const day = 24 * time.Hour

// patience is how long the vendor is given: too short for a second attempt, so
// that tests do not wait for those. Where it was too short for a vendor that is
// well, recovers asks again.
const patience = 240 * time.Millisecond

// A machine is a TEE that hands out bare quotes. What befalls it can change
// while a node runs on it.
type machine struct {
	fuses string
	now   func() time.Time
	is    atomic.Pointer[simtee.Platform]
}

// suffers lets a misfortune befall the machine.
func (m *machine) suffers(t testing.TB, cfg simtee.Config) *simtee.Platform {
	t.Helper()
	p, err := cfg.Open(m.fuses)
	if err != nil {
		t.Fatal(err)
	}
	m.is.Store(p)
	return p
}

func (m *machine) Name() string { return "simulated" }

func (m *machine) Evidence(_ context.Context, reportData [64]byte) (attest.Evidence, error) {
	ev, err := m.is.Load().Evidence(attest.SGX, reportData, m.now())
	ev.Collateral = nil
	return ev, err
}

func (m *machine) SealingKey(ctx context.Context) ([]byte, error) { return m.is.Load().SealingKey(ctx) }

// A site is a node, its machine, the vendor and what lies between them.
type site struct {
	t        *testing.T
	domain   *trustedtest.Domain
	node     *trustedtest.Node
	machine  *machine
	vendor   *vendor
	client   *collateral.Client // of the node that runs
	cacheDir string
	feeds    atomic.Pointer[[]byte] // what a hostile host hands the node as collateral; nil: it is honest
	holds    atomic.Pointer[func()] // called before collateral is handed over
}

// hands is how the node gets collateral.
func (s *site) hands(ctx context.Context, ev attest.Evidence) ([]byte, error) {
	if hold := s.holds.Load(); hold != nil {
		(*hold)()
	}
	if fed := s.feeds.Load(); fed != nil {
		return *fed, nil
	}
	return s.client.Collateral(ctx, ev)
}

// newSite makes all of it; the node runs. At the start of each day the vendor
// publishes anew, good for thirty days.
func newSite(t *testing.T, edit ...func(*vendor)) *site {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	s := &site{t: t, domain: d, node: d.Nodes[0], cacheDir: t.TempDir()}
	s.vendor = newVendor(t, s.node.Clock.Now)
	s.machine = &machine{fuses: s.node.Machine().Fuses, now: s.node.Clock.Now}
	s.vendor.publishes(s.machine.suffers(t, simtee.Config{}))
	for _, e := range edit {
		s.vendor.set(e)
	}
	s.node.Edit = s.edit
	_ = s.node.Stop()
	s.starts()
	return s
}

// starts starts the node while the vendor is well.
func (s *site) starts() {
	s.t.Helper()
	var err error
	for range 10 {
		if err = s.node.Start(); err == nil {
			return
		}
	}
	s.t.Fatal(err)
}

// recovers waits, with nobody doing anything, until the node serves.
func (s *site) recovers(app *trustedtest.App) {
	s.t.Helper()
	for range 5 {
		s.node.Clock.Move(2 * time.Hour)
		if s.node.Server().Status().Ready {
			break
		}
	}
	s.serves(app)
}

func (s *site) edit(c *server.Config) {
	var err error
	s.client, err = collateral.New(collateral.Config{IntelURL: s.vendor.url, CacheDir: s.cacheDir, Now: s.node.Clock.Now,
		RequestTimeout: patience, Timeout: patience, Logger: c.Logger})
	if err != nil {
		s.t.Fatal(err)
	}
	c.Platform, c.Collateral, c.Mount = s.machine, s.hands, mount.Program{Version: "test"}.Handler
}

// passes lets time pass and then has happen what a node and its client do by
// themselves every hour.
func (s *site) passes(by time.Duration) {
	s.node.Clock.Move(by)
	_ = s.client.Refresh(s.t.Context()) // what comes of it shows
	s.node.Server().Examine(s.t.Context())
}

// warnings are those about collateral.
func (s *site) warnings() (all []string) {
	for _, w := range s.node.Server().Status().Warnings {
		if strings.Contains(w, "collateral") {
			all = append(all, w)
		}
	}
	return all
}

// serves fails the test unless the node serves, and says so.
func (s *site) serves(app *trustedtest.App) {
	s.t.Helper()
	if st := s.node.Server().Status(); !st.Ready || st.Reason != "" {
		s.t.Errorf("ready %t, reason %q", st.Ready, st.Reason)
	}
	if _, err := app.Caller(); err != nil {
		s.t.Errorf("a request: %v", err)
	}
}

// refuses fails the test unless the node does not serve, and status says why.
func (s *site) refuses(app *trustedtest.App, why string) {
	s.t.Helper()
	if st := s.node.Server().Status(); st.Ready || !strings.Contains(st.Reason, why) {
		s.t.Errorf("ready %t, reason %q, want %q in it", st.Ready, st.Reason, why)
	}
	_, err := app.Caller()
	if k := kms.KindOf(err); err == nil || k != kms.Unavailable && k != kms.Denied {
		s.t.Errorf("a request: %v", err)
	}
	if kms.HintOf(err) == "" {
		s.t.Errorf("no hint with %v", err)
	}
}
