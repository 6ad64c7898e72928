package state_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func TestCalendar(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	plain := state.Calendar{Length: time.Hour}
	later := state.Calendar{Epoch: 100, From: at(1000).UnixNano(), Length: 10 * time.Second}
	for _, c := range []struct {
		name     string
		calendar state.Calendar
		at       time.Time
		epoch    uint64
		ends     time.Time
	}{
		{"the first", plain, at(0), 0, at(3600)},
		{"just before its end", plain, at(3600).Add(-1), 0, at(3600)},
		{"its end is the next one's beginning", plain, at(3600), 1, at(7200)},
		{"today", plain, at(1_700_000_000), 472222, at(472223 * 3600)},
		{"before the calendar", later, at(900), 100, at(1010)},
		{"its beginning", later, at(1000), 100, at(1010)},
		{"in it", later, at(1025), 102, at(1030)},
		{"no calendar", state.Calendar{}, at(5), 0, at(0)},
	} {
		if got := c.calendar.At(c.at); got != c.epoch {
			t.Errorf("%s: epoch %d, want %d", c.name, got, c.epoch)
		}
		if got := c.calendar.Ends(c.epoch); !got.Equal(c.ends) {
			t.Errorf("%s: ends %s, want %s", c.name, got, c.ends.UTC())
		}
	}
	if got := later.Ends(7); !got.Equal(at(1000)) {
		t.Errorf("an epoch from before the calendar ends %s", got)
	}
}

func putEphemeral(epoch uint64, sum byte) *command.Command {
	return &command.Command{Op: &command.Command_PutEphemeral{PutEphemeral: &command.PutEphemeral{
		Epoch: epoch, Checksum: bytes.Repeat([]byte{sum}, 32)}}}
}

const startEpoch = uint64(start / int64(time.Hour))

func TestPutEphemeral(t *testing.T) {
	m := newMachine(t)
	if got := m.View().Calendar().At(m.View().Time()); got != startEpoch {
		t.Fatalf("epoch %d, want %d", got, startEpoch)
	}
	refused := func(what string, p *command.Principal, c *command.Command, kind error) {
		t.Helper()
		before := m.View().Calendar()
		if r := m.do(p, c); r.Err == nil || !errors.Is(r.Err, kind) {
			t.Errorf("%s: %v, want %v", what, r.Err, kind)
		}
		if m.View().Calendar() != before {
			t.Errorf("%s: the calendar changed", what)
		}
	}
	short := putEphemeral(startEpoch, 1)
	short.GetPutEphemeral().Checksum = short.GetPutEphemeral().Checksum[1:]
	refused("an app", m.by(1), putEphemeral(startEpoch, 1), kms.Invalid)
	refused("a checksum that is too short", nil, short, kms.Invalid)
	refused("the last epoch", nil, putEphemeral(startEpoch-1, 1), kms.Stale)
	refused("the one after the next", nil, putEphemeral(startEpoch+2, 1), kms.Stale)
	refused("the last one that there can be", nil, putEphemeral(1<<64-1, 1), kms.Stale)
	m.must(m.do(nil, putEphemeral(startEpoch+1, 2)))
	m.must(m.do(nil, putEphemeral(startEpoch, 1)))
	refused("a second one", nil, putEphemeral(startEpoch, 3), kms.Exists)
	refused("a second one with the same checksum", nil, putEphemeral(startEpoch, 1), kms.Exists)
	for epoch, sum := range map[uint64]byte{startEpoch: 1, startEpoch + 1: 2} {
		e, there := m.View().Ephemeral(epoch)
		if !there || e.Checksum != [32]byte(bytes.Repeat([]byte{sum}, 32)) || e.Ends.UnixNano() != int64(epoch+1)*int64(time.Hour) {
			t.Errorf("epoch %d: %+v, %v", epoch, e, there)
		}
		if until := m.View().Until(e); until != e.Ends.Add(time.Hour) { // by governtest's policy
			t.Errorf("epoch %d is kept until %s", epoch, until)
		}
	}
	if _, there := m.View().Ephemeral(startEpoch + 2); there {
		t.Error("there is one that nobody put")
	}
}

// What was published is forgotten when its age has passed, and never sooner.
func TestEphemeralsAreForgotten(t *testing.T) {
	m := newMachine(t)
	for i := range uint64(10) {
		m.time = int64(startEpoch+i)*int64(time.Hour) + 1
		m.must(m.do(nil, putEphemeral(startEpoch+i, 1)))
		for j := range i + 1 {
			_, there := m.View().Ephemeral(startEpoch + j)
			if want := j+1 >= i; there != want { // an hour after its end
				t.Errorf("in epoch %d that of epoch %d: %v", i, j, there)
			}
		}
	}
}

