package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
)

// runCollateral runs `holdfast collateral` with args.
func runCollateral(t *testing.T, stdin []byte, args ...string) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	s := &session{ctx: t.Context(), stdin: bytes.NewReader(stdin), stdout: &stdout, stderr: &stderr, json: slices.Contains(args, "--json")}
	parser, err := kong.New(&struct {
		JSON       bool          `name:"json"`
		Collateral collateralCmd `cmd:""`
	}{}, kong.Name("holdfast"), kong.Writers(&stdout, &stderr))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(append([]string{"collateral"}, args...))
	if err != nil {
		return outcome{stdout.String(), err.Error(), s.fail("", usageError(err))}
	}
	status := s.fail(commandName(parsed), parsed.Run(s))
	return outcome{stdout.String(), stderr.String(), status}
}

// servePublished plays the vendors' services for one simulated machine, now.
func servePublished(t *testing.T, p *simtee.Platform) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := (simtee.Vendor{Platform: p, At: time.Now()}).Answer(w, r); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestCollateral fetches collateral, verifies with it, and does the same from a
// bundle while there is no service.
func TestCollateral(t *testing.T) {
	d := newDesk(t)
	p, err := simtee.Create(filepath.Join(d.dir, "fuses"))
	if err != nil {
		t.Fatal(err)
	}
	address := servePublished(t, p)
	var quotes []string
	for _, tee := range []attest.TEE{attest.SGX, attest.TDX, attest.SNP} {
		ev, err := p.Evidence(tee, [64]byte{}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if tee != attest.SNP {
			ev.Collateral = nil // a report comes with certificates, here under a root that is not AMD's
		}
		text, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		quotes = append(quotes, d.write(string(tee), text))
	}
	bundle, out := filepath.Join(d.dir, "bundle.json"), filepath.Join(d.dir, "collateral")
	o := runCollateral(t, nil, slices.Concat([]string{"bundle", "--json", "--out", bundle, "--intel-url", address, "--amd-url", address}, quotes)...)
	var doc struct{ Until time.Time }
	if err := json.Unmarshal([]byte(o.stdout), &doc); err != nil || o.status != exitOK || !doc.Until.After(time.Now()) {
		t.Fatalf("%+v, %v", o, err)
	}
	for _, quote := range quotes {
		o := runCollateral(t, nil, "fetch", quote, "--intel-url", address, "--amd-url", address)
		if o.status != exitOK {
			t.Fatalf("%s: %+v", quote, o)
		}
		if o := runCollateral(t, nil, "fetch", quote, "--bundle", bundle, "--out", out); o.status != exitOK || o.stdout != out+"\n" {
			t.Errorf("%s: %+v", quote, o)
		}
		if same, err := os.ReadFile(out); err != nil || string(same) != o.stdout {
			t.Errorf("%s: the bundle has something else: %v", quote, err)
		}
		verdict, _ := d.verdict(quote, "--collateral", out)
		if reason := verdict["reason"]; reason != string(attest.NotHardware) {
			t.Errorf("%s: %v", quote, verdict)
		}
	}
}

func TestCollateralProblems(t *testing.T) {
	d := newDesk(t)
	p, err := simtee.Create(filepath.Join(d.dir, "fuses"))
	if err != nil {
		t.Fatal(err)
	}
	ev, err := p.Evidence(attest.SGX, [64]byte{}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	quote, junk := d.write("quote", ev.Quote), d.write("junk", []byte("junk"))
	nobody := httptest.NewServer(http.NotFoundHandler())
	defer nobody.Close()
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"fetch", quote, "--intel-url", nobody.URL}, exitFailed, "404"},
		{[]string{"fetch", quote, "--intel-url", "intel"}, exitFailed, "begins with https://"},
		{[]string{"fetch", quote, "--bundle", junk}, exitFailed, "make it again"},
		{[]string{"fetch", quote, "--ca", junk}, exitFailed, "no certificates in PEM"},
		{[]string{"fetch", quote, "--cert", junk}, exitUsage, "--cert is for SNP reports"},
		{[]string{"fetch", quote, "--update", "never"}, exitUsage, "early"},
		{[]string{"fetch", junk}, exitFailed, "neither an SGX or TDX quote"},
		{[]string{"fetch", filepath.Join(d.dir, "none")}, exitFailed, "no such file"},
		{[]string{"bundle", quote}, exitUsage, "--out"},
		{[]string{"bundle", quote, "--out", filepath.Join(d.dir, "bundle"), "--intel-url", nobody.URL}, exitFailed, "404"},
	} {
		o := runCollateral(t, nil, test.args...)
		if o.status != test.status || !strings.Contains(o.stderr, test.want) || o.stdout != "" {
			t.Errorf("%v: %+v", test.args, o)
		}
	}
	if exists(filepath.Join(d.dir, "bundle")) {
		t.Error("a bundle was left behind")
	}
}
