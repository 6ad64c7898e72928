package collateral_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
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

var tees = []attest.TEE{attest.SGX, attest.TDX, attest.SNP}

func atNoon() time.Time { return noon }

// TestVerifiersAccept fetches over real sockets, of TLS and without.
func TestVerifiersAccept(t *testing.T) {
	m := newMachine(t)
	v := newVendor(t, m.with(simtee.Misfortune{}), atNoon)
	plain, secure := httptest.NewServer(v), httptest.NewTLSServer(v)
	defer plain.Close()
	defer secure.Close()
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	for _, service := range []struct {
		name string
		pcs  bool
		cfg  collateral.Config
	}{
		{"PCCS", false, collateral.Config{IntelURL: plain.URL + "/", AMDURL: plain.URL}},
		{"PCS", true, collateral.Config{IntelURL: secure.URL, IntelRootListURL: secure.URL + "/IntelSGXRootCA.der", AMDURL: secure.URL, Roots: roots, Update: collateral.Early}},
		{"proxy", false, collateral.Config{IntelURL: "http://pccs.test", AMDURL: "http://kds.test", ProxyURL: plain.URL}},
	} {
		for _, tee := range tees {
			t.Run(service.name+"/"+string(tee), func(t *testing.T) {
				v.set(func(v *vendor) { v.pcs = service.pcs })
				service.cfg.Now, service.cfg.DevelopmentRoots = atNoon, true
				c := newClient(t, service.cfg)
				claims := accepted(t, c, m.evidence(tee), noon)
				if tee != attest.SNP && claims.EvaluationNumber != simtee.EvaluationNumber {
					t.Errorf("evaluation number %d", claims.EvaluationNumber)
				}
				first := v.requests()
				if want := map[bool]int{true: 3, false: 4}[tee == attest.SNP]; len(first) != want {
					t.Errorf("%d requests, want %d: %v", len(first), want, first)
				}
				accepted(t, c, m.evidence(tee), noon)
				if again := v.requests(); len(again) != 0 {
					t.Errorf("asked again for %v", again)
				}
			})
		}
	}
}

func TestAddresses(t *testing.T) {
	m := newMachine(t)
	v := newVendor(t, m.with(simtee.Misfortune{}), atNoon)
	fmspc := fmspcOf(t, m)
	for _, test := range []struct {
		update collateral.Update
		tee    attest.TEE
		want   []string
	}{
		{"", attest.SGX, []string{"/sgx/certification/v4/pckcrl?ca=platform&encoding=der", "/sgx/certification/v4/qe/identity",
			"/sgx/certification/v4/rootcacrl", "/sgx/certification/v4/tcb?fmspc=" + fmspc}},
		{collateral.Early, attest.TDX, []string{"/sgx/certification/v4/pckcrl?ca=platform&encoding=der", "/sgx/certification/v4/rootcacrl",
			"/tdx/certification/v4/qe/identity?update=early", "/tdx/certification/v4/tcb?fmspc=" + fmspc + "&update=early"}},
	} {
		cfg := v.config()
		cfg.Update = test.update
		accepted(t, newClient(t, cfg), m.evidence(test.tee), noon)
		got := v.requests()
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s, %q: asked for\n%v, want\n%v", test.tee, test.update, got, test.want)
		}
	}
}

func fmspcOf(t *testing.T, m *machine) string {
	t.Helper()
	said, err := m.with(simtee.Misfortune{}).Published(attest.SGX, noon)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(said.TCBInfo), `"fmspc":"`)
	return rest[:12]
}