// TestEphemeralAgeIsThePolicys: the policy in force decides, also on what was
// published before.
func TestEphemeralAgeIsThePolicys(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(nil, putEphemeral(startEpoch, 1)))
	e, _ := m.View().Ephemeral(startEpoch)
	for _, age := range []time.Duration{time.Second, 30 * 24 * time.Hour} {
		m.must(m.do(nil, &command.Command{Op: &command.Command_SetPolicy{SetPolicy: &command.SetPolicy{
			Envelope: m.rulers.Next(func(p *govern.Policy) { p.EphemeralAge = attest.Age(age) })}}}))
		if until := m.View().Until(e); until != e.Ends.Add(age) {
			t.Errorf("age %s: until %s", age, until)
		}
	}
}

// A snapshot holds them, and what was written is what is read.
func TestEphemeralsInSnapshots(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(nil, putEphemeral(startEpoch, 1)))
	m.must(m.do(nil, putEphemeral(startEpoch+1, 2)))
	var b bytes.Buffer
	if err := m.Snapshot().Write(&b); err != nil {
		t.Fatal(err)
	}
	again := state.New()
	if err := again.Restore(bytes.NewReader(b.Bytes())); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.View().Calendar(), again.View().Calendar()); diff != "" {
		t.Error(diff)
	}
	for e := startEpoch; e < startEpoch+2; e++ {
		want, _ := m.View().Ephemeral(e)
		if got, there := again.View().Ephemeral(e); !there || got != want {
			t.Errorf("epoch %d: %+v, want %+v", e, got, want)
		}
	}
	var c bytes.Buffer
	if err := again.Snapshot().Write(&c); err != nil || !bytes.Equal(b.Bytes(), c.Bytes()) {
		t.Errorf("written again it is another one: %v", err)
	}
}

// TestEpochsOfAnotherLength: an amendment that changes how long epochs are ends the
// present one; numbers go on, and what was published keeps its place.
func TestEpochsOfAnotherLength(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(nil, putEphemeral(startEpoch, 1)))
	m.must(m.do(nil, putEphemeral(startEpoch+1, 2)))
	change := func(length time.Duration) {
		t.Helper()
		r := m.rulers
		m.must(m.do(nil, setAmendment(m.amendment(func(a *govern.Amendment) { a.Intervals.Epoch = attest.Age(length) },
			r.Owner, r.Signers[0], r.Signers[1]))))
	}
	at := m.time
	change(10 * time.Minute)
	want := state.Calendar{Epoch: startEpoch + 1, From: at, Length: 10 * time.Minute}
	if diff := cmp.Diff(want, m.View().Calendar()); diff != "" {
		t.Fatal(diff)
	}
	for epoch, ends := range map[uint64]int64{startEpoch: at, startEpoch + 1: at + int64(10*time.Minute)} {
		if e, there := m.View().Ephemeral(epoch); !there || e.Ends.UnixNano() != ends {
			t.Errorf("epoch %d ends %s", epoch, e.Ends)
		}
	}
	m.time += int64(25 * time.Minute)
	change(2 * time.Hour) // longer: the number must not fall
	want = state.Calendar{Epoch: startEpoch + 4, From: m.time, Length: 2 * time.Hour}
	if diff := cmp.Diff(want, m.View().Calendar()); diff != "" {
		t.Error(diff)
	}
	if e, _ := m.View().Ephemeral(startEpoch + 1); e.Ends.UnixNano() != at+int64(10*time.Minute) {
		t.Errorf("an epoch that was over ends %s now", e.Ends)
	}
}

// TestLongestEpoch: secrets of epochs as long as a charter allows live as long
// as the policy lets them.
func TestLongestEpoch(t *testing.T) {
	m := newMachine(t)
	r := m.rulers
	m.must(m.do(nil, setAmendment(m.amendment(func(a *govern.Amendment) { a.Intervals.Epoch = attest.Age(30 * 24 * time.Hour) },
		r.Owner, r.Signers[0], r.Signers[1]))))
	epoch := m.View().Calendar().At(m.View().Time())
	m.must(m.do(nil, putEphemeral(epoch, 1)))
	e, there := m.View().Ephemeral(epoch)
	if !there {
		t.Fatal("not published")
	}
	if got, want := m.View().Until(e), e.Ends.Add(time.Duration(m.View().Policy().EphemeralAge)); !got.Equal(want) {
		t.Errorf("good until %s, want %s", got, want)
	}
}
