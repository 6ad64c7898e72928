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
// for until then it may name any.
type candidate struct {
	number uint32
	secret secret.Bytes
}

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

// prepare makes the next generation, and has it safe on this disk and on those of
// the other members. One that is left from an attempt whose outcome was not known
// is taken again.
func (g *generations) prepare(ctx context.Context, view *state.View, next uint32, previous []byte) (link core.Link, err error) {
	i := slices.IndexFunc(g.candidates, func(c candidate) bool { return c.number == next })
	if i < 0 {
		i = len(g.candidates)
		if err := g.add(candidate{next, secret.Random(root.SecretSize)}); err != nil {
			return link, err
		}
	}
	c := g.candidates[i]
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
		return kms.Errorf(kms.Exhausted, "%d master secrets wait for the log to name one of them", maxCandidates).
			WithHint("see why rotations do not come to an end")
	}
	g.candidates = append(g.candidates, c)
	if err := g.write(); err != nil {
		g.candidates = g.candidates[:len(g.candidates)-1] // nobody was told of it
		return err
	}
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
	for _, c := range g.candidates {
		if int(c.number) >= len(all) {
			left = append(left, c)
			continue
		}
		known, previous := all[c.number], []byte(nil)
		if c.number > 0 {
			previous = all[c.number-1].Checksum
		}
		link, err := c.link(g.node.who.domain, previous)
		if err == nil && known.Retired == 0 && string(link.Checksum) == string(known.Checksum) {
			_ = g.set.Hold(c.number, c.secret) // Exists: it is held
			continue                           // and in the file already
		}
		c.secret.Wipe()
		g.unwritten = true
	}
	g.candidates = left
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
