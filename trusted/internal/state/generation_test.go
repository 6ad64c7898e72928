package state_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// orderTo is an order of the right people for this.
func (m *machine) orderTo(d govern.Deed, generation uint32, nonce byte) []byte {
	keys := []*govern.PrivateKey{m.rulers.Operator}
	if d == govern.DeedRetire {
		keys = m.rulers.Signers[:2]
	}
	doc := &govern.Order{Version: govern.OrderVersion, Domain: m.rulers.Founding.Domain, Deed: d, Generation: generation,
		Expires: time.Unix(0, m.time).Add(time.Hour).UTC().Truncate(time.Second), Nonce: govern.Nonce{nonce}}
	return m.rulers.Sign(govern.OrderType, doc.Canonical(), keys...)
}

func putGeneration(generation uint32, order []byte) *command.Command {
	fill := bytes.Repeat([]byte{byte(generation)}, 32)
	return &command.Command{Op: &command.Command_PutGeneration{PutGeneration: &command.PutGeneration{
		Generation: generation, Checksum: fill, SigningKey: fill, Order: order}}}
}

func retireGeneration(generation uint32, order []byte) *command.Command {
	return &command.Command{Op: &command.Command_RetireGeneration{RetireGeneration: &command.RetireGeneration{Generation: generation, Order: order}}}
}

func rewrapKeys(to uint32, keys ...*command.Rewrapped) *command.Command {
	return &command.Command{Op: &command.Command_Rewrap{Rewrap: &command.Rewrap{Generation: to, Keys: keys}}}
}

func TestPutGeneration(t *testing.T) {
	m := newMachine(t)
	short := putGeneration(1, m.orderTo(govern.DeedRotate, 1, 1))
	short.GetPutGeneration().Checksum = nil
	m.refused("no checksum", m.do(nil, short), kms.Invalid)
	m.refused("for an app", m.do(m.by(1), putGeneration(1, m.orderTo(govern.DeedRotate, 1, 1))), kms.Invalid)
	m.refused("the present one", m.do(nil, putGeneration(0, m.orderTo(govern.DeedRotate, 1, 1))), kms.Conflict)
	m.refused("one too far", m.do(nil, putGeneration(2, m.orderTo(govern.DeedRotate, 2, 1))), kms.Conflict)
	m.refused("another than ordered", m.do(nil, putGeneration(1, m.orderTo(govern.DeedRotate, 2, 1))), kms.Conflict)
	m.refused("to retire", m.do(nil, putGeneration(1, m.orderTo(govern.DeedRetire, 1, 1))), kms.Denied)
	m.refused("without an order or an interval", m.do(nil, putGeneration(1, nil)), kms.Denied)

	late := m.orderTo(govern.DeedRotate, 1, 1)
	m.time += 2 * int64(time.Hour)
	m.refused("expired", m.do(nil, putGeneration(1, late)), kms.Expired)

	order := m.orderTo(govern.DeedRotate, 1, 2)
	m.must(m.do(nil, putGeneration(1, order)))
	if v := m.View(); v.Generation() != 1 || len(v.Generations()) != 2 || v.Generations()[1].Created != m.time {
		t.Fatalf("generations are %+v", v.Generations())
	}
	m.refused("an order again", m.do(nil, putGeneration(2, order)), kms.Exists)
	again := &machine{Machine: restored(t, m.Machine), rulers: m.rulers, t: t, time: m.time, index: m.index}
	again.refused("an order again, after a snapshot", again.do(nil, putGeneration(2, order)), kms.Exists)
	again.must(again.do(nil, putGeneration(2, m.orderTo(govern.DeedRotate, 2, 3))))
}

// The policy's interval stands in for an order, once it has passed.
func TestGenerationByInterval(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(nil, setPolicy(m.rulers.Next(func(p *govern.Policy) { p.RotationInterval = attest.Age(time.Hour) }))))
	m.refused("too early", m.do(nil, putGeneration(1, nil)), kms.Denied)
	m.time += int64(time.Hour) - 1
	m.refused("a moment too early", m.do(nil, putGeneration(1, nil)), kms.Denied)
	m.time++
	m.must(m.do(nil, putGeneration(1, nil)))
	m.refused("at once again", m.do(nil, putGeneration(2, nil)), kms.Denied)
}

