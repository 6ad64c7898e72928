package state_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// roam applies n random commands about nodes, most of which are refused.
func (m *machine) roam(r *rand.Rand, n int) {
	voters := []byte{1}
	for range n {
		m.time += int64(r.IntN(int(time.Minute)))
		who, other, machine := byte(1+r.IntN(9)), byte(1+r.IntN(9)), byte(1+r.IntN(9))
		switch r.IntN(9) {
		case 0, 1:
			m.do(nil, m.put(who, func(p *command.PutNode) {
				if r.IntN(3) == 0 {
					p.Node.Claims = kept(m.t, claims(machine))
				}
				if r.IntN(3) == 0 {
					p.Replaces, p.Proven = raw(other), r.IntN(2) == 0
				}
				if r.IntN(3) == 0 {
					p.Approval = m.approval(who, func(a *govern.Approval) { a.Nonce[2] = byte(r.IntN(4)) })
				}
			}))
		case 2:
			m.do(nil, m.announce(who, func(p *command.AnnounceNode) { p.Node.Generations = uint32(r.IntN(3)) }))
		case 3:
			m.do(nil, approveNode(who, m.approval(machine, nil)))
		case 4:
			m.do(nil, removeNode(who, other, kms.Departures()[r.IntN(5)], nil))
		case 5:
			m.do(nil, removeNode(1, other, kms.NodeExpelled, m.removal(other, byte(r.IntN(9)))))
		case 6:
			m.do(nil, ticked(reading(1, m.time), reading(who, m.time-5), reading(other, m.time+int64(time.Hour))))
		case 7:
			if i := slices.Index(voters, who); i > 0 {
				voters = slices.Delete(voters, i, i+1)
			} else if _, ok := m.View().Member(node(who)); ok && i < 0 {
				voters = append(voters, who)
			}
			m.configure(voters...)
		case 8:
			m.do(m.by(1), putKey(1, 100+r.Uint64N(9)))
		}
	}
}

// The same log gives the same bytes and the same digest, whether it is applied in
// one go, by another machine, or from a snapshot on.
func TestNodesAreDeterministic(t *testing.T) {
	kinds := map[kms.EventKind]bool{}
	for seed := range uint64(4) {
		a := newMachine(t)
		if seed%2 == 0 {
			a.needApproval()
		}
		a.roam(rand.New(rand.NewPCG(seed, 1)), 300)
		a.others(t)
		for _, e := range seen(t, a.View().Events(), 0) {
			kinds[e.Kind] = true
		}
	}
	for _, k := range []kms.EventKind{kms.EventNodeAdmitted, kms.EventNodeApproved, kms.EventNodeWaiting, kms.EventNodeJoined, kms.EventNodeLeft, kms.EventNodeEvicted} {
		if !kinds[k] {
			t.Errorf("no %s in all of it: it is not tested", k)
		}
	}
}

// FuzzNodeCommands: whatever stands in a command about nodes, it is refused or
// leaves a state whose snapshot restores to the same.
func FuzzNodeCommands(f *testing.F) {
	m := newMachine(f)
	m.grow(2, 3)
	for i, entry := range m.log {
		if entry[0] != 0 && i > 2 {
			f.Add(entry)
		}
	}
	for _, c := range []*command.Command{m.put(4, nil), removeNode(1, 2, kms.NodeExpelled, m.removal(2, 1)), approveNode(3, m.approval(3, nil)),
		ticked(reading(1, start), reading(2, start)), raise(2), checkpoint(state.Checkpoint{Index: 5})} {
		f.Add(entry(f, m, c))
	}
	before := snapshot(f, m.Machine)
	f.Fuzz(func(t *testing.T, data []byte) {
		again := restore(t, before)
		again.Apply(m.index+1, data)
		if again.Fatal() != nil {
			return
		}
		after := snapshot(t, again)
		if third := restore(t, after); !bytes.Equal(snapshot(t, third), after) || third.Digest() != again.Digest() {
			t.Error("its snapshot restores to something else")
		}
	})
}
