package server_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// An orderer signs orders for a node's domain.
type orderer struct {
	t testing.TB
	n *trustedtest.Node
	d *trustedtest.Domain
}

// order is one that is good for an hour, as edit changes it.
func (o orderer) order(deed govern.Deed, generation uint32, edit func(*govern.Order)) *govern.Order {
	doc := &govern.Order{Version: govern.OrderVersion, Domain: o.d.Rulers.Founding.Domain, Deed: deed, Generation: generation,
		Expires: o.n.Clock.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	rand.Read(doc.Nonce[:])
	if edit != nil {
		edit(doc)
	}
	return doc
}

func (o orderer) signed(doc *govern.Order, keys ...*govern.PrivateKey) []byte {
	return o.d.Rulers.Sign(govern.OrderType, doc.Canonical(), keys...)
}

func (o orderer) rotate() {
	o.t.Helper()
	next := o.n.Server().Status().Generation + 1
	g, err := o.n.Server().RotateMasterSecret(ctx, o.signed(o.order(govern.DeedRotate, next, nil), o.d.Rulers.Operator))
	if err != nil {
		o.t.Fatalf("rotating to %d: %v", next, err)
	}
	if g.Number != next || len(g.Checksum) != 32 || len(g.SigningKey) != 32 {
		o.t.Fatalf("rotating to %d: got %+v", next, g)
	}
}

func (o orderer) retire(generation uint32) (kms.Retirement, error) {
	return o.n.Server().RetireGeneration(ctx, o.signed(o.order(govern.DeedRetire, generation, nil), o.d.Rulers.Signers[:2]...))
}

func (o orderer) secrets() kms.MasterSecrets {
	o.t.Helper()
	m, err := o.n.Server().MasterSecrets(ctx)
	if err != nil {
		o.t.Fatal(err)
	}
	return m
}

// settled waits until everything is wrapped under the newest generation.
func (o orderer) settled() kms.MasterSecrets {
	o.t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		m := o.secrets()
		if m.Left == 0 {
			return m
		}
		if time.Now().After(end) {
			o.t.Fatalf("still to be re-wrapped: %d", m.Left)
		}
	}
}

func newOrderer(t testing.TB) orderer {
	d := trustedtest.NewDomain(t, 1)
	return orderer{t, d.Nodes[0], d}
}

func (o orderer) world(keys int) *world {
	w := &world{}
	w.on(o.n)
	w.must(o.t, enrolDeed(), enrolDeed())
	for i := range keys {
		w.must(o.t, createDeed(i%2, []kms.Spec{kms.AES256GCM, kms.ECP256}[i/2%2]))
	}
	return w
}

// Three rotations: what was made under each opens after all of them and after
// restarts, every generation stays known, and everything is re-wrapped.
func TestRotation(t *testing.T) {
	o := newOrderer(t)
	w := o.world(8)
	before := o.secrets()
	for g := range uint32(3) {
		o.rotate()
		w.must(t, createDeed(0, kms.AES256GCM), stateDeed(0, int(g), kms.KeyDisabled))
		m := o.settled()
		if len(m.Generations) != int(g)+2 {
			t.Fatalf("there are %d generations", len(m.Generations))
		}
		for _, old := range m.Generations[:g+1] {
			if old.Wrapped != 0 {
				t.Errorf("%d secrets are wrapped under generation %d", old.Wrapped, old.Number)
			}
		}
		o.n.Restart()
		w.on(o.n)
		if err := w.settle(); err != nil {
			t.Fatalf("after rotation %d: %v", g+1, err)
		}
	}
	after := o.secrets()
	if !bytes.Equal(before.Generations[0].Checksum, after.Generations[0].Checksum) || !bytes.Equal(before.Generations[0].SigningKey, after.Generations[0].SigningKey) {
		t.Error("generation 0 is known as another one")
	}
	seen := map[string]bool{}
	for _, g := range after.Generations {
		if seen[string(g.Checksum)] || seen[string(g.SigningKey)] {
			t.Errorf("generation %d has what another has", g.Number)
		}
		seen[string(g.Checksum)], seen[string(g.SigningKey)] = true, true
	}
	if got := o.n.Server().Status().Generation; got != 3 {
		t.Errorf("status says generation %d", got)
	}
}

