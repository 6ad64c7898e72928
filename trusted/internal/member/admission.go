package member

import (
	"bytes"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

const (
	// maxChannels bounds the channels that one node may open to this one.
	maxChannels = 64
	// refusedFor is how long a start whose evidence was refused is refused without
	// looking at other evidence, unless what is asked of it changes.
	refusedFor = time.Second
)

// An admission is what one start of a node has shown. It does not change.
type admission struct {
	boot   []byte
	claims attest.Claims
	at     time.Time
}

// A flight is one round of evidence, which all connections that open meanwhile
// wait for.
type flight struct {
	peer   *peer
	boot   []byte
	landed chan struct{}
	err    error // once landed
}

// A peer is what is known of one member.
type peer struct {
	node      kms.NodeID
	admission *admission // nil: none
	flight    *flight    // nil: none under way
	channels  map[*Conn]bool
	accepted  int           // of the channels
	socket    string        // where it says that it listens; "": it has not said
	proving   chan struct{} // held while evidence is made for it

	refusal   error // why it was last refused
	refusedAt time.Time
	refused   []byte // the boot key of the start that refusal holds for; nil: none
	unwelcome error  // why it did not take this node when it was last dialled
}

// admissions are the peers of a node. They are as many as the domain has members,
// whoever knocks.
type admissions struct {
	cfg *Config
	mu  sync.Mutex
	of  map[kms.NodeID]*peer
}

// member says whether a node may have channels at all.
func (a *admissions) member(node kms.NodeID) error {
	if _, ok := a.cfg.Members.Socket(node); !ok {
		return notMember(node)
	}
	return nil
}

func notMember(node kms.NodeID) error {
	return kms.Errorf(kms.Denied, "node %s is no member of the domain", node).
		WithHint("a node joins first; one that was removed comes back under another identity")
}

// enter puts a connection on record, so that it ends when its node does.
func (a *admissions) enter(c *Conn) error {
	if err := a.member(c.who.node); err != nil {
		return err
	}
	if err := a.cfg.Starts(c.who.node, c.who.boot); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p := a.of[c.who.node]
	if p == nil {
		p = &peer{node: c.who.node, channels: map[*Conn]bool{}, proving: make(chan struct{}, 1)}
		a.of[p.node] = p
	}
	if !c.dialed {
		if p.accepted >= maxChannels {
			return kms.Errorf(kms.Unavailable, "node %s has %d channels open", p.node, p.accepted)
		}
		p.accepted++
	}
	c.peer, p.channels[c] = p, true
	return nil
}

// leave takes a connection off the record.
func (a *admissions) leave(c *Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c.peer == nil || !c.peer.channels[c] {
		return
	}
	delete(c.peer.channels, c)
	if !c.dialed {
		c.peer.accepted--
	}
}

// begin says how this side stands to the node at the other end of c. The flight
// is nil where it is admitted; who is asking lands it.
func (a *admissions) begin(c *Conn) (stand, *flight, error) {
	err := a.judge(c)
	now := a.cfg.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	p := c.peer
	switch {
	case a.of[p.node] != p || !p.channels[c]:
		return 0, nil, errCut
	case err == nil && !(c.protocol == attestation && a.due(p.admission, now)):
		return admitted, nil, nil
	case p.flight != nil:
		return waiting, p.flight, nil
	case p.refused != nil && bytes.Equal(p.refused, c.who.boot) && inside(now.Sub(p.refusedAt), refusedFor):
		return 0, nil, p.refusal
	}
	p.flight = &flight{peer: p, boot: c.who.boot, landed: make(chan struct{})}
	return asking, p.flight, nil
}

// inside reports whether so much time has gone by, on a clock that may go back.
func inside(gone, limit time.Duration) bool { return gone >= 0 && gone < limit }

// judge says whether the start at the other end of c is admitted as of now: by
// evidence that stands, to membership and policy in force. Where it is, c is as
// well; where it is no more, its channels end.
func (a *admissions) judge(c *Conn) error {
	a.mu.Lock()
	adm := c.peer.admission
	a.mu.Unlock()
	if adm == nil || !bytes.Equal(adm.boot, c.who.boot) {
		return kms.Errorf(kms.Unavailable, "node %s has not shown evidence since its start", c.who.node)
	}
	if err := a.stands(c.who.node, adm); err != nil {
		a.end(c.peer, adm, false, err)
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// What was ended since it was judged here has cut the channels that it knew of.
	if c.peer.admission != adm || a.of[c.who.node] != c.peer || c.ended.Load() {
		return errCut
	}
	c.admission.Store(adm)
	return nil
}

// stands judges an admission as of now.
func (a *admissions) stands(node kms.NodeID, adm *admission) error {
	if err := a.member(node); err != nil {
		return err
	}
	if err := a.cfg.Starts(node, adm.boot); err != nil {
		return err
	}
	if now, until := a.cfg.Now(), a.until(adm); now.After(until) {
		return kms.Errorf(kms.Denied, "the evidence of node %s stood until %s", node, until.UTC().Format(time.RFC3339))
	}
	if err := a.cfg.Admits(node, adm.claims); err != nil {
		return refusal(node, err)
	}
	return nil
}

// refusal is the error for evidence or claims that are not admitted. What the
// machinery lacks for the moment is Unavailable, all else Denied.
func refusal(node kms.NodeID, err error) error {
	kind, hint := kms.Denied, attest.ReasonOf(err).Hint()
	switch kms.KindOf(err) {
	case kms.Unavailable, kms.Exhausted, kms.Stale:
		kind = kms.Unavailable
	}
	if h := kms.HintOf(err); h != "" {
		hint = h
	}
	return kms.Errorf(kind, "the evidence of node %s: %w", node, err).WithHint(hint)
}

// until is how long an admission lives, if nothing moves.
func (a *admissions) until(adm *admission) time.Time {
	end := adm.claims.ValidUntil
	if age := a.cfg.EvidenceAge(); age > 0 && adm.at.Add(age).Before(end) {
		end = adm.at.Add(age)
	}
	return end
}

// due reports whether three quarters of an admission's life are over.
func (a *admissions) due(adm *admission, now time.Time) bool {
	return adm == nil || now.Sub(adm.at) >= a.until(adm).Sub(adm.at)/4*3
}

// land ends a flight that nobody has landed. An admission takes the place of the
// one before and cuts the channels of any other start. Where judged is true, err
// is a judgement: what was admitted before is so no more, unless it is for a lack
// of means.
func (a *admissions) land(f *flight, adm *admission, err error, judged bool) {
	a.mu.Lock()
	p := f.peer
	if p.flight != f {
		a.mu.Unlock()
		return
	}
	p.flight, f.err = nil, err
	var ended []*Conn
	switch now := a.cfg.Now(); {
	case adm != nil:
		p.admission, p.refused = adm, nil
		ended = p.settle()
	case judged:
		p.refusal, p.refusedAt, p.refused = err, now, f.boot
		if p.admission != nil && bytes.Equal(p.admission.boot, f.boot) && errors.Is(err, kms.Denied) {
			p.admission = nil
			ended = p.settle()
		}
	}
	a.mu.Unlock()
	cut(ended)
	close(f.landed)
}

// settle gives the channels of the start that is admitted their claims, and
// marks and returns those of others that had any.
func (p *peer) settle() (ended []*Conn) {
	for c := range p.channels {
		switch {
		case p.admission != nil && bytes.Equal(c.who.boot, p.admission.boot):
			c.admission.Store(p.admission)
		case c.admission.Load() != nil:
			c.ended.Store(true)
			ended = append(ended, c)
		}
	}
	return ended
}

// cut closes channels at once: no farewell that the other side could delay.
func cut(channels []*Conn) {
	for _, c := range channels {
		_ = c.raw.Close()
	}
}

// enforce ends what does not stand any more.
func (a *admissions) enforce() {
	a.mu.Lock()
	peers := make(map[*peer]*admission, len(a.of))
	for _, p := range a.of {
		p.refused = nil // what was asked of it may have changed
		peers[p] = p.admission
	}
	a.mu.Unlock()
	for p, adm := range peers {
		err := a.member(p.node)
		gone := err != nil
		if err == nil && adm != nil {
			err = a.stands(p.node, adm)
		}
		if err != nil {
			a.end(p, adm, gone, err)
		}
	}
}

// end takes back an admission, unless it was replaced meanwhile by one that has
// been judged since.
func (a *admissions) end(p *peer, adm *admission, gone bool, err error) {
	a.mu.Lock()
	if a.of[p.node] != p || p.admission != adm && !gone {
		a.mu.Unlock()
		return
	}
	p.admission, p.refusal, p.refusedAt = nil, err, a.cfg.Now()
	ended := p.settle()
	if gone { // also those whose evidence is being looked at
		delete(a.of, p.node)
		for c := range p.channels {
			c.ended.Store(true)
			ended = append(ended, c)
		}
	}
	a.mu.Unlock()
	cut(ended)
	a.cfg.Logger.Warn("channels of a node ended", slog.String("node", p.node.String()), slog.Int("channels", len(ended)), slog.Any("cause", err))
}

// all marks and returns every channel.
func (a *admissions) all() (every []*Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range a.of {
		for c := range p.channels {
			c.ended.Store(true)
			every = append(every, c)
		}
	}
	return every
}
