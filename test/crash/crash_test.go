// Package crash_test kills real node processes under load, and starts them
// again.
package crash_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// kills is how often a node is killed. The run ends early after longest, which
// only a crowded machine needs.
func kills() int {
	if testing.Short() {
		return 8
	}
	return 50
}

// firstLogFile is there until the log is cut at its beginning.
const firstLogFile = "00000000000000000001-0000000000000000.wal"

const longest = 75 * time.Second

// envSeed repeats the choices of an earlier run, though not its timing.
const envSeed = "HOLDFAST_CRASH_SEED"

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

// A moment is when a node is killed. It returns once that moment has come.
type moment struct {
	name string
	wait func(*testing.T, home, *rand.Rand)
}

func moments() []moment {
	return []moment{
		{"at some time", func(_ *testing.T, _ home, rng *rand.Rand) {
			time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		}},
		{"at its first writes", func(_ *testing.T, _ home, rng *rand.Rand) {
			time.Sleep(time.Duration(rng.IntN(5000)) * time.Microsecond)
		}},
		{"at a snapshot", newFile(".hfs")},
		{"at the end of a log file", newFile(".wal")},
		{"at a change of meta", newFile(".new")},
	}
}

// newFile is the moment at which a file with such an ending has been made, or
// a little later.
func newFile(ending string) func(*testing.T, home, *rand.Rand) {
	return func(t *testing.T, h home, rng *rand.Rand) {
		before := h.files(t, ending)
		for began := time.Now(); time.Since(began) < 2*time.Second; time.Sleep(100 * time.Microsecond) {
			for name := range h.files(t, ending) {
				if !before[name] {
					time.Sleep(time.Duration(rng.IntN(2000)) * time.Microsecond)
					return
				}
			}
		}
	}
}

// A node that is killed at any moment loses nothing that it acknowledged, and
// has nothing that is half there.
func TestKill(t *testing.T) {
	began, rng := time.Now(), rand.New(rand.NewPCG(newSeed(t), 0))
	h := newHome(t)
	node := h.start(t)
	url := node.ready(t)
	tenants := []*tenant{enrol(t, h, url, 5, rng), enrol(t, h, url, 3, rng)}
	var acked int64
	checked, killed, slowest := 0, 0, time.Duration(0)
	for killed < kills() && time.Since(began) < longest {
		connect(t, h, url, tenants)
		s := work(tenants)
		m := moments()[killed%len(moments())]
		m.wait(t, h, rng)
		s.killed.Store(true)
		node.kill(t)
		s.end(t)
		acked += s.acked.Load()
		killed++
		killed += killStarts(t, h, rng)

		start := time.Now()
		node = h.start(t)
		url = node.ready(t)
		slowest = max(slowest, time.Since(start))
		connect(t, h, url, tenants)
		checked += settle(t, tenants)
		if t.Failed() {
			t.Fatalf("after kill %d, %s", killed, m.name)
		}
	}
	if killed < kills() {
		t.Logf("this machine is too busy: killed %d times instead of %d", killed, kills())
	}
	if h.files(t, ".wal")[firstLogFile] && killed >= 50 {
		t.Error("the log was never cut at its beginning: too little to be a test")
	}
	t.Logf("%d kills, %d calls acknowledged, %d keys checked, slowest start %v, %d log files, in %v",
		killed, acked, checked, slowest.Round(time.Millisecond), len(h.files(t, ".wal")), time.Since(began).Round(time.Second))
	stop(t, node, tenants)
	h.dev(t) // proves the folder once more
	node = h.start(t)
	connect(t, h, node.ready(t), tenants)
	settle(t, tenants)
	stop(t, node, tenants)
	h.noErrors(t)
}

func stop(t *testing.T, node *process, tenants []*tenant) {
	t.Helper()
	for _, x := range tenants {
		x.hangUp()
	}
	node.stop(t)
}

// killStarts kills the node while it starts, now and then, and returns how often.
func killStarts(t *testing.T, h home, rng *rand.Rand) (n int) {
	t.Helper()
	if rng.IntN(3) > 0 {
		return 0
	}
	for range 1 + rng.IntN(3) {
		node := h.start(t)
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		node.kill(t)
		n++
	}
	return n
}

// A second process on a folder is refused with words that help, and the first
// one goes on.
func TestTwoProcesses(t *testing.T) {
	h := newHome(t)
	first := h.start(t)
	url := first.ready(t)
	x := enrol(t, h, url, 1, rand.New(rand.NewPCG(1, 1)))
	connect(t, h, url, []*tenant{x})
	if err := x.workers[0].create(x.client); err != nil {
		t.Fatal(err)
	}

	out, err := exec.Command(program, smallFiles("dev-node", "--dir", string(h), "--listen", "127.0.0.1:0")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use by another process") || !strings.Contains(string(out), "stop the process") {
		t.Errorf("second node: %v\n%s", err, out)
	}
	out, err = exec.Command(program, smallFiles("dev", "--dir", string(h), "--exit")...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "in use by another process") || !strings.Contains(string(out), "stop the process") {
		t.Errorf("second dev: %v\n%s", err, out)
	}

	settle(t, []*tenant{x})
	if _, err := x.client.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM}); err != nil {
		t.Errorf("the first process: %v", err)
	}
	stop(t, first, []*tenant{x})
}
