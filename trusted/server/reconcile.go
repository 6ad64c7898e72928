package server

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

const (
	// lookInterval is how often a node looks after its part in the domain where
	// nothing wakes it earlier.
	lookInterval = 200 * time.Millisecond
	// patience is for how many intervals a node waits for the leader's tick before it
	// moves domain time itself: a leader whose host has stopped its clock does not
	// stop the domain's.
	tickPatience = 3
)

// run does a node's part in the domain until ctx ends.
func (m *members) run(ctx context.Context) {
	leave := m.node.machine.View().Events().Subscribe(kms.AppID{}, m.wakeTokens())
	defer leave()
	m.node.work.Go(func() { m.node.cfg.Clock.Every(ctx, lookInterval, m.nudge) })
	m.node.work.Go(func() { m.node.cfg.Clock.Every(ctx, refusalTurn, func() { m.tellRefusal(ctx, m.refusals.turn()) }) })
	for {
		m.look(ctx)
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		}
	}
}

func (m *members) wakeTokens() chan<- struct{} { return m.wake }

func (m *members) nudge() {
	select {
	case m.wake <- struct{}{}:
	default: // it is about to look
	}
}

// look does what there is to do. What does not succeed is tried again at the next
// look.
func (m *members) look(ctx context.Context) {
	if m.node.replica.Failure() != nil {
		return
	}
	m.followRules(ctx)
	if _, known := m.node.replica.Leader(); !known {
		m.catchUp(ctx)
	}
	for what, do := range map[string]func(context.Context) error{
		"announcing this node":    m.announce,
		"taking master secrets":   m.node.generations.follow,
		"the domain's membership": m.reconcile,
	} {
		ctx, cancel := context.WithTimeout(ctx, lookTime)
		if err := do(ctx); err != nil && ctx.Err() == nil {
			m.node.cfg.Logger.Warn("will be tried again", "what", what, "cause", err)
		}
		cancel()
	}
}

// lookTime bounds each thing that a look does.
const lookTime = 20 * time.Second

// followRules makes the rules of the state those of the channels, and keeps them
// for the next start.
func (m *members) followRules(ctx context.Context) {
	now := rulesOf(m.node.machine.View())
	m.channels.Enforce() // time passes, too
	m.channels.Renew(ctx)
	if old := m.written.Load(); now == nil || old != nil && now.same(old) {
		return
	}
	if err := m.sealer.writeRules(now); err != nil {
		m.node.cfg.Logger.Error("the list of nodes was not written", "cause", err)
		return
	}
	m.written.Store(now)
	if kept := m.kept.Load(); kept != nil && !kept.newer(now) {
		m.kept.CompareAndSwap(kept, nil)
	}
}

// follow puts in use what the domain has come to use, and takes from others what
// this node lacks of it.
func (g *generations) follow(ctx context.Context) error {
	view := g.node.machine.View()
	if g.set.Current() != view.Generation() {
		return g.fetch(ctx)
	}
	return nil
}

// announce tells the domain what has changed about this node: where it is, what it
// can, which master secrets it holds, and once an interval what its newest
// evidence proves.
func (m *members) announce(ctx context.Context) error {
	n := m.node
	view := n.machine.View()
	old, ok := view.Member(n.who.node)
	if !ok {
		return nil // it is about to be told
	}
	now := &command.Node{Id: old.ID[:], Boot: m.boot.Public(), Socket: n.cfg.Peers.Socket, Api: n.cfg.Peers.API, Name: n.cfg.Peers.Name,
		Feature: state.FeatureLevel, Generations: n.generations.heldBelow(view)}
	claims, at, _ := n.standing.view()
	renewed := at.Sub(time.Unix(0, old.Proved)) > time.Duration(view.Policy().EvidenceAge)/4
	if !renewed && string(old.Boot) == string(now.Boot) && old.Socket == now.Socket && old.API == now.Api && old.Name == now.Name &&
		old.Feature == now.Feature && old.Generations == now.Generations {
		return nil
	}
	if renewed {
		var err error
		if now.Claims, err = claims.Encode(); err != nil {
			return err
		}
	}
	return n.core.Announce(ctx, &command.AnnounceNode{By: n.who.node[:], Node: now})
}

// heldBelow is the number below which this node holds every generation in use, on
// its disk.
func (g *generations) heldBelow(view *state.View) uint32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	if missing := g.missing(view); len(missing) > 0 || g.unwritten {
		return 0
	}
	return view.Generation() + 1
}