// What moved meanwhile is left; what is moved keeps its revision, so that who
// saw it before can still change it.
func TestRewrap(t *testing.T) {
	m := newMachine(t)
	moved, changed := m.must(m.do(m.by(1), putKey(1, 100))), m.must(m.do(m.by(1), putKey(1, 101)))
	m.must(m.do(m.by(2), putKey(2, 102)))
	m.must(m.do(nil, putGeneration(1, m.orderTo(govern.DeedRotate, 1, 1))))
	m.must(m.do(m.by(1), setState(101, changed.Revision, kms.KeyDisabled)))
	one := func(k *state.Key, edit func(*command.Rewrapped)) *command.Rewrapped {
		r := &command.Rewrapped{Id: k.ID[:], Revision: k.Revision, Version: 1, Wrapped: []byte("moved")}
		if edit != nil {
			edit(r)
		}
		return r
	}
	m.refused("for an app", m.do(m.by(1), rewrapKeys(1, one(moved, nil))), kms.Invalid)
	m.refused("to an old generation", m.do(nil, rewrapKeys(0, one(moved, nil))), kms.Conflict)
	before := contents(m.View())
	m.must(m.do(nil, rewrapKeys(1, one(moved, func(r *command.Rewrapped) { r.From = 1 }), one(moved, func(r *command.Rewrapped) { r.Version = 2 }),
		one(moved, func(r *command.Rewrapped) { r.Wrapped = nil }), one(moved, func(r *command.Rewrapped) { r.Id = id(999) }), one(changed, nil))))
	if w := m.View().Wrapped(); w[0] != 6 || w[1] != 0 { // three keys, two credentials, the authority
		t.Fatalf("wrapped: %v", w)
	}
	m.must(m.do(nil, rewrapKeys(1, one(moved, nil))))
	if d := cmp.Diff(before, contents(m.View())); d != "" {
		t.Errorf("re-wrapping shows (-want +got):\n%s", d)
	}
	k, _ := m.View().Key(moved.ID)
	if v, _ := k.Version(0); v.Generation != 1 || string(v.Wrapped) != "moved" || moved.Versions[0].Generation != 0 {
		t.Errorf("the version is %+v, and the old record's %+v", v, moved.Versions[0])
	}
	m.must(m.do(m.by(1), setState(100, moved.Revision, kms.KeyDisabled)))
}

// A generation that wraps something is not retired, and what comes wrapped under
// a retired one is refused.
func TestRetireGeneration(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	m.refused("the newest", m.do(nil, retireGeneration(0, m.orderTo(govern.DeedRetire, 0, 1))), kms.Misused)
	m.must(m.do(nil, putGeneration(1, m.orderTo(govern.DeedRotate, 1, 2))))
	m.refused("while it wraps", m.do(nil, retireGeneration(0, m.orderTo(govern.DeedRetire, 0, 1))), kms.Misused)
	rewrap := rewrapKeys(1, &command.Rewrapped{Id: k.ID[:], Revision: k.Revision, Version: 1, Wrapped: []byte("moved")})
	for app := range uint64(2) {
		c, _ := m.View().Credential(kms.CredentialID(id(app + 1)))
		rewrap.GetRewrap().Credentials = append(rewrap.GetRewrap().Credentials, &command.Rewrapped{Id: c.ID[:], Revision: c.Revision, Wrapped: []byte("moved")})
	}
	m.must(m.do(nil, rewrap))
	m.refused("while the authority is left", m.do(nil, retireGeneration(0, m.orderTo(govern.DeedRetire, 0, 1))), kms.Misused)
	m.must(m.do(nil, &command.Command{Op: &command.Command_Rewrap{Rewrap: &command.Rewrap{Generation: 1, Authority: &command.Rewrapped{Wrapped: []byte("moved")}}}}))
	m.refused("without an order", m.do(nil, retireGeneration(0, nil)), kms.Invalid)
	m.must(m.do(nil, retireGeneration(0, m.orderTo(govern.DeedRetire, 0, 1))))
	m.refused("twice", m.do(nil, retireGeneration(0, m.orderTo(govern.DeedRetire, 0, 3))), kms.Exists)
	m.refused("a key that was wrapped before", m.do(m.by(1), putKey(1, 200)), kms.Conflict)
	m.refused("an app whose credential was", m.do(nil, putApp(7)), kms.Conflict)

	again := restored(t, m.Machine).View()
	g := again.Generations()
	if again.InUse(0) || !again.InUse(1) || g[0].Retired == 0 || g[0].RetiredIndex == 0 || again.Authority().Generation != 1 {
		t.Errorf("after a snapshot: %+v, authority under %d", g, again.Authority().Generation)
	}
	if d := cmp.Diff(m.View().Generations(), g); d != "" {
		t.Errorf("after a snapshot (-want +got):\n%s", d)
	}
}

// A master secret that was handed out before a node was removed becomes no
// generation: the node may have it. Nor does one that others may have dropped.
func TestHandedOutBefore(t *testing.T) {
	m := newMachine(t)
	m.grow(2, 3)
	put := func(nonce byte, removals, since uint64) *command.Command {
		c := putGeneration(1, m.orderTo(govern.DeedRotate, 1, nonce))
		p := c.GetPutGeneration()
		p.Holders, p.Removals, p.Since = [][]byte{raw(1), raw(2)}, removals, since
		return c
	}
	m.must(m.do(nil, removeNode(1, 3, kms.NodeExpelled, m.removal(3, 1))))
	m.configure(1, 2)
	m.refused("before a removal", m.do(nil, put(1, 0, m.index)), kms.Conflict)
	m.refused("after one that was not", m.do(nil, put(1, 2, m.index)), kms.Conflict)
	since := m.index
	m.index += state.CandidateLife
	m.refused("too long ago", m.do(nil, put(1, 1, since)), kms.Conflict)
	m.refused("in the future", m.do(nil, put(1, 1, m.index+1)), kms.Conflict)
	m.must(m.do(nil, put(1, 1, since+3)))
	if n := m.View().Departures(); n != 1 {
		t.Errorf("%d were removed", n)
	}
}
