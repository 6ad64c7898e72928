package member_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

// TestEnforceEnds: when Enforce returns, a node that does not stand any more has
// no channel, whatever it was in the middle of; all others have theirs.
func TestEnforceEnds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world, bad *node)
	}{
		{"who is removed", func(w *world, bad *node) { delete(w.sockets, bad.id) }},
		{"who the policy refuses", func(w *world, bad *node) {
			w.policy.SGX.DenyPlatforms = append(w.policy.SGX.DenyPlatforms, w.claims[bad.id].Platform.PPID)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, good, bad := w.node("a"), w.node("good"), w.node("bad")
			kept, keptThere := a.dial(good)
			out, _ := a.dial(bad)
			in, inThere := func() (*member.Conn, *member.Conn) { here, there := bad.dial(a); return there, here }()
			// One has bytes that have arrived and were not read, and one is waited on.
			go inThere.Write([]byte("late words"))
			if _, err := io.ReadFull(in, make([]byte, 4)); err != nil {
				t.Fatal(err)
			}
			waits := make(chan error)
			go func() { _, err := out.Read(make([]byte, 1)); waits <- err }()

			w.claims = map[kms.NodeID]attest.Claims{bad.id: out.Claims()}
			a.Enforce() // nothing has changed
			if p, _ := a.peer(bad); p.Channels != 2 {
				t.Errorf("%d channels while nothing has changed", p.Channels)
			}
			w.change(func() { tt.change(w, bad) })
			a.Enforce()
			ended(t, in)
			ended(t, out)
			if err := <-waits; err == nil {
				t.Error("a read went on")
			}
			works(t, kept, keptThere)
			if p, known := a.peer(bad); known && p.Claims.TEE != "" {
				t.Errorf("it stands as %+v", p)
			}
			for _, dial := range []func() error{
				func() error { _, err := a.try(bad, member.Raft); return err },
				func() error { _, err := bad.try(a, member.Raft); return err },
			} {
				if err := dial(); !errors.Is(err, kms.Denied) {
					t.Errorf("dialling again: %v", err)
				}
			}
		})
	}
}

// TestEnforceDuringJudgement: evidence that was judged by a policy that is gone
// when the verdict comes admits nobody.
func TestEnforceDuringJudgement(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world, b *node)
	}{
		{"policy", func(w *world, _ *node) { w.policy = admitting([32]byte{1}) }},
		{"membership", func(w *world, b *node) { delete(w.sockets, b.id) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			b := w.node("b")
			var a *node
			a = w.node("a", func(n *node) {
				n.cfg.Judge = func(ctx context.Context, id kms.NodeID, ev attest.Evidence, rd [64]byte) (attest.Claims, error) {
					claims, err := n.judge(ctx, id, ev, rd)
					w.change(func() { tt.change(w, b) })
					a.Enforce()
					return claims, err
				}
			})
			if _, err := a.try(b, member.Raft); err == nil {
				t.Error("a channel")
			}
			a.reaches(b, 0)
			if p, _ := a.peer(b); p.Claims.TEE != "" {
				t.Errorf("it stands as %+v", p)
			}
		})
	}
}

// TestEvidenceAges: evidence stands as long as its claims do and as the policy
// says, whichever ends first; then it is shown again.
func TestEvidenceAges(t *testing.T) {
	for _, tt := range []struct {
		name string
		age  time.Duration
		life func(attest.Claims) time.Duration
	}{
		{"by the policy", time.Hour, func(attest.Claims) time.Duration { return time.Hour }},
		{"by its claims", 0, func(c attest.Claims) time.Duration { return c.ValidUntil.Sub(start) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.age = tt.age
			a, b := w.node("a"), w.node("b")
			here, there := a.dial(b)
			end := start.Add(tt.life(here.Claims()))
			if p, _ := a.peer(b); !p.Until.Equal(end) {
				t.Errorf("until %s, want %s", p.Until, end)
			}
			w.change(func() { w.now = end })
			a.Enforce()
			works(t, here, there)
			w.change(func() { w.now = end.Add(time.Second) })
			if tt.age == 0 { // the simulated vendor's next word is in force from then on
				w.change(func() { w.policy.SGX.Statuses = []attest.TCBStatus{attest.UpToDate} })
			}
			a.Enforce()
			ended(t, here)
			here, there = a.dial(b)
			works(t, here, there)
			if a.judged.Load() != 2 || b.proved.Load() != 2 {
				t.Errorf("judged %d times, proved %d times", a.judged.Load(), b.proved.Load())
			}
		})
	}
}

