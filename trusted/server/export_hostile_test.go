package server

import (
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// MasterSecret is a copy of a master secret that the node holds; nil: it has none.
func (n *Node) MasterSecret(generation uint32) (b []byte) {
	s, err := n.generations.set.Secret(generation)
	if err == nil {
		_ = s.Use(func(held []byte) error { b = append(b, held...); return nil })
	}
	return b
}

// A Taker is a node that holds no master secret yet, in the state of one that runs:
// what others hand it, it proves as that one would.
type Taker struct {
	node *Node
	g    *generations
}

// Taker makes one in the state of n. It writes nothing.
func (n *Node) Taker() *Taker {
	set := root.NewSetOf(map[uint32]secret.Bytes{})
	fresh := &Node{cfg: n.cfg, who: n.who, machine: n.machine, root: root.New(set, n.who.domain, root.HoldfastLabels)}
	fresh.generations = newGenerations(fresh, n.generations.sealer, set, nil)
	return &Taker{fresh, fresh.generations}
}

// Take takes what a member hands over as a generation, and says what is missing then.
func (k *Taker) Take(generation uint32, b []byte) (missing []uint32, err error) {
	err = k.g.prove(k.node.machine.View(), generation, secret.Copy(b))
	return k.g.missing(k.node.machine.View()), err
}

// Offered takes what a member offers as the next generation.
func (n *Node) Offered(generation uint32, b, checksum []byte) error {
	return n.generations.keep(generation, secret.Copy(b), checksum)
}

// Handed is what another member would hand this node as a generation, sealed for it
// and its present start, and what becomes of it when it comes as another one.
func (n *Node) Handed(b []byte, generation, as uint32) error {
	h := func(g uint32) member.Handover {
		return n.members.handover(n.who.node, member.MasterSecret, uint64(g))
	}
	sealed, err := h(generation).Seal(n.members.boot.Public(), secret.Copy(b))
	if err != nil {
		return err
	}
	_, err = h(as).Open(n.members.boot, sealed)
	return err
}
