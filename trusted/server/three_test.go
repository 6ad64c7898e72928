package server_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// nodeSink is where one node's audit entries go, in memory; it can refuse them.
type nodeSink struct {
	mu    sync.Mutex
	lines []byte
	fail  error
}

func (s *nodeSink) Append(_ context.Context, lines []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.lines = append(s.lines, lines...)
	}
	return s.fail
}

func (s *nodeSink) Since(context.Context, kms.NodeID, uint64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.text())), nil
}

func (s *nodeSink) text() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return bytes.Clone(s.lines)
}

func (s *nodeSink) refuse(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = cause
}

// find returns the entries of an operation.
func (s *nodeSink) find(t *testing.T, operation string) (found []audit.Entry) {
	t.Helper()
	for line := range bytes.Lines(s.text()) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if audit.IsHead(line) {
			continue
		}
		e, err := audit.ParseEntry(line)
		if err != nil {
			t.Fatal(err)
		}
		if e.Operation == operation {
			found = append(found, e)
		}
	}
	return found
}

// comesTrue waits for something that nodes do by themselves.
func comesTrue(t *testing.T, what string, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("after 20 s still not: %s", what)
}

// roles are the node that leads, and one that does not.
func roles(d *trustedtest.Domain) (leader, follower *trustedtest.Node) {
	leader = d.Leader()
	for _, n := range d.Nodes {
		if n != leader {
			return leader, n
		}
	}
	return leader, nil
}

