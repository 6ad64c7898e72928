//go:build unix

// Package linear_test has clients work through all nodes of a domain at once while
// its hosts do their worst: they kill and stop processes, cut, delay and hold back
// what nodes say to each other, and set, stop and slow their clocks. What clients
// were told is then checked for linearizability: there must be one order of all
// calls about a key, an alias or a credential, each taking effect between its
// beginning and its answer, in which every answer is right. So nobody ever uses a
// key that was disabled before he asked, nothing acknowledged is lost, and nothing
// is done twice.
//
// HOLDFAST_LINEAR=30m runs it for so long, with nodes whose host also has the clock
// in its hand by which raft measures silence. HOLDFAST_LINEAR_SEED repeats the choices
// of an earlier run, though not its timing.
package linear_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

const (
	envLong = "HOLDFAST_LINEAR"
	envSeed = "HOLDFAST_LINEAR_SEED"

	// shortRun is long enough for some ten faults.
	shortRun = 30 * time.Second
)

func TestMain(m *testing.M) {
	if text := os.Getenv(envNode); text != "" {
		os.Exit(nodeMain(text))
	}
	os.Exit(m.Run())
}

func self(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func newSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv(envSeed); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("choices: %s=%d", envSeed, seed)
	return seed
}

// TestLinearizable: whatever hosts do, the domain behaves as one node that nothing
// ever befalls.
func TestLinearizable(t *testing.T) {
	run, least, program := shortRun, 10, self(t)
	if s := os.Getenv(envLong); s != "" {
		var err error
		if run, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
		v := newVariant(t)
		v.hostTime()
		program = v.build()
	} else if testing.Short() {
		run, least = 10*time.Second, 3
	}
	seed := newSeed(t)
	d := newDomain(t, program)
	w, h := newCrew(t, d), newHost(t, d, seed)
	w.begin(seed)
	h.torment(time.Now().Add(run), least)
	h.relent()
	w.end()
	w.settle()
	for _, x := range w.history.violations(t) {
		t.Errorf("no order of its calls explains the answers: %s %s\n%s", x.kind, x.name, w.history.story(x))
	}
	t.Logf("seed %d, %d calls, %d of unknown outcome, %d changes of leader, %s\n%s",
		seed, w.history.total(), w.history.open, d.changes, h.summary(), w.history.summary())
}
