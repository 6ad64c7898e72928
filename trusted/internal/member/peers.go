package member

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// A Peer is what this node knows of another, for status.
type Peer struct {
	Node     kms.NodeID
	Channels int // open now, either way

	// Claims are what it proved At, which stands until Until if nothing moves. They
	// are zero where it is not admitted.
	Claims    attest.Claims
	Boot      []byte // the start that it proved them for
	At, Until time.Time

	// Refusal is why it was last refused, RefusedAt; nil: it never was.
	Refusal   error
	RefusedAt time.Time

	// Unwelcome is why it did not take this node when it was last dialled; nil: it
	// did, or did not answer.
	Unwelcome error
}

// dialled notes what became of dialling a node that this one has had channels with.
func (a *admissions) dialled(node kms.NodeID, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p := a.of[node]; p != nil && (err == nil || errors.Is(err, kms.Denied)) {
		p.unwelcome = err
	}
}

// Peers lists the members that this node has or had channels with, by id.
func (c *Channels) Peers() []Peer {
	a := c.peers
	a.mu.Lock()
	defer a.mu.Unlock()
	all := make([]Peer, 0, len(a.of))
	for _, p := range a.of {
		v := Peer{Node: p.node, Channels: len(p.channels), Refusal: p.refusal, RefusedAt: p.refusedAt, Unwelcome: p.unwelcome}
		if adm := p.admission; adm != nil {
			v.Claims, v.Boot, v.At, v.Until = adm.claims, adm.boot, adm.at, a.until(adm)
		}
		all = append(all, v)
	}
	slices.SortFunc(all, func(x, y Peer) int { return bytes.Compare(x.Node[:], y.Node[:]) })
	return all
}

// dueNow lists the nodes that are to show evidence again.
func (a *admissions) dueNow() (nodes []kms.NodeID) {
	now := a.cfg.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.of {
		if p.admission != nil && len(p.channels) > 0 && a.due(p.admission, now) {
			nodes = append(nodes, p.node)
		}
	}
	return nodes
}