func TestFaults(t *testing.T) {
	m := newMachine(t)
	for _, what := range []struct {
		text string
		tee  attest.TEE
	}{{"/tcb", attest.SGX}, {"/qe/identity", attest.TDX}, {"/pckcrl", attest.SGX}, {"/rootcacrl", attest.SGX}, {"/crl", attest.SNP}, {"/cert_chain", attest.SNP}, {"blSPL", attest.SNP}} {
		for _, f := range faults {
			t.Run(what.text+"/"+f.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v := newVendor(t, m.with(simtee.Misfortune{}), clock())
					c := newClient(t, v.config())
					ev := m.evidence(what.tee)
					v.fail(only(what.text, v, f.fault))
					_, err := c.Collateral(t.Context(), ev)
					if !errors.Is(err, kms.Unavailable) || !strings.Contains(kms.HintOf(err), f.hint) {
						t.Errorf("error %v, hint %q", err, kms.HintOf(err))
					}
					asked := v.requests()
					tries := 0
					for _, path := range asked {
						if strings.Contains(path, what.text) {
							tries++
						}
					}
					if tries != f.tries {
						t.Errorf("asked %d times, want %d", tries, f.tries)
					}
					// Left alone for a while, whoever calls.
					if _, err := c.Collateral(t.Context(), ev); !errors.Is(err, kms.Unavailable) {
						t.Errorf("at once: %v", err)
					}
					if again := v.requests(); len(again) != 0 {
						t.Errorf("asked again at once for %v", again)
					}
					v.fail(nil)
					time.Sleep(time.Hour)
					accepted(t, c, ev, v.now())
				})
			})
		}
	}
}

func TestOneFaultIsRetried(t *testing.T) {
	m := newMachine(t)
	for _, f := range faults {
		if f.tries < 3 {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVendor(t, m.with(simtee.Misfortune{}), clock())
				var mu sync.Mutex
				failed := map[string]bool{}
				v.fail(func(w http.ResponseWriter, r *http.Request) bool {
					mu.Lock()
					first := !failed[r.URL.Path]
					failed[r.URL.Path] = true
					mu.Unlock()
					return first && f.fault(w, r.WithContext(context.WithValue(r.Context(), vendorKey{}, v)))
				})
				c := newClient(t, v.config())
				for _, tee := range tees {
					accepted(t, c, m.evidence(tee), v.now())
				}
			})
		})
	}
}

// TestRetryAfter looks when a service is asked again.
func TestRetryAfter(t *testing.T) {
	m := newMachine(t)
	for _, test := range []struct {
		value    string
		min, max time.Duration
	}{
		{"7", 7 * time.Second, 7 * time.Second},
		{noon.Add(9 * time.Second).Format(http.TimeFormat), 9 * time.Second, 9 * time.Second},
		{"-5", 250 * time.Millisecond, 500 * time.Millisecond},
		{noon.Add(-time.Hour).Format(http.TimeFormat), 250 * time.Millisecond, 500 * time.Millisecond},
		{"soon", 250 * time.Millisecond, 500 * time.Millisecond},
		{"99999999999999999999", 250 * time.Millisecond, 500 * time.Millisecond},
	} {
		t.Run(test.value, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVendor(t, m.with(simtee.Misfortune{}), clock())
				var times []time.Time
				v.fail(only("rootcacrl", v, func(w http.ResponseWriter, r *http.Request) bool {
					times = append(times, time.Now())
					return len(times) == 1 && status(503, "Retry-After", test.value)(w, r)
				}))
				accepted(t, newClient(t, v.config()), m.evidence(attest.SGX), v.now())
				if len(times) != 2 {
					t.Fatalf("asked %d times", len(times))
				}
				if d := times[1].Sub(times[0]); d < test.min || d > test.max {
					t.Errorf("asked again after %v, want %v to %v", d, test.min, test.max)
				}
			})
		})
	}
}

// TestLongRetryAfter: the service is left alone for as long as it asks, up to
// an hour.
func TestLongRetryAfter(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, m.with(simtee.Misfortune{}), clock())
		c, ev := newClient(t, v.config()), m.evidence(attest.SGX)
		v.fail(status(429, "Retry-After", "100000"))
		c.Collateral(t.Context(), ev)
		v.fail(nil)
		v.requests()
		for _, wait := range []time.Duration{30 * time.Second, 29 * time.Minute, 30 * time.Minute} {
			time.Sleep(wait)
			if _, err := c.Collateral(t.Context(), ev); err == nil {
				t.Errorf("asked too early: %v", v.requests())
			}
		}
		time.Sleep(time.Minute)
		accepted(t, c, ev, v.now())
	})
}

