package collateral_test

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/host/collateral"
	"github.com/holdfast-kms/holdfast/kms"
)

const day = 24 * time.Hour

// start runs c until the test ends.
func start(t *testing.T, c *collateral.Client) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	t.Cleanup(func() { cancel(); wg.Wait() })
}

// TestOutage is a service that is out of order for longer than collateral
// lives, in each way that one can be.
func TestOutage(t *testing.T) {
	m := newMachine(t)
	for _, tee := range tees {
		for _, f := range faults {
			if f.name == "huge" || tee != attest.SGX && !slices.Contains([]string{"down", "500", "garbage"}, f.name) {
				continue // to print a megabyte a thousand times shows nothing new
			}
			t.Run(string(tee)+"/"+f.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { outage(t, m, tee, f.fault) })
			})
		}
	}
}

func outage(t *testing.T, m *machine, tee attest.TEE, fault func(http.ResponseWriter, *http.Request) bool) {
	v, log := newVendor(t, m.with(simtee.Misfortune{}), clock()), &journal{}
	cfg := v.config()
	cfg.Logger = slog.New(log)
	c, ev := newClient(t, cfg), m.evidence(tee)
	accepted(t, c, ev, v.now())
	start(t, c)
	v.fail(only("", v, fault))

	for range 14 { // issued half a day before noon
		time.Sleep(day)
		accepted(t, c, ev, v.now())
	}
	if n := log.count(slog.LevelWarn, ""); n != 0 {
		t.Errorf("%d warnings in the first half: %q", n, log.lines)
	}
	for range 15 {
		time.Sleep(day)
		accepted(t, c, ev, v.now())
	}
	if n := log.count(slog.LevelWarn, "past half its life"); n < 14 {
		t.Errorf("%d warnings in the second half", n)
	}
	if n := log.count(slog.LevelError, ""); n != 0 {
		t.Errorf("%d errors before the end", n)
	}
	for _, s := range c.Status() {
		if s.State == collateral.Ageing && (s.Advice == "" || s.Err == nil || s.Failures < 100) {
			t.Errorf("status %+v", s)
		}
	}

	time.Sleep(day)
	if _, err := c.Collateral(t.Context(), ev); !errors.Is(err, kms.Unavailable) {
		t.Errorf("after its end: %v", err)
	}
	if log.count(slog.LevelError, "has ended") == 0 {
		t.Error("nothing was said of the end")
	}
	v.fail(nil)
	time.Sleep(2 * time.Hour)
	v.requests()
	accepted(t, c, ev, v.now())
	if asked := v.requests(); len(asked) != 0 {
		t.Errorf("Run had not got %v", asked)
	}
}

// TestRefresh: news is asked for every few hours, and no more often.
func TestRefresh(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		v, log := newVendor(t, m.with(simtee.Misfortune{}), clock()), &journal{}
		cfg := v.config()
		cfg.Logger = slog.New(log)
		c, ev := newClient(t, cfg), m.evidence(attest.SGX)
		accepted(t, c, ev, v.now())
		accepted(t, c, m.evidence(attest.SNP), v.now())
		start(t, c)
		v.requests()
		time.Sleep(5 * day)
		asked := v.requests()
		count := map[string]int{}
		for _, path := range asked {
			name, _, _ := strings.Cut(path, "?")
			count[name[strings.LastIndex(name, "/"):]]++
		}
		for _, name := range []string{"/tcb", "/identity", "/pckcrl", "/rootcacrl", "/crl"} {
			if n := count[name]; n < 18 || n > 20 {
				t.Errorf("%s was asked for %d times in 5 days", name, n)
			}
		}
		if count["/cert_chain"] != 0 || len(count) != 5 {
			t.Errorf("asked for %v", count)
		}
		accepted(t, c, ev, v.now())
		if len(log.lines) != 0 {
			t.Errorf("logged %q", log.lines)
		}
		// Nobody asks for a week: it is let be.
		time.Sleep(8 * day)
		v.requests()
		time.Sleep(day)
		if asked := v.requests(); len(asked) != 0 {
			t.Errorf("still asked for %v", asked)
		}
		accepted(t, c, ev, v.now()) // what there is serves
		time.Sleep(time.Hour)
		if asked := v.requests(); len(asked) == 0 {
			t.Error("not kept up again")
		}
		time.Sleep(60 * day)
		if all := c.Status(); len(all) != 0 {
			t.Errorf("not forgotten: %v", all)
		}
		accepted(t, c, ev, v.now())
	})
}

