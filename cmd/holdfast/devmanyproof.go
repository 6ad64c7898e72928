package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// A domainProof shows what a proof does, and where the domain has several nodes,
// that any of them serves what another one did, and that they go on without one.
type domainProof struct {
	proof
	domain  *devDomain
	clients []*client.Client
	leader  int // the number of the node that was killed
	late    kms.KeyID
	lateBox []byte // what late sealed, while that node was away
}

func newDomainProof(s *session, d *devDomain) *domainProof {
	p := &domainProof{proof: proof{s: s, home: d.homes[0]}, domain: d, clients: make([]*client.Client, len(d.homes))}
	p.begin()
	return p
}

func (p *domainProof) run() error {
	if len(p.domain.homes) == 1 {
		return p.take(p.alone())
	}
	return p.take(p.together())
}

// alone are the steps of a domain of one.
func (p *domainProof) alone() []step {
	return []step{
		{"start", p.startAll}, {"attest", p.attest}, {"enrol", p.enrolAll},
		{"create", p.create}, {"encrypt", p.encrypt}, {"decrypt", p.decrypt}, {"data key", p.dataKey},
		{"sign", p.sign}, {"verify", p.verify},
		{"kill -9", p.killAll}, {"restart", p.restartAll}, {"decrypt", p.decrypt}, {"verify", p.verify},
		{"clean up", p.cleanUp},
	}
}

// together are those of a domain of several.
func (p *domainProof) together() []step {
	return []step{
		{"start", p.startAll}, {"attest", p.attestAll}, {"enrol", p.enrolAll},
		{"create", p.on(0, p.create)}, {"encrypt", p.on(1, p.encrypt)}, {"decrypt", p.everywhere(p.decrypt)}, {"data key", p.everywhere(p.dataKey)},
		{"sign", p.on(-1, p.sign)}, {"verify", p.everywhere(p.verify)},
		{"disable", p.disable}, {"enable", p.enable},
		{"kill -9", p.killLeader}, {"go on", p.goOn}, {"restart", p.restartLeader}, {"catch up", p.catchUp},
		{"kill -9", p.killAll}, {"restart", p.restartAll}, {"same keys", p.sameKeys},
		{"decrypt", p.everywhere(p.decrypt)}, {"verify", p.everywhere(p.verify)},
		{"clean up", p.cleanUpAll},
	}
}

// turn has the proof go on with another node.
func (p *domainProof) turn(k int) {
	p.node, p.client = p.domain.nodes[k], p.clients[k]
}

// on takes a step on one node; -1 is the last.
func (p *domainProof) on(k int, do func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		if k < 0 {
			k += len(p.clients)
		}
		p.turn(k)
		seen, err := do(ctx)
		return p.domain.name(k) + ": " + seen, err
	}
}

// everywhere takes a step on every node that runs.
func (p *domainProof) everywhere(do func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (seen string, err error) {
		err = p.each(func(int) (err error) { seen, err = do(ctx); return err })
		return "each: " + seen, err
	}
}

// each does something with every node that runs, and the proof turned to it.
func (p *domainProof) each(do func(k int) error) error {
	for k, n := range p.domain.nodes {
		if n == nil {
			continue
		}
		p.turn(k)
		if err := do(k); err != nil {
			return because(err, hintOf(err), p.domain.name(k))
		}
	}
	return nil
}

func (p *domainProof) startAll(ctx context.Context) (string, error) {
	joined, err := p.domain.start(p.s.ctx) // it has a limit of its own
	if err != nil {
		return "", err
	}
	p.turn(0)
	if len(p.clients) == 1 {
		return p.start(ctx)
	}
	if err := p.allVote(ctx); err != nil {
		return "", err
	}
	if joined > 0 {
		return fmt.Sprintf("%d nodes, of which %d have just joined; all vote", len(p.clients), joined), nil
	}
	return fmt.Sprintf("%d nodes have found each other; all vote", len(p.clients)), nil
}

// allVote waits until every node of this domain votes, and keeps the status.
func (p *domainProof) allVote(ctx context.Context) error {
	c, err := p.connect(true)
	if err != nil {
		return err
	}
	defer c.Close()
	return until(ctx, func() (err error) {
		if p.status, err = c.Status(ctx); err == nil && p.status.Voters < len(p.clients) {
			err = fmt.Errorf("%d nodes vote, not %d", p.status.Voters, len(p.clients))
		}
		return err
	})
}