func TestOneRequestAtATime(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, m.with(simtee.Misfortune{}), clock())
		v.fail(func(http.ResponseWriter, *http.Request) bool { time.Sleep(time.Second); return false })
		c := newClient(t, v.config())
		ev := m.evidence(attest.SGX)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { accepted(t, c, ev, v.now()) })
		}
		wg.Wait()
		if asked := v.requests(); len(asked) != 4 {
			t.Errorf("%d requests: %v", len(asked), asked)
		}
	})
}

// TestCallerLeaves: who gives up gets an answer at once, and is no reason to
// think ill of the service.
func TestCallerLeaves(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, m.with(simtee.Misfortune{}), clock())
		c, ev := newClient(t, v.config()), m.evidence(attest.SGX)
		v.fail(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Collateral(ctx, ev); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		v.fail(nil)
		accepted(t, c, ev, v.now())
	})
}

// TestForeignKDS: certificates of chips are kept for years.
func TestForeignKDS(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, m.with(simtee.Misfortune{}), clock())
		cfg := v.config()
		cfg.DevelopmentRoots = false
		_, err := newClient(t, cfg).Collateral(t.Context(), m.evidence(attest.SNP))
		if !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), "not AMD's root") {
			t.Errorf("error %v", err)
		}
	})
}

func TestForeignRoot(t *testing.T) {
	m, other := newMachine(t), newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, other.with(simtee.Misfortune{}), clock())
		c := newClient(t, v.config())
		for _, tee := range []attest.TEE{attest.SGX, attest.TDX} {
			if _, err := c.Collateral(t.Context(), m.evidence(tee)); !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), "another root than the platform's") {
				t.Errorf("%s: %v", tee, err)
			}
		}
	})
}

// TestAlteredStatement: a verdict with a number that nothing would ever be newer
// than.
func TestAlteredStatement(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		v := newVendor(t, m.with(simtee.Misfortune{}), clock())
		v.fail(only("/tcb", v, func(w http.ResponseWriter, r *http.Request) bool {
			inner := httptest.NewRecorder()
			v.plain(inner, r)
			maps.Copy(w.Header(), inner.Header())
			w.Write(bytes.Replace(inner.Body.Bytes(), []byte(`"tcbEvaluationDataNumber":20`), []byte(`"tcbEvaluationDataNumber":99`), 1))
			return true
		}))
		c, ev := newClient(t, v.config()), m.evidence(attest.TDX)
		if _, err := c.Collateral(t.Context(), ev); !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), "not signed by its issuer") {
			t.Errorf("error %v", err)
		}
	})
}

func TestNotForUs(t *testing.T) {
	m := newMachine(t)
	c := newClient(t, newVendor(t, m.with(simtee.Misfortune{}), atNoon).config())
	snpReport := m.evidence(attest.SNP).Quote
	edit := func(offset int, value byte, n int) []byte {
		b := slices.Clone(snpReport)
		for i := range n {
			b[offset+i] = value
		}
		return b
	}
	for _, test := range []struct {
		name string
		ev   attest.Evidence
		hint string
	}{
		{"nothing", attest.Evidence{}, ""},
		{"text", attest.Evidence{Quote: []byte("hello, what is this?")}, ""},
		{"half a quote", attest.Evidence{TEE: attest.SGX, Quote: m.evidence(attest.SGX).Quote[:900]}, ""},
		{"TDX said to be SGX", attest.Evidence{TEE: attest.SGX, Quote: m.evidence(attest.TDX).Quote}, ""},
		{"half a report", attest.Evidence{TEE: attest.SNP, Quote: snpReport[:1000]}, ""},
		{"masked chip", attest.Evidence{Quote: edit(0x1a0, 0, 64)}, "masks"},
		{"VLEK", attest.Evidence{Quote: edit(0x48, 1<<2, 1)}, "AMD gives it to the cloud alone"},
		{"junk beside the report", attest.Evidence{Quote: snpReport, Collateral: []byte("junk")}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := c.Collateral(t.Context(), test.ev)
			if !errors.Is(err, kms.Invalid) || !strings.Contains(kms.HintOf(err), test.hint) {
				t.Errorf("error %v, hint %q", err, kms.HintOf(err))
			}
		})
	}
}

