package member

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

const (
	// tlsTime bounds the TLS handshake, which takes a stranger one round trip.
	tlsTime = 5 * time.Second
	// greetTime bounds what follows: the platform's work on both sides, and what a
	// host fetches for it.
	greetTime = 20 * time.Second
	// maxTLSBytes bounds what a stranger may send; a handshake has some 4 KiB.
	maxTLSBytes = 16 << 10
	// maxGreetBytes bounds what a member may send before it is admitted: evidence,
	// with what TLS adds.
	maxGreetBytes = maxFrame + 16<<10
)

// greetOut admits the other end of a channel that this node dialled, and is
// admitted there. A round of evidence is not given up because one who waits for
// it does.
func (c *Channels) greetOut(ctx context.Context, conn *Conn) error {
	done := make(chan error)
	started := c.start(func() {
		err := c.peers.enter(conn)
		if err == nil {
			err = c.greet(conn, hello{})
		} else {
			conn.drop()
		}
		select {
		case done <- err:
		case <-ctx.Done():
			conn.drop()
		}
	})
	if !started {
		conn.drop()
		return errClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return kms.Errorf(kms.Unavailable, "gave up waiting: %w", ctx.Err())
	}
}

// greetIn is how a channel begins that another node dialled: what it says first
// is heard, and if it is a member it is put on record.
func (c *Channels) greetIn(conn *Conn) (hello, error) {
	g := greeting{c, conn}
	theirs, err := g.hear()
	if err != nil {
		return hello{}, err
	}
	if err := c.peers.enter(conn); err != nil {
		return hello{}, g.refuse(err)
	}
	return theirs, nil
}

// greet brings both ends of a channel to admit each other, or closes it. theirs
// is what the other end said first, if it dialled.
func (c *Channels) greet(conn *Conn, theirs hello) error {
	ctx, cancel := context.WithTimeout(c.ctx, greetTime)
	defer cancel()
	unwatch := context.AfterFunc(ctx, func() { _ = conn.raw.Close() })
	conn.raw.allow(maxGreetBytes)
	err := greeting{c, conn}.run(ctx, theirs)
	if !unwatch() && err == nil {
		err = kms.Errorf(kms.Unavailable, "greeting the node: %w", ctx.Err())
	}
	if err != nil {
		conn.drop()
		return err
	}
	conn.raw.free()
	return nil
}

// A greeting is what both sides say after the TLS handshake. Each says how it
// stands to the other. Unless both have admitted each other before, who is asked
// shows evidence, and then each says whether the other is admitted. The side that
// dialled speaks first where only one may speak.
type greeting struct {
	*Channels
	conn *Conn
}

func (g greeting) run(ctx context.Context, theirs hello) (err error) {
	st, f, err := g.peers.begin(g.conn)
	if err != nil {
		return g.refuse(err)
	}
	mine := hello{stand: st}
	if g.conn.dialed {
		mine.socket = g.cfg.Socket
	}
	if st == asking {
		rand.Read(mine.nonce[:])
		defer func() { g.peers.land(f, nil, err, false) }() // if nothing else has
	}
	if err := writeFrame(g.conn, frameHello, mine.body()); err != nil {
		return err
	}
	if g.conn.dialed {
		if theirs, err = g.hear(); err != nil {
			return err
		}
	}
	if mine.stand == admitted && theirs.stand == admitted {
		return nil
	}
	return g.settle(ctx, f, mine, theirs)
}

func (g greeting) hear() (hello, error) {
	b, err := readFrame(g.conn, frameHello)
	if err != nil {
		return hello{}, err
	}
	return parseHello(b)
}

// settle shows evidence to the other side, if it asks, while it looks at the
// other's: if each waited for the other to begin, neither would.
func (g greeting) settle(ctx context.Context, f *flight, mine, theirs hello) error {
	shown := make(chan error, 1)
	if theirs.stand == asking {
		go func() { shown <- g.show(ctx, theirs.nonce) }()
	} else {
		shown <- nil
	}
	ev, err := g.evidence(mine)
	if err != nil { // it does not keep to the protocol, so it need not be answered
		_ = g.conn.raw.Close()
		own := <-shown
		if _, theirs := errors.AsType[refusedError](err); own != nil && !theirs {
			return errors.Join(own, err)
		}
		return err
	}
	verdict := g.examine(ctx, f, mine, ev)
	if err := <-shown; err != nil {
		return errors.Join(verdict, err)
	}
	return g.verdicts(verdict)
}

