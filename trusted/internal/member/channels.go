// Package member joins the nodes of a domain: channels between them, who may
// have one, and what is handed over on them.
//
// A channel is mutual TLS 1.3 between peer keys, and a node's id is the hash of
// its peer key, so a channel to a node cannot end elsewhere. Certificates carry
// the key of the node's present start and mean nothing else: no chain, no name,
// no date. Both ends of a channel are admitted: each has seen evidence of the
// other's, made for a nonce of its own and bound to peer key, start and domain,
// judged by the policy in force. It is asked for once per start, however many
// channels there are, and again when it has aged; what was admitted is judged
// again for every channel that opens, and by Enforce for all that are open. When
// Enforce returns, no byte goes to or comes from a node that is no member any
// more, or whose claims are no longer admitted.
//
// Strangers are kept cheap. Until TLS has proved that the other side holds a
// member's key nothing is verified but that, in bounded time, bytes and number;
// who shows one key does not crowd out who shows another. The protocol Join is
// for strangers: it proves the key and nothing more, and has a line of its own.
package member

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// The protocols that a channel can be for.
const (
	Raft = "holdfast-raft/1" // the consensus library's
	Node = "holdfast-node/1" // frames of the replica's
	Call = "holdfast-call/1" // HTTP/2: calls between members
	Join = "holdfast-join/1" // HTTP/2: calls of strangers, who prove a key and nothing more

	// attestation is for Renew: nothing follows the evidence.
	attestation = "holdfast-attestation/1"
)

var protocols = []string{Raft, Node, Call, Join, attestation}

// Members says who the members of the domain are, as of now. It is called often,
// and from any goroutine.
type Members interface {
	// Socket is where a member listens; false: it is none.
	Socket(kms.NodeID) (string, bool)
}

// Config says how a node has channels. All fields must be there, but for Socket,
// Starts, EvidenceAge and Impostor.
type Config struct {
	Node    kms.NodeID
	Domain  kms.DomainID
	Key     *ecdsa.PrivateKey // the peer key, P-256, whose hash Node is
	Boot    *Boot             // of this start
	Dial    func(ctx context.Context, socket string) (net.Conn, error)
	Socket  string // where this node listens, for those whom it dials; "": it does not say
	Members Members
	// Prove has the TEE sign report data, and adds collateral. It is called for
	// members alone.
	Prove func(ctx context.Context, reportData [64]byte) (attest.Evidence, error)
	// Judge verifies evidence and judges it by the policy in force; it has to be
	// bound to the report data. An error of kind Unavailable says that it cannot
	// tell, any other refuses.
	Judge func(ctx context.Context, node kms.NodeID, ev attest.Evidence, reportData [64]byte) (attest.Claims, error)
	// Admits judges claims again, without evidence.
	Admits func(node kms.NodeID, c attest.Claims) error
	// Starts says whether a start of a member may have channels, which its boot key
	// names: a domain may want nodes that were started again to join anew. Nil: any.
	Starts func(node kms.NodeID, boot []byte) error
	// EvidenceAge is how long evidence stands, by the policy in force; zero, or nil:
	// as long as its claims do.
	EvidenceAge func() time.Duration
	// Impostor is told that somebody showed a certificate without having its key. Nil:
	// nobody is.
	Impostor func(error)
	Now      func() time.Time // domain time
	Logger   *slog.Logger
}

func (c *Config) validate() error {
	if c.Key == nil || c.Boot == nil || c.Dial == nil || c.Members == nil || c.Prove == nil || c.Judge == nil || c.Admits == nil || c.Now == nil || c.Logger == nil {
		return kms.Errorf(kms.Invalid, "member.Config lacks a field")
	}
	if !kms.Printable(c.Socket, kms.MaxSocket) {
		return kms.Errorf(kms.Invalid, "the address for other nodes has more than %d bytes, or some that cannot be printed", kms.MaxSocket)
	}
	public, err := x509.MarshalPKIXPublicKey(&c.Key.PublicKey)
	if err != nil || sha256.Sum256(public) != c.Node {
		return kms.Errorf(kms.Invalid, "member.Config.Node is not the hash of the peer key")
	}
	if c.Starts == nil {
		c.Starts = func(kms.NodeID, []byte) error { return nil }
	}
	if c.Impostor == nil {
		c.Impostor = func(error) {}
	}
	if c.EvidenceAge == nil {
		c.EvidenceAge = func() time.Duration { return 0 }
	}
	return nil
}

// Channels are those of one start of a node. They are safe for use by several
// goroutines.
type Channels struct {
	cfg       Config // without the key
	key       []byte // SubjectPublicKeyInfo
	tls       *tls.Config
	peers     *admissions
	knocking  *door // whose TLS is under way
	strangers *door // channels of the protocol Join
	calls     *http.Client

	ctx  context.Context // until Close
	stop context.CancelFunc
	work sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	listeners map[string]*queue
	joining   map[*Conn]bool // channels of the protocol Join, either way
}