// TestServiceStandsStill: it answers, with what it always had.
func TestServiceStandsStill(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		v, log := newVendor(t, m.with(simtee.Misfortune{}), clock()), &journal{}
		cfg := v.config()
		cfg.Logger = slog.New(log)
		c, ev := newClient(t, cfg), m.evidence(attest.SGX)
		accepted(t, c, ev, v.now())
		start(t, c)
		v.set(func(v *vendor) { v.now = atNoon })
		for range 16 {
			time.Sleep(day)
			accepted(t, c, ev, v.now())
		}
		if n := log.count(slog.LevelWarn, "past half its life"); n == 0 {
			t.Error("no warnings")
		}
		v.requests()
		time.Sleep(10 * time.Hour)
		if asked := v.requests(); len(asked) < 36 || len(asked) > 44 {
			t.Errorf("%d requests for 4 things in 10 hours", len(asked))
		}
		for _, s := range c.Status() {
			if s.State != collateral.Ageing || !strings.Contains(s.Advice, "nothing newer") || s.Err != nil {
				t.Errorf("status %+v", s)
			}
		}
		time.Sleep(14 * day)
		if _, err := c.Collateral(t.Context(), ev); !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), "ended") {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestOlderNeverReplaces(t *testing.T) {
	m := newMachine(t)
	for _, test := range []struct {
		name  string
		first simtee.Misfortune
		older func(*vendor)
	}{
		{"dates and list numbers", simtee.Misfortune{}, func(v *vendor) { v.back = 3 * day }},
		{"list numbers alone", simtee.Misfortune{}, func(v *vendor) {
			forge := &simtee.Forge{List: func(_ simtee.Role, list *x509.RevocationList) { list.Number = big.NewInt(1) }}
			v.platform, _ = simtee.Config{Root: m.root, Forge: forge}.Open(m.dir)
		}},
		{"evaluation number", simtee.Misfortune{Recovery: simtee.Announced}, func(v *vendor) { v.platform = m.with(simtee.Misfortune{}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVendor(t, m.with(test.first), clock())
				c, ev := newClient(t, v.config()), m.evidence(attest.SGX)
				before := accepted(t, c, ev, v.now())
				v.set(test.older)
				err := c.Refresh(t.Context())
				if err == nil || !strings.Contains(err.Error(), "older than what is kept") {
					t.Errorf("refresh: %v", err)
				}
				after := accepted(t, c, ev, v.now())
				if !after.Issued.Equal(before.Issued) || after.EvaluationNumber != before.EvaluationNumber || !after.ValidFrom.Equal(before.ValidFrom) {
					t.Errorf("issued %s, number %d, from %s; before %s, %d, %s", after.Issued, after.EvaluationNumber, after.ValidFrom,
						before.Issued, before.EvaluationNumber, before.ValidFrom)
				}
			})
		})
	}
}

// TestBadNews: a revocation or a new verdict is learnt, and verifiers act on it.
func TestBadNews(t *testing.T) {
	m := newMachine(t)
	for _, tee := range tees {
		t.Run(string(tee), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVendor(t, m.with(simtee.Misfortune{}), clock())
				c, ev := newClient(t, v.config()), m.evidence(tee)
				accepted(t, c, ev, v.now())
				start(t, c)
				v.set(func(v *vendor) { v.platform = m.with(simtee.Misfortune{Revoked: true}) })
				time.Sleep(7 * time.Hour)
				if _, err := judge(t, c, ev, v.now()); !errors.Is(err, attest.Revoked) {
					t.Errorf("revoked: %v", err)
				}
				if tee == attest.SNP {
					return
				}
				v.set(func(v *vendor) { v.platform = m.with(simtee.Misfortune{Recovery: simtee.Announced}) })
				if err := c.Refresh(t.Context()); err != nil {
					t.Errorf("refresh: %v", err)
				}
				claims := accepted(t, c, ev, v.now())
				if claims.Status != attest.OutOfDate || !slices.Equal(claims.Advisories, []string{simtee.Advisory}) {
					t.Errorf("status %s, advisories %v", claims.Status, claims.Advisories)
				}
			})
		})
	}
}

// TestStaleService: a service that hands out what has ended, or what is to come.
func TestStaleService(t *testing.T) {
	m := newMachine(t)
	for _, test := range []struct {
		name string
		set  func(*vendor)
		want string
	}{
		{"stale", func(v *vendor) { v.platform = m.with(simtee.Misfortune{Stale: true}) }, "ended"},
		{"of the future", func(v *vendor) { v.back = -2 * day }, "begins"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVendor(t, m.with(simtee.Misfortune{}), clock())
				v.set(test.set)
				c, ev := newClient(t, v.config()), m.evidence(attest.TDX)
				_, err := c.Collateral(t.Context(), ev)
				if !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), test.want) || !strings.Contains(kms.HintOf(err), "clock") {
					t.Errorf("error %v, hint %q", err, kms.HintOf(err))
				}
			})
		})
	}
}

func TestManyPlatforms(t *testing.T) {
	m := newMachine(t)
	v := newVendor(t, m.with(simtee.Misfortune{}), atNoon)
	c := newClient(t, v.config())
	full, err := m.with(simtee.Misfortune{}).Evidence(attest.SNP, [64]byte{}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		ev := full
		ev.Collateral = slices.Concat(full.Collateral, []byte(strings.Repeat("\n", i)))
		accepted(t, c, ev, noon)
	}
	if asked := v.requests(); len(asked) != 1 {
		t.Errorf("%d requests for one list", len(asked))
	}
}

func TestStatus(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, m.with(simtee.Misfortune{}), clock())
		v.fail(only("rootcacrl", v, status(500)))
		c := newClient(t, v.config())
		c.Collateral(t.Context(), m.evidence(attest.SGX))
		all := c.Status()
		if len(all) != 4 {
			t.Fatalf("%d things: %+v", len(all), all)
		}
		issued := noon.Truncate(day)
		for _, s := range all {
			missing := strings.Contains(s.Item, "root")
			switch {
			case missing && (s.State != collateral.Missing || s.Err == nil || s.Advice == "" || !s.Next.After(s.Tried) || !s.Until.IsZero()):
				t.Errorf("missing: %+v", s)
			case !missing && (s.State != collateral.Fresh || s.Err != nil || s.Advice != "" || !s.From.Equal(issued) || !s.Until.Equal(issued.Add(30*day))):
				t.Errorf("fresh: %+v", s)
			case strings.Contains(s.Item, "tcb") && s.Evaluation != simtee.EvaluationNumber:
				t.Errorf("evaluation number: %+v", s)
			case s.Title == "" || !strings.HasPrefix(s.Source, "https://pccs.test/"):
				t.Errorf("names: %+v", s)
			}
		}
	})
}