// evidence reads what was asked for, if anything was.
func (g greeting) evidence(mine hello) (attest.Evidence, error) {
	if mine.stand != asking {
		return attest.Evidence{}, nil
	}
	body, err := readFrame(g.conn, frameEvidence)
	if err != nil {
		return attest.Evidence{}, err
	}
	return parseEvidence(body)
}

// show makes evidence for the other side's nonce and sends it.
func (g greeting) show(ctx context.Context, nonce [nonceSize]byte) error {
	ev, err := g.prove(ctx, nonce)
	if err != nil {
		return g.refuse(kms.Errorf(kms.Unavailable, "this node's own evidence: %w", err).WithHint(kms.HintOf(err)))
	}
	body, err := evidenceBody(ev)
	if err != nil {
		return g.refuse(err)
	}
	return writeFrame(g.conn, frameEvidence, body)
}

// prove makes evidence for a member, one after the other for each.
func (g greeting) prove(ctx context.Context, nonce [nonceSize]byte) (attest.Evidence, error) {
	select {
	case g.conn.peer.proving <- struct{}{}:
		defer func() { <-g.conn.peer.proving }()
	case <-ctx.Done():
		return attest.Evidence{}, ctx.Err()
	}
	return g.cfg.Prove(ctx, ReportData(g.key, g.cfg.Boot.Public(), g.cfg.Domain, nonce[:]))
}

// ReportData is what a node's evidence for another node is bound to: its peer
// key (SubjectPublicKeyInfo), the key of its start, the domain, and the nonce of
// the node that asks.
func ReportData(key, boot []byte, domain kms.DomainID, nonce []byte) [64]byte {
	return attest.ReportData(attest.ForNode, attest.Binding{Keys: [][]byte{key, boot}, Domain: domain, Nonce: nonce})
}

// examine comes to know whether the other side is admitted.
func (g greeting) examine(ctx context.Context, f *flight, mine hello, ev attest.Evidence) error {
	switch mine.stand {
	case admitted:
		return nil
	case asking:
		if err := g.look(ctx, f, mine, ev); err != nil {
			return err
		}
	case waiting:
		select {
		case <-f.landed:
			if f.err != nil {
				return f.err
			}
		case <-ctx.Done():
			return kms.Errorf(kms.Unavailable, "waiting for the node's evidence: %w", ctx.Err())
		}
	}
	return g.peers.judge(g.conn)
}

// look has evidence judged, and lands the flight.
func (g greeting) look(ctx context.Context, f *flight, mine hello, ev attest.Evidence) error {
	who, at := g.conn.who, g.cfg.Now()
	claims, err := g.cfg.Judge(ctx, who.node, ev, ReportData(who.key, who.boot, g.cfg.Domain, mine.nonce[:]))
	if err != nil {
		err = refusal(who.node, err)
		g.peers.land(f, nil, err, true)
		g.cfg.Logger.Warn("a node's evidence was refused", "node", who.node.String(), "cause", err)
		return err
	}
	g.peers.land(f, &admission{who.boot, claims, at}, nil, false)
	g.cfg.Logger.Info("a node has shown its evidence", "node", who.node.String(), "tee", string(claims.TEE))
	return nil
}

// verdicts tells the other side whether it is admitted, and hears the same.
func (g greeting) verdicts(err error) error {
	if g.conn.dialed {
		if e := g.tell(err); e != nil {
			return e
		}
		_, err = readFrame(g.conn, frameAdmitted)
		return err
	}
	_, theirs := readFrame(g.conn, frameAdmitted)
	if err == nil && theirs != nil {
		return theirs
	}
	return g.tell(err)
}

// tell says that the other side is admitted, or why not; the error is then err.
func (g greeting) tell(err error) error {
	if err != nil {
		return g.refuse(err)
	}
	return writeFrame(g.conn, frameAdmitted, nil)
}

// refuse tells the other side why it is refused, and returns that.
func (g greeting) refuse(err error) error {
	if _, theirs := errors.AsType[refusedError](err); !theirs {
		_ = writeFrame(g.conn, frameRefused, refusalBody(err)) // it may have gone
	}
	return err
}