// until tries until it succeeds, or ctx ends: then the error is the last one.
func until(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// attestAll has each node prove what it is.
func (p *domainProof) attestAll(ctx context.Context) (seen string, err error) {
	err = p.each(func(int) error { seen, err = p.attest(ctx); return err })
	return seen, err
}

// enrolAll takes the first node's credential, and makes a client of each node.
func (p *domainProof) enrolAll(ctx context.Context) (string, error) {
	p.turn(0)
	seen, err := p.enrol(ctx)
	if err != nil {
		return "", err
	}
	err = p.renewClients()
	p.turn(0)
	return seen, err
}

// disable disables the key on one node; no other honours it a moment later.
func (p *domainProof) disable(ctx context.Context) (string, error) {
	if err := p.clients[1].DisableKey(ctx, p.cipherKey); err != nil {
		return "", err
	}
	err := p.each(func(int) error {
		if _, err := p.client.Decrypt(ctx, p.cipherKey, p.sealed, []byte("proof")); !errors.Is(err, kms.Disabled) {
			return fmt.Errorf("a disabled key: %v, want a refusal", err)
		}
		return nil
	})
	return p.domain.name(1) + " did; refused by each, at once", err
}

func (p *domainProof) enable(ctx context.Context) (string, error) {
	last := len(p.clients) - 1
	if err := p.clients[last].EnableKey(ctx, p.cipherKey); err != nil {
		return "", err
	}
	_, err := p.everywhere(p.decrypt)(ctx)
	return p.domain.name(last) + " did; opens on each, at once", err
}

// killLeader kills the node that the domain says leads it.
func (p *domainProof) killLeader(ctx context.Context) (string, error) {
	p.turn(0)
	if err := p.findLeader(ctx, -1); err != nil {
		return "", err
	}
	n := p.domain.nodes[p.leader]
	return fmt.Sprintf("%s, which leads, process %d, is gone", p.domain.name(p.leader), n.pid()), p.domain.kill(p.leader)
}

// findLeader waits until a node leads that is not the one that is gone.
func (p *domainProof) findLeader(ctx context.Context, gone int) error {
	return until(ctx, func() (err error) {
		if p.status, err = p.client.Status(ctx); err != nil {
			return err
		}
		for k, n := range p.domain.nodes {
			if n != nil && n.Node == p.status.Leader.String() && k != gone {
				p.leader = k
				return nil
			}
		}
		return errors.New("no node leads")
	})
}

// goOn has the others make a key and use those that there are.
func (p *domainProof) goOn(ctx context.Context) (string, error) {
	gone := p.leader
	others := p.domain.others(gone)
	p.turn(others[0])
	err := until(ctx, func() (err error) {
		p.late, err = p.client.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
		if err != nil && !errors.Is(err, kms.Unavailable) && !errors.Is(err, kms.Stale) {
			err = fmt.Errorf("while another leader is elected: %w", err)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	if p.lateBox, err = p.client.Encrypt(ctx, p.late, p.plaintext, nil); err != nil {
		return "", err
	}
	if _, err := p.everywhere(p.decrypt)(ctx); err != nil {
		return "", err
	}
	if err := p.findLeader(ctx, gone); err != nil {
		return "", err
	}
	seen := fmt.Sprintf("%s leads; a key made, the others used, without %s", p.domain.name(p.leader), p.domain.name(gone))
	p.leader = gone
	return seen, nil
}

// restartLeader starts the process again that was killed.
func (p *domainProof) restartLeader(ctx context.Context) (string, error) {
	err := p.domain.startSome(ctx, []int{p.leader})
	return fmt.Sprintf("%s serves at the same addresses", p.domain.name(p.leader)), err
}

// catchUp asks it for what came while it was away.
func (p *domainProof) catchUp(ctx context.Context) (string, error) {
	if err := p.renewClients(); err != nil {
		return "", err
	}
	p.turn(p.leader)
	if err := p.opensLate(ctx); err != nil {
		return "", err
	}
	if err := p.allVote(ctx); err != nil {
		return "", err
	}
	return p.domain.name(p.leader) + " opens what the new key sealed meanwhile", nil
}

func (p *domainProof) opensLate(ctx context.Context) error {
	got, err := p.client.Decrypt(ctx, p.late, p.lateBox, nil)
	if err == nil && !bytes.Equal(got, p.plaintext) {
		err = errors.New("another plaintext came back")
	}
	return err
}

// renewClients makes a client of each node that runs. A process that is another one
// may have had to take another port.
func (p *domainProof) renewClients() error {
	return p.each(func(k int) (err error) {
		if old := p.clients[k]; old != nil {
			old.Close()
		}
		p.clients[k], err = p.clientOf(p.node)
		return err
	})
}

// killAll kills every process, as a power cut does.
func (p *domainProof) killAll(context.Context) (string, error) {
	pid := p.domain.nodes[0].pid()
	if err := p.domain.kill(p.domain.all()...); err != nil {
		return "", err
	}
	if len(p.clients) == 1 {
		return fmt.Sprintf("node process %d is gone", pid), nil
	}
	return fmt.Sprintf("all %d processes are gone", len(p.clients)), nil
}

// restartAll starts them on the same folders and ports, at once: they need each other.
func (p *domainProof) restartAll(ctx context.Context) (string, error) {
	if err := p.domain.startSome(ctx, p.domain.all()); err != nil {
		return "", err
	}
	if err := p.renewClients(); err != nil {
		return "", err
	}
	p.turn(0)
	if len(p.clients) == 1 {
		return fmt.Sprintf("process %d serves the same state", p.node.pid()), nil
	}
	return fmt.Sprintf("%d processes have found each other", len(p.clients)), nil
}

// sameKeys compares what the nodes list, and uses the newest key on each.
func (p *domainProof) sameKeys(ctx context.Context) (string, error) {
	var first []client.Key
	err := p.each(func(int) error {
		keys, err := p.client.ListKeys(ctx)
		if err != nil {
			return err
		}
		if first == nil {
			first = keys
		}
		if !slices.Equal(first, keys) || len(keys) < 3 {
			return fmt.Errorf("it lists %d keys, the first node %d, or others", len(keys), len(first))
		}
		return p.opensLate(ctx)
	})
	return fmt.Sprintf("each lists the same %d", len(first)), err
}

// cleanUpAll deletes the keys of the proof; no node honours one.
func (p *domainProof) cleanUpAll(ctx context.Context) (string, error) {
	p.turn(0)
	if err := p.client.DeleteKey(ctx, p.late); err != nil {
		return "", err
	}
	if _, err := p.cleanUp(ctx); err != nil {
		return "", err
	}
	err := p.each(func(int) error {
		if _, err := p.client.Decrypt(ctx, p.cipherKey, p.sealed, []byte("proof")); !errors.Is(err, kms.NotFound) {
			return fmt.Errorf("a deleted key: %v, want not found", err)
		}
		return nil
	})
	return "three keys deleted, and refused by each at once", err
}