// TestSecretsOverNodes: changes of one secret through all nodes at once are all
// there, each in a version of its own (D10); a deletion that is due while the
// leader is killed and somebody restores ends one way for everybody; and of many
// versions that were deleted by force none is in what another node makes next.
func TestSecretsOverNodes(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	if _, err := app.MustCaller().CreateSecret(ctx, kms.CreateSecretRequest{Name: "s", Value: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	t.Run("puts at once", func(t *testing.T) { putAtOnce(t, d, app) })
	t.Run("forced deletion", func(t *testing.T) { deleteByForce(t, d, app) })
	t.Run("restore against what is due", func(t *testing.T) { restoreAgainstDue(t, d, app) })
}

// putsEach is how many puts come through each node.
const putsEach = 8

func putAtOnce(t *testing.T, d *trustedtest.Domain, app *trustedtest.App) {
	const each = putsEach
	var putting sync.WaitGroup
	for i, n := range d.Nodes {
		on := app.On(n)
		putting.Go(func() {
			for j := range each {
				err := putSecret(on, fmt.Sprint(i, " ", j))
				for errors.Is(err, kms.Conflict) { // others were faster eight times
					err = putSecret(on, fmt.Sprint(i, " ", j))
				}
				if err != nil {
					t.Errorf("node %d, put %d: %v", i, j, err)
				}
			}
		})
	}
	putting.Wait()
	seen := map[string]int{}
	for v := kms.SecretVersion(1); v <= 3*each+1; v++ {
		got, err := app.On(d.Nodes[int(v)%3]).MustCaller().GetSecret(ctx, kms.GetSecretRequest{Name: "s", Version: v})
		if err != nil {
			t.Fatalf("version %d: %v", v, err)
		}
		seen[string(got.Data)]++
	}
	if len(seen) != 3*each+1 {
		t.Errorf("%d different values in %d versions", len(seen), 3*each+1)
	}
	for i, n := range d.Nodes {
		if v, err := app.On(n).MustCaller().GetSecret(ctx, kms.GetSecretRequest{Name: "s"}); err != nil || v.Number != 3*each+1 {
			t.Errorf("node %d: the current version is %d, %v", i, v.Number, err)
		}
	}
}

func deleteByForce(t *testing.T, d *trustedtest.Domain, app *trustedtest.App) {
	const versions = 1000
	on := app.On(d.Leader())
	for n := 1 + 3*putsEach; n < versions; n++ { // there are so many already
		if err := putSecret(on, fmt.Sprint("secret ", n)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := app.On(d.Nodes[1]).MustCaller().DeleteSecret(ctx, kms.DeleteSecretRequest{Name: "s", Force: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := app.On(d.Nodes[2]).MustCaller().CreateSecret(ctx, kms.CreateSecretRequest{Name: "s", Value: []byte("again")}); err != nil {
		t.Fatal(err)
	}
	for _, n := range d.Nodes {
		wantSecret(t, app.On(n), 1, "again")
		for _, v := range []kms.SecretVersion{2, 500, versions, versions + 1} {
			if _, err := app.On(n).MustCaller().GetSecret(ctx, kms.GetSecretRequest{Name: "s", Version: v}); !errors.Is(err, kms.NotFound) {
				t.Errorf("version %d of before: %v", v, err)
			}
		}
	}
}

func restoreAgainstDue(t *testing.T, d *trustedtest.Domain, app *trustedtest.App) {
	if _, err := app.MustCaller().DeleteSecret(ctx, kms.DeleteSecretRequest{Name: "s", Days: 1}); err != nil {
		t.Fatal(err)
	}
	leader, other := roles(d)
	for _, n := range d.Nodes { // domain time is what most of them say
		n.Clock.Move(kms.Day)
	}
	var restored error
	var racing sync.WaitGroup
	racing.Go(func() { _ = leader.Stop() })
	racing.Go(func() {
		for range 200 {
			c, err := app.On(other).Caller()
			if err == nil {
				_, err = c.RestoreSecret(ctx, "s")
			}
			if restored = err; err == nil || errors.Is(err, kms.NotFound) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	racing.Wait()
	if restored != nil && !errors.Is(restored, kms.NotFound) {
		t.Fatalf("restoring: %v", restored)
	}
	leader.MustStart()
	for i, n := range d.Nodes {
		_, err := app.On(n).MustCaller().GetSecret(ctx, kms.GetSecretRequest{Name: "s"})
		if restored == nil && err != nil || restored != nil && !errors.Is(err, kms.NotFound) {
			t.Errorf("node %d: restored: %v, and then %v", i, restored, err)
		}
	}
}

// TestInvocationsOverNodes: with a lowered limit no version of a key encrypts more
// often than that, whichever nodes do and also when one is started again, and the
// key gets new versions by itself.
func TestInvocationsOverNodes(t *testing.T) {
	t.Parallel()
	const limit, each = 64, 100
	d := trustedtest.NewDomain(t, 3)
	for _, n := range d.Nodes {
		n.Edit = func(c *server.Config) { c.MaxInvocations = limit }
	}
	d.RestartAll()
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	var mu sync.Mutex
	used := map[kms.KeyVersion]int{}
	encrypt := func(on *trustedtest.App, times int) {
		for range times {
			c, err := on.MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			used[c.Key.Version]++
			mu.Unlock()
		}
	}
	for round := range 2 {
		var busy sync.WaitGroup
		for _, n := range d.Nodes {
			on := app.On(n)
			busy.Go(func() { encrypt(on, each/2) })
		}
		busy.Wait()
		if round == 0 {
			d.Nodes[2].Restart() // what it had reserved is lost, and not used again
		}
	}
	sum := 0
	for v, n := range used {
		if sum += n; n > limit {
			t.Errorf("version %d encrypted %d times, the limit is %d", v, n, limit)
		}
	}
	if sum != 3*each || len(used) < 3*each/limit {
		t.Errorf("%d encryptions under %d versions", sum, len(used))
	}
	noteOnAll(t, d, app, key)
}

// noteOnAll: that a key was used in an epoch is put on record once, by whichever
// node notes it first.
func noteOnAll(t *testing.T, d *trustedtest.Domain, app *trustedtest.App, key kms.KeyID) {
	t.Helper()
	for i, n := range d.Nodes {
		if err := n.Core().NoteUse(ctx); err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
	}
	var last time.Time
	for i, n := range d.Nodes {
		k, err := app.On(n).MustCaller().DescribeKey(ctx, key)
		if err != nil || k.LastUsed.IsZero() || i > 0 && !k.LastUsed.Equal(last) {
			t.Errorf("node %d: used last at %v, another says %v; %v", i, k.LastUsed, last, err)
		}
		last = k.LastUsed
	}
}

// TestReplaysOverNodes: a request that changed the state does so once, whichever
// node it is shown to; one that only uses a key is refused a second time by the
// node that had it, and by one that was started since.
func TestReplaysOverNodes(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	create := app.Credential("creates a key")
	use := app.Credential("uses a key")
	make := func(n *trustedtest.Node) error {
		c, err := n.Core().Authenticate(ctx, create)
		if err == nil {
			_, err = c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
		}
		return err
	}
	encrypt := func(n *trustedtest.Node) error {
		c, err := n.Core().Authenticate(ctx, use)
		if err == nil {
			_, err = c.Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
		}
		return err
	}
	if err := errors.Join(make(d.Nodes[0]), encrypt(d.Nodes[0])); err != nil {
		t.Fatal(err)
	}
	for i, n := range d.Nodes {
		if err := make(n); !errors.Is(err, kms.Replayed) {
			t.Errorf("node %d: a change again: %v", i, err)
		}
	}
	if err := encrypt(d.Nodes[0]); !errors.Is(err, kms.Replayed) {
		t.Errorf("a use again, at the same node: %v", err)
	}
	for _, n := range d.Nodes[1:] { // each node remembers its own: THREATS says so
		if err := encrypt(n); err != nil {
			t.Errorf("a use, at another node: %v", err)
		}
	}
	time.Sleep(1100 * time.Millisecond) // timestamps are of whole seconds
	d.Nodes[1].Restart()
	for what, err := range map[string]error{"a change": make(d.Nodes[1]), "a use": encrypt(d.Nodes[1])} {
		if !errors.Is(err, kms.Stale) && !errors.Is(err, kms.Replayed) {
			t.Errorf("%s from before the node's start: %v", what, err)
		}
	}
}

// TestOneNodeDoesTheWork: what is due is done by the node that leads, and no
// other one begins it.
func TestOneNodeDoesTheWork(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app)
	k, err := app.MustCaller().SetRotation(ctx, kms.SetRotationRequest{Key: key, Period: kms.Day})
	if err != nil {
		t.Fatal(err)
	}
	due := k.NextRotation
	for _, n := range d.Nodes {
		n.Clock.Move(kms.Day + time.Minute)
	}
	comesTrue(t, "domain time has moved on every node", func() bool {
		for _, n := range d.Nodes {
			if n.Server().Metrics().DomainTime.Before(due) {
				return false
			}
		}
		return true
	})
	leader, _ := roles(d)
	for _, n := range d.Nodes {
		if n == leader {
			continue
		}
		if rotated, err := n.Core().RotateWorn(ctx); rotated != 0 || err != nil {
			t.Errorf("a node that does not lead rotated %d keys, %v", rotated, err)
		}
	}
	if rotated, err := leader.Core().RotateWorn(ctx); err != nil || rotated > 1 {
		t.Errorf("the leader rotated %d keys, %v", rotated, err)
	}
	for i, n := range d.Nodes {
		if k, err := app.On(n).MustCaller().DescribeKey(ctx, key); err != nil || k.Current != 2 {
			t.Errorf("node %d: version %d, %v", i, k.Current, err)
		}
	}
}

// TestAuditOverNodes: each node has a chain of its own, in which an operation is
// that it was asked for; a node without a sink that the policy requires, and one
// whose sink takes nothing, serve nobody and say why; and what a removed node owed
// another one writes, so that all files together are whole.
func TestAuditOverNodes(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 3)
	sinks := map[*trustedtest.Node]*nodeSink{}
	for _, n := range d.Nodes {
		s := &nodeSink{}
		sinks[n] = s
		n.Edit = func(c *server.Config) {
			c.AuditSinks, c.AuditPatience = map[string]server.AuditSink{"file": s}, 200*time.Millisecond
		}
	}
	d.RestartAll()
	if _, err := d.Nodes[0].Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) { p.AuditSinks = []string{"file"} })); err != nil {
		t.Fatal(err)
	}
	app := d.Nodes[0].Enrol()
	for i, n := range d.Nodes {
		aesKey(t, app.On(n))
		made := sinks[n].find(t, "CreateKey")
		if len(made) != 1 || made[0].Node != n.Server().Status().Node || made[0].Index == 0 || made[0].App != app.ID {
			t.Errorf("node %d: %+v", i, made)
		}
	}
	leader, gone := roles(d)
	t.Run("without the sink", func(t *testing.T) { withoutSink(t, app, gone) })
	t.Run("what a removed node owed", func(t *testing.T) { takenOver(t, d, app, leader, gone, sinks) })
	t.Run("all files together", func(t *testing.T) { wholeAudit(t, leader, sinks) })
}

// withoutSink starts a node without the sink that the policy requires, and then
// with it.
func withoutSink(t *testing.T, app *trustedtest.App, n *trustedtest.Node) {
	with := n.Edit
	n.Edit = nil
	n.Restart()
	r := n.Server().Readiness()
	if r.Ready || !strings.Contains(fmt.Sprint(r.Reasons), `"file"`) {
		t.Errorf("%+v", r)
	}
	if s := n.Server().Status(); s.Ready {
		t.Error("status says that it is ready")
	}
	_, err := app.On(n).MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if !errors.Is(err, kms.Unavailable) {
		t.Errorf("an operation: %v", err)
	}
	n.Edit = with
	n.Restart()
	if r := n.Server().Readiness(); !r.Ready {
		t.Errorf("with the sink: %+v", r)
	}
}

// takenOver has a node's sink fail in the middle of a change, and removes the node.
func takenOver(t *testing.T, d *trustedtest.Domain, app *trustedtest.App, leader, gone *trustedtest.Node, sinks map[*trustedtest.Node]*nodeSink) {
	id := gone.Server().Status().Node
	c := app.On(gone).MustCaller()
	sinks[gone].refuse(errors.New("the disk is full"))
	if _, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated}); !errors.Is(err, kms.Unavailable) {
		t.Fatalf("a change without its entry: %v", err)
	}
	if r := gone.Server().Readiness(); r.Ready {
		t.Error("a node whose sink takes nothing is ready")
	}
	_ = gone.Stop()
	o := orderer{t, leader, d}
	o.expel(id)
	find := func() (found []audit.Entry) {
		for n, s := range sinks {
			for _, e := range s.find(t, "CreateKey") {
				if n != gone && e.For == id {
					found = append(found, e)
				}
			}
		}
		return found
	}
	comesTrue(t, "the entry is taken over", func() bool { return len(find()) > 0 })
	e := find()[0]
	if !e.Recovered || e.Index == 0 || e.App != app.ID || e.Node == id || e.Outcome != audit.OK {
		t.Errorf("%+v", e)
	}
	time.Sleep(2500 * time.Millisecond) // two heads later
	if n := len(find()); n != 1 {
		t.Errorf("it was taken over %d times", n)
	}
}

// wholeAudit verifies all nodes' files together, each with a checkpoint.
func wholeAudit(t *testing.T, n *trustedtest.Node, sinks map[*trustedtest.Node]*nodeSink) {
	cp, err := n.Core().AuditCheckpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
	for n, s := range sinks {
		if err := v.Read(n.Name, bytes.NewReader(s.text())); err != nil {
			t.Fatal(err)
		}
	}
	r := v.Report()
	if !r.Good() || len(r.Chains) != 3 || len(cp.Heads) != 3 {
		t.Errorf("%d chains, %d heads: %+v", len(r.Chains), len(cp.Heads), r.Findings)
	}
	cut := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
	for m, s := range sinks {
		if m != n {
			_ = cut.Read(m.Name, bytes.NewReader(s.text()))
		}
	}
	if cut.Report().Good() {
		t.Error("a node's whole file is missing, and nothing was found")
	}
}