// TestGivenCertificates: a report may come with certificates.
func TestGivenCertificates(t *testing.T) {
	m := newMachine(t)
	full, err := m.with(simtee.Misfortune{}).Evidence(attest.SNP, [64]byte{1}, noon)
	if err != nil {
		t.Fatal(err)
	}
	blocks := blocksOf(full.Collateral)
	updated, err := m.with(simtee.Misfortune{Recovery: simtee.Partial}).Evidence(attest.SNP, [64]byte{1}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		quote []byte
		given []*pem.Block
		asked int
	}{
		{"none", full.Quote, nil, 3},
		{"leaf", full.Quote, blocks[:1], 2},
		{"leaf and signer", full.Quote, blocks[:2], 2},
		{"chain", full.Quote, blocks[:3], 1},
		{"chain and list", full.Quote, blocks, 1},
		{"leaf of the firmware before", updated.Quote, blocks[:3], 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := m.with(simtee.Misfortune{})
			if strings.Contains(test.name, "before") {
				p = m.with(simtee.Misfortune{Recovery: simtee.Partial})
			}
			v := newVendor(t, p, atNoon)
			var given []byte
			for _, b := range test.given {
				given = append(given, pem.EncodeToMemory(b)...)
			}
			ev := attest.Evidence{TEE: attest.SNP, Quote: test.quote, Collateral: given}
			accepted(t, newClient(t, v.config()), ev, noon)
			if asked := v.requests(); len(asked) != test.asked {
				t.Errorf("asked for %v, want %d things", asked, test.asked)
			}
		})
	}
}

// TestProductIsFound: a report of version 2 does not say what chip it is of.
func TestProductIsFound(t *testing.T) {
	m := newMachine(t)
	v := newVendor(t, m.with(simtee.Misfortune{}), atNoon)
	v.fail(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/Milan/") && !strings.HasSuffix(r.URL.Path, "cert_chain") {
			return status(404)(w, r)
		}
		return false
	})
	_, err := newClient(t, v.config()).Collateral(t.Context(), m.evidence(attest.SNP))
	asked := strings.Join(v.requests(), " ")
	if !errors.Is(err, kms.NotFound) || !strings.Contains(asked, "/vcek/v1/Genoa/") {
		t.Errorf("error %v after asking for %v", err, asked)
	}
}

func TestBadConfig(t *testing.T) {
	for _, cfg := range []collateral.Config{
		{IntelURL: "api.trustedservices.intel.com"},
		{IntelURL: "ftp://example.test"},
		{AMDURL: "https://kds.test/?x=1"},
		{IntelRootListURL: "://"},
		{ProxyURL: "socks5://proxy.test"},
		{ProxyURL: "proxy.test:3128"},
		{Update: "soon"},
		{Timeout: -1},
		{Transport: http.NewFileTransport(nil), ProxyURL: "http://proxy.test"},
		{Bundle: []byte{}},
		{Bundle: []byte(`{"version":2,"made":"2026-01-01T00:00:00Z","until":"2026-01-01T00:00:00Z","records":[]}`)},
		{Bundle: []byte(`{"version":1,"records":[{"version":1,"item":"a"},{"version":1,"item":"a"}]}`)},
	} {
		if _, err := collateral.New(cfg); !errors.Is(err, kms.Invalid) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
	if _, err := collateral.New(collateral.Config{}); err != nil {
		t.Errorf("the zero configuration: %v", err)
	}
}

func BenchmarkCollateral(b *testing.B) {
	root := simtee.NewRoot()
	p, err := simtee.Config{Root: root}.Create(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	v := &vendor{now: atNoon, platform: p}
	for _, tee := range tees {
		b.Run(string(tee), func(b *testing.B) {
			c, err := collateral.New(v.config())
			if err != nil {
				b.Fatal(err)
			}
			ev, err := p.Evidence(tee, [64]byte{}, noon)
			if err != nil {
				b.Fatal(err)
			}
			ev.Collateral = nil
			if _, err := c.Collateral(b.Context(), ev); err != nil {
				b.Fatal(err)
			}
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := c.Collateral(context.Background(), ev); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
