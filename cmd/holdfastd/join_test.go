package main

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
)

// guest is another machine, which is to join the domain of r.
func (r *rig) guest(cfg simtee.Config) *rig {
	r.t.Helper()
	machine, err := cfg.Create(filepath.Join(r.t.TempDir(), "fuses"))
	if err != nil {
		r.t.Fatal(err)
	}
	g := &rig{t: r.t, dir: r.t.TempDir(), machine: machine, rulers: r.rulers}
	g.write("charter", r.rulers.Charter.Canonical())
	return g
}

const freePort = "127.0.0.1:0"

// TestJoin: a second node joins by the command line, and starts again by the same.
func TestJoin(t *testing.T) {
	r := newRig(t)
	r.found()
	first, stopFirst := r.serve("--peer-listen", freePort, "--name", "first")
	g := r.guest(simtee.Config{})
	joining := []string{"--peer-listen", freePort, "--name", "second", "--join", first.peers}
	second, stopSecond := g.serve(joining...)
	one, two := get(t, first), get(t, second)
	if one.DomainID != two.DomainID || one.Node == two.Node || !two.Ready {
		t.Errorf("first %+v, second %+v", one, two)
	}
	for range 500 {
		if two = get(t, second); two.Voters == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if two.Voters != 2 {
		t.Errorf("%d nodes vote", two.Voters)
	}
	if got := stopSecond(); got != exitOK || !strings.Contains(g.log.String(), `"progress":"taking over the master secrets"`) {
		t.Errorf("status %d\n%s", got, &g.log)
	}
	joining[1] = second.peers // where the first one looks for it
	again, _ := g.serve(joining...)
	if s := get(t, again); s.Node != two.Node || s.Voters != 2 {
		t.Errorf("after a restart %+v, before %+v", s, two)
	}
	if got := stopFirst(); got != exitOK {
		t.Errorf("status %d\n%s", got, &r.log)
	}
}

// TestJoinRefused: both sides say why.
func TestJoinRefused(t *testing.T) {
	r := newRig(t)
	r.found()
	first, stop := r.serve("--peer-listen", freePort)
	g := r.guest(simtee.Config{Measurement: [32]byte{1}})
	g.must(exitFailed, "not a program that the policy names", g.node(true), g.args("serve", "--listen", freePort, "--peer-listen", freePort, "--join", first.peers)...)
	if names := sealed(t, g.path("node")); strings.Contains(strings.Join(names, " "), "root") {
		t.Errorf("files %q", names)
	}
	stop()
	if !strings.Contains(r.log.String(), "not a program that the policy names") {
		t.Errorf("the member does not say why:\n%s", &r.log)
	}
}

// TestWaiting: a node that finds nobody says so, and ends in order when it is told to.
func TestWaiting(t *testing.T) {
	r := newRig(t)
	joins := r.guest(simtee.Config{})
	served, stop := joins.start("--peer-listen", freePort, "--join", "127.0.0.1:1")
	time.Sleep(100 * time.Millisecond) // at any time will do
	if got := stop(); got != exitOK {
		t.Errorf("status %d\n%s", got, &joins.log)
	}
	if _, ok := <-served; ok || !strings.Contains(joins.log.String(), "before it served") {
		t.Errorf("it served, or does not say that it did not:\n%s", &joins.log)
	}
}

// TestWithoutSealingKey: a TDX machine founds nothing in two steps and starts from no folder, and
// says what to do instead.
func TestWithoutSealingKey(t *testing.T) {
	r := newRig(t)
	tdx := func() node {
		n := r.node(true)
		n.platform = r.machine.Guest(attest.TDX, time.Now)
		return n
	}
	r.must(exitFailed, "holdfastd found --stay", tdx(), r.args("found", "--out", r.path("founder"))...)
	if names := sealed(t, r.path("node")); len(names) > 0 {
		t.Errorf("it left %q", names)
	}
	r.found()
	before := sealed(t, r.path("node"))
	r.must(exitFailed, "with --join", tdx(), r.args("serve", "--listen", freePort)...)
	r.must(exitFailed, "name an empty folder", tdx(), r.args("serve", "--listen", freePort, "--peer-listen", freePort, "--join", "127.0.0.1:1")...)
	if after := sealed(t, r.path("node")); !slices.Equal(before, after) {
		t.Errorf("the folder of a node with a sealing key: %q before, %q after", before, after)
	}
	_, stop := r.serve() // which still starts
	stop()
}
