package state_test

import (
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func reading(n byte, t int64) *command.Reading { return &command.Reading{Node: raw(n), Time: t} }

func ticked(readings ...*command.Reading) *command.Command {
	return &command.Command{Op: &command.Command_Tick{Tick: &command.Tick{Readings: readings}}}
}

// tick has these voters read one time, and moves the test's clock there too.
func (m *machine) tick(at int64, voters ...byte) {
	m.t.Helper()
	m.time = at
	var all []*command.Reading
	for _, n := range voters {
		all = append(all, reading(n, at))
	}
	m.must(m.do(nil, ticked(all...)))
}

func (m *machine) clock() time.Duration { return time.Duration(m.View().Time().UnixNano() - start) }

const far = start + 30*int64(24*time.Hour)

func TestTickRefused(t *testing.T) {
	now := start + int64(time.Second)
	for _, c := range []struct {
		name     string
		readings []*command.Reading
		want     kms.Kind
	}{
		{"none", nil, kms.Invalid},
		{"a minority", []*command.Reading{reading(1, now)}, kms.Invalid},
		{"one voter twice", []*command.Reading{reading(1, now), reading(1, now)}, kms.Invalid},
		{"one voter twice, with a majority", []*command.Reading{reading(1, now), reading(2, now), reading(1, now)}, kms.Invalid},
		{"a stranger", []*command.Reading{reading(1, now), reading(9, now)}, kms.Denied},
		{"a node that does not vote", []*command.Reading{reading(1, now), reading(2, now), reading(4, now)}, kms.Denied},
		{"too many", []*command.Reading{reading(1, now), reading(2, now), reading(3, now), reading(4, now)}, kms.Invalid},
		{"half an id", []*command.Reading{reading(1, now), {Node: raw(2)[:5], Time: now}}, kms.Invalid},
		{"no time", []*command.Reading{reading(1, now), reading(2, 0)}, kms.Invalid},
		{"a time before all", []*command.Reading{reading(1, now), reading(2, -now)}, kms.Invalid},
	} {
		m := newMachine(t)
		m.grow(2, 3)
		m.must(m.do(nil, m.put(4, nil)))
		m.time = far
		m.refused(c.name, m.do(nil, ticked(c.readings...)), c.want)
		if m.clock() != 0 {
			t.Errorf("%s: moved time by %s", c.name, m.clock())
		}
	}
	m := newMachine(t)
	m.grow(2, 3)
	m.refused("of an app", m.do(m.by(1), ticked(reading(1, far), reading(2, far))), kms.Invalid)
	if m.clock() != 0 {
		t.Errorf("an app moved time by %s", m.clock())
	}
	m.configure(1, 2, 3)
	m.must(m.do(nil, removeNode(1, 3, kms.NodeExpelled, m.removal(3, 1))))
	m.refused("a voter that was removed", m.do(nil, ticked(reading(1, now), reading(3, now))), kms.Denied)
}

func TestMedian(t *testing.T) {
	s := func(n int64) int64 { return start + n*int64(time.Second) }
	for _, c := range []struct {
		name     string
		voters   byte
		readings []int64 // of voters 1, 2, …
		want     time.Duration
	}{
		{"three", 3, []int64{s(3), s(1), s(2)}, 2 * time.Second},
		{"two of three", 3, []int64{s(3), s(1)}, time.Second},
		{"one 30 days ahead", 3, []int64{far, s(1), s(2)}, 2 * time.Second},
		{"one of two 30 days ahead", 3, []int64{far, s(1)}, time.Second},
		{"one frozen", 3, []int64{s(-1000), s(5), s(6)}, 5 * time.Second},
		{"all back", 3, []int64{s(-3), s(-2), s(-1)}, 0},
		{"four", 4, []int64{s(4), s(1), s(3), s(2)}, 2 * time.Second},
		{"two of five ahead", 5, []int64{far, far, s(1), s(2), s(3)}, 3 * time.Second},
		{"two of five frozen", 5, []int64{s(0), s(0), s(4), s(5), s(6)}, 4 * time.Second},
		{"two of five ahead, and no more than one other answers", 5, []int64{far, far, s(1)}, time.Second},
		{"two of five ahead, and one does not answer", 5, []int64{far, far, s(1), s(2)}, 2 * time.Second},
		{"three of seven ahead, and two do not answer", 7, []int64{far, far, far, s(1), s(2)}, 2 * time.Second},
		{"at the end of time", 3, []int64{1<<63 - 1, 1<<63 - 1, s(1)}, time.Duration(1<<63 - 1 - start)},
	} {
		m := newMachine(t)
		var others []byte
		for n := byte(2); n <= c.voters; n++ {
			others = append(others, n)
		}
		m.grow(others...)
		var all []*command.Reading
		for i, at := range c.readings {
			all = append(all, reading(byte(i+1), at))
		}
		m.must(m.do(nil, ticked(all...)))
		if m.clock() != c.want {
			t.Errorf("%s: %s, want %s", c.name, m.clock(), c.want)
		}
	}
}

// What a command says of the time counts below three voters, and not from there on.
func TestCommandsTime(t *testing.T) {
	m := newMachine(t)
	for _, step := range []struct {
		voters []byte
		moves  bool
	}{{[]byte{1}, true}, {[]byte{1, 2}, true}, {[]byte{1, 2, 3}, false}, {[]byte{1, 2, 3, 4}, false}, {[]byte{1, 2}, true}} {
		if len(step.voters) == 2 && m.View().Role(node(3)) == kms.RoleWaiting {
			m.grow(2, 3, 4)
		}
		m.configure(step.voters...)
		before := m.clock()
		m.time = start + int64(before) + int64(time.Hour)
		repeated := pass()
		repeated.Id = id(77) // the first time it is done, then repeated
		m.do(nil, repeated)
		m.must(m.do(m.by(1), putKey(1, uint64(100+m.index))))
		if got := m.clock() > before; got != step.moves || m.View().QuorumTime() == step.moves {
			t.Errorf("%d voters: time moved %v", len(step.voters), got)
		}
	}
}

// A deletion comes due, and a policy into force, by a tick alone.
func TestTickBringsWhatIsDue(t *testing.T) {
	m := newMachine(t)
	m.grow(2, 3)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	m.must(m.do(m.by(1), schedule(100, k.Revision, start+10*day)))
	m.time = far
	m.must(m.do(m.by(1), putKey(1, 101)))
	m.must(m.do(nil, ticked(reading(1, far), reading(2, start+1), reading(3, start+2))))
	if _, there := m.View().Key(k.ID); !there {
		t.Fatal("a clock 30 days ahead destroyed a key")
	}
	from := m.index + 1
	m.must(m.do(nil, ticked(reading(1, start), reading(2, far), reading(3, far))))
	if _, there := m.View().Key(k.ID); there {
		t.Error("a clock that stands still kept a key")
	}
	if got := m.told(from, 1); got != "time_jumped 2591999, key_deleted key 100" {
		t.Errorf("told %s", got)
	}
	m.tick(far+int64(time.Minute), 1, 2, 3)
	if got := m.told(m.index, 0); got != "" {
		t.Errorf("a minute is told as %s", got)
	}
}

// A tick that comes again moves nothing, even where voters changed meanwhile.
func TestTickTwice(t *testing.T) {
	m := newMachine(t)
	m.grow(2, 3)
	c := ticked(reading(1, start+5), reading(2, start+5))
	c.Id = id(9)
	m.must(m.do(nil, c))
	c = ticked(reading(1, far), reading(2, far))
	c.Id = id(9)
	m.must(m.do(nil, c))
	if m.clock() != 5 {
		t.Errorf("moved to %s", m.clock())
	}
	refused := ticked(reading(1, far))
	refused.Id = id(10)
	for range 2 {
		m.refused("a minority", m.do(nil, refused), kms.Invalid)
	}
}

// A command that was on its way for longer than results are remembered is refused:
// nobody can tell whether it was done.
func TestBase(t *testing.T) {
	const kept = 1 << 14 // results
	m := newMachine(t)
	based := func(base, key uint64) state.Result {
		c := putKey(1, key)
		c.Base = base
		return m.do(m.by(1), c)
	}
	m.refused("of an entry to come", based(m.index+1, 100), kms.Invalid)
	m.refused("of the future", based(1<<63, 100), kms.Invalid)
	m.must(based(m.index, 100))
	old := m.index
	first := putKey(1, 200)
	first.Id, first.Base = id(4242), old
	m.must(m.do(m.by(1), first))
	m.index = old + kept/2 - 1
	m.must(based(old, 101))
	m.refused("too long on its way", based(old, 102), kms.Unavailable)
	if r := m.do(m.by(1), first); r.Err != nil || r.Index != old+1 { // it is remembered
		t.Errorf("sent again: %+v", r)
	}
}
