package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/load"
	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/raw"
	"github.com/holdfast-kms/holdfast/kms"
)

func TestBench(t *testing.T) {
	term := newTerminal(t)
	doc := term.bench("--op", "encrypt,decrypt,datakey,sign,verify,mac,create", "--conns", "3", "--size", "100")
	if len(doc.Results) != 7 || doc.Conns != 3 || doc.Size != 100 || doc.URL != term.server.URL() || doc.Signature != "v2" {
		t.Fatalf("%+v", doc)
	}
	var specs []string
	for _, r := range doc.Results {
		checkRates(t, string(r.Op), &r.Node)
		specs = append(specs, r.Spec)
		if r.Raw <= 0 {
			t.Errorf("%s: the bare operation took %v µs", r.Op, r.Raw)
		}
		if runtime.GOOS == "linux" && (r.OverRaw == nil || r.HTTPS == nil) {
			t.Errorf("%s: not known beyond that: %+v", r.Op, r)
		}
	}
	want := []string{"AES-256-GCM", "AES-256-GCM", "AES-256-GCM", "EC-P256", "EC-P256", "HMAC-SHA-256", "AES-256-GCM"}
	if diff := cmp.Diff(want, specs); diff != "" {
		t.Errorf("specs (-want +got):\n%s", diff)
	}
	// Those of create stay.
	created := term.server.Calls("CreateKey")
	keys := term.json("", "key", "list")["keys"].([]any)
	if len(keys) != created-6 || len(keys) == 0 {
		t.Errorf("%d keys are left of %d", len(keys), created)
	}
}

// TestBenchOfSpecs has each sort of key that the server in memory knows.
func TestBenchOfSpecs(t *testing.T) {
	term := newTerminal(t)
	doc := term.bench("--op", "encrypt,decrypt,sign,verify", "--spec", "RSA-2048,AES-128-GCM,Ed25519", "--conns", "2")
	var got []string
	for _, r := range doc.Results {
		checkRates(t, string(r.Op)+" "+r.Spec, &r.Node)
		got = append(got, string(r.Op)+" "+r.Spec)
	}
	want := []string{"encrypt RSA-2048", "encrypt AES-128-GCM", "decrypt RSA-2048", "decrypt AES-128-GCM",
		"sign RSA-2048", "sign Ed25519", "verify RSA-2048", "verify Ed25519"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	doc = term.bench("--op", "create", "--spec", "RSA-2048", "--conns", "64")
	checkRates(t, "create", &doc.Results[0].Node)
}

func TestBenchSignatures(t *testing.T) {
	for name, tt := range map[string]struct {
		args           []string
		bound, unbound bool
	}{
		"v1":      {[]string{"--signature", "v1"}, false, false},
		"v2":      {[]string{"--signature", "v2"}, true, false},
		"unbound": {[]string{"--unbound"}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			term := newTerminal(t)
			doc := term.bench(append(tt.args, "--op", "encrypt", "--conns", "2")...)
			checkRates(t, name, &doc.Results[0].Node)
			// Two more are the key that is made and deleted.
			bound, unbound := term.server.Bindings("tls-exporter"), term.server.Bindings("none")
			if (bound > 2) != tt.bound || (unbound > 2) != tt.unbound {
				t.Errorf("%d requests were tied to their connection, %d with v2 were not", bound, unbound)
			}
		})
	}
}

func TestBenchSpecs(t *testing.T) {
	var all benchSpecs
	if err := all.UnmarshalText([]byte("all")); err != nil || len(all.list) != len(kms.Capabilities()) {
		t.Errorf("%v, %v", all, err)
	}
	c := &benchCmd{Spec: all}
	rows := 0
	for _, op := range c.ops() {
		specs, err := c.specsFor(op)
		if err != nil || len(specs) == 0 {
			t.Errorf("%s: %v, %v", op, specs, err)
		}
		rows += len(specs)
	}
	// 5 symmetric, 3 RSA and SM2 encrypt; those 4, 5 EC, Ed25519 and 3 ML-DSA sign; 4 authenticate.
	if want := 2*9 + 2*13 + 4; rows != want {
		t.Errorf("%d rows, want %d", rows, want)
	}
	for _, op := range benchOps {
		if !op.serves(op.spec()) || op.serves(99) {
			t.Errorf("%s does not serve its own spec, or one that there is not", op)
		}
		ops, err := raw.Of(op.spec(), 10)
		if err != nil || op.raw(ops) == nil {
			t.Errorf("%s has no bare operation: %v", op, err)
		}
	}
	if err := new(benchSpecs).UnmarshalText([]byte("AES-256-GCM,nothing")); err == nil {
		t.Error("an unknown spec passes")
	}
}

