package server

import (
	"context"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A candidate is a master secret that the domain does not know yet. There may be
// several for one generation, of rotations that ran into each other or whose
// outcome nobody was told: none is dropped before the log has named one of them,
// for until then it may name any; or until all are so old that it can name none of
// them any more.
type candidate struct {
	number uint32
	secret secret.Bytes
}

// candidateLife is how many entries after the last of them was made, or offered
// again, candidates are dropped: twice what the state allows, for a node that was
// started again does not know how far the log was when it took them.
const candidateLife = 2 * state.CandidateLife

// maxCandidates bounds what rotations leave behind that never come to an end.
const maxCandidates = 16

// link is what a candidate would be known by.
func (c candidate) link(domain kms.DomainID, previous []byte) (l core.Link, err error) {
	r := root.New(root.NewSetOf(map[uint32]secret.Bytes{c.number: c.secret}), domain, root.HoldfastLabels)
	defer r.Forget(c.number)
	if l.Checksum, err = r.Checksum(c.number, previous); err != nil {
		return l, err
	}
	l.SigningKey, err = r.SigningKey(c.number)
	return l, err
}

// A drawn is the candidate that this node made last.
type drawn struct {
	candidate
	distrust int // as of then
}

// distrust counts who has left the domain, and what was declared compromised. While
// it stays as it was, nobody who was handed a candidate has gone since.
func distrust(view *state.View) int {
	n := len(view.Compromises())
	view.RemovedNodes(func(kms.NodeID, state.Removal) bool { n++; return true })
	return n
}

// again is the candidate that an attempt left whose outcome was not known. One that
// another node made is not taken, nor one of an earlier start or from before a node
// was removed: whoever was handed it would know the generation, though he was
// expelled before the domain began to use it.
func (g *generations) again(view *state.View, next uint32) (candidate, bool) {
	d := g.drawn
	kept := d.number == next && d.distrust == distrust(view) &&
		slices.ContainsFunc(g.candidates, func(c candidate) bool { return c.number == next && c.secret.Same(d.secret) })
	return d.candidate, kept
}

// prepare makes the next generation, and has it safe on this disk and on those of
// the other members.
func (g *generations) prepare(ctx context.Context, view *state.View, next uint32, previous []byte) (link core.Link, err error) {
	c, ok := g.again(view, next)
	if ok {
		g.newest = g.node.machine.View().Index()
	} else {
		c = candidate{next, secret.Random(root.SecretSize)}
		if err := g.add(c); err != nil {
			return link, err
		}
		g.drawn = drawn{c, distrust(view)}
	}
	if link, err = c.link(g.node.who.domain, previous); err != nil {
		return link, err
	}
	if link.Recovery, err = sealNext(view, c); err != nil {
		return link, err
	}
	link.Holders = [][]byte{g.node.who.node[:]}
	if g.node.members == nil {
		return link, nil
	}
	link.Holders, err = g.node.members.offer(ctx, view, next, link, c.secret)
	if err != nil {
		g.node.cfg.Logger.Warn("not every node took the next master secret", "generation", next, "cause", err)
	}
	return link, nil
}

// add keeps a candidate, on the disk when it returns.
func (g *generations) add(c candidate) error {
	if len(g.candidates) >= maxCandidates {
		g.settle(g.node.machine.View())
	}
	if len(g.candidates) >= maxCandidates {
		return kms.Errorf(kms.Exhausted, "%d master secrets wait for the log to name one of them", maxCandidates).
			WithHint("see why rotations do not come to an end")
	}
	g.candidates = append(g.candidates, c)
	if err := g.write(); err != nil {
		g.candidates = g.candidates[:len(g.candidates)-1] // nobody was told of it
		return err
	}
	g.newest = g.node.machine.View().Index()
	return nil
}

// keep takes over a candidate from another node.
func (g *generations) keep(number uint32, b secret.Bytes, checksum []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	view := g.node.machine.View()
	if number != view.Generation()+1 {
		return kms.Errorf(kms.Conflict, "generation %d is not the next one", number)
	}
	c := candidate{number, b}
	link, err := c.link(g.node.who.domain, view.Generations()[number-1].Checksum)
	if err != nil {
		return err
	}
	if string(link.Checksum) != string(checksum) {
		return kms.Errorf(kms.Denied, "the generation that is offered does not have its checksum")
	}
	for _, old := range g.candidates {
		if old.number == number && old.secret.Same(b) {
			b.Wipe()
			g.newest = view.Index() // it is offered for another attempt
			return nil
		}
	}
	return g.add(c)
}

// settle makes candidates that the log has named generations, and drops those that
// it can name no more.
func (g *generations) settle(view *state.View) {
	left := g.candidates[:0:0]
	all := view.Generations()
	if g.newest == 0 { // they were in the file: from some time before now
		g.newest = view.Index()
	}
	old := view.Index() > g.newest+g.life
	for _, c := range g.candidates {
		unnamed := int(c.number) >= len(all)
		switch {
		case unnamed && !old:
			left = append(left, c)
		case !unnamed && c.named(g.node.who.domain, all):
			_ = g.set.Hold(c.number, c.secret) // Exists: it is held, and in the file already
		default:
			c.secret.Wipe()
			g.unwritten = true
		}
	}
	g.candidates = left
}

// named reports whether a candidate is the generation in use of its number.
func (c candidate) named(domain kms.DomainID, all []state.Generation) bool {
	known, previous := all[c.number], []byte(nil)
	if c.number > 0 {
		previous = all[c.number-1].Checksum
	}
	link, err := c.link(domain, previous)
	return err == nil && known.Retired == 0 && string(link.Checksum) == string(known.Checksum)
}

// takeUp begins to use a generation that the domain has come to use while a request
// was on its way, if this node was handed it before. It reports whether it was.
func (g *generations) takeUp(view *state.View) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.settle(view)
	return len(g.missing(view)) == 0 && g.use(view) == nil
}

// use puts what is held in use, once it is on the disk.
func (g *generations) use(view *state.View) error {
	if g.unwritten {
		if err := g.write(); err != nil {
			return err
		}
	}
	g.nudge() // what is wrapped under older ones is to be moved
	return g.set.Use(view.Generation())
}
