package server

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/recovery"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A node that is to restore a domain keeps who it is, and the key that shares are
// sealed to, until it has: holders of shares take their days. What the shares bring
// back is then sealed under the same key of the platform.
const (
	recoveringFile = "recovering"
	receiverFile   = "receiver"
)

// PrepareRestore is the first step of restoring a domain from a backup, on a
// machine that is not of the domain or whose log is lost: it makes a key for the
// node and one that shares are sealed to, keeps both sealed, and shows evidence for
// them. On a disk where that was done before it shows new evidence for the same
// keys. On the disk of a node of the domain, which holds master secrets, it shows
// that node, and no shares are wanted. Of the backup only what is in clear is read.
//
// The errors are those of backup.Read and Header.Rules, so Denied where no node of
// the domain is proved to have made the backup, Denied where the policy in it does not
// admit this program, and Exists where the disk holds a node of
// another domain.
func PrepareRestore(ctx context.Context, cfg Config, from io.Reader) (*Claimant, error) {
	r, err := openRestore(ctx, cfg, from, false)
	if err != nil {
		return nil, err
	}
	return r.shown(ctx)
}

// shown is what people look at.
func (r *restoring) shown(ctx context.Context) (_ *Claimant, err error) {
	r.ask.Evidence, err = r.node.evidenceFor(ctx, r.node.standing.strangers, r.ask.ReportData(r.rules.Policy.Digest()))
	return &Claimant{Request: r.ask, Claims: r.node.ownClaims(), Domain: r.node.charter.Name, Time: r.header.Time}, err
}

// A Restoration is what it takes to restore a domain.
type Restoration struct {
	Backup   io.Reader
	Recovery []byte   // by owner and signers' threshold, for this node and the backup's head
	Shares   [][]byte // as those who hold them handed them to this node; none where it holds the master secrets
}

// Restore has this node carry on alone a domain from a backup, and starts it. Its
// id stays what it was; the part of all who were members ends for good. The errors
// are those of PrepareRestore and Recover, Denied (shares), and Damaged where the
// backup does not open.
func Restore(ctx context.Context, cfg Config, from Restoration) (*Node, error) {
	r, err := openRestore(ctx, cfg, from.Backup, false)
	if err != nil {
		return nil, err
	}
	if err := r.accept(ctx, from); err != nil {
		return nil, err
	}
	if err := r.settle(ctx, from.Recovery); err != nil {
		return nil, err
	}
	return r.start(ctx)
}

// accept takes what people signed and handed to this node, and opens the backup with
// it. Nothing is written yet.
func (r *restoring) accept(ctx context.Context, from Restoration) error {
	if err := r.mayRestore(from.Recovery); err != nil {
		return err
	}
	if err := r.unused(ctx, r.node.cfg, from.Recovery); err != nil {
		return err
	}
	if err := r.takeSecrets(from.Shares); err != nil {
		return err
	}
	return r.open(ctx, from.Backup)
}

// restoring is a restore under way.
type restoring struct {
	remains
	header   *backup.Header
	digest   [32]byte // of the header
	rules    *backup.Rules
	receiver *recovery.Receiver // nil: the node holds the master secrets
}

