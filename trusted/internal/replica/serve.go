package replica

import (
	"net"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// maxServed bounds what one member has us do for it at once.
const maxServed = 1_024

// serve answers other members until the listener closes.
func (r *Replica) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		peer, ok := conn.(Peer)
		s := &session{r: r, wire: newWire(conn), free: make(chan struct{}, maxServed)}
		if !ok || !r.spawn(func() { s.run(peer.Peer()) }) {
			s.wire.close()
		}
	}
}

// A session is a connection that another member has made.
type session struct {
	r    *Replica
	peer kms.NodeID
	wire *wire
	free chan struct{} // one token for each thing that is being done for it
	work sync.WaitGroup
}

func (s *session) run(peer kms.NodeID) {
	s.peer = peer
	s.work.Go(s.wire.write)
	s.work.Go(func() {
		select {
		case <-s.r.own.Done():
		case <-s.wire.gone:
		}
		s.wire.close()
	})
	s.wire.read(s.take)
	s.work.Wait()
}

// take answers what is answered at once, and starts what is not.
func (s *session) take(f frame) bool {
	switch f.kind {
	case ask:
		return s.wire.send(frame{answer, f.id, s.r.standing().bytes()})
	case seek:
		if at, ok := s.found(f); ok {
			return s.wire.send(at)
		}
		return s.start(f, s.find)
	case propose:
		return s.start(f, s.propose)
	}
	return false // no question
}

func (s *session) start(f frame, do func(frame) frame) bool {
	select {
	case s.free <- struct{}{}:
	default:
		return s.wire.send(refuse(f.id, busy))
	}
	s.work.Go(func() {
		defer func() { <-s.free }()
		s.wire.send(do(f)) // who has gone asks again
	})
	return true
}

// found is the answer to a seek for which nobody has to be asked or waited for.
func (s *session) found(f frame) (frame, bool) {
	at, ok := s.r.vouched(s.peer, parseTerm(f.body))
	if !ok || s.r.fsm.applied.Load() < at.index || !s.r.cfg.member(s.peer) {
		return frame{}, false
	}
	return frame{found, f.id, at.bytes()}, true
}

// find confirms an index for a member: who is none any more in the state that
// the index stands for gets no answer, so that a node that was removed knows
// nothing of what came after.
func (s *session) find(f frame) frame {
	r := s.r
	if r.leads() == nil {
		return refuse(f.id, notLeader)
	}
	at, ok := r.vouched(s.peer, parseTerm(f.body))
	if !ok {
		rd := r.confirms.join(true)
		select {
		case <-rd.done:
		case <-s.wire.gone:
			return refuse(f.id, busy)
		}
		if at = rd.at; rd.err != nil {
			return refuse(f.id, notLeader)
		}
	}
	if !r.fsm.await(r.own, s.wire.gone, at.index) {
		return refuse(f.id, notLeader)
	}
	if !r.cfg.member(s.peer) {
		return refuse(f.id, notMember)
	}
	return frame{found, f.id, at.bytes()}
}

// propose puts a member's command through the log.
func (s *session) propose(f frame) frame {
	r := s.r
	if r.leads() == nil {
		return refuse(f.id, notLeader)
	}
	if !r.cfg.member(s.peer) {
		return refuse(f.id, notMember)
	}
	// An entry that does not decode, or whose operation is not known, stops every
	// node that applies it. A level that its sender has seen the leader has seen, too.
	var c command.Command
	if err := proto.Unmarshal(f.body, &c); err != nil || len(c.GetId()) != len(kms.CommandID{}) || r.cfg.Machine.View().CheckFeature(&c) != nil {
		return refuse(f.id, malformed)
	}
	if !speaksFor(&c, s.peer) {
		r.cfg.Logger.Error("a node forwards a command in another one's name", "node", s.peer.String())
		return refuse(f.id, notYours)
	}
	res, at, why := r.apply(f.body)
	if why != 0 {
		return refuse(f.id, why)
	}
	return frame{outcome, f.id, verdictOf(at, res).bytes()}
}
