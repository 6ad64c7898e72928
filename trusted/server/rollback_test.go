package server_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A past is what a host has copied of a domain's nodes, and what was taken back
// since then: a node that honours any of it serves an old state.
type past struct {
	t        *testing.T
	d        *trustedtest.Domain
	app      *trustedtest.App
	disabled kms.KeyID
	deleted  kms.KeyID
	revoked  kms.NewCredential
	policy   uint64
	kept     kms.KeyID // from before the copies
	newer    kms.KeyID // from after them
	copies   map[*trustedtest.Node]files
}

// newPast makes what will be taken back.
func newPast(t *testing.T, d *trustedtest.Domain) *past {
	t.Helper()
	app := d.Nodes[0].Enrol()
	return &past{t: t, d: d, app: app, disabled: aesKey(t, app), deleted: aesKey(t, app), kept: aesKey(t, app),
		revoked: credential(t, app, time.Now().Add(days)), copies: map[*trustedtest.Node]files{}}
}

// copied copies the folders of nodes as they are.
func (p *past) copied(nodes ...*trustedtest.Node) {
	p.t.Helper()
	for _, n := range nodes {
		p.copies[n] = readFolder(p.t, n.Dir)
	}
}

// passed takes back what a copy still has.
func (p *past) passed() {
	p.t.Helper()
	on := func(i int) *trustedtest.App { return p.app.On(p.d.Nodes[i%len(p.d.Nodes)]) }
	if err := on(1).MustCaller().SetKeyEnabled(ctx, p.disabled, false); err != nil {
		p.t.Fatal(err)
	}
	if err := on(2).MustCaller().DeleteKey(ctx, p.deleted); err != nil {
		p.t.Fatal(err)
	}
	if err := on(0).MustCaller().RevokeCredential(ctx, p.revoked.ID); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.d.Nodes[0].Core().SubmitPolicy(ctx, p.d.Rulers.Next(nil)); err != nil {
		p.t.Fatal(err)
	}
	p.policy = p.d.Nodes[0].Server().Status().PolicySerial
	p.newer = aesKey(p.t, on(2))
}

// use uses a key on a node.
func (p *past) use(n *trustedtest.Node, key kms.KeyID) error {
	c, err := p.app.On(n).Caller()
	if err == nil {
		_, err = c.Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
	}
	return err
}

// stands asks that nodes honour nothing of what was taken back, and have all that
// came after.
func (p *past) stands(nodes ...*trustedtest.Node) {
	p.t.Helper()
	for i, n := range nodes {
		for what, tt := range map[string]struct{ got, want error }{
			"a key that was disabled":       {p.use(n, p.disabled), kms.Disabled},
			"a key that was deleted":        {p.use(n, p.deleted), kms.NotFound},
			"a credential that was revoked": {tries(n, p.revoked, n.Clock.Now()), kms.Unauthenticated},
			"a key from before":             {p.use(n, p.kept), nil},
			"a key from after":              {p.use(n, p.newer), nil},
		} {
			if !errors.Is(tt.got, tt.want) {
				p.t.Errorf("node %d, %s: %v, want %v", i, what, tt.got, tt.want)
			}
		}
		if s := n.Server().Status(); !s.Ready || s.PolicySerial != p.policy {
			p.t.Errorf("node %d: ready %t (%s), policy %d", i, s.Ready, s.Reason, s.PolicySerial)
		}
	}
}

// rollBack stops nodes and puts their folders back, or removes them if there are no
// copies of them.
func (p *past) rollBack(nodes ...*trustedtest.Node) {
	p.t.Helper()
	for _, n := range nodes {
		_ = n.Stop()
	}
	for _, n := range nodes {
		p.copies[n].write(p.t, n.Dir)
	}
}

// start starts nodes at once, and returns what became of each.
func (p *past) start(within time.Duration, nodes ...*trustedtest.Node) []error {
	outcomes := make([]error, len(nodes))
	var starting sync.WaitGroup
	for i, n := range nodes {
		starting.Go(func() { outcomes[i] = n.StartWithin(within) })
	}
	starting.Wait()
	return outcomes
}