// openRestore reads the backup's header, and readies the node's keys. stays says that
// this process does all steps.
func openRestore(ctx context.Context, cfg Config, from io.Reader, stays bool) (*restoring, error) {
	n, s, err := prepareNode(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if s.ephemeral && !stays {
		return nil, cannotKeep("a domain cannot be restored in two steps").WithHint(restoreStaying)
	}
	r := &restoring{remains: remains{node: n, sealer: s, machine: state.New()}}
	if r.header, r.digest, err = backup.Read(from); err != nil {
		return nil, err
	}
	if r.rules, err = r.header.Rules(n.charter, verifiers); err != nil {
		return nil, err
	}
	if m := r.rules.Maker; (m.Simulated || m.Debug) && !cfg.Development {
		return nil, kms.Errorf(kms.Denied, "the backup was made where a host has its way with the program: on a simulated platform, or under a debugger").WithField("evidence").
			WithHint("take a backup that was made on genuine hardware, under a policy that demands it")
	}
	if err := r.rules.Policy.NodePolicy().Admit(n.ownClaims(), cfg.Clock.Now()); err != nil {
		return nil, kms.Errorf(kms.Denied, "the policy in the backup does not admit this node: %w", err).WithHint(attest.ReasonOf(err).Hint())
	}
	if err := r.mayStay(); err != nil {
		return nil, err
	}
	if err := r.identify(); err != nil {
		return nil, err
	}
	r.ask = backup.Request{Domain: n.who.domain, Node: n.who.node, Key: n.who.public, Head: r.header.Head}
	if r.receiver != nil {
		r.ask.Receiver = r.receiver.Public()
	}
	return r, nil
}

// identify takes up the node that the disk is of, or the keys that were made
// before, or makes them.
func (r *restoring) identify() (err error) {
	n, s := r.node, r.sealer
	if s.has(identityFile) {
		if n.who, err = s.readIdentity(); err == nil && n.who.domain != r.header.Domain {
			err = kms.Errorf(kms.Exists, "the folder holds a node of another domain").WithFile(identityFile).WithHint("restore into an empty folder")
		}
		return err
	}
	if s.has(recoveringFile) && s.has(receiverFile) {
		return r.takeUp()
	}
	if err := mustBeEmpty(n.cfg.Disk); err != nil {
		return err
	}
	if n.who, err = newIdentity(); err != nil {
		return err
	}
	n.who.domain = r.header.Domain
	if r.receiver, err = recovery.NewReceiver(); err != nil || s.ephemeral { // then they are in memory alone
		return err
	}
	err = r.receiver.Seed().Use(func(seed []byte) error { return s.write(receiverFile, append([]byte(nil), seed...)) })
	if err != nil {
		return err
	}
	return s.writeIdentityTo(recoveringFile, n.who)
}

func (r *restoring) takeUp() (err error) {
	n, s := r.node, r.sealer
	if n.who, err = s.readIdentityFrom(recoveringFile); err != nil {
		return err
	}
	if n.who.domain != r.header.Domain {
		return kms.Errorf(kms.Exists, "the folder was prepared to restore another domain").WithFile(recoveringFile).WithHint("restore into an empty folder")
	}
	seed, err := s.read(receiverFile)
	if err != nil {
		return err
	}
	r.receiver, err = recovery.ReceiverOf(secret.New(seed))
	return err
}

// has reports whether the disk has a file, readable or not.
func (s *sealer) has(name string) bool {
	_, err := s.disk.ReadFile(stateDir, name, 1)
	return !errors.Is(err, fs.ErrNotExist)
}

// mayRestore asks that owner and threshold want this backup on this node, before a
// share is opened. The state checks it again.
func (r *restoring) mayRestore(document []byte) error {
	doc, err := r.rules.Standing.OpenRecovery(document)
	if err != nil {
		return err
	}
	switch {
	case doc.Survivor != r.node.who.node:
		return kms.Errorf(kms.Denied, "the recovery is for node %s to carry on, not for this one", doc.Survivor).WithField("survivor")
	case doc.Head != r.header.Head:
		return kms.Errorf(kms.Denied, "the recovery names entry %d of term %d; the backup is of entry %d of term %d",
			doc.Head.Index, doc.Head.Term, r.header.Head.Index, r.header.Head.Term).WithField("head").
			WithHint("give the backup that owner and signers have seen")
	}
	return nil
}

// unused refuses a recovery that the state on this disk has come from already: it
// would have the domain forget what it acknowledged since. A disk whose log does not
// open tells nothing.
func (r *restoring) unused(ctx context.Context, cfg Config, document []byte) error {
	if r.receiver != nil {
		return nil
	}
	now, err := openRemains(ctx, cfg)
	if err != nil {
		r.node.cfg.Logger.Warn("what the folder holds does not open, and is set aside", "cause", err)
		return nil
	}
	err = now.machine.View().UnusedRecovery(document)
	return errors.Join(err, now.store.Close())
}

// takeSecrets brings the master secrets together: those of this disk, or what the
// shares open. Each is proved against the backup's chain of checksums; that the
// chain is the domain's, the opened state says.
func (r *restoring) takeSecrets(handed [][]byte) error {
	var err error
	if r.receiver == nil {
		r.filed, err = r.sealer.readRoot(r.node.who.domain)
	} else {
		r.filed, err = r.combine(handed)
	}
	if err != nil {
		return err
	}
	var previous []byte
	for i, g := range r.header.Generations {
		if !g.Retired && !r.holds(uint32(i), previous, g.Checksum) {
			return kms.Errorf(kms.Damaged, "master secret %d is not at hand, or not the one that the backup names", i)
		}
		previous = g.Checksum
	}
	return nil
}

func (r *restoring) holds(number uint32, previous, checksum []byte) bool {
	for _, c := range r.filed {
		if c.number != number {
			continue
		}
		if link, err := c.link(r.node.who.domain, previous); err == nil && string(link.Checksum) == string(checksum) {
			return true
		}
	}
	return false
}

// combine opens the shares that were handed to this node, and with them the
// generations that the backup has sealed.
func (r *restoring) combine(handed [][]byte) (all []candidate, err error) {
	rec := r.header.Recovery
	if rec == nil {
		return nil, kms.Errorf(kms.Denied, "the domain of this backup has no recovery keys: without a node that holds its master secrets it is lost")
	}
	var pieces []recovery.Piece
	defer func() {
		for _, p := range pieces {
			p.Value.Wipe()
		}
	}()
	for _, b := range handed {
		s, err := backup.ParseHanded(b)
		if err != nil {
			return nil, err
		}
		if s.Domain != r.node.who.domain || s.Node != r.node.who.node {
			return nil, kms.Errorf(kms.Denied, "share %d was handed to node %s of domain %s, not to this one", s.Number, short(s.Node), s.Domain)
		}
		p, err := r.receiver.Open(rec, s)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, p)
	}
	opener, err := recovery.Combine(rec, pieces)
	if err != nil {
		return nil, err
	}
	for i, g := range r.header.Generations {
		if g.Retired {
			continue
		}
		b, err := opener.Generation(r.node.who.domain, uint32(i), g.Sealed)
		if err != nil {
			return nil, err
		}
		all = append(all, candidate{uint32(i), b})
	}
	return all, nil
}

