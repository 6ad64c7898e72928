package replica

import (
	"io"
	"slices"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
)

// Raft v1.7.3 rests after each message to a follower that failed, twice as long
// each time, up to ten seconds, and does not look whether the follower has come
// back. One that was away for a minute would have nothing new for seconds after
// it returned, and if another voter were lost in those, nobody could write.
//
// So of what fails raft hears once. After that a message with entries waits here
// until a heartbeat has reached the follower: those go on all the time, and rest
// for half an election timeout at most. What raft counts and rests for are then
// only failures with a follower who does answer heartbeats.

// A reach is which followers a leader cannot reach. The zero value is ready.
type reach struct {
	mu   sync.Mutex
	lost map[raft.ServerID]loss
}

// A loss is good for one term: what a leader tries first is not kept waiting
// because of what another time was like.
type loss struct {
	term uint64
	back chan struct{} // closed when the follower can be reached again
}

// note notes what came of a message. Of heartbeats only success counts: one may
// fail because its connection is older than the others.
func (f *reach) note(id raft.ServerID, term uint64, heartbeat bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, lost := f.lost[id]
	lost = lost && old.term >= term
	if err == nil && lost {
		close(old.back)
		delete(f.lost, id)
	}
	if err == nil || lost || heartbeat {
		return
	}
	if f.lost == nil {
		f.lost = make(map[raft.ServerID]loss)
	}
	f.lost[id] = loss{term, make(chan struct{})}
}

// back is closed when a follower can be reached again, and nil where nothing says
// that he cannot be.
func (f *reach) back(id raft.ServerID, term uint64) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l, lost := f.lost[id]; lost && l.term == term {
		return l.back
	}
	return nil
}

// AppendEntries sends raft's message, once its follower can be reached.
func (c *channels) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	heartbeat := isHeartbeat(req)
	if !heartbeat {
		if _, err := c.awaitBack(id, req.Term); err != nil {
			return err
		}
	}
	err := c.NetworkTransport.AppendEntries(id, to, req, resp)
	c.reach.note(id, req.Term, heartbeat, err)
	return err
}

// isHeartbeat is whether a message asks no more than whether the follower
// follows.
func isHeartbeat(a *raft.AppendEntriesRequest) bool {
	return a.PrevLogEntry == 0 && a.PrevLogTerm == 0 && len(a.Entries) == 0 && a.LeaderCommitIndex == 0
}

// errBack tells raft to look for its newest snapshot.
var errBack = kms.Errorf(kms.Unavailable, "the follower was away: what is to be sent may be old by now")

// InstallSnapshot sends a snapshot to a follower who can be reached.
func (c *channels) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	waited, err := c.awaitBack(id, req.Term)
	if err != nil {
		return err
	}
	if waited {
		return errBack
	}
	err = c.NetworkTransport.InstallSnapshot(id, to, req, resp, data)
	c.reach.note(id, req.Term, false, err)
	return err
}

// reckon is how often who waits for a follower looks whether there is still
// reason to.
const reckon = electionTimeout / 5

// errEnded is what a message meets whose leader leads no more, or whose
// transport has closed.
var errEnded = kms.Errorf(kms.Unavailable, "it is not to be sent any more")

// awaitBack waits until a follower can be reached. It is at an end when this node
// leads no more in that term or closes: raft waits for it before it stops. Who is
// not in the newest configuration is not waited for, since raft makes one last
// attempt to tell him that, and forgets him.
func (c *channels) awaitBack(id raft.ServerID, term uint64) (waited bool, err error) {
	for {
		back := c.reach.back(id, term)
		switch {
		case back == nil || !c.serves(id):
			return waited, nil
		case c.stream.ctx.Err() != nil || !c.leads(term):
			return waited, errEnded
		}
		waited = true
		pause(c.stream.ctx, reckon, back)
	}
}

// serves is whether a node is a server of the newest configuration.
func (c *channels) serves(id raft.ServerID) bool {
	return slices.ContainsFunc(c.raft().GetConfiguration().Configuration().Servers, func(s raft.Server) bool { return s.ID == id })
}

func (c *channels) leads(term uint64) bool {
	r := c.raft()
	return r.State() == raft.Leader && r.CurrentTerm() == term
}

// raft is the one that sends over these channels. It may send before start has
// handed it on.
func (c *channels) raft() *raft.Raft {
	<-c.begun
	return c.replica.raft
}

// reaches is whether a voter can be reached by raft, as far as it has tried.
func (r *Replica) reaches(node kms.NodeID) bool {
	c, ok := r.transport.(*channels)
	return !ok || c.reach.back(serverID(node), r.raft.CurrentTerm()) == nil
}