// Who may order what, and when.
func TestOrders(t *testing.T) {
	o := newOrderer(t)
	r := o.d.Rulers
	stranger, err := govern.NewPrivateKey(govern.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	good := o.signed(o.order(govern.DeedRotate, 1, nil), r.Operator)
	for name, c := range map[string]struct {
		envelope []byte
		want     kms.Kind
	}{
		"nothing":                    {nil, kms.Invalid},
		"not an envelope":            {[]byte("order"), kms.Invalid},
		"nobody signed":              {o.signed(o.order(govern.DeedRotate, 1, nil)), kms.Denied},
		"not an operator":            {o.signed(o.order(govern.DeedRotate, 1, nil), stranger), kms.Denied},
		"an operator and another":    {o.signed(o.order(govern.DeedRotate, 1, nil), r.Operator, stranger), kms.Denied},
		"a signer is no operator":    {o.signed(o.order(govern.DeedRotate, 1, nil), r.Signers[0]), kms.Denied},
		"altered":                    {bytes.Replace(good, []byte(`"sig":"A`), []byte(`"sig":"B`), 1), kms.Denied},
		"another domain":             {o.signed(o.order(govern.DeedRotate, 1, func(d *govern.Order) { d.Domain[0]++ }), r.Operator), kms.Denied},
		"another deed":               {o.signed(o.order(govern.DeedRetire, 1, nil), r.Operator), kms.Denied},
		"a generation too far":       {o.signed(o.order(govern.DeedRotate, 2, nil), r.Operator), kms.Conflict},
		"expired":                    {o.signed(o.order(govern.DeedRotate, 1, func(d *govern.Order) { d.Expires = d.Expires.Add(-2 * time.Hour) }), r.Operator), kms.Expired},
		"another kind of document":   {r.Sign(govern.TicketType, o.order(govern.DeedRotate, 1, nil).Canonical(), r.Operator), kms.Invalid},
		"a document not in its form": {r.Sign(govern.OrderType, append(o.order(govern.DeedRotate, 1, nil).Canonical(), '\n'), r.Operator), kms.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "altered" && bytes.Contains(good, []byte(`"sig":"B`)) {
				t.Skip("the signature begins otherwise")
			}
			envelope := c.envelope
			if name == "altered" {
				envelope = flipSignature(good)
			}
			if _, err := o.n.Server().RotateMasterSecret(ctx, envelope); kms.KindOf(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if g := o.n.Server().Status().Generation; g != 0 {
		t.Fatalf("one of them was obeyed: generation %d", g)
	}
	if _, err := o.n.Server().RotateMasterSecret(ctx, good); err != nil {
		t.Fatal(err)
	}
	o.n.Restart() // it is remembered on disk too
	if _, err := o.n.Server().RotateMasterSecret(ctx, good); kms.KindOf(err) != kms.Exists {
		t.Errorf("an order a second time: %v", err)
	}
	if _, err := o.n.Server().RotateMasterSecret(ctx, o.signed(o.order(govern.DeedRotate, 2, nil), r.Owner)); err != nil {
		t.Errorf("the owner's order: %v", err)
	}
}

// flipSignature alters the first signature of an envelope.
func flipSignature(envelope []byte) []byte {
	e, err := govern.ParseEnvelope(envelope)
	if err != nil {
		panic(err)
	}
	e.Signatures[0].Sig[10] ^= 1
	return e.Encode()
}

// The policy's interval has the domain rotate by itself, by domain time.
func TestRotationByInterval(t *testing.T) {
	o := newOrderer(t)
	if next := o.secrets().NextAt; !next.IsZero() {
		t.Fatalf("rotates at %v without an interval", next)
	}
	if _, err := o.n.Core().SubmitPolicy(ctx, o.d.Rulers.Next(func(p *govern.Policy) { p.RotationInterval = 3600e9 })); err != nil {
		t.Fatal(err)
	}
	m := o.secrets()
	if want := m.Generations[0].Created.Add(time.Hour); !m.NextAt.Equal(want) {
		t.Fatalf("rotates at %v, want %v", m.NextAt, want)
	}
	o.n.Clock.Move(59 * time.Minute)
	o.n.Restart()
	time.Sleep(100 * time.Millisecond)
	if n := len(o.secrets().Generations); n != 1 {
		t.Fatalf("rotated too early")
	}
	o.n.Clock.Move(2 * time.Minute)
	o.n.Restart()
	for end := time.Now().Add(20 * time.Second); len(o.secrets().Generations) != 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not rotate")
		}
	}
}

func TestRetirement(t *testing.T) {
	o := newOrderer(t)
	w := o.world(6)
	r := o.d.Rulers
	o.rotate()
	o.settled()
	server := o.n.Server()
	for name, c := range map[string]struct {
		envelope []byte
		want     kms.Kind
	}{
		"one signature short": {o.signed(o.order(govern.DeedRetire, 0, nil), r.Signers[0]), kms.Denied},
		"operator alone":      {o.signed(o.order(govern.DeedRetire, 0, nil), r.Operator), kms.Denied},
		"owner alone":         {o.signed(o.order(govern.DeedRetire, 0, nil), r.Owner), kms.Denied},
		"owner and one":       {o.signed(o.order(govern.DeedRetire, 0, nil), r.Owner, r.Signers[0]), kms.Denied},
		"one twice":           {o.signed(o.order(govern.DeedRetire, 0, nil), r.Signers[0], r.Signers[0]), kms.Denied},
		"order to rotate":     {o.signed(o.order(govern.DeedRotate, 2, nil), r.Signers[:2]...), kms.Denied},
		"the newest":          {o.signed(o.order(govern.DeedRetire, 1, nil), r.Signers[:2]...), kms.Misused},
		"one that is not":     {o.signed(o.order(govern.DeedRetire, 9, nil), r.Signers[:2]...), kms.NotFound},
		"expired":             {o.signed(o.order(govern.DeedRetire, 0, func(d *govern.Order) { d.Expires = d.Expires.Add(-2 * time.Hour) }), r.Signers[:2]...), kms.Expired},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := server.RetireGeneration(ctx, c.envelope); kms.KindOf(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	got, err := o.retire(0)
	if err != nil || got.Generation != 0 || len(got.Remains) == 0 {
		t.Fatalf("retiring: %+v, %v", got, err)
	}
	if _, err := o.retire(0); kms.KindOf(err) != kms.Exists {
		t.Errorf("retiring again: %v", err)
	}
	for range 2 {
		m := o.secrets()
		if m.Generations[0].Retired.IsZero() || len(m.Generations[0].SigningKey) != 32 {
			t.Errorf("generation 0 is %+v", m.Generations[0])
		}
		w.must(t, createDeed(0, kms.AES256GCM))
		if err := w.settle(); err != nil {
			t.Fatal(err)
		}
		o.n.Restart()
		w.on(o.n)
	}
}

// An older root file beside a newer log is refused by name: the generation that
// the domain uses is missing there. So is a root file that is gone, or another
// node's.
func TestRootFileRolledBack(t *testing.T) {
	o := newOrderer(t)
	w := o.world(2)
	older := readFile(t, o.n, "root")
	o.rotate()
	o.settled()
	newer := readFile(t, o.n, "root")
	_ = o.n.Stop()
	write(t, filepath.Join(o.n.Dir, "root"), older)
	err := o.n.Start()
	if kms.KindOf(err) != kms.Damaged || fileOf(err) != "root" || kms.HintOf(err) == "" {
		t.Fatalf("with an older root file: %v, file %q", err, fileOf(err))
	}
	write(t, filepath.Join(o.n.Dir, "root"), newer)
	o.n.MustStart()
	w.on(o.n)
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.retire(0); err != nil {
		t.Fatal(err)
	}
	// A host that puts a retired generation back gets it dropped again.
	_ = o.n.Stop()
	write(t, filepath.Join(o.n.Dir, "root"), newer)
	o.n.MustStart()
	w.on(o.n)
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if now := readFile(t, o.n, "root"); len(now) < len(newer) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the retired generation stays in the root file")
		}
	}
}

func readFile(t testing.TB, n *trustedtest.Node, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Clients change and delete keys while those are re-wrapped: nobody is told of a
// conflict, and nothing is undone.
func TestRewrapBesideChanges(t *testing.T) {
	o := newOrderer(t)
	w := o.world(0)
	for range 150 {
		w.must(t, createDeed(0, kms.AES256GCM), createDeed(1, kms.AES256GCM))
	}
	for round := range 3 {
		o.rotate()
		for i := range 60 {
			n := (round*60 + i) % 100
			w.must(t, stateDeed(0, n, kms.KeyDisabled), stateDeed(0, n, kms.Enabled), stateDeed(1, n, kms.KeyDisabled))
		}
		w.must(t, createDeed(1, kms.AES256GCM), stateDeed(1, -1, kms.Destroyed), stateDeed(0, 149-round, kms.Destroyed))
	}
	o.settled()
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	if _, err := o.retire(0); err != nil {
		t.Fatal(err)
	}
	if _, err := o.retire(1); err != nil {
		t.Fatal(err)
	}
	o.n.Restart()
	w.on(o.n)
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
}

var errStill = errors.New("still there")

// Nothing that was wrapped under a retired generation is in the log or the
// snapshot that the node goes by.
func TestRetirementCompacts(t *testing.T) {
	o := newOrderer(t)
	w := o.world(4)
	o.rotate()
	o.settled()
	if _, err := o.retire(0); err != nil {
		t.Fatal(err)
	}
	segments, _ := filepath.Glob(filepath.Join(o.n.Dir, "*.wal"))
	snapshots, _ := filepath.Glob(filepath.Join(o.n.Dir, "snapshot-*"))
	if len(segments) != 1 || len(snapshots) != 1 {
		t.Fatal(fmt.Errorf("%w: segments %q, snapshots %q", errStill, segments, snapshots))
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
}
