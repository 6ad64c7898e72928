package replica

import (
	"io"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
)

// screen prepares a message for raft v1.7.3, which forgets on three occasions
// that the log before a snapshot is gone:
//
//   - Entries that follow the snapshot directly, where there are later ones in
//     the log already: it does not find the entry before them, refuses, and gets
//     the snapshot again, without end.
//   - A snapshot that the log goes beyond: it drops the entries after it, which
//     it has acknowledged, and still counts them as there.
//   - A commit index beyond what the message shows to be in the log: it commits
//     whatever lies there.
//
// What raft gets instead is a message with the same meaning. It is false if
// there is nothing left to do for raft.
func (c *channels) screen(rpc raft.RPC) (raft.RPC, bool) {
	switch cmd := rpc.Command.(type) {
	case *raft.AppendEntriesRequest:
		if err := c.follow(cmd); err != nil {
			c.leave(rpc, err)
			return rpc, false
		}
		c.raise(cmd)
	case *raft.InstallSnapshotRequest:
		return c.install(rpc, cmd)
	}
	return rpc, true
}

// follow rewrites a message whose entries begin at or before the end of our
// snapshot. All up to there is committed, so every leader has the same. The error is
// that this one has not, see Store.Keeps.
func (c *channels) follow(a *raft.AppendEntriesRequest) error {
	snap, ok := c.snapshot()
	if !ok || a.PrevLogEntry > snap.index || (a.PrevLogEntry == 0 && len(a.Entries) == 0) {
		return nil
	}
	// Looked at after the snapshot: a leader of an older term than that was committed
	// in may have entries that never were.
	if a.Term < c.replica.raft.CurrentTerm() {
		return nil // raft refuses it
	}
	other := a.PrevLogEntry == snap.index && a.PrevLogTerm != snap.term
	last := snap.index
	for len(a.Entries) > 0 && a.Entries[0].Index <= snap.index {
		other = other || (a.Entries[0].Index == snap.index && a.Entries[0].Term != snap.term)
		a.Entries = a.Entries[1:]
	}
	if other {
		return c.replica.cfg.Store.Keeps(snap.index)
	}
	if n := len(a.Entries); n > 0 {
		last = a.Entries[n-1].Index
	}
	a.PrevLogEntry, a.PrevLogTerm = 0, 0 // which raft does not look for
	a.LeaderCommitIndex = min(a.LeaderCommitIndex, last)
	return nil
}

// leave has the node stop instead of doing as a leader of an older state says.
func (c *channels) leave(rpc raft.RPC, cause error) {
	c.done.Go(func() {
		if rpc.Reader != nil {
			_, _ = io.Copy(io.Discard, rpc.Reader) // the stream ends with the connection
		}
		rpc.Respond(nil, cause)
		c.replica.Fail(cause)
	})
}

// install decides whether raft needs a snapshot. One of an entry that this node has
// applied, and that is another one here, is of an older state than its own.
func (c *channels) install(rpc raft.RPC, s *raft.InstallSnapshotRequest) (raft.RPC, bool) {
	r := c.replica
	if s.Term < r.raft.CurrentTerm() {
		return rpc, true // and is refused
	}
	if c.holds(point{s.LastLogIndex, s.LastLogTerm}) {
		// Raft takes up the leader's term with his next heartbeat. Until then this
		// is no answer to him.
		term := r.raft.CurrentTerm()
		c.done.Go(func() {
			_, _ = io.Copy(io.Discard, rpc.Reader) // the stream ends with the connection
			rpc.Respond(&raft.InstallSnapshotResponse{RPCHeader: c.header(r.cfg.Node), Term: term, Success: term == s.Term}, nil)
		})
		return rpc, false
	}
	if err := r.cfg.Store.Keeps(s.LastLogIndex); err != nil {
		c.leave(rpc, err)
		return rpc, false
	}
	if r.raft.LastIndex() > s.LastLogIndex {
		return c.replace(rpc), true
	}
	return rpc, true
}

// holds is whether an entry is in our log, or behind it in our snapshot.
func (c *channels) holds(at point) bool {
	var l raft.Log
	if c.replica.cfg.Store.Log().GetLog(at.index, &l) == nil && l.Term == at.term {
		return true
	}
	// Looked at after the log, which ends only up to where a snapshot is there.
	snap, ok := c.snapshot()
	return ok && (snap.index > at.index || snap == at)
}

// replace has raft take a snapshot in place of a log that went beyond it with
// entries that no leader has. On disk they are gone then, in raft's memory they
// are not: only a new start helps.
func (c *channels) replace(rpc raft.RPC) raft.RPC {
	answered, to := make(chan raft.RPCResponse, 1), rpc.RespChan
	rpc.RespChan = answered
	c.done.Go(func() {
		select {
		case a := <-answered:
			to <- a // has room for it
			if s, ok := a.Response.(*raft.InstallSnapshotResponse); ok && s.Success {
				c.replica.Fail(kms.Errorf(kms.Unavailable, "entries that were never committed made way for a snapshot"))
			}
		case <-c.stop:
		}
	})
	return rpc
}

// snapshot is the last entry of our snapshot.
func (c *channels) snapshot() (point, bool) {
	all, err := c.replica.cfg.Store.Snapshots().List()
	if err != nil || len(all) == 0 {
		return point{}, false
	}
	return point{all[0].Index, all[0].Term}, true
}
