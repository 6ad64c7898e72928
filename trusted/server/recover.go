package server

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A Claimant is a node that could carry a domain on, alone, once owner and signers
// say so: what they, and those who hold shares, look at before they do.
type Claimant struct {
	// Request says who the node is and from which head it would go on, with evidence
	// for that. A recovery that names its node and head has it go on.
	Request backup.Request
	Claims  attest.Claims

	Domain string       // the domain's name
	Time   time.Time    // domain time at the head
	Lost   []kms.NodeID // the members whose part would end
}

// Survey looks at what is left on this node's disk of a domain that has lost its
// quorum for good, and changes nothing: it may be done on each that is left, to
// find the highest head. All entries of the log count, also one that the others
// never had. The errors are those of Open.
func Survey(ctx context.Context, cfg Config) (*Claimant, error) {
	r, err := openRemains(ctx, cfg)
	if err != nil {
		return nil, err
	}
	c, err := r.claim(ctx)
	return c, errors.Join(err, r.store.Close())
}

// Recover has this node carry on alone what Survey has shown, as a recovery says
// that owner and signers' threshold have signed for this node and exactly that
// head, and starts it. The part of all other members ends for good: who comes back
// joins anew, under a new key. The recovery is good once. The errors are those of
// Open and of govern's OpenRecovery, Denied (another node or head), Exists (used
// before), and Damaged where this node does not hold every master secret.
func Recover(ctx context.Context, cfg Config, recovery []byte) (*Node, error) {
	r, err := openRemains(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(r.carryOn(ctx, recovery), r.store.Close()); err != nil {
		return nil, err
	}
	return r.start(ctx)
}

// remains are a state of a domain that no quorum stands behind.
type remains struct {
	node    *Node
	sealer  *sealer
	store   *storage.Store
	machine *state.Machine // not the node's: it starts from what is written
	last    replica.Place
	filed   []candidate // the master secrets at hand
	ask     backup.Request
}

func openRemains(ctx context.Context, cfg Config) (*remains, error) {
	n, s, err := prepareNode(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if s.ephemeral {
		return nil, cannotKeep("nothing is left that a domain could be carried on from").WithHint(restoreElsewhere)
	}
	r := &remains{node: n, sealer: s, machine: state.New()}
	if n.who, err = s.readIdentity(); err != nil {
		return nil, err
	}
	if r.filed, err = s.readRoot(n.who.domain); err != nil {
		return nil, err
	}
	sc, err := storageConfig(n.cfg, s, n.who)
	if err != nil {
		return nil, err
	}
	if r.store, err = storage.Open(sc); err != nil {
		return nil, err
	}
	if r.last, err = replica.Replay(r.store, r.machine); err == nil {
		err = r.holdsAll(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, r.store.Close())
	}
	return r, nil
}

// holdsAll asks that the state is of this node's charter and that every master
// secret in use is at hand, and is what the state's chain says.
func (r *remains) holdsAll(ctx context.Context) error {
	view := r.machine.View()
	if err := r.node.checkFounding(view.Founding()); err != nil {
		return err
	}
	r.node.adoptRoot(r.sealer, r.filed)
	return r.node.generations.adopt(ctx, view)
}

// claim is what is shown of the remains.
func (r *remains) claim(ctx context.Context) (*Claimant, error) {
	n, view := r.node, r.machine.View()
	r.ask = backup.Request{Domain: n.who.domain, Node: n.who.node, Key: n.who.public, Head: view.Head()}
	c := &Claimant{Domain: n.charter.Name, Time: view.Time()}
	view.Nodes(func(rec *state.Node) bool {
		if rec.Member() && rec.ID != n.who.node {
			c.Lost = append(c.Lost, rec.ID)
		}
		return true
	})
	var err error
	r.ask.Evidence, err = n.evidenceFor(ctx, n.standing.strangers, r.ask.ReportData(view.Policy().Digest()))
	c.Request, c.Claims = r.ask, n.ownClaims()
	return c, err
}

func (n *Node) ownClaims() attest.Claims {
	claims, _, _ := n.standing.view()
	return claims
}

// carryOn makes this node the domain's only one, in the state as it is. It is done
// or not done, whenever it is cut short: see replica.Revive.
func (r *remains) carryOn(_ context.Context, recovery []byte) error {
	n := r.node
	at, err := replica.Next(r.store, r.last)
	if err != nil {
		return err
	}
	cmd, err := n.recoverCommand(recovery)
	if err != nil {
		return err
	}
	r.machine.Term(at.Term)
	if res := r.machine.Apply(at.Index, cmd); res.Err != nil {
		return res.Err
	}
	r.machine.Publish()
	if err := replica.Revive(r.store, n.who.node, r.machine, at); err != nil {
		return kms.Errorf(kms.KindOf(err), "writing the domain's new beginning: %w", err).WithHint(kms.HintOf(err))
	}
	if err := r.sealer.writeRules(rulesOf(r.machine.View())); err != nil {
		return err
	}
	n.cfg.Logger.Warn("the domain is carried on by this node alone", "index", at.Index, "term", at.Term)
	return nil
}

func (n *Node) recoverCommand(recovery []byte) ([]byte, error) {
	claims, err := n.ownClaims().Encode()
	if err != nil {
		return nil, err
	}
	rec := &command.Node{Id: n.who.node[:], Claims: claims, Feature: state.FeatureLevel}
	if p := n.cfg.Peers; p != nil {
		rec.Socket, rec.Api, rec.Name = p.Socket, p.API, p.Name
	}
	id := make([]byte, len(kms.CommandID{}))
	rand.Read(id)
	return proto.Marshal(&command.Command{Id: id, Time: n.cfg.Clock.Now().UnixNano(),
		Op: &command.Command_RecoverDomain{RecoverDomain: &command.RecoverDomain{Document: recovery, Node: rec}}})
}

// start starts the node on what carryOn has written, in any restart mode: the
// signed recovery says that this is the state.
func (r *remains) start(ctx context.Context) (*Node, error) {
	n := r.node
	n.rejoined = true
	known, err := r.sealer.readRules(n.charter)
	if err != nil {
		return nil, err
	}
	if err := n.load(ctx, r.sealer, known); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n.begin(ctx)
}