// down asks that nodes which start together serve nothing, and say so by this kind.
func (p *past) down(kind kms.Kind, nodes ...*trustedtest.Node) {
	p.t.Helper()
	p.downFor(500*time.Millisecond, kind, nodes...)
}

func (p *past) downFor(wait time.Duration, kind kms.Kind, nodes ...*trustedtest.Node) {
	p.t.Helper()
	for i, err := range p.start(wait, nodes...) {
		if !errors.Is(err, kind) || nodes[i].Server() != nil || kms.HintOf(err) == "" && kind != kms.Unavailable {
			p.t.Errorf("node %d: %v (hint %q), want %v", i, err, kms.HintOf(err), kind)
		}
	}
}

// up starts nodes, which must come up.
func (p *past) up(nodes ...*trustedtest.Node) {
	p.t.Helper()
	if err := errors.Join(p.start(time.Minute, nodes...)...); err != nil {
		p.t.Fatal(err)
	}
}

// rejoining makes a domain's restart mode "rejoin", and waits until every node has
// written it down for its next start.
func rejoining(t *testing.T, d *trustedtest.Domain) {
	t.Helper()
	r := d.Rulers
	a := r.Founding.Standing.DraftAmendment(r.Founding.Policy)
	a.RestartMode = govern.Rejoin
	if _, err := d.Nodes[0].Core().Amend(ctx, r.Sign(govern.AmendmentType, a.Canonical(), append(slices.Clone(r.Signers[:2]), r.Owner)...)); err != nil {
		t.Fatal(err)
	}
	for _, n := range d.Nodes {
		eventually(t, func() (bool, error) { return true, knowsMode(n, "rejoin") })
	}
}

// amended is a recovery under the amendment that rejoining made.
func amended(r *govern.Recovery) { r.Amendments = 1 }

// TestTwoOfFiveRolledBack: in mode "sealed" a minority whose folders are old does
// not serve by itself, and serves nothing of it together with the others.
func TestTwoOfFiveRolledBack(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 5)
	p := newPast(t, d)
	old, rest := d.Nodes[3:], d.Nodes[:3]
	for _, n := range old {
		_ = n.Stop()
	}
	p.copied(old...)
	p.up(old...)
	p.passed()
	p.rollBack(old...)
	for _, n := range old {
		for _, other := range rest {
			d.Network.Cut(n, other)
		}
	}
	p.down(kms.Unavailable, old...)
	d.Network.Heal()
	p.rollBack(old...) // as if they had not heard of anything
	p.up(old...)
	p.stands(d.Nodes...)
	_ = rest[0].Stop() // the majority needs them now
	_ = rest[1].Stop()
	eventually(t, func() (bool, error) { return true, p.use(old[0], p.kept) })
	p.stands(rest[2], old[0], old[1])
}

// TestAllRolledBack: in mode "sealed" older folders of all nodes together are taken
// for the present, which is what status says beforehand; folders that are lost are
// no new domain, and come back only as they were.
func TestAllRolledBack(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	p := newPast(t, d)
	for _, n := range d.Nodes {
		s := n.Server().Status()
		if s.Protected || !strings.Contains(fmt.Sprint(s.Warnings), "restoring an older state of 1 of the 3 nodes, while the network keeps others apart, cannot be noticed") {
			t.Errorf("protected: %t, warnings %q", s.Protected, s.Warnings)
		}
	}
	stopAll(d)
	p.copied(d.Nodes...)
	p.up(d.Nodes...)
	p.passed()
	stopAll(d)
	newest := map[*trustedtest.Node]files{}
	for _, n := range d.Nodes {
		newest[n] = readFolder(t, n.Dir)
	}
	p.rollBack(d.Nodes...)
	p.up(d.Nodes...)
	for i, n := range d.Nodes {
		if err := errors.Join(p.use(n, p.disabled), p.use(n, p.deleted), tries(n, p.revoked, n.Clock.Now())); err != nil {
			t.Errorf("node %d does not go on from what its disk has: %v", i, err)
		}
	}
	p.copies = nil
	p.rollBack(d.Nodes...) // lost
	p.down(kms.Damaged, d.Nodes...)
	p.copies = newest
	p.rollBack(d.Nodes...)
	p.up(d.Nodes...)
	p.stands(d.Nodes...)
}

