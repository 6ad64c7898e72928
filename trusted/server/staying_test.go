package server_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

const beingFounded = "the domain is being founded"

// refusesApps asks a node for all that an app can have of it.
func refusesApps(t *testing.T, n *trustedtest.Node, votes string) {
	t.Helper()
	core := n.Core()
	for what, do := range map[string]func() error{
		"enrol":             func() error { _, err := core.Enrol(ctx); return err },
		"enrol by a ticket": func() error { _, err := core.EnrolByTicket(ctx, "x"); return err },
		"enrol by evidence": func() error { _, err := core.EnrolAttested(ctx, kms.AttestedEnrolment{}); return err },
		"a signed request":  func() error { _, err := core.Authenticate(ctx, kms.Credential{}); return err },
		"a runtime's key":   func() error { _, err := core.RuntimePublicKey(ctx, kms.RuntimeKeyRequest{}); return err },
		"a session":         func() error { _, err := core.OpenSession(ctx, kms.OpenSessionRequest{}); return err },
	} {
		err := do()
		if !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), votes) || !strings.Contains(kms.HintOf(err), "--join") {
			t.Errorf("%s: %v, hint %q", what, err, kms.HintOf(err))
		}
	}
	if st := n.Server().Status(); st.Ready || !strings.Contains(st.Reason, votes) {
		t.Errorf("status: ready %t, %s", st.Ready, st.Reason)
	}
	if r := n.Server().Readiness(); r.Ready || !strings.Contains(strings.Join(r.Reasons, " "), votes) {
		t.Errorf("readiness: %+v", r)
	}
}

// TestFoundWithoutSealingKey: TDX machines alone found a domain, which serves no app
// before three of them vote, and serves for good from then on, also with two.
func TestFoundWithoutSealingKey(t *testing.T) {
	t.Parallel()
	d := trustedtest.Forgetful(t, 3, governtest.New(t))
	first, second, third := d.Nodes[0], d.Nodes[1], d.Nodes[2]
	if err := first.FoundStaying(nil); err != nil {
		t.Fatal(err)
	}
	one := beingFounded + ": 1 of 3 nodes vote"
	refusesApps(t, first, one)
	mustJoin(t, second)
	refusesApps(t, second, one)
	waits(t, first, second)
	_ = second.Stop() // which is no loss yet
	second.MustStart()
	refusesApps(t, first, one)
	mustJoin(t, third)
	d.AwaitVoters(3)
	app := first.Enrol()
	key := aesKey(t, app.On(third))
	used(t, app, key, d.Nodes[0], d.Nodes[len(d.Nodes)-1])
	for _, n := range d.Nodes {
		if st := n.Server().Status(); !st.Ready || st.RestartMode != "rejoin" {
			t.Errorf("ready %t (%s), mode %s", st.Ready, st.Reason, st.RestartMode)
		}
	}
	restartsAnew(t, d, first, second) // the founder too
	restartsAnew(t, d, third, first)
	used(t, app, key, d.Nodes[0], d.Nodes[len(d.Nodes)-1])

	o := orderer{t, first, d}
	o.expel(second.Server().Status().Node)
	_ = second.Stop()
	d.Nodes = []*trustedtest.Node{first, third}
	d.AwaitVoters(2)
	used(t, app, key, d.Nodes[0], d.Nodes[len(d.Nodes)-1])
	if !strings.Contains(d.Log.String(), "the domain is complete, and serves") {
		t.Error("the log does not say that the domain is complete")
	}
}

