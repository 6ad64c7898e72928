package server

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A node whose TEE has no sealing key founds a domain in one process, which stays up
// while people sign: its key is in memory alone. The domain is then one that nobody
// could bring back if that process ended, so it serves no app until three nodes vote;
// see state.View.Gathering. If the founder ends before, or one of the two that vote
// before the third does, nothing was lost: the domain is founded again.

// A Ceremony is where a process meets the people who sign, while it waits for them.
type Ceremony[Shown, Signed any] struct {
	// Show shows people what they are to sign, once.
	Show func(*Shown) error
	// Await returns what they have signed, when it is there. refused is why what it
	// returned before was not taken, nil at first: what a host put there in its place
	// ends nothing. An error ends the ceremony.
	Await func(ctx context.Context, refused error) (*Signed, error)
}

// A SignedFounding is what owner and signers sign for a founder.
type SignedFounding struct{ Bootstrap, Policy []byte }

// FoundStaying is Prepare, Found and Open in one process, on any platform. On one
// without a sealing key the charter's restart mode has to be "rejoin", and the domain
// serves no app before three nodes vote. What is signed for another founder is refused,
// and waited on. The errors are those of Prepare and of the ceremony.
func FoundStaying(ctx context.Context, cfg Config, c Ceremony[Founder, SignedFounding]) (*Node, error) {
	f, err := prepare(ctx, cfg, true)
	if err != nil {
		return nil, err
	}
	if err := c.Show(f.shown()); err != nil {
		return nil, err
	}
	docs, err := f.await(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := f.found(ctx, docs.Bootstrap, docs.Policy); err != nil {
		return nil, err
	}
	return f.start(ctx)
}

// await waits for documents that this node can found the domain by. It is proved anew
// when they come: people take their days, and collateral ends.
func (f *founding) await(ctx context.Context, c Ceremony[Founder, SignedFounding]) (*SignedFounding, error) {
	return c.await(ctx, func(docs *SignedFounding) error {
		if err := f.prove(ctx); err != nil {
			return err
		}
		return f.accept(docs.Bootstrap, docs.Policy)
	})
}

// await waits for what is signed until accept takes it.
func (c Ceremony[Shown, Signed]) await(ctx context.Context, accept func(*Signed) error) (*Signed, error) {
	var refused error
	for {
		docs, err := c.Await(ctx, refused)
		if err != nil {
			return nil, err
		}
		if refused = accept(docs); refused == nil {
			return docs, nil
		}
	}
}

// start starts the node on the domain that it has just founded.
func (f *founding) start(ctx context.Context) (*Node, error) {
	r := remains{node: f.node, sealer: f.sealer}
	r.node.who = f.who
	return r.startLate(ctx)
}

// startLate is start of a process that has waited: what it examined of itself, and
// which requests are older than it, is as of now.
func (r *remains) startLate(ctx context.Context) (*Node, error) {
	r.node.start = r.node.cfg.Clock.Now()
	r.node.standing.renew(ctx)
	return r.start(ctx)
}

// A SignedRestoration is what a node restores a domain by: a recovery that owner and
// signers sign for it, and shares that their holders hand to it.
type SignedRestoration struct {
	Recovery []byte
	Shares   [][]byte
}

// RestoreStaying is PrepareRestore and Restore in one process, on any platform. open
// opens the backup, anew for each attempt. On a platform without a sealing key the
// domain's restart mode has to be "rejoin", and it serves no app before three nodes
// vote. What is for another node or head is refused, and waited on, as shares that do
// not open the backup are. The errors are those of PrepareRestore and of the ceremony.
func RestoreStaying(ctx context.Context, cfg Config, open func() (io.ReadCloser, error), c Ceremony[Claimant, SignedRestoration]) (*Node, error) {
	r, err := prepareStaying(ctx, cfg, open)
	if err != nil {
		return nil, err
	}
	shown, err := r.shown(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.Show(shown); err != nil {
		return nil, err
	}
	docs, err := c.await(ctx, func(docs *SignedRestoration) error { return r.attempt(ctx, open, docs) })
	if err != nil {
		return nil, err
	}
	if err := r.settle(ctx, docs.Recovery); err != nil {
		return nil, err
	}
	return r.startLate(ctx)
}

func prepareStaying(ctx context.Context, cfg Config, open func() (io.ReadCloser, error)) (*restoring, error) {
	from, err := open()
	if err != nil {
		return nil, err
	}
	r, err := openRestore(ctx, cfg, from, true)
	if err != nil {
		return nil, errors.Join(err, from.Close())
	}
	return r, from.Close()
}

// attempt opens the backup, which has to be the one that people were shown.
func (r *restoring) attempt(ctx context.Context, open func() (io.ReadCloser, error), docs *SignedRestoration) error {
	from, err := open()
	if err != nil {
		return err
	}
	defer from.Close()
	_, digest, err := backup.Read(from)
	if err != nil {
		return err
	}
	if digest != r.digest {
		return kms.Errorf(kms.Denied, "the backup is another one than this node has shown to those who sign").WithHint("put the backup back that was there")
	}
	n := r.node
	n.standing.renew(ctx) // people took their days
	if err := r.rules.Policy.NodePolicy().Admit(n.ownClaims(), n.cfg.Clock.Now()); err != nil {
		return kms.Errorf(kms.Denied, "the policy in the backup does not admit this node any more: %w", err).WithHint(attest.ReasonOf(err).Hint())
	}
	r.machine = state.New()
	return r.accept(ctx, Restoration{Backup: from, Recovery: docs.Recovery, Shares: docs.Shares})
}

// mayStay refuses a restoration that a node without a sealing key could not come back
// to, and sets aside what an earlier start of it left.
func (r *restoring) mayStay() error {
	if !r.sealer.ephemeral {
		return nil
	}
	if r.node.cfg.Peers == nil {
		return noPeers()
	}
	if err := takesEphemeral(r.rules.Standing); err != nil {
		return err
	}
	return r.node.beginAnew(r.sealer)
}

func noPeers() error {
	return kms.Errorf(kms.Invalid, "a domain that begins without a sealing key serves when three nodes vote, and no other node could reach this one").
		WithHint("have it listen for other nodes: --peer-listen")
}

// mayFound refuses a founding after which nobody could go on.
func (f *founding) mayFound(stays bool) error {
	mode := f.node.charter.RestartMode
	switch {
	case f.sealer.ephemeral && !stays:
		return cannotKeep("a domain cannot be founded in two steps").WithHint(foundStaying)
	case f.sealer.ephemeral && mode != govern.Rejoin:
		return kms.Errorf(kms.Invalid, "the charter's restart mode is %q, in which a node resumes from its files, and this one has no sealing key", mode).
			WithField("restart_mode").WithHint(`write a charter with restart mode "rejoin": nothing is founded yet`)
	case f.sealer.ephemeral && f.node.cfg.Peers == nil:
		return noPeers()
	case !f.sealer.ephemeral && mode != govern.Sealed:
		return kms.Errorf(kms.Invalid, "a domain of one node cannot restart in mode %q: nobody could bring it up to date", mode).
			WithField("restart_mode").WithHint(`found the domain with restart mode "sealed", and amend the charter when others have joined`)
	}
	return nil
}

// complete is nil for a domain that keeps what it acknowledges, though any one of its
// nodes may end. The error is Unavailable.
func complete(view *state.View) error {
	if !view.Gathering() {
		return nil
	}
	return kms.Errorf(kms.Unavailable, "the domain is being founded: %d of %d nodes vote", len(view.Voters()), state.Gathered).WithHint(gatherHint)
}

const gatherHint = "have other nodes join, with --join and an address of this one; when three vote, they serve. Should this node end before, begin again"

// mayVote says whether a node that holds all it needs is to vote now. While one
// votes alone, and would have to do with the second to come, two wait for each other,
// and who is not there is not waited for: so a node that ends meanwhile ends nothing.
func (m *members) mayVote(view *state.View, rec *state.Node) bool {
	if !view.Gathering() {
		return true
	}
	ready := map[kms.NodeID]bool{}
	for id, p := range m.node.peers() {
		if r, ok := view.Member(id); ok && p.Channels > 0 && view.HoldsRoot(r) && view.Role(id) == kms.RoleLearner {
			ready[id] = true
		}
	}
	return ready[rec.ID] && len(view.Voters())+len(ready) >= state.Gathered
}

// gather tells in the log how far a domain has come that is being founded.
func (n *Node) gather(ctx context.Context) {
	if !n.machine.View().Gathering() {
		return
	}
	ctx, done := context.WithCancel(ctx)
	defer done()
	said := 0
	n.cfg.Clock.Every(ctx, time.Second, func() {
		view := n.machine.View()
		if !view.Gathering() {
			n.cfg.Logger.Info("the domain is complete, and serves", "voters", len(view.Voters()))
			done()
		} else if voters := len(view.Voters()); voters != said {
			said = voters
			n.cfg.Logger.Info("the domain is being founded: it serves no app yet", "voters", voters, "of", state.Gathered, "hint", gatherHint)
		}
	})
}