// TestMajorityRolledBack: in mode "sealed" two old folders of three, whose nodes find
// each other first, serve what they have, which is what status says beforehand. The
// third node, that knows better, neither follows them nor forgets, and says what to do.
func TestMajorityRolledBack(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	p := newPast(t, d)
	old, third := d.Nodes[:2], d.Nodes[2]
	for _, n := range old {
		_ = n.Stop()
		p.copied(n)
		p.up(n)
	}
	p.passed()
	eventually(t, func() (bool, error) { return true, p.use(third, p.newer) })
	p.rollBack(old...)
	for _, n := range old {
		d.Network.Cut(n, third)
	}
	p.up(old...)
	if err := errors.Join(p.use(old[0], p.disabled), p.use(old[1], p.deleted)); err != nil {
		t.Errorf("two old folders of three do not go on from what they have: %v", err)
	}
	d.Network.Heal()
	refuses := func() {
		t.Helper()
		eventually(t, func() (bool, error) {
			if err := p.use(third, p.kept); !strings.Contains(kms.HintOf(err), "`survey`") {
				return false, fmt.Errorf("the node that knows better: %w (hint %q)", err, kms.HintOf(err))
			}
			return true, nil
		})
		if err := p.use(third, p.disabled); err == nil || errors.Is(err, kms.Disabled) {
			t.Errorf("the node that knows better goes on: %v", err)
		}
	}
	refuses()
	_ = third.Stop()
	switch err := third.StartWithin(time.Minute); { // nor when it is started again
	case err == nil:
		refuses()
	case !strings.Contains(kms.HintOf(err), "`survey`"):
		t.Errorf("started again: %v (hint %q)", err, kms.HintOf(err))
	}
}

// TestRolledBackInRejoin: in mode "rejoin" no node ever serves from a folder that
// its host put back: one joins anew, and all together stay down until owner and
// threshold say which state it is that goes on.
func TestRolledBackInRejoin(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	p := newPast(t, d)
	sealedThen := map[*trustedtest.Node][]byte{}
	for _, n := range d.Nodes { // this says that the mode is "sealed"
		sealedThen[n] = readFolder(t, n.Dir)["peers"]
	}
	rejoining(t, d)
	if s := d.Nodes[0].Server().Status(); !s.Protected || strings.Contains(fmt.Sprint(s.Warnings), "cannot be noticed") {
		t.Errorf("protected: %t, warnings %q", s.Protected, s.Warnings)
	}
	p.copied(d.Nodes...)
	p.passed()

	one := d.Nodes[2]
	was := one.Server().Status().Node
	p.rollBack(one)
	d.Network.Isolate(one)
	p.down(kms.Unavailable, one)
	d.Network.Heal()
	p.up(one)
	p.stands(d.Nodes...)
	d.AwaitVoters(3)
	if now := one.Server().Status().Node; now == was {
		t.Error("it came back as what it was")
	}
	p.rollBack(one) // to what it was before that
	p.up(one)
	p.stands(d.Nodes...)

	live := readFolder(t, d.Nodes[0].Dir)
	p.rollBack(d.Nodes...)
	p.down(kms.Unavailable, d.Nodes...)
	for _, n := range d.Nodes {
		p.copies[n].with("peers", sealedThen[n]).write(t, n.Dir)
	}
	p.downFor(2*time.Second, kms.Unavailable, d.Nodes...)
	p.rollBack(d.Nodes...)
	carriesOn := d.Nodes[0]
	found, err := carriesOn.Survey()
	if err != nil {
		t.Fatal(err)
	}
	old := d.Recovery(found, amended)
	live.write(t, carriesOn.Dir) // the newest there is
	p.down(kms.Unavailable, carriesOn)
	live.write(t, carriesOn.Dir)
	if found, err = carriesOn.Survey(); err != nil {
		t.Fatal(err)
	}
	doc := d.Recovery(found, amended)
	wantRefusal(t, "a recovery of the older state, on the newest", carriesOn.Recover(old), kms.Denied)
	p.copies[carriesOn].write(t, carriesOn.Dir)
	wantRefusal(t, "a recovery of the newest state, on an older one", carriesOn.Recover(doc), kms.Denied)
	p.down(kms.Unavailable, carriesOn)
	live.write(t, carriesOn.Dir)
	if err := carriesOn.Recover(doc); err != nil {
		t.Fatal(err)
	}
	p.stands(carriesOn)
	_ = carriesOn.Stop() // it votes alone now, but for this its log would do
	alone := readFolder(t, carriesOn.Dir)
	carriesOn.Edit = func(c *server.Config) { _ = c.Peers.Listener.Close(); c.Peers = nil }
	p.down(kms.Unavailable, carriesOn)
	for _, peers := range [][]byte{alone["peers"], sealedThen[carriesOn]} {
		alone.with("peers", peers).write(t, carriesOn.Dir)
		p.down(kms.Unavailable, carriesOn)
	}
	carriesOn.Edit = nil
	alone.write(t, carriesOn.Dir)
	if found, err = carriesOn.Survey(); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, "the recovery a second time", carriesOn.Recover(doc), kms.Exists)
	if err := carriesOn.Recover(d.Recovery(found, amended)); err != nil {
		t.Fatal(err)
	}
	p.stands(carriesOn)
	for _, n := range d.Nodes[1:] { // their part has ended; what they have is old
		p.rollBack(n)
		if err := n.StartWithin(time.Second); err == nil {
			p.stands(n) // it joined as another node
		}
	}
	p.stands(carriesOn)
}