// New makes the channels of a start. Nothing is opened yet.
func New(cfg Config) (*Channels, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	own, err := certify(cfg.Key, cfg.Boot.Public())
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKIXPublicKey(&cfg.Key.PublicKey)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "encoding the peer key: %w", err)
	}
	cfg.Key = nil // the certificate holds it where it cannot be printed
	c := &Channels{cfg: cfg, key: key, tls: tlsConfig(own, cfg.Now), knocking: newDoor(maxKnocking), strangers: newDoor(maxStrangers),
		listeners: map[string]*queue{}, joining: map[*Conn]bool{}}
	c.peers = &admissions{cfg: &c.cfg, of: map[kms.NodeID]*peer{}}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.calls = newClient(c.dialCall)
	return c, nil
}

// start runs f, which Close waits for. It reports false after Close.
func (c *Channels) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.work.Go(f)
	return true
}

// Dial opens a channel to a node. The errors are Denied, where one of the two
// does not admit the other, and Unavailable.
func (c *Channels) Dial(ctx context.Context, node kms.NodeID, protocol string) (net.Conn, error) {
	conn, err := c.dial(ctx, node, protocol)
	c.peers.dialled(node, err)
	if err != nil {
		return nil, err // not a nil *Conn in an interface
	}
	return conn, nil
}

func (c *Channels) dial(ctx context.Context, node kms.NodeID, protocol string) (*Conn, error) {
	conn, err := c.reach(ctx, node, protocol)
	if err != nil {
		return nil, kms.Errorf(kms.KindOf(err), "dialling node %s: %w", node, err).WithHint(kms.HintOf(err))
	}
	if err := c.greetOut(ctx, conn); err != nil {
		return nil, kms.Errorf(kms.KindOf(err), "dialling node %s: %w", node, err).WithHint(kms.HintOf(err))
	}
	return conn, nil
}

// connect dials and proves by TLS who is there: node, or whoever it is if that is nil.
func (c *Channels) connect(ctx context.Context, socket, protocol string, node *kms.NodeID) (*Conn, error) {
	raw, err := c.cfg.Dial(ctx, socket)
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "%w", err).WithHint(kms.HintOf(err))
	}
	m := &meter{Conn: raw}
	m.allow(maxTLSBytes)
	conn := &Conn{raw: m, protocol: protocol, dialed: true, leave: c.forget}
	config := c.tls.Clone()
	config.NextProtos = []string{protocol}
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		if err := conn.shown(cs, protocol); err != nil {
			return err
		}
		if node != nil && conn.who.node != *node {
			return kms.Errorf(kms.Denied, "node %s listens there", conn.who.node).WithHint("see to the sockets that the nodes announce, and to what forwards to them")
		}
		return nil
	}
	t := tls.Client(m, config)
	conn.Conn = t
	ctx, cancel := context.WithTimeout(ctx, tlsTime)
	defer cancel()
	if err := t.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, tlsError(err)
	}
	return conn, nil
}

// shown reads the certificate of the other side during the TLS handshake. Who it
// is counts once that has succeeded.
func (c *Conn) shown(cs tls.ConnectionState, protocols ...string) (err error) {
	for _, p := range protocols {
		if cs.NegotiatedProtocol == p {
			c.protocol = p
			c.who, err = identify(cs)
			return err
		}
	}
	return kms.Errorf(kms.Denied, "no protocol was agreed on")
}

// tlsError gives an error of TLS the kind Unavailable, unless it is ours.
func tlsError(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*kms.Error](err); ok {
		return e
	}
	e := kms.Errorf(kms.Unavailable, "TLS: %w", err)
	if strings.Contains(err.Error(), noApplicationProtocol) {
		return e.WithHint("is it where the node listens for other nodes (--peer-listen), and not its API?")
	}
	return e
}

// noApplicationProtocol is TLS's alert (RFC 7301, 3.2): the other side speaks something
// else. Its type is not exported, and what hangs on it is words.
const noApplicationProtocol = "no application protocol"

var errClosed = kms.Errorf(kms.Unavailable, "the node is stopping: %w", net.ErrClosed)

// forget takes a channel off every record, when it is closed.
func (c *Channels) forget(conn *Conn) {
	c.peers.leave(conn)
	c.mu.Lock()
	delete(c.joining, conn)
	c.mu.Unlock()
}

// Enforce ends the channels of those who are no members any more, whose claims
// the policy in force does not admit, or whose evidence has aged; they have to
// show it again. It is called after each change of policy or membership, and now
// and then for what changes with time.
func (c *Channels) Enforce() { c.peers.enforce() }

// Renew asks those for evidence again whose own has aged by three quarters, so
// that their channels need not end. Its caller calls it now and then.
func (c *Channels) Renew(ctx context.Context) {
	for _, node := range c.peers.dueNow() {
		conn, err := c.dial(ctx, node, attestation)
		if err != nil {
			c.cfg.Logger.Warn("asking a node for evidence again", "node", node.String(), "cause", err)
			continue
		}
		_ = conn.Close()
	}
}

// Close ends every channel and waits for what this started.
func (c *Channels) Close() error {
	c.mu.Lock()
	c.closed = true
	for _, q := range c.listeners {
		q.shut()
	}
	joining := make([]*Conn, 0, len(c.joining))
	for conn := range c.joining {
		conn.ended.Store(true)
		joining = append(joining, conn)
	}
	c.mu.Unlock()
	c.stop()
	cut(joining)
	cut(c.peers.all())
	c.calls.CloseIdleConnections()
	c.work.Wait()
	cut(c.peers.all()) // what a dial that was under way put on record
	return nil
}