// TestRenew: evidence that was shown again in time leaves the channels alone.
func TestRenew(t *testing.T) {
	w := newWorld(t)
	w.age = time.Hour
	a, b := w.node("a"), w.node("b")
	here, there := a.dial(b)
	renew := func(after time.Duration, want int64) {
		t.Helper()
		w.change(func() { w.now = start.Add(after) })
		a.Renew(patient(t))
		if n := a.judged.Load(); n != want {
			t.Errorf("after %s: %d verifications, want %d", after, n, want)
		}
		a.Enforce()
		b.Enforce()
	}
	renew(40*time.Minute, 1)
	renew(50*time.Minute, 2)
	renew(80*time.Minute, 2)
	works(t, here, there)
	works(t, there, here)
	if p, _ := a.peer(b); !p.At.Equal(start.Add(50*time.Minute)) || !p.Until.Equal(start.Add(110*time.Minute)) {
		t.Errorf("from %s until %s", p.At, p.Until)
	}
	// What it shows then decides, not what it showed before.
	w.change(func() { w.policy = admitting([32]byte{1}) })
	renew(100*time.Minute, 3)
	ended(t, here)
}

// TestRenewalRefused: a node that does not pass again has no channels left; one
// that cannot be judged for the moment has them as long as its evidence stands.
func TestRenewalRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		ends bool
	}{
		{"refused", attest.Refuse(attest.Revoked, "certificate", ""), true},
		{"not judged", kms.Errorf(kms.Unavailable, "no collateral"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.age = time.Hour
			var verdict error
			b := w.node("b")
			a := w.node("a", func(n *node) {
				n.cfg.Judge = func(ctx context.Context, id kms.NodeID, ev attest.Evidence, rd [64]byte) (attest.Claims, error) {
					if verdict != nil {
						return attest.Claims{}, verdict
					}
					return n.judge(ctx, id, ev, rd)
				}
			})
			here, there := a.dial(b)
			verdict = tt.err
			w.change(func() { w.now = start.Add(50 * time.Minute) })
			a.Renew(patient(t))
			if tt.ends {
				ended(t, here)
			} else {
				works(t, here, there)
			}
		})
	}
}

// TestEnforceEndsCalls: a call under way ends, and the connection that was kept
// for the next one is gone.
func TestEnforceEndsCalls(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.node("a"), w.node("b"), w.node("c")
	begun, over := make(chan kms.NodeID, 2), make(chan error, 2)
	serve(b, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		peer, _ := member.PeerOf(r.Context())
		if r.URL.Path == "/short" {
			return
		}
		begun <- peer.Peer()
		<-r.Context().Done()
		over <- r.Context().Err()
	}))
	for _, n := range []*node{a, c} {
		if _, err := call(n, b, "/short"); err != nil {
			t.Fatal(err)
		}
	}
	failed := make(chan error)
	go func() { _, err := call(a, b, "/long"); failed <- err }()
	if from := <-begun; from != a.id {
		t.Errorf("called by %s", from)
	}
	w.change(func() { delete(w.sockets, a.id) })
	b.Enforce()
	if err := <-over; err == nil {
		t.Error("the call went on")
	}
	if err := <-failed; err == nil {
		t.Error("an answer")
	}
	if _, err := call(a, b, "/short"); err == nil {
		t.Error("another call of it was answered")
	}
	if _, err := call(c, b, "/short"); err != nil {
		t.Errorf("another node's call: %v", err)
	}
}

// TestEnforceDuringAdmission: a policy that comes while what was admitted before
// is judged for one more channel counts for that channel too.
func TestEnforceDuringAdmission(t *testing.T) {
	w := newWorld(t)
	var a *node
	var verdict error // of a alone: b goes on admitting it
	var during func()
	b := w.node("b")
	refuse := func() { verdict = attest.Refuse(attest.IdentityNotAdmitted, "measurement", "") }
	a = w.node("a", func(n *node) {
		judge := n.cfg.Judge
		n.cfg.Judge = func(ctx context.Context, id kms.NodeID, ev attest.Evidence, rd [64]byte) (attest.Claims, error) {
			claims, err := judge(ctx, id, ev, rd)
			return claims, errors.Join(err, verdict)
		}
		n.cfg.Admits = func(kms.NodeID, attest.Claims) error {
			before := verdict
			if f := during; f != nil {
				during = nil
				f()
			}
			return before
		}
	})
	here, _ := a.dial(b)
	during = func() {
		refuse()
		a.Enforce()
	}
	if _, err := a.try(b, member.Raft); err == nil {
		t.Error("a channel")
	}
	ended(t, here)
}

// TestReportData: evidence is bound to all that it is for.
func TestReportData(t *testing.T) {
	nonce := []byte("nonce")
	want := attest.ReportData(attest.ForNode, attest.Binding{Keys: [][]byte{[]byte("key"), []byte("boot")}, Domain: domain, Nonce: nonce})
	if got := member.ReportData([]byte("key"), []byte("boot"), domain, nonce); got != want {
		t.Errorf("%x, want %x", got, want)
	}
}