func TestBenchFloor(t *testing.T) {
	term := newTerminal(t)
	doc := term.bench("--op", "encrypt", "--conns", "2", "--rounds", "2", "--floor")
	r := doc.Results[0]
	if doc.Rounds != 2 || r.Floor == nil || r.RateRatio <= 0 {
		t.Fatalf("%+v", doc)
	}
	checkRates(t, "node", &r.Node)
	checkRates(t, "floor", r.Floor)
}

// bench runs a short benchmark.
func (term *terminal) bench(args ...string) (doc benchDocument) {
	term.t.Helper()
	duration := "80ms"
	if raceEnabled {
		duration = "500ms"
	}
	out := term.ok("", append([]string{"bench", "--duration", duration, "--warmup", "20ms", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		term.t.Fatal(err)
	}
	return doc
}

func checkRates(t *testing.T, what string, rates *benchRates) {
	t.Helper()
	var counted uint64
	for _, b := range rates.Histogram {
		counted += b.Count
	}
	if rates.Requests == 0 || counted != rates.Requests || rates.Errors > 0 || rates.PerSecond <= 0 ||
		rates.P50 <= 0 || rates.P50 > rates.P99 || rates.P99 > rates.P999 || rates.P999 > rates.Max {
		t.Errorf("%s: %+v", what, rates)
	}
	if runtime.GOOS == "linux" && rates.CPU == nil {
		t.Errorf("%s: the server's CPU time is not known", what)
	}
}

func TestBenchTable(t *testing.T) {
	term := newTerminal(t)
	o := term.run("", "bench", "--op", "encrypt", "--conns", "1", "--duration", "1100ms", "--warmup", "0s")
	if o.status != 0 {
		t.Fatal(o.stderr)
	}
	if !strings.Contains(o.stdout, "P99.9") || !strings.Contains(o.stdout, "latency of encrypt with AES-256-GCM") || !strings.Contains(o.stdout, "100.000%") {
		t.Errorf("printed %s", o.stdout)
	}
	if !strings.Contains(o.stderr, "encrypt AES-256-GCM:    1 of 1 s, ") {
		t.Errorf("progress: %s", o.stderr)
	}
}

func TestBenchFailsWithErrors(t *testing.T) {
	term := newTerminal(t)
	term.server.Fault(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("Action") != "Encrypt" {
			return false
		}
		w.Write([]byte(`{"code":429,"message":"slow down","result":{}}`))
		return true
	})
	o := term.run("", "bench", "--op", "encrypt", "--conns", "2", "--duration", "50ms", "--warmup", "0s", "--json")
	var doc benchDocument
	if err := json.Unmarshal([]byte(o.stdout), &doc); err != nil {
		t.Fatal(err)
	}
	n := doc.Results[0].Node
	if o.status != exitFailed || n.Errors == 0 || n.Requests != 0 || !strings.Contains(n.FirstError, "slow down") {
		t.Errorf("status %d, %+v", o.status, n)
	}
	if !strings.Contains(o.stderr, "requests failed") {
		t.Errorf("said %s", o.stderr)
	}
	term.server.Fault(nil)
	if keys := term.json("", "key", "list")["keys"].([]any); len(keys) != 0 {
		t.Errorf("left: %v", keys)
	}
}

func TestBenchIsChecked(t *testing.T) {
	term := newTerminal(t)
	tests := map[string][]string{
		"size":     {"--size", "6145"},
		"no size":  {"--size", "0"},
		"conns":    {"--conns", "4097"},
		"no conns": {"--conns", "0"},
		"duration": {"--duration", "61m"},
		"nothing":  {"--duration", "0s"},
		"warm-up":  {"--warmup", "-1s"},
		"rounds":   {"--rounds", "0"},
		"op":       {"--op", "delete"},
		"spec":     {"--op", "encrypt", "--spec", "EC-P256"},
		"specs":    {"--op", "encrypt,sign", "--spec", "AES-128-GCM"},
		"no spec":  {"--spec", "DES"},
		"version":  {"--signature", "v3"},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) { term.fails(exitUsage, "", append([]string{"bench"}, args...)...) })
	}
	if n := term.server.Calls("CreateKey"); n != 0 {
		t.Errorf("%d keys were made", n)
	}
}

