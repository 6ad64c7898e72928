package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
)

// A rig runs the program in this process, on a simulated machine.
type rig struct {
	t       *testing.T
	dir     string
	machine *simtee.Platform
	rulers  *governtest.Rulers
	log     bytes.Buffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	machine, err := simtee.Create(filepath.Join(t.TempDir(), "fuses"))
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: t.TempDir(), machine: machine, rulers: governtest.New(t)}
	r.write("charter", r.rulers.Charter.Canonical())
	return r
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *rig) write(name string, b []byte) {
	r.t.Helper()
	if err := os.WriteFile(r.path(name), b, 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// node is one run of the program. Only development makes it take the machine.
func (r *rig) node(development bool) node {
	return node{log: slog.New(slog.NewJSONHandler(&r.log, nil)), platform: r.machine.Guest(attest.SGX, time.Now), development: development}
}

// args are those of a command, with the ones that every command needs.
func (r *rig) args(command string, more ...string) []string {
	args := append([]string{command, "--dir", r.path("node"), "--charter", r.path("charter")}, more...)
	if !slices.Contains(more, "--collateral-bundle") {
		args = append(args, "--pcs", nothingPublished(r.t))
	}
	return args
}

// nothingPublished is a vendor's service that knows nothing: the simulated machine
// brings its collateral along, and no test asks the vendor itself.
func nothingPublished(t *testing.T) string {
	s := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	return s.URL
}

// must runs the program, which must exit with a status and log the text.
func (r *rig) must(want int, says string, n node, args ...string) {
	r.t.Helper()
	r.log.Reset()
	if got := run(r.t.Context(), args, io.Discard, n); got != want || !strings.Contains(r.log.String(), says) {
		r.t.Fatalf("status %d, want %d and %q in the log:\n%s", got, want, says, &r.log)
	}
}

// sign does what owner and signers do between the two steps of founding.
func (r *rig) sign() {
	r.t.Helper()
	b, err := os.ReadFile(r.path("founder"))
	if err != nil {
		r.t.Fatal(err)
	}
	f, err := govern.ParseFounder(b)
	if err != nil {
		r.t.Fatal(err)
	}
	claims, err := sgx.Verify(f.Evidence, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	bound := attest.ReportData(attest.ForBootstrap, attest.Binding{Keys: [][]byte{f.Key}, Domain: r.rulers.Charter.Digest()})
	if f.CharterDigest != r.rulers.Charter.Digest() || !claims.ReportData.Equal(bound[:]) {
		r.t.Fatalf("founder %+v", f)
	}
	bootstrap, policy := r.rulers.Found(f.Node, r.rulers.Policy(claims.SGX.MRENCLAVE, time.Now()))
	r.write("bootstrap", bootstrap)
	r.write("policy", policy)
}

func (r *rig) found() {
	r.t.Helper()
	r.must(exitOK, `"msg":"prepared"`, r.node(true), r.args("found", "--out", r.path("founder"))...)
	r.sign()
	r.must(exitOK, `"msg":"founded"`, r.node(true), r.args("found", "--bootstrap", r.path("bootstrap"), "--policy", r.path("policy"))...)
}

// start starts to serve, until the test calls stop, which returns the exit status.
func (r *rig) start(more ...string) (at <-chan place, stop func() int) {
	return r.startAs("serve", more...)
}

func (r *rig) startAs(command string, more ...string) (at <-chan place, stop func() int) {
	r.t.Helper()
	r.log.Reset()
	served, ended := make(chan place, 1), make(chan int, 1)
	n := r.node(true)
	n.serving = func(p place) { served <- p }
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- run(ctx, r.args(command, append([]string{"--listen", "127.0.0.1:0"}, more...)...), io.Discard, n)
		close(served)
	}()
	stop = sync.OnceValue(func() int { cancel(); return <-ended })
	r.t.Cleanup(func() { stop() })
	return served, stop
}

// serve serves until the test calls stop.
func (r *rig) serve(more ...string) (at place, stop func() int) {
	r.t.Helper()
	served, stop := r.start(more...)
	at, ok := <-served
	if !ok {
		r.t.Fatalf("status %d:\n%s", stop(), &r.log)
	}
	return at, stop
}

// A status is what the node tells anyone of itself, as far as this looks.
type status struct {
	Ready, Secure       bool
	Domain, Attestation string
	Node                string `json:"node_id"`
	DomainID            string `json:"domain_id"`
	Voters              int
}

func get(t *testing.T, at place) status {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(at.ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Get("https://" + at.api + "/status")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var s status
	if err := json.NewDecoder(answer.Body).Decode(&s); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v", answer.Status, err)
	}
	return s
}

// TestLife founds a domain in its two steps, serves, and serves again.
func TestLife(t *testing.T) {
	r := newRig(t)
	r.found()
	var first status
	for run := range 2 {
		at, stop := r.serve()
		s := get(t, at)
		if !s.Ready || s.Secure || s.Domain != r.rulers.Charter.Name || !strings.HasPrefix(s.Attestation, "simulated sgx") {
			t.Errorf("run %d: %+v", run, s)
		}
		if run == 0 {
			first = s
		}
		if s.Node != first.Node || s.DomainID != first.DomainID {
			t.Errorf("after a restart node %s of domain %s, before %s of %s", s.Node, s.DomainID, first.Node, first.DomainID)
		}
		if got := stop(); got != exitOK {
			t.Errorf("run %d ended with status %d:\n%s", run, got, &r.log)
		}
	}
	for line := range strings.Lines(r.log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON in the log: %s", line)
		}
	}
}

// TestSimulatedIsRefused is what the program does with a simulated machine when
// it is not told by a test that it may: what every flag leaves it.
func TestSimulatedIsRefused(t *testing.T) {
	r := newRig(t)
	r.must(exitFailed, "own evidence", r.node(false), r.args("found", "--out", r.path("founder"))...)
	if _, err := os.Stat(r.path("founder")); err == nil {
		t.Error("evidence was written")
	}
	if names := sealed(t, r.path("node")); len(names) > 0 {
		t.Errorf("a key was made: %q", names)
	}
	r.found()
	before := sealed(t, r.path("node"))
	r.must(exitFailed, "own evidence", r.node(false), r.args("serve", "--listen", "127.0.0.1:0")...)
	if after := sealed(t, r.path("node")); strings.Join(before, " ") != strings.Join(after, " ") {
		t.Errorf("files before %q, after %q", before, after)
	}
}

// sealed are the files in the node's folder, apart from those that any disk has.
func sealed(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !strings.Contains(e.Name(), "lock") {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestRefusals(t *testing.T) {
	r := newRig(t)
	second := []string{"--bootstrap", r.path("bootstrap"), "--policy", r.path("policy")}
	r.must(exitFailed, "no such file", r.node(true), r.args("serve")...) // no folder
	r.must(exitFailed, "bootstrap that owner", r.node(true), r.args("found", second...)...)
	r.found()
	r.must(exitFailed, "holds a node already", r.node(true), r.args("found", second...)...)
	r.must(exitFailed, "holds a node already", r.node(true), r.args("found", "--out", r.path("founder"))...)

	other := governtest.New(t)
	r.write("charter", other.Charter.Canonical())
	r.must(exitFailed, "founded on", r.node(true), r.args("serve", "--listen", "127.0.0.1:0")...)
	r.write("charter", bytes.Repeat([]byte(" "), 1<<20))
	r.must(exitFailed, "more than", r.node(true), r.args("serve")...)
	r.write("charter", r.rulers.Charter.Canonical())
	r.must(exitFailed, "a bundle of collateral", r.node(true), r.args("serve", "--collateral-bundle", r.path("none"))...)
	r.write("bundle", []byte("{}"))
	r.must(exitFailed, `"hint"`, r.node(true), r.args("serve", "--collateral-bundle", r.path("bundle"))...)

	_, stop := r.serve()
	in := newRig(t) // another log
	in.dir = r.dir
	in.must(exitFailed, "stop the process", r2(in, r), r.args("serve", "--listen", "127.0.0.1:0")...)
	stop()
}

// r2 is a node on the machine of another rig.
func r2(log, machine *rig) node {
	n := machine.node(true)
	n.log = slog.New(slog.NewJSONHandler(&log.log, nil))
	return n
}

// TestAnotherBootstrap gives the second step documents that name another node.
func TestAnotherBootstrap(t *testing.T) {
	r := newRig(t)
	r.must(exitOK, "prepared", r.node(true), r.args("found", "--out", r.path("founder"))...)
	r.sign()
	measurement := r.machine.Measurement()
	bootstrap, policy := r.rulers.Found(kms.NodeID{1}, r.rulers.Policy(measurement[:], time.Now()))
	r.write("bootstrap", bootstrap)
	r.write("policy", policy)
	r.must(exitFailed, "another node", r.node(true), r.args("found", "--bootstrap", r.path("bootstrap"), "--policy", r.path("policy"))...)
}
