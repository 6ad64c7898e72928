package telemetry_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/host/telemetry"
	"github.com/holdfast-kms/holdfast/kms"
)

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

func filled() kms.Metrics {
	at := time.Unix(1_800_000_000, 0)
	return kms.Metrics{Ready: true, Running: true, Raft: kms.RaftProgress{Leader: true, Applied: 7}, Apps: 3, Keys: 4, Secrets: 5, HostTime: at.Add(2 * time.Second),
		DomainTime: at, CollateralUntil: at.Add(time.Hour), Limited: map[kms.WorkClass]uint64{kms.AsymmetricWork: 9},
		Load: kms.Load{UnderWay: 5, Shed: 11}, Audit: kms.AuditProgress{Enabled: true, Lag: 1500 * time.Millisecond}}
}

func TestMetricsAreShown(t *testing.T) {
	tele := telemetry.New("v1")
	h := tele.Handler(telemetry.Config{Read: filled, Conns: func() (open, refused int64) { return 12, 13 }})
	begun := tele.Begin()
	tele.End(begun, kms.Served{Facade: "ehsm", Operation: "Encrypt", OK: true})
	tele.End(begun, kms.Served{Facade: "ehsm", Operation: "Encrypt", OK: true})
	tele.End(begun, kms.Served{Facade: "native", Operation: "Event.WatchEvents", Kind: kms.Exhausted, Stream: true})
	code, body := get(t, h, "/metrics")
	if code != http.StatusOK {
		t.Fatal(code, body)
	}
	for _, line := range []string{
		`holdfast_requests_total{facade="ehsm",operation="Encrypt",outcome="ok"} 2`,
		`holdfast_requests_total{facade="native",operation="Event.WatchEvents",outcome="exhausted"} 1`,
		`holdfast_request_seconds_count{facade="ehsm",operation="Encrypt"} 2`,
		`holdfast_ready 1`, `holdfast_raft_leader 1`, `holdfast_raft_applied_index 7`, `holdfast_apps 3`, `holdfast_keys 4`, `holdfast_secrets 5`,
		`holdfast_clock_skew_seconds 2`, `holdfast_collateral_expires_seconds 1.8000036e+09`, `holdfast_limited_requests_total{class="asymmetric"} 9`,
		`holdfast_limited_requests_total{class="symmetric"} 0`, `holdfast_requests_under_way 5`, `holdfast_shed_requests_total 11`, `holdfast_audit_lag_seconds 1.5`,
		`holdfast_connections 12`, `holdfast_refused_connections_total 13`, `holdfast_build_info{version="v1"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("lacks %s", line)
		}
	}
	if strings.Contains(body, `holdfast_request_seconds_count{facade="native"`) {
		t.Error("a stream is in the durations")
	}
}

// Whatever is counted, its labels have names out of tables: a client that asks for
// a thousand things of its own makes no series.
func TestLabelsAreOutOfTables(t *testing.T) {
	tele := telemetry.New("v1")
	h := tele.Handler(telemetry.Config{Read: filled})
	for k := range kms.Kinds() {
		tele.End(0, kms.Served{Facade: "ehsm", Operation: "Encrypt", Kind: kms.Kind(k)})
	}
	_, body := get(t, h, "/metrics")
	known := map[string]bool{"facade": true, "operation": true, "outcome": true, "class": true, "version": true, "le": true, "quantile": true}
	for _, l := range regexp.MustCompile(`(?m)^holdfast_[a-z_]+\{(.*)\} `).FindAllStringSubmatch(body, -1) {
		for _, pair := range strings.Split(l[1], ",") {
			if name, _, _ := strings.Cut(pair, "="); !known[name] {
				t.Errorf("label %s", pair)
			}
		}
	}
	for i := range 10_000 { // a facade that broke its word
		tele.End(0, kms.Served{Facade: "ehsm", Operation: fmt.Sprint(i), OK: true})
	}
	_, body = get(t, h, "/metrics")
	if n := strings.Count(body, "\nholdfast_requests_total{"); n > 4096 {
		t.Errorf("%d series of requests", n)
	}
}

// docs/observe.md has a row for every metric, and none for what there is not.
func TestEveryMetricIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/observe.md")
	if err != nil {
		t.Fatal(err)
	}
	tele := telemetry.New("v1")
	tele.End(0, kms.Served{Facade: "ehsm", Operation: "Encrypt", OK: true})
	_, body := get(t, tele.Handler(telemetry.Config{Read: filled, Conns: func() (int64, int64) { return 0, 0 }}), "/metrics")
	shown := map[string]bool{}
	for _, l := range regexp.MustCompile(`(?m)^# TYPE (holdfast_[a-z_]+) `).FindAllStringSubmatch(body, -1) {
		shown[l[1]] = true
		if !strings.Contains(string(doc), "| `"+l[1]+"`") {
			t.Errorf("docs/observe.md lacks %s", l[1])
		}
	}
	for _, l := range regexp.MustCompile("(?m)^\\| `(holdfast_[a-z_]+)`").FindAllStringSubmatch(string(doc), -1) {
		if !shown[l[1]] {
			t.Errorf("docs/observe.md has %s, which is not shown", l[1])
		}
	}
}

func TestListenIsAtLoopback(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for addr, loopback := range map[string]bool{":0": true, "localhost:0": true, "127.0.0.1:0": true} {
		l, err := telemetry.Listen(addr, log)
		if err != nil {
			t.Fatal(err)
		}
		if got := l.Addr().(*net.TCPAddr).IP.IsLoopback(); got != loopback {
			t.Errorf("%s: at %s", addr, l.Addr())
		}
		_ = l.Close()
	}
	if _, err := telemetry.Listen("metrics.example:9464", log); kms.KindOf(err) != kms.Invalid {
		t.Errorf("a name: %v", err)
	}
}

// More connections than there is room for are closed, and the listener goes on.
func TestListenerIsBounded(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	l, err := telemetry.Listen(":0", log)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	h := telemetry.New("v1").Handler(telemetry.Config{Ready: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })})
	go func() { served <- telemetry.Serve(ctx, l, h, log) }()
	var open []net.Conn
	refused := 0
	for i := range 40 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil { // reset so soon that it was not there yet
			refused++
			continue
		}
		if open = append(open, c); i < 16 { // which there is room for
			continue
		}
		if _, err := io.ReadAll(c); err != nil {
			refused++
		}
	}
	if refused != 24 {
		t.Errorf("%d of 24 connections refused", refused)
	}
	for _, c := range open {
		_ = c.Close()
	}
	for { // until the listener has noticed that there is room
		resp, err := http.Get("http://" + l.Addr().String() + "/readyz")
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("status %d", resp.StatusCode)
		}
		break
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func BenchmarkObserve(b *testing.B) {
	tele := telemetry.New("v1")
	b.ReportAllocs()
	for b.Loop() {
		tele.End(tele.Begin(), kms.Served{Facade: "ehsm", Operation: "Encrypt", OK: true})
	}
}