// TestTwoOfFiveInRejoin: a minority that is rolled back, or whose folders are lost,
// joins anew or not at all.
func TestTwoOfFiveInRejoin(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 5)
	p := newPast(t, d)
	rejoining(t, d)
	old, rest := d.Nodes[3:], d.Nodes[:3]
	p.copied(old...)
	p.passed()
	p.rollBack(old...)
	for _, n := range old {
		for _, other := range rest {
			d.Network.Cut(n, other)
		}
	}
	p.down(kms.Unavailable, old...)
	d.Network.Heal()
	p.rollBack(old...)
	p.up(old...)
	p.stands(d.Nodes...)
	d.AwaitVoters(5)
	p.copies = nil
	p.rollBack(old...)
	p.down(kms.Damaged, old...)
	p.stands(rest...)
}

// TestAllLostInRejoin: a domain in mode "rejoin" all of whose folders are lost is
// down until a backup, shares and a recovery that owner and threshold signed bring
// it back.
func TestAllLostInRejoin(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewRecoverable(t, 3)
	p := newPast(t, d)
	rejoining(t, d)
	p.passed()
	saved := d.Nodes[1].Backup()
	p.rollBack(d.Nodes...)
	p.down(kms.Damaged, d.Nodes...)
	machine := d.Nodes[0]
	c, err := machine.PrepareRestore(saved)
	if err != nil {
		t.Fatal(err)
	}
	p.down(kms.Damaged, d.Nodes...)
	shares := [][]byte{d.Hand(saved, c, d.Rulers.Holders[0]), d.Hand(saved, c, d.Rulers.Holders[2])}
	wantRefusal(t, "without the owner", machine.Restore(saved, d.SignRecovery(c, amended, d.Rulers.Signers[:2]...), shares...), kms.Denied)
	wantRefusal(t, "without shares", machine.Restore(saved, d.Recovery(c, amended)), kms.Denied)
	p.down(kms.Damaged, d.Nodes...)
	if err := machine.Restore(saved, d.Recovery(c, amended), shares...); err != nil {
		t.Fatal(err)
	}
	p.stands(machine)
	for _, n := range d.Nodes[1:] { // nothing is left of them: they join as new ones
		if err := n.Join(nil); err != nil {
			t.Fatal(err)
		}
	}
	p.stands(d.Nodes...)
}