func TestBenchStaysOnThisMachine(t *testing.T) {
	term := newTerminal(t)
	c := term.credentials()
	c.URL = "https://192.0.2.1:9000"
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	path := term.write("far.json", b, 0o600)
	msg := term.fails(exitFailed, "", "bench", "--credentials", path, "--duration", "50ms")
	if !strings.Contains(msg, "another machine\nhint: name it with --url") {
		t.Errorf("said %q", msg)
	}
}

// TestBenchReport prints fixed figures.
func TestBenchReport(t *testing.T) {
	result := func(n int, cpu time.Duration) *load.Result {
		r := &load.Result{Elapsed: 10 * time.Second, Requests: uint64(n), CPU: cpu, HasCPU: cpu > 0}
		for i := range n {
			r.Latency.Record(time.Duration(800+i*i%5000) * time.Microsecond)
		}
		return r
	}
	broken := &load.Result{Elapsed: time.Second, Errors: 7, FirstError: errors.New("refused")}
	const us, ms = time.Microsecond, time.Millisecond
	all := []measured{
		{op: "encrypt", spec: kms.AES256GCM, server: result(10_000, 300*ms), floor: result(15_000, 292*ms),
			rounds: []round{{node: 30 * us, bare: 20 * us, raw: 290}}},
		{op: "sign", spec: kms.ECP256, server: result(500, 0), floor: result(900, time.Second), rounds: []round{{raw: 15 * us}}},
		{op: "sign", spec: kms.RSA2048, server: result(500, 600*ms), rounds: []round{
			{1300 * us, 1130 * us, 1100 * us}, {1150 * us, 1120 * us, 1100 * us}, {1144 * us, 1131 * us, 1100 * us},
			{1141 * us, 1129 * us, 1100 * us}, {9999 * us, 1126 * us, 1100 * us}, {1140 * us, 1130 * us, 1100 * us},
		}},
		{op: "create", spec: kms.RSA2048, server: result(10, time.Second), rounds: []round{{node: 100 * ms, bare: 121 * ms, raw: 120 * ms}}},
		{op: "create", spec: kms.AES256GCM, server: broken},
	}
	b := &bench{benchCmd: &benchCmd{Conns: 64, Size: 1024, Signature: "v2", Duration: 10 * time.Second, Rounds: 1}, config: client.Config{URL: "https://127.0.0.1:9000"}}
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	b.print(w, all)
	w.Flush()
	golden(t, "bench.golden", out.String())
	if err := failures(all); err == nil || err.Error() != "create with AES-256-GCM: 7 requests failed, one with: refused" {
		t.Errorf("%v", err)
	}
	if err := failures(all[:4]); err != nil {
		t.Error(err)
	}
}

// TestSpread: few rounds tell nothing of how far they are off, and some that
// were disturbed do not matter.
func TestSpread(t *testing.T) {
	rounds := func(n int) (all []time.Duration) {
		for i := range n {
			all = append(all, time.Duration((i*7+3)%n+1)) // 1 to n, for n that 7 does not divide
		}
		return all
	}
	for n, want := range map[int]spread{
		0: {0, 0, 0}, 1: {1, 1, 1}, 2: {1, 1, 1}, 5: {3, 3, 3}, 6: {3, 1, 6}, 9: {5, 2, 8}, 20: {10, 6, 15}, 100: {50, 41, 60},
	} {
		if got := spreadOf(rounds(n)); got != want {
			t.Errorf("%d rounds: %v, want %v", n, got, want)
		}
	}
}

func TestDurationText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 µs", 24_700: "24.7 µs", 999_499: "999 µs", 999_500: "1 ms", 1_234_567: "1.23 ms", 999_600_000: "1 s", 61 * time.Second: "61 s",
		-24_700: "-24.7 µs",
	} {
		if got := durationText(d); got != want {
			t.Errorf("%d is %q, want %q", d, got, want)
		}
	}
}

func TestProgressLine(t *testing.T) {
	var out strings.Builder
	p := newProgressLine(&out, "sign", 10*time.Second)
	p.report(load.Progress{Elapsed: -time.Second})
	p.report(load.Progress{Elapsed: 2 * time.Second, Requests: 500, Rate: 250, Errors: 1})
	p.end()
	if want := "sign: warming up\nsign:    2 of 10 s, 500 requests, 250/s, 1 errors\n"; out.String() != want {
		t.Errorf("wrote %q", out.String())
	}
	out.Reset()
	p.terminal = true
	p.report(load.Progress{Elapsed: -time.Second})
	p.end()
	if want := "\r\x1b[Ksign: warming up\r\x1b[K"; out.String() != want {
		t.Errorf("on a terminal: %q", out.String())
	}
}
