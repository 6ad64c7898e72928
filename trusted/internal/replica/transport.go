package replica

import (
	"context"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/holdfast-kms/holdfast/kms"
)

// Peers is how members reach each other: over channels on which each has
// proved who he is, and that end when his part in the domain does.
type Peers interface {
	Dial(ctx context.Context, node kms.NodeID, protocol string) (net.Conn, error)
	// Listener gives out connections that members have made. Each is a Peer.
	Listener(protocol string) net.Listener
}

// A Peer is a connection that knows who is at its other end.
type Peer interface{ Peer() kms.NodeID }

// Bounds of raft's own connections.
const (
	raftPool    = 3
	raftTimeout = 3 * time.Second // of one message; a snapshot's grows with its size
	// One message at a time to each follower. With more, raft v1.7.3 may wait for
	// ever to send one when the reply before it is a refusal: that follower gets
	// nothing any more, and raft does not stop.
	raftInFlight = 1
)

// transport carries raft's messages.
type transport interface {
	raft.Transport
	Close() error
}

func newTransport(cfg Config) transport {
	if cfg.Peers == nil {
		_, t := raft.NewInmemTransport(address(cfg.Node))
		return t
	}
	return newChannels(cfg)
}

func address(id kms.NodeID) raft.ServerAddress { return raft.ServerAddress(id.String()) }
func serverID(id kms.NodeID) raft.ServerID     { return raft.ServerID(id.String()) }

// channels are raft's transport over Peers. In one point they tell raft more
// than the leader's raft does: see commit. In one they keep from it that a
// follower is away: see reach.
type channels struct {
	*raft.NetworkTransport
	stream *stream
	out    chan raft.RPC
	wake   chan struct{} // holds one token when raft is to be told
	stop   chan struct{}
	once   sync.Once
	done   sync.WaitGroup

	replica *Replica
	begun   chan struct{} // closed once there is a replica
	reach   reach

	mu     sync.Mutex
	known  point // the newest that a leader has told
	leader raft.RPCHeader
	seen   point // the last entry handed to raft, and the term of who sent it
}

func newChannels(cfg Config) *channels {
	s := &stream{node: cfg.Node, peers: cfg.Peers, listener: cfg.Peers.Listener(RaftProtocol), open: make(map[net.Conn]struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	c := &channels{
		stream: s,
		NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: s, MaxPool: raftPool, Timeout: raftTimeout, MaxRPCsInFlight: raftInFlight, Logger: newLogger(cfg.Logger)}),
		out: make(chan raft.RPC), wake: make(chan struct{}, 1), stop: make(chan struct{}), begun: make(chan struct{}),
	}
	return c
}

// begin hands messages to a replica's raft, which runs.
func (c *channels) begin(r *Replica) {
	c.replica = r
	close(c.begun)
	c.done.Go(c.pass)
}

// Consumer gives raft its messages.
func (c *channels) Consumer() <-chan raft.RPC { return c.out }

// Close ends all connections, so that nothing leaves any more. It does not wait
// for those whose other side takes nothing.
func (c *channels) Close() error {
	c.once.Do(func() {
		close(c.stop)
		for _, conn := range c.stream.end() {
			c.done.Go(func() { _ = conn.Close() }) // nothing to tell: it is of no use any more
		}
	})
	return c.NetworkTransport.Close()
}

// drain waits for what Close has left.
func (c *channels) drain() { c.done.Wait() }

// pass hands messages on to raft, in order.
func (c *channels) pass() {
	for {
		var rpc raft.RPC
		select {
		case <-c.stop:
			return
		case rpc = <-c.NetworkTransport.Consumer():
			var needed bool
			if rpc, needed = c.screen(rpc); !needed {
				continue
			}
		case <-c.wake:
			rpc = c.notice()
			if err := c.follow(rpc.Command.(*raft.AppendEntriesRequest)); err != nil {
				c.leave(rpc, err)
				continue
			}
		}
		select {
		case <-c.stop:
			return
		case c.out <- rpc:
		}
	}
}

// commit tells raft that an entry is committed, as the leader who made it has
// told this node. Raft's leader says so only with its next message, up to
// 300 ms later, and all who read at a follower after a write would wait for
// that. What raft gets is a message that the leader could have sent: it names
// the entry by index and term, so a log that has another one there refuses it.
func (c *channels) commit(leader kms.NodeID, at point) {
	if at.term == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at.term < c.known.term || (at.term == c.known.term && at.index <= c.known.index) {
		return
	}
	c.known = at
	c.leader = c.header(leader)
	if c.seen.term == at.term && c.seen.index >= at.index {
		select {
		case c.wake <- struct{}{}:
		default: // it will tell the newest
		}
	} // else the message that brings the entry says so, see raise
}

func (c *channels) header(of kms.NodeID) raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(of.String()), Addr: []byte(of.String())}
}

// notice is a message of the leader that says no more than up to where entries
// are committed.
func (c *channels) notice() raft.RPC {
	c.mu.Lock()
	defer c.mu.Unlock()
	return raft.RPC{
		RespChan: make(chan raft.RPCResponse, 1), // which nobody reads
		Command: &raft.AppendEntriesRequest{
			RPCHeader: c.leader, Term: c.known.term, Leader: c.leader.Addr,
			PrevLogEntry: c.known.index, PrevLogTerm: c.known.term, LeaderCommitIndex: c.known.index,
		},
	}
}

// raise lets a message with entries say what is known of them by now, and of no
// others.
func (c *channels) raise(a *raft.AppendEntriesRequest) {
	last := a.PrevLogEntry
	if n := len(a.Entries); n > 0 {
		last = a.Entries[n-1].Index
	}
	if last == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = point{index: last, term: a.Term}
	if a.Term == c.known.term {
		a.LeaderCommitIndex = max(a.LeaderCommitIndex, c.known.index)
	}
	a.LeaderCommitIndex = min(a.LeaderCommitIndex, last)
}

// stream is Peers as raft.StreamLayer.
type stream struct {
	node     kms.NodeID
	peers    Peers
	listener net.Listener
	ctx      context.Context // ends with the transport
	cancel   context.CancelFunc

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

func (s *stream) Dial(to raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	node, err := kms.ParseNodeID(string(to))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(s.ctx, timeout)
	defer cancel()
	conn, err := s.peers.Dial(ctx, node, RaftProtocol)
	if err != nil {
		return nil, err
	}
	return s.keep(conn)
}

// Accept returns the next connection that a member has made.
func (s *stream) Accept() (net.Conn, error) {
	conn, err := s.listener.Accept()
	if err != nil {
		return nil, err
	}
	return s.keep(conn)
}

func (s *stream) keep(conn net.Conn) (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	s.open[conn] = struct{}{}
	return &streamConn{conn, s}, nil
}

// end takes no more connections and returns those that are open.
func (s *stream) end() []net.Conn {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return slices.Collect(maps.Keys(s.open))
}

func (s *stream) Close() error   { return s.listener.Close() }
func (s *stream) Addr() net.Addr { return nodeAddr(s.node) }

// streamConn leaves the list of open connections when it is closed.
type streamConn struct {
	net.Conn
	s *stream
}

func (c *streamConn) Close() error {
	c.s.mu.Lock()
	delete(c.s.open, c.Conn)
	c.s.mu.Unlock()
	return c.Conn.Close()
}

// nodeAddr is a node's raft address: its id.
type nodeAddr kms.NodeID

func (nodeAddr) Network() string  { return "holdfast" }
func (a nodeAddr) String() string { return kms.NodeID(a).String() }
