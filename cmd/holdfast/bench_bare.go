package main

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/load"
	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/raw"
	"github.com/holdfast-kms/holdfast/kms"
)

// A round is the processor time of a request, in the node and in the bare
// server that was loaded next. Zero is not known.
type round struct {
	node, bare time.Duration
	raw        time.Duration // of the operation itself, in the bare server
}

// turns are the rounds of one op.
type turns struct {
	*bench
	what     string
	plan     load.Plan // against the node
	measured *measured
	bare     *load.Floor // nil until the node has shown how long its replies are
}

// round measures each once.
func (t *turns) round() error {
	node, err := t.run(t.what, t.plan, t.measured.server)
	if err != nil {
		return err
	}
	if t.bare == nil {
		if t.bare, err = t.startBare(node.ReplySize); err != nil {
			return err
		}
	}
	r, err := t.runBare()
	if err != nil {
		return err
	}
	r.node, _ = node.CPUPerRequest()
	t.measured.rounds = append(t.measured.rounds, r)
	if t.Floor {
		return t.runFloor(node.ReplySize)
	}
	return nil
}

func (t *turns) end() error {
	if t.bare == nil {
		return nil
	}
	return t.bare.Close()
}

func (t *turns) startBare(replySize int) (*load.Floor, error) {
	return t.startFloor(fmt.Sprintf("--reply-size=%d", replySize), fmt.Sprintf("--op=%s", t.measured.op),
		fmt.Sprintf("--spec=%s", t.measured.spec), fmt.Sprintf("--size=%d", t.Size))
}

// startFloor starts this program as a bare server.
func (b *bench) startFloor(args ...string) (*load.Floor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return load.StartFloor(b.session.ctx, self, append([]string{"bench-floor"}, args...)...)
}

// runBare runs the plan against the bare server.
func (t *turns) runBare() (round, error) {
	calls0, cpu0, err0 := t.bare.Total()
	res, err := t.run(t.what+" bare", against(t.plan, t.bare), new(load.Result))
	if err != nil {
		return round{}, err
	}
	calls, cpu, err := t.bare.Total()
	if err := errors.Join(err0, err, res.FirstError); err != nil || calls == calls0 {
		return round{}, fmt.Errorf("the bare operation in a bare server: %d times, %w", calls-calls0, err)
	}
	r := round{raw: (cpu - cpu0) / time.Duration(calls-calls0)}
	r.bare, _ = res.CPUPerRequest()
	return r, nil
}

// runFloor runs the plan against a server that only answers.
func (t *turns) runFloor(replySize int) error {
	floor, err := t.startFloor(fmt.Sprintf("--reply-size=%d", replySize))
	if err != nil {
		return err
	}
	defer floor.Close()
	if t.measured.floor == nil {
		t.measured.floor = new(load.Result)
	}
	_, err = t.run(t.what+" floor", against(t.plan, floor), t.measured.floor)
	return err
}

func against(plan load.Plan, f *load.Floor) load.Plan {
	plan.Addr, plan.TLS, plan.PID = f.Addr, f.TLS, f.PID
	return plan
}

// benchFloorCmd is the server that the node is compared with, in a process of
// its own.
type benchFloorCmd struct {
	ReplySize int     `help:"Bytes of each reply."`
	Op        benchOp `help:"What to do for each request. Without it nothing."`
	Spec      keySpec `help:"The spec of the key."`
	Size      int     `help:"Bytes to work on."`
}

// Run serves until standard input ends.
func (c *benchFloorCmd) Run(s *session) error {
	if c.Op == "" {
		return load.ServeFloor(s.stdin, s.stdout, c.ReplySize, nil)
	}
	work, err := c.work()
	if err != nil {
		return err
	}
	return load.ServeFloor(s.stdin, s.stdout, c.ReplySize, work)
}

// work is the bare operation, with as many at once as the node allows: what is
// slow leaves it a processor.
func (c *benchFloorCmd) work() (*raw.Meter, error) {
	spec := kms.Spec(c.Spec)
	ops, err := raw.Of(spec, c.Size)
	if err != nil {
		return nil, err
	}
	op := c.Op.raw(ops)
	if op == nil {
		return nil, misusef("", "no key of spec %s can %s", spec, c.Op)
	}
	places := 0
	if row, ok := spec.Capability(); ok && row.Slow && !slices.Contains([]benchOp{"encrypt", "verify"}, c.Op) {
		places = max(1, runtime.GOMAXPROCS(0)-1)
	}
	return raw.NewMeter(op, places)
}

// A spread is the median of some rounds, and where it lies with 95%, by the
// order of the rounds alone: a few rounds that something else disturbed do
// not move it. Low and high are equal where there are too few rounds to tell.
type spread struct {
	median, low, high time.Duration
}

// enoughRounds is from where on even the least and the greatest round hold the
// median with 95%: 1 − 2·2⁻⁶ is 97%.
const enoughRounds = 6

func spreadOf(all []time.Duration) spread {
	if len(all) == 0 {
		return spread{}
	}
	slices.SortFunc(all, cmp.Compare)
	n := len(all)
	median := (all[(n-1)/2] + all[n/2]) / 2
	if n < enoughRounds {
		return spread{median, median, median}
	}
	// The normal approximation of how many of n rounds are below the median.
	skip := max(0, int(float64(n)/2-0.98*math.Sqrt(float64(n))))
	return spread{median, all[skip], all[n-1-skip]}
}

// over is a time of each round beyond another; false if it is known of none.
func (m *measured) over(what, beyond func(round) time.Duration) (spread, bool) {
	var all []time.Duration
	for _, r := range m.rounds {
		if what(r) > 0 && beyond(r) > 0 {
			all = append(all, what(r)-beyond(r))
		}
	}
	return spreadOf(all), len(all) > 0
}

func nodeTime(r round) time.Duration { return r.node }
func bareTime(r round) time.Duration { return r.bare }
func rawTime(r round) time.Duration  { return r.raw }

// raw is the median of the bare operation; 0: not known.
func (m *measured) raw() time.Duration {
	var all []time.Duration
	for _, r := range m.rounds {
		all = append(all, r.raw)
	}
	return spreadOf(all).median
}
