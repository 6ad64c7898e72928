package replay_test

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/trusted/internal/replay"
)

var now = time.Unix(1_700_000_000, 0)

func mark(n int) (m replay.Mark) {
	binary.BigEndian.PutUint64(m[:], uint64(n))
	return m
}

func TestVerdicts(t *testing.T) {
	table := replay.NewTable(100, now.Add(-5*time.Minute).Unix())
	for _, c := range []struct {
		name string
		mark int
		at   time.Duration
		want replay.Verdict
	}{
		{"first", 1, 0, replay.Fresh},
		{"again", 1, 0, replay.Seen},
		{"another in the same second", 2, 0, replay.Fresh},
		{"same mark at another time", 1, time.Second, replay.Fresh}, // the time is signed too: not the same request
		{"before the floor", 3, -5*time.Minute - time.Second, replay.TooOld},
		{"just inside the past", 4, -5 * time.Minute, replay.Fresh},
		{"9:50 ahead", 5, 9*time.Minute + 50*time.Second, replay.Fresh},
		{"10:00 ahead", 6, 10 * time.Minute, replay.Outside},
		{"10:10 ago", 7, -10*time.Minute - 10*time.Second, replay.Outside},
	} {
		if got := table.Add(mark(c.mark), now.Add(c.at), now); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

// When the table is full the oldest second goes, and what is that old is
// refused from then on: it is never accepted a second time.
func TestFullTableShrinksTheAgeNotTheProtection(t *testing.T) {
	const limit = 60
	table := replay.NewTable(limit, 0)
	for i := range 50 {
		at := now.Add(time.Duration(i) * time.Second)
		for j := range 10 {
			if v := table.Add(mark(i*10+j), at, at); v != replay.Fresh {
				t.Fatalf("second %d: %d", i, v)
			}
		}
		if table.Len() > limit {
			t.Fatalf("%d remembered, limit %d", table.Len(), limit)
		}
	}
	end := now.Add(49 * time.Second)
	for i := range 500 {
		if v := table.Judge(mark(i), now.Add(time.Duration(i/10)*time.Second), end); v != replay.Seen && v != replay.TooOld {
			t.Fatalf("request %d would be accepted again: %d", i, v)
		}
	}
	if age := table.Age(end); age > 10*time.Second {
		t.Errorf("accepted age is %v although only %d fit", age, limit)
	}
}

// A tenant that dates its requests ahead must not push out the present.
func TestFutureCannotPushOutThePresent(t *testing.T) {
	table := replay.NewTable(1000, 0)
	if v := table.Add(mark(1), now, now); v != replay.Fresh {
		t.Fatal(v)
	}
	crowded := 0
	for i := range 5000 {
		if table.Add(mark(10+i), now.Add(9*time.Minute), now) == replay.Crowded {
			crowded++
		}
	}
	if crowded == 0 {
		t.Error("nothing was refused")
	}
	if v := table.Judge(mark(1), now, now); v != replay.Seen {
		t.Errorf("the present was forgotten: %d", v)
	}
	if v := table.Add(mark(2), now, now); v != replay.Fresh {
		t.Errorf("the present is refused: %d", v)
	}
}

// More requests in one second than fit are refused, and the second goes on to
// be remembered: nothing of it can be repeated.
func TestOneSecondOverTheLimit(t *testing.T) {
	table := replay.NewTable(100, 0)
	fresh := 0
	for i := range 300 {
		switch v := table.Add(mark(i), now, now); v {
		case replay.Fresh:
			fresh++
		case replay.Crowded:
		default:
			t.Fatalf("request %d: %d", i, v)
		}
	}
	if fresh != 100 {
		t.Errorf("%d accepted, want 100", fresh)
	}
	for i := range 100 {
		if v := table.Judge(mark(i), now, now); v != replay.Seen {
			t.Fatalf("request %d: %d, want Seen", i, v)
		}
	}
	later := now.Add(time.Second)
	if v := table.Add(mark(1000), later, later); v != replay.Fresh {
		t.Errorf("the next second: %d", v)
	}
}

// The floor never goes back: a request older than all that a full table holds
// would take it there, and let in again what was dropped on its account.
func TestFloorNeverGoesBack(t *testing.T) {
	const limit = 10
	table := replay.NewTable(limit, 0)
	for i := range limit {
		table.Add(mark(i), now.Add(time.Duration(i)*time.Second), now.Add(limit*time.Second))
	}
	later := now.Add(2 * limit * time.Second)
	for i := range 3 * limit {
		before := table.Floor()
		old := now.Add(-time.Duration(i+1) * time.Second)
		table.Add(mark(100+i), old, later)
		table.Add(mark(200+i), later, later)
		if table.Floor() < before {
			t.Fatalf("round %d: the floor went back by %d s", i, before-table.Floor())
		}
		for j := range limit {
			if v := table.Judge(mark(j), now.Add(time.Duration(j)*time.Second), later); v == replay.Fresh {
				t.Fatalf("round %d: request %d would be accepted again", i, j)
			}
		}
	}
}

func TestOldRequestsAreForgotten(t *testing.T) {
	table := replay.NewTable(1000, 0)
	table.Add(mark(1), now, now)
	later := now.Add(replay.Window + time.Second)
	table.Add(mark(2), later, later)
	if table.Len() != 1 {
		t.Errorf("%d remembered, want 1", table.Len())
	}
	if v := table.Judge(mark(1), now, later); v != replay.Outside {
		t.Errorf("got %d, want Outside", v)
	}
	// A jump far ahead must not walk every second.
	far := now.Add(20 * 365 * 24 * time.Hour)
	table.Add(mark(3), far, far)
	if table.Len() != 1 {
		t.Errorf("%d remembered after a jump, want 1", table.Len())
	}
}

func TestBucketsRoundTrip(t *testing.T) {
	a := replay.NewTable(100, 0)
	for i := range 30 {
		a.Add(mark(i*7919%31), now.Add(time.Duration(i%3)*time.Second), now)
	}
	b := replay.NewTable(100, a.Floor())
	for _, bucket := range a.Buckets() {
		b.Load(bucket)
	}
	if diff := cmp.Diff(a.Buckets(), b.Buckets()); diff != "" {
		t.Error(diff)
	}
	if a.Len() != b.Len() {
		t.Errorf("%d and %d", a.Len(), b.Len())
	}
}

func BenchmarkAdd(b *testing.B) {
	table := replay.NewTable(1<<18, 0)
	b.ReportAllocs()
	for i := range b.N {
		at := now.Add(time.Duration(i/20000) * time.Second)
		table.Add(mark(i), at, at)
	}
}
