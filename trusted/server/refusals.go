package server

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Refusing a stranger costs the log nothing: a node tells the domain of one, and
// then of none for a while, which doubles for as long as there are more. They are
// counted. So a flood of strangers makes some six entries an hour.
const (
	refusalTurn      = time.Second // how often there is a look; turns are counted, since hosts' clocks jump
	refusalPause     = 10          // turns after one that was told
	refusalPauseMost = 600
)

// refusals are the other nodes that this one refused, to be told the domain.
type refusals struct {
	mu          sync.Mutex
	next        *command.NoteRefusal // nil: there is none to tell
	pause, wait int                  // turns
}

// note has a refusal told, or counted where another one is about to be. It reports
// whether it is to be told.
func (r *refusals) note(node []byte, why string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		r.next.LeftOut++
		return false
	}
	r.next = &command.NoteRefusal{Node: node, Reason: why}
	return true
}

// turn is one refusalTurn: it takes what is to be told now, if anything.
func (r *refusals) turn() *command.NoteRefusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wait > 0 {
		r.wait--
		return nil
	}
	if r.next == nil { // it is quiet again
		r.pause = 0
		return nil
	}
	r.pause = min(max(2*r.pause, refusalPause), refusalPauseMost)
	r.wait = r.pause
	told := r.next
	r.next = nil
	return told
}

// last takes what there is to be told by a node that is about to stop.
func (r *refusals) last() *command.NoteRefusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.next
	r.next = nil
	return told
}

// putBack keeps what could not be told.
func (r *refusals) putBack(c *command.NoteRefusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next != nil {
		c.LeftOut += 1 + r.next.LeftOut
	}
	r.next = c
}

// refused notes that this node refused another one, unless the error is none that
// counts: the other one only has to ask again. Strangers write the node's log no
// more than the domain's: those that are counted are for who looks for them.
func (m *members) refused(node kms.NodeID, err error) {
	why := refusalWord(err)
	if why == "" {
		return
	}
	var named []byte
	if node != (kms.NodeID{}) {
		named = node[:]
	}
	if m.refusals.note(named, why) {
		m.node.cfg.Logger.Warn("another node is refused", "node", node.String(), "reason", why, "cause", err)
		return
	}
	m.node.cfg.Logger.Debug("another node is refused", "node", node.String(), "reason", why, "cause", err)
}

// tellRefusal puts a refusal through the log.
func (m *members) tellRefusal(ctx context.Context, c *command.NoteRefusal) {
	if c == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, offerTime)
	defer cancel()
	n, id := m.node, make([]byte, len(kms.CommandID{}))
	rand.Read(id)
	c.By = n.who.node[:]
	// Not by the core: a node that is about to join, and is handed what is no master
	// secret, has none yet. Its clock is to move nothing.
	_, err := n.replica.Propose(ctx, &command.Command{Id: id, Time: n.machine.View().Time().UnixNano(), Op: &command.Command_NoteRefusal{NoteRefusal: c}})
	if err != nil {
		n.cfg.Logger.Warn("the domain was not told of a node that was refused", "cause", err)
		m.refusals.putBack(c)
	}
}

// A refusal is an error with a word for why a node is refused.
type refusal struct {
	why kms.Refusal
	error
}

func (r *refusal) Unwrap() error { return r.error }

func refusedFor(why kms.Refusal, err error) error {
	if err == nil {
		return nil
	}
	return &refusal{why, err}
}

// refusalWord is the word for why a node is refused; empty: it only has to ask again.
func refusalWord(err error) string {
	if r, ok := errors.AsType[*refusal](err); ok {
		return string(r.why)
	}
	if e, ok := errors.AsType[*attest.Error](err); ok {
		return string(e.Reason)
	}
	switch kms.KindOf(err) {
	case kms.Denied, kms.Unauthenticated, kms.Invalid:
		return string(kms.RefusedOther)
	case kms.Exhausted:
		return string(kms.RefusedNoRoom)
	}
	return ""
}

// notRecorded gives what the state refused a node for a word: over the log an
// error keeps its kind and its text alone.
func notRecorded(view *state.View, who kms.NodeID, ask *wire.Join, err error) error {
	_, gone := view.Removed(who)
	switch kind := kms.KindOf(err); {
	case gone:
		return refusedFor(kms.RefusedDeparted, err)
	case kind == kms.Denied && ask.GetFeature() < view.Feature():
		return refusedFor(kms.RefusedOutdated, err)
	case kind == kms.Exhausted, kind == kms.Unavailable, kind == kms.Conflict && len(ask.GetApproval()) == 0:
		return err
	case len(ask.GetApproval()) > 0:
		return refusedFor(kms.RefusedApproval, err)
	}
	return err
}
