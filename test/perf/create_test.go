package perf_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/host/heap"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// commandSize is the bytes of a log entry that creates an AES key.
const commandSize = 242

// create compares durable CreateKey on three nodes with what hashicorp/raft does
// with entries of the same size (see TestFloor of trusted/internal/replica): of
// three nodes in this process, through the door that the API uses, so with
// everything but HTTP; and of three processes over HTTPS. All take turns.
func (f *figures) create(t *testing.T) {
	floor := f.startFloor(t)
	defer floor.end()
	d := threeHere(t)
	three := f.newCluster(t, 3)
	defer three.end()
	payload := three.form(t, "CreateKey", createAES)
	ways := []*way{
		{name: "raft alone, three in one process", run: floor.run},
		{name: "three nodes in one process, at the leader", run: func(t *testing.T, w int, d2 time.Duration) result { return createIn(t, d, leaderOnly, w, d2) }},
		{name: "the same, callers at all nodes", run: func(t *testing.T, w int, d2 time.Duration) result { return createIn(t, d, everywhere, w, d2) }},
		{name: "three processes, HTTPS, at the leader", run: func(t *testing.T, w int, d2 time.Duration) result {
			lead := three.leader(t)
			return load(t, targets(payload, three.nodes[lead]), w, three.nodes, 200*time.Millisecond, d2)
		}},
		{name: "the same, connections to all nodes", run: func(t *testing.T, w int, d2 time.Duration) result {
			return load(t, targets(payload, three.nodes...), w, three.nodes, 200*time.Millisecond, d2)
		}},
	}
	for _, writers := range []int{1, 64} {
		for range 5 {
			for _, w := range ways {
				r := w.run(t, writers, 2*time.Second)
				w.sum.add(r)
			}
		}
		showCreate(writers, ways)
	}
}

// A way is one of making what is durable.
type way struct {
	name string
	run  func(t *testing.T, writers int, d time.Duration) result
	sum  result
}

// showCreate prints a table, and forgets.
func showCreate(writers int, ways []*way) {
	heading(fmt.Sprintf("CreateKey AES, %d at once", writers), "per second", "of raft alone", "CPU each, all nodes", "p50", "p99")
	for _, w := range ways {
		row(w.name, fmt.Sprintf("%.0f", w.sum.rate()), fmt.Sprintf("%.2f", w.sum.rate()/ways[0].sum.rate()),
			micros(w.sum.each()), millis(w.sum.quantile(0.5)), millis(w.sum.quantile(0.99)))
	}
	for _, w := range ways {
		w.sum = result{}
	}
}

func leaderOnly(d *trustedtest.Domain, _ int) *trustedtest.Node { return d.Leader() }
func everywhere(d *trustedtest.Domain, i int) *trustedtest.Node { return d.Nodes[i%len(d.Nodes)] }

// createIn has callers create keys at nodes of this process.
func createIn(t *testing.T, d *trustedtest.Domain, where func(*trustedtest.Domain, int) *trustedtest.Node, callers int, long time.Duration) result {
	t.Helper()
	app := d.Nodes[0].Enrol()
	var done atomic.Int64
	var all sync.WaitGroup
	took := make([][]time.Duration, callers)
	apps := make([]*trustedtest.App, callers)
	for i := range callers {
		apps[i] = app.On(where(d, i))
	}
	start, before := time.Now(), ownCPU()
	for i, a := range apps {
		all.Go(func() {
			for time.Since(start) < long {
				begin := time.Now()
				if err := createKey(t.Context(), a); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
				took[i] = append(took[i], time.Since(begin))
			}
		})
	}
	all.Wait()
	r := result{n: int(done.Load()), elapsed: time.Since(start), cpu: ownCPU() - before}
	for _, one := range took {
		r.took = append(r.took, one...)
	}
	return r
}

// ownCPU is the user and system time of this process.
func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // never fails so
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A floor is a process that runs raft alone.
type floor struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (f *figures) startFloor(t *testing.T) *floor {
	t.Helper()
	program := f.build(t, "test -c", "../../trusted/internal/replica")
	x := &floor{cmd: exec.Command(program, "-test.run", "^TestFloor$")}
	x.cmd.Env = append(x.cmd.Environ(), "HOLDFAST_FLOOR=1")
	in, err := x.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := x.cmd.StdoutPipe()
	if err == nil {
		err = x.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	x.in, x.out = in, bufio.NewReader(out)
	t.Cleanup(x.end)
	x.hear(t) // it leads
	return x
}

func (x *floor) run(t *testing.T, writers int, d time.Duration) result {
	t.Helper()
	if _, err := fmt.Fprintln(x.in, writers, commandSize, d.Milliseconds()); err != nil {
		t.Fatal(err)
	}
	return x.hear(t)
}

func (x *floor) hear(t *testing.T) result {
	t.Helper()
	line, err := x.out.ReadBytes('\n')
	var r struct {
		Applied      int
		Elapsed, CPU time.Duration
	}
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	if err != nil {
		t.Fatalf("raft alone: %v: %s", err, line)
	}
	return result{n: r.Applied, elapsed: r.Elapsed, cpu: r.CPU}
}

func (x *floor) end() {
	_ = x.in.Close() // which ends it
	_ = x.cmd.Wait()
}

// BenchmarkCreateKey3 is durable key creation at the leader of three nodes in
// this process, through the core. It is there to be profiled.
func BenchmarkCreateKey3(b *testing.B) {
	d := threeHere(b)
	app := d.Leader().Enrol()
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := createKey(b.Context(), app); err != nil {
				b.Error(err)
			}
		}
	})
}

// threeHere is a domain of three nodes in this process.
func threeHere(t testing.TB) *trustedtest.Domain {
	t.Cleanup(heap.Floor(3 * 64 << 20)) // as three processes have it, and raft alone
	d := trustedtest.NewDomain(t, 3)
	for _, n := range d.Nodes {
		n.Edit = func(c *server.Config) {
			c.SegmentSize, c.Logger = 0, slog.New(slog.DiscardHandler)
		}
		n.Restart()
	}
	d.AwaitVoters(3)
	return d
}

func createKey(ctx context.Context, app *trustedtest.App) error {
	c, err := app.Caller()
	if err == nil {
		_, err = c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	}
	return err
}