// open opens the backup into a new machine, and asks that it is what its header says.
func (r *restoring) open(ctx context.Context, from io.Reader) error {
	secrets := map[uint32]secret.Bytes{}
	for _, c := range r.filed {
		if c.number == r.header.Generation {
			secrets[c.number] = c.secret
		}
	}
	key, err := root.New(root.NewSetOf(secrets), r.node.who.domain, root.HoldfastLabels).BackupKey(r.header.Generation)
	if err != nil {
		return err
	}
	defer key.Wipe()
	content, err := recovery.NewReader(from, key, r.digest)
	if err != nil {
		return err
	}
	if err := r.machine.Restore(content); err != nil {
		return err
	}
	view := r.machine.View()
	if head := view.Head(); head != r.header.Head {
		return kms.Errorf(kms.Damaged, "the backup's state is that of entry %d, digest %s; its header says entry %d, digest %s",
			head.Index, head.Digest, r.header.Head.Index, r.header.Head.Digest)
	}
	return r.holdsAll(ctx)
}

// settle writes the domain's new beginning to the disk. What was begun and cut
// short is begun anew: the node's identity, without which nothing starts, is
// written last.
func (r *restoring) settle(ctx context.Context, document []byte) (err error) {
	n, s := r.node, r.sealer
	if err := r.clearDisk(); err != nil {
		return err
	}
	sc, err := storageConfig(n.cfg, s, n.who)
	if err != nil {
		return err
	}
	if r.store, err = storage.Create(sc); err != nil {
		return err
	}
	r.last = replica.Place{Index: r.header.Head.Index, Term: r.header.Head.Term}
	if err := errors.Join(r.carryOn(ctx, document), r.store.Close()); err != nil {
		return err
	}
	if r.receiver == nil {
		return nil
	}
	if err := errors.Join(s.writeRoot(n.who.domain, r.filed), s.writeIdentity(n.who)); err != nil {
		return err
	}
	return errors.Join(s.forget(recoveringFile), s.forget(receiverFile))
}

// clearDisk sets aside what is left of a log, and of an attempt that was cut short.
func (r *restoring) clearDisk() error {
	keep := map[string]bool{identityFile: true, rootFile: true, recoveringFile: true, receiverFile: true, ephemeralFile: true}
	names, err := r.node.cfg.Disk.ListDir(stateDir)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "listing the node's folder: %w", err)
	}
	for _, name := range names {
		if !keep[name] {
			if err := r.sealer.forget(name); err != nil {
				return err
			}
		}
	}
	return nil
}