// reconcile is the leader's: it makes raft's configuration what the state says,
// one change at a time, and ends the part of nodes that the policy in force does
// not admit any more.
func (m *members) reconcile(ctx context.Context) error {
	n := m.node
	if !n.replica.Leads() {
		return nil
	}
	view, err := n.replica.View(ctx)
	if err != nil {
		return err
	}
	if view.AuthorityDue() || view.GenerationDue() { // whichever node was told
		n.generations.nudge()
	}
	if err := m.evict(ctx, view); err != nil {
		return err
	}
	if err := m.succeed(ctx, view); err != nil {
		return err
	}
	if err := m.configure(ctx); err != nil {
		return err
	}
	if c := view.Checkpoint(); c.Index > m.compared { // so that nodes whose state differs are found
		m.compared = c.Index
		return m.order(ctx, &command.Command{Op: &command.Command_Checkpoint{Checkpoint: &command.Checkpoint{Index: c.Index, Digest: c.Digest[:]}}})
	}
	if level := view.Announced(); level > view.Feature() { // by every voter
		return m.order(ctx, &command.Command{Op: &command.Command_RaiseFeature{RaiseFeature: &command.RaiseFeature{By: n.who.node[:], Level: level}}})
	}
	return nil
}

// evict removes nodes whose identity is in no entry of the policy in force: no
// entry, no right.
func (m *members) evict(ctx context.Context, view *state.View) error {
	now := m.now()
	for _, id := range m.others(view) {
		rec, _ := view.Member(id)
		err := view.Policy().NodePolicy().Admit(rec.Claims, now)
		if err == nil || !errors.Is(err, attest.IdentityNotAdmitted) {
			continue // what may pass: it proves itself again, and does not serve until then
		}
		m.node.cfg.Logger.Warn("a node is removed: the policy in force does not admit it", "node", id.String(), "cause", err)
		if err := m.order(ctx, &command.Command{Op: &command.Command_RemoveNode{RemoveNode: &command.RemoveNode{
			By: m.node.who.node[:], Node: id[:], Reason: uint32(kms.NodeRefused)}}}); err != nil {
			return err
		}
	}
	return nil
}

// order proposes what this node wants of the domain.
func (m *members) order(ctx context.Context, cmd *command.Command) error {
	_, err := m.node.core.Order(ctx, func(*state.View) (*command.Command, error) { return cmd, nil })
	return err
}

// succeed removes nodes that another one came for.
func (m *members) succeed(ctx context.Context, view *state.View) (err error) {
	view.Nodes(func(rec *state.Node) bool {
		if _, there := view.Member(rec.Replaces); rec.Member() && there && rec.Replaces != m.node.who.node {
			old := rec.Replaces
			err = m.order(ctx, &command.Command{Op: &command.Command_RemoveNode{RemoveNode: &command.RemoveNode{
				By: m.node.who.node[:], Node: old[:], Reason: uint32(kms.NodeReplaced)}}})
		}
		return err == nil
	})
	return err
}

// configure changes raft's configuration by one step where it is not what the
// state wants.
func (m *members) configure(ctx context.Context) error {
	m.busy.Lock()
	defer m.busy.Unlock()
	view, err := m.node.replica.Local() // somebody may have held it for long
	if err != nil {
		return err
	}
	r := m.node.replica
	voters, learners := r.Configuration()
	view.Nodes(func(rec *state.Node) bool {
		voter, learner := slices.Contains(voters, rec.ID), slices.Contains(learners, rec.ID)
		switch {
		case !rec.Member(), voter:
			return true
		case !learner:
			err = r.AddLearner(ctx, rec.ID)
		case view.HoldsRoot(rec) && m.mayVote(view, rec):
			err = r.Promote(ctx, rec.ID)
		default:
			return true
		}
		m.nudge() // one change at a time, and the next at once
		return false
	})
	for _, id := range slices.Concat(voters, learners) {
		if _, ok := view.Member(id); !ok && err == nil {
			return m.dismiss(ctx, id)
		}
	}
	return err
}

// dismiss takes a node out of raft's configuration. A leader that is to go has
// another one do it.
func (m *members) dismiss(ctx context.Context, id kms.NodeID) error {
	if id == m.node.who.node {
		return m.node.replica.TransferLeadership(ctx)
	}
	return m.node.replica.RemoveServer(ctx, id)
}

// tick moves domain time on where a quorum keeps it.
func (m *members) tick(ctx context.Context) {
	last, waited := int64(0), 0
	m.node.ticks(ctx, func() {
		view := m.node.machine.View()
		if !view.QuorumTime() {
			return
		}
		if now := view.Time().UnixNano(); now != last {
			last, waited = now, 0
		} else {
			waited++
		}
		if !m.node.replica.Leads() && waited < tickPatience {
			return
		}
		if err := m.node.moveTime(ctx); err != nil && ctx.Err() == nil {
			m.node.cfg.Logger.Debug("domain time did not move", "cause", err)
		}
	})
}

func (n *Node) moveTime(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	readings, err := n.replica.Readings(ctx)
	if err != nil {
		return err
	}
	said := make([]*command.Reading, len(readings))
	for i := range readings {
		r := &readings[i]
		said[i] = &command.Reading{Node: r.Node[:], Time: r.Time.UnixNano()}
	}
	return n.core.Tick(ctx, said)
}