// waits sees that a second node, which has all that it needs, does not vote before
// there is a third.
func waits(t *testing.T, first, second *trustedtest.Node) {
	t.Helper()
	id := second.Server().Status().Node
	eventually(t, func() (bool, error) {
		if record(t, first, id).Generations == 0 {
			return false, errors.New("it has not said that it holds the master secrets")
		}
		return true, nil
	})
	for range 40 { // the founder looks after its part five times a second
		if st := first.Server().Status(); st.Voters != 1 || record(t, first, id).Role != kms.RoleLearner {
			t.Fatalf("%d vote, the second is a %s", st.Voters, record(t, first, id).Role)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestFounderEnds: when a founder ends before three vote, nothing that it left is
// taken for a domain; what was signed for it founds nothing; and it founds again.
func TestFounderEnds(t *testing.T) {
	t.Parallel()
	d := trustedtest.Forgetful(t, 3, governtest.New(t))
	first := d.Nodes[0]
	var signed *server.SignedFounding
	gaveUp := errors.New("Ctrl-C")
	err := first.FoundStaying(func(_ context.Context, f *server.Founder, _ error) (*server.SignedFounding, error) {
		signed = d.Sign(first, f)
		return nil, gaveUp
	})
	if !errors.Is(err, gaveUp) {
		t.Fatal(err)
	}
	if left := leftIn(t, first.Dir); !slices.Equal(left, []string{"ephemeral"}) {
		t.Errorf("it left %q", left)
	}
	if err := first.FoundStaying(nil); err != nil {
		t.Fatal(err)
	}
	was := first.Server().Status()
	old := readFolder(t, first.Dir)
	mustJoin(t, d.Nodes[1])
	_ = first.Stop()
	_ = d.Nodes[1].Stop()
	old.write(t, first.Dir)
	if err := first.StartWithin(2 * time.Second); !errors.Is(err, kms.Unavailable) {
		t.Errorf("started as what it was: %v", err)
	}
	old.write(t, first.Dir)
	tries := 0
	err = first.FoundStaying(func(_ context.Context, f *server.Founder, refused error) (*server.SignedFounding, error) {
		if tries++; tries == 1 {
			return signed, nil
		}
		if !errors.Is(refused, kms.Denied) || !strings.Contains(refused.Error(), "another node as the founder") {
			t.Errorf("documents of before: %v", refused)
		}
		return d.Sign(first, f), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	now := first.Server().Status()
	if now.Node == was.Node || now.DomainID == was.DomainID {
		t.Error("it is what it was")
	}
	for _, n := range d.Nodes[1:] {
		mustJoin(t, n)
	}
	d.AwaitVoters(3)
	app := d.Nodes[2].Enrol()
	used(t, app, aesKey(t, app), d.Nodes[0], d.Nodes[1])
}

// TestFoundStayingRefuses: while it waits a founder takes nothing but what was signed
// for it, and goes on waiting.
func TestFoundStayingRefuses(t *testing.T) {
	t.Parallel()
	d := trustedtest.Forgetful(t, 1, governtest.New(t))
	n, stranger := d.Nodes[0], governtest.New(t)
	var all []func(*server.Founder) *server.SignedFounding
	var said []string
	put := func(says string, make func(f *server.Founder) *server.SignedFounding) {
		all, said = append(all, make), append(said, says)
	}
	edit := func(says string, change func(*server.SignedFounding)) {
		put(says, func(f *server.Founder) *server.SignedFounding { s := d.Sign(n, f); change(s); return s })
	}
	edit("", func(s *server.SignedFounding) { s.Bootstrap = nil })
	edit("", func(s *server.SignedFounding) { s.Bootstrap = s.Bootstrap[:len(s.Bootstrap)/2] }) // half written
	edit("", func(s *server.SignedFounding) { s.Policy = s.Policy[:len(s.Policy)-1] })
	edit("", func(s *server.SignedFounding) { s.Policy, s.Bootstrap = s.Bootstrap, s.Policy })
	edit("another policy", func(s *server.SignedFounding) {
		p := *d.Rulers.Founding.Policy
		p.ValidUntil = p.ValidUntil.Add(time.Hour)
		s.Policy = d.Rulers.Sign(govern.PolicyType, p.Canonical(), d.Rulers.Signers[:2]...)
	})
	put("another charter", func(f *server.Founder) *server.SignedFounding {
		p := d.PolicyFor(n, f)
		p.CharterDigest = stranger.Charter.Digest()
		b, policy := stranger.Found(f.Node, p)
		return &server.SignedFounding{Bootstrap: b, Policy: policy}
	})
	put("another node as the founder", func(f *server.Founder) *server.SignedFounding {
		b, p := d.Rulers.Found(kms.NodeID{1}, d.PolicyFor(n, f))
		return &server.SignedFounding{Bootstrap: b, Policy: p}
	})
	put("does not admit this node", func(f *server.Founder) *server.SignedFounding {
		p := d.PolicyFor(n, f)
		p.Attestation = govern.Requirements{}
		b, policy := d.Rulers.Found(f.Node, p)
		return &server.SignedFounding{Bootstrap: b, Policy: policy}
	})
	at := 0
	err := n.FoundStaying(func(_ context.Context, f *server.Founder, refused error) (*server.SignedFounding, error) {
		if at > 0 && (refused == nil || !strings.Contains(refused.Error(), said[at-1])) {
			t.Errorf("%d: %v, want %q", at-1, refused, said[at-1])
		}
		if left := leftIn(t, n.Dir); !slices.Equal(left, []string{"ephemeral"}) {
			t.Errorf("%d: it left %q", at, left)
		}
		if _, err := disk.Open(n.Dir); !errors.Is(err, disk.ErrInUse) {
			t.Errorf("%d: another process has the folder: %v", at, err)
		}
		if at++; at <= len(all) {
			return all[at-1](f), nil
		}
		return d.Sign(n, f), nil
	})
	if err != nil || at != len(all)+1 {
		t.Fatalf("%v after %d", err, at)
	}
	refusesApps(t, n, beingFounded)
}

// TestRestartModeOfFounding: who could not come back founds nothing that it would
// have to come back to, and one with a sealing key found no domain of mode rejoin.
func TestRestartModeOfFounding(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		tee  attest.TEE
		mode govern.RestartMode
		edit func(*server.Config)
		says string
	}{
		"no sealing key, mode sealed":      {attest.TDX, govern.Sealed, nil, "resumes from its files"},
		"no sealing key, no others":        {attest.TDX, govern.Rejoin, func(c *server.Config) { _ = c.Peers.Listener.Close(); c.Peers = nil }, "three nodes vote"},
		"a sealing key, mode rejoin":       {attest.SGX, govern.Rejoin, nil, "nobody could bring it up to date"},
		"a sealing key of SNP, and rejoin": {attest.SNP, govern.Rejoin, nil, "nobody could bring it up to date"},
		"a sealing key, mode sealed":       {attest.SGX, govern.Sealed, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := trustedtest.Forgetful(t, 1, governtest.New(t))
			d.Rulers.Charter.RestartMode = tt.mode
			d.Charter = d.Rulers.Charter.Canonical()
			n := d.Nodes[0]
			n.Kind, n.Edit = tt.tee, tt.edit
			err := n.FoundStaying(nil)
			if tt.says != "" {
				if !errors.Is(err, kms.Invalid) || !strings.Contains(err.Error(), tt.says) || kms.HintOf(err) == "" {
					t.Errorf("%v, hint %q", err, kms.HintOf(err))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			app := n.Enrol() // it serves at once, alone
			key := aesKey(t, app)
			n.Restart()
			used(t, app, key, n, n)
		})
	}
}

// TestFoundStayingOverANode: on a machine with a sealing key a domain is not founded over
// one that is there, and a key that was prepared is the same in the process that stays.
func TestFoundStayingOverANode(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	_ = n.Stop()
	before := readFolder(t, n.Dir)
	if err := n.FoundStaying(nil); !errors.Is(err, kms.Exists) {
		t.Errorf("over a node: %v", err)
	}
	for name, b := range before {
		if now, err := os.ReadFile(filepath.Join(n.Dir, name)); err != nil || !bytes.Equal(now, b) {
			t.Errorf("%s was changed: %v", name, err)
		}
	}
	n.MustStart()
}

// leftIn are the files that a later start finds in a node's folder.
func leftIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if !e.IsDir() && !strings.Contains(e.Name(), "lock") {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestRestoreWithoutSealingKey: a domain of TDX machines that all stopped is restored on
// one of them in one process, which is not fooled while it waits, serves no app alone,
// and goes on with two more.
func TestRestoreWithoutSealingKey(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewForgetful(t, 3, governtest.Recoverable(t))
	app := d.Nodes[0].Enrol()
	sealed := seal(t, app, d.Nodes[1])
	older := d.Nodes[0].Backup()
	newer := seal(t, app, d.Nodes[2])
	saved := d.Nodes[0].Backup()
	stopAll(d)
	n, holders := d.Nodes[1], d.Rulers.Holders
	_, err := n.PrepareRestore(saved)
	wantTyped(t, "in two steps", err, kms.Misused, "recover --stay")

	var other *server.Claimant
	gaveUp := errors.New("Ctrl-C")
	give := func(b []byte) func() []byte { return func() []byte { return b } }
	err = n.RestoreStaying(give(saved), func(_ context.Context, c *server.Claimant, _ error) (*server.SignedRestoration, error) {
		other = c
		return nil, gaveUp
	})
	if !errors.Is(err, gaveUp) {
		t.Fatal(err)
	}
	if left := leftIn(t, n.Dir); !slices.Equal(left, []string{"ephemeral"}) {
		t.Errorf("it left %q", left)
	}
	at, now := 0, saved
	says := []string{"not for this one", "not to this one", "takes", "the backup is another one", "", ""}
	err = n.RestoreStaying(func() []byte { return now }, func(_ context.Context, c *server.Claimant, refused error) (*server.SignedRestoration, error) {
		if at > 0 && (refused == nil || !strings.Contains(refused.Error(), says[at-1])) {
			t.Errorf("%d: %v, want %q", at-1, refused, says[at-1])
		}
		right := &server.SignedRestoration{Recovery: d.Recovery(c, nil), Shares: [][]byte{d.Hand(saved, c, holders[0]), d.Hand(saved, c, holders[2])}}
		now = saved
		switch at++; at - 1 {
		case 0: // what was signed for the process before
			right.Recovery = d.Recovery(other, nil)
		case 1:
			right.Shares[0] = d.Hand(saved, other, holders[0])
		case 2:
			right.Shares = right.Shares[:1]
		case 3: // the host puts an older backup there
			now = older
		case 4: // and one that is cut
			now = saved[:len(saved)-1]
		case 5:
			right.Recovery = right.Recovery[:len(right.Recovery)/2]
		}
		return right, nil
	})
	if err != nil || at != 7 {
		t.Fatalf("%v after %d", err, at)
	}
	refusesApps(t, n, beingFounded+": 1 of 3 nodes vote")
	if _, err := app.On(n).Caller(); !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), beingFounded) {
		t.Errorf("an app of before: %v", err)
	}
	d.Nodes = []*trustedtest.Node{n, d.Nodes[0], d.Nodes[2]}
	for _, other := range d.Nodes[1:] {
		mustJoin(t, other)
	}
	d.AwaitVoters(3)
	for _, n := range d.Nodes {
		sealed.opens(t, n)
		newer.opens(t, n)
	}
	restartsAnew(t, d, n, d.Nodes[1])
	sealed.opens(t, n)
}

// TestRestoreStayingRefused: nothing is restored on a machine without a sealing key that
// it could not come back to.
func TestRestoreStayingRefused(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewRecoverable(t, 2)
	admitTDX(t, d, nil)
	saved := d.Nodes[0].Backup()
	stopAll(d)
	n := tdx(d)
	never := func(context.Context, *server.Claimant, error) (*server.SignedRestoration, error) {
		t.Error("it waits")
		return nil, errors.New("it waits")
	}
	wantTyped(t, "mode sealed", n.RestoreStaying(func() []byte { return saved }, never), kms.Denied, "rejoin")
}
