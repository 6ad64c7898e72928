package misfortune_test

import (
	"errors"
	"net/http"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestOutage: whatever befalls the service, what was fetched serves until its
// end; from half its life on status warns and says what to do; at the end the
// node refuses to serve and says why; and it recovers by itself.
func TestOutage(t *testing.T) {
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			app := s.node.Enrol()
			s.vendor.befalls(outage.fault)

			s.passes(14 * day)
			s.serves(app)
			if got := s.warnings(); len(got) > 0 {
				t.Errorf("on day 14: %q", got)
			}
			s.passes(2 * day)
			s.serves(app)
			if got := s.warnings(); len(got) != 1 || !strings.Contains(got[0], "ends") || !strings.Contains(got[0], "see ") {
				t.Errorf("on day 16: %q", got)
			}
			s.passes(13*day - time.Hour)
			s.serves(app)

			s.passes(2 * day)
			s.refuses(app, "collateral")
			if got := s.warnings(); len(got) == 0 {
				t.Error("after the end nothing warns")
			}

			s.vendor.befalls(nil)
			s.recovers(app)
			if got := s.warnings(); len(got) > 0 {
				t.Errorf("after the outage: %q", got)
			}
		})
	}
}

// TestRestartInOutage: what was kept in the folder is enough to start by.
func TestRestartInOutage(t *testing.T) {
	s := newSite(t)
	app := s.node.Enrol()
	for _, outage := range outages {
		s.vendor.befalls(outage.fault)
		s.node.Restart()
		s.serves(app)
	}
	s.node.Clock.Move(40 * day)
	_ = s.node.Stop()
	s.vendor.befalls(outages[0].fault)
	if err := s.node.Start(); !errors.Is(err, kms.Unavailable) || kms.HintOf(err) == "" {
		t.Errorf("with what has ended: %v, hint %q", err, kms.HintOf(err))
	}
	s.vendor.befalls(nil)
	s.starts()
	s.serves(app)
}

// TestFirstStart: a machine that has no collateral, and a service that gives
// none, are no place for a node; it says what to do.
func TestFirstStart(t *testing.T) {
	s := newSite(t)
	_ = s.node.Stop()
	for _, outage := range outages {
		if err := os.RemoveAll(s.cacheDir); err != nil {
			t.Fatal(err)
		}
		s.vendor.befalls(outage.fault)
		if err := s.node.Start(); !errors.Is(err, kms.Unavailable) || kms.HintOf(err) == "" {
			t.Errorf("%s: start: %v, hint %q", outage.name, err, kms.HintOf(err))
		}
		fresh := trustedtest.On(t, s.node.Machine(), t.TempDir()+"/node")
		fresh.Edit = s.edit
		if err := fresh.TryFound(); !errors.Is(err, kms.Unavailable) || kms.HintOf(err) == "" {
			t.Errorf("%s: founding: %v, hint %q", outage.name, err, kms.HintOf(err))
		}
	}
}

// TestServiceIsLeftAlone: a service that is overloaded is not asked for every
// request that cannot be served without it.
func TestServiceIsLeftAlone(t *testing.T) {
	s := newSite(t)
	app := s.node.Enrol()
	s.vendor.befalls(status(http.StatusTooManyRequests, "Retry-After", "1800"))
	s.passes(31 * day)
	s.vendor.requests()
	for range 25 { // in 25 minutes
		s.node.Clock.Move(time.Minute)
		for range 20 {
			_, _ = app.Caller()
			_ = s.node.Server().Status()
		}
	}
	if n := s.vendor.requests(); n > 0 {
		t.Errorf("asked %d times within the half hour that it wanted to be left alone", n)
	}
	s.refuses(app, "collateral")
}

// TestMonthsOfOutage: hundreds of attempts that fail leave nothing behind.
func TestMonthsOfOutage(t *testing.T) {
	s := newSite(t)
	s.vendor.befalls(status(http.StatusTooManyRequests, "Retry-After", "60"))
	app := s.node.Enrol()
	try := func(n int) {
		for range n {
			s.node.Clock.Move(time.Hour)
			s.node.Server().Examine(t.Context())
			_ = s.node.Server().Status()
		}
	}
	try(50)
	goroutines, before := runtime.NumGoroutine(), heap()
	try(1000)
	if grown := int64(heap()) - int64(before) - int64(len(s.domain.Log.String())); grown > 4<<20 {
		t.Errorf("the heap grew by %d kB", grown>>10)
	}
	if n := runtime.NumGoroutine(); n > goroutines+10 {
		t.Errorf("%d goroutines, and %d before", n, goroutines)
	}
	s.vendor.befalls(nil)
	s.recovers(app)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what the first one put up for finalizers and pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
