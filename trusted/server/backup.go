package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/recovery"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// BackupDomain writes a backup of all that the domain had acknowledged when it was
// called, as an order of an operator or the owner says. It is encrypted under the
// backup key of the newest master secret: without that, which a node of the domain
// has, or shares of the recovery key, it is worth nothing. The errors are those of
// govern, Exists (the order was obeyed before), Expired, Exhausted (another one is
// being made here), Unavailable (also where the platform or the vendor's collateral
// gives no evidence that holds at domain time), and those of w; w then has a part that
// does not open.
func (n *Node) BackupDomain(ctx context.Context, order []byte, w io.Writer) error {
	if len(order) == 0 {
		return kms.Errorf(kms.Invalid, "there is no order").WithField("order")
	}
	if !n.backing.TryLock() {
		return kms.Errorf(kms.Exhausted, "this node makes another backup").WithHint("ask again when that one is done, or ask another node")
	}
	defer n.backing.Unlock()
	if _, err := n.core.Order(ctx, func(*state.View) (*command.Command, error) {
		return &command.Command{Op: &command.Command_OrderBackup{OrderBackup: &command.OrderBackup{Order: order}}}, nil
	}); err != nil {
		return err
	}
	view, err := n.replica.View(ctx)
	if err != nil {
		return err
	}
	if err := n.core.MayServe(view); err != nil {
		return err
	}
	h, err := n.provedHeader(ctx, view)
	if err != nil {
		return err
	}
	return n.writeBackup(view, h, w)
}

// provedHeader is the header with this node's evidence for it: without, anybody who
// knows the domain's documents could write a backup, under a master secret of his
// own. One backup is made at a time, so it waits in no line. It is read and verified
// as those will who restore, now that there is still a domain to make another one.
func (n *Node) provedHeader(ctx context.Context, view *state.View) (*backup.Header, error) {
	h := backupHeader(view)
	if err := h.Prove(view.Policy().Digest(), func(reportData [64]byte) (attest.Evidence, error) { return n.cfg.evidence(ctx, reportData) }); err != nil {
		return nil, err
	}
	front, err := h.Encode()
	if err != nil {
		return nil, err
	}
	again, _, err := backup.Read(bytes.NewReader(front))
	if err == nil {
		_, err = again.Rules(n.charter, verifiers)
	}
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "nobody could restore this backup: %w", err).
			WithHint("see to the platform, its clock and where collateral comes from, and order it again; or order it from another node")
	}
	return h, nil
}

func (n *Node) writeBackup(view *state.View, h *backup.Header, w io.Writer) error {
	front, err := h.Encode()
	if err != nil {
		return err
	}
	key, err := n.root.BackupKey(h.Generation)
	if err != nil {
		return err
	}
	defer key.Wipe()
	if _, err := w.Write(front); err != nil {
		return err
	}
	content, err := recovery.NewWriter(w, key, sha256.Sum256(front))
	if err != nil {
		return err
	}
	if err := view.Backup().Write(content); err != nil {
		return err
	}
	n.cfg.Logger.Info("backup made", "index", h.Head.Index, "generation", h.Generation)
	return content.Close()
}

func backupHeader(view *state.View) *backup.Header {
	f, rule := view.Founding(), view.Rule()
	h := &backup.Header{Domain: f.Domain, Generation: view.Generation(), Head: view.Head(), Time: view.Time(), Salt: make([]byte, backup.SaltSize),
		Charter: f.Charter, Bootstrap: f.Bootstrap, Policy1: f.Policy, Amendments: rule.Amendments, Policy: rule.Envelope, Recovery: view.Recovery()}
	rand.Read(h.Salt)
	for _, g := range view.Generations() {
		h.Generations = append(h.Generations, backup.Generation{Checksum: g.Checksum, Retired: g.Retired != 0, Sealed: g.Sealed})
	}
	return h
}

// dealRecovery makes the recovery key that the charter asks for, and seals master
// secrets to it; nil where there are no recovery keys.
func dealRecovery(s govern.Standing, all []candidate) (*command.Recovery, error) {
	if len(s.RecoveryKeys) == 0 {
		return nil, nil
	}
	rec, err := recovery.Deal(s.Domain, s.RecoveryKeys, s.RecoveryThreshold)
	if err != nil {
		return nil, err
	}
	p := state.RecoveryProto(rec)
	for _, c := range all {
		sealed, err := recovery.SealGeneration(rec.Public, s.Domain, c.number, c.secret)
		if err != nil {
			return nil, err
		}
		p.Generations = append(p.Generations, &command.SealedGeneration{Number: c.number, Sealed: sealed})
	}
	return p, nil
}

// sealNext seals the next master secret to the recovery key, if there is one.
func sealNext(view *state.View, c candidate) ([]byte, error) {
	rec := view.Recovery()
	if rec == nil {
		return nil, nil
	}
	return recovery.SealGeneration(rec.Public, view.Founding().Domain, c.number, c.secret)
}

// deal deals the recovery key anew where an amendment has named others to hold it.
// The leader does it, so that not everybody tries.
func (g *generations) deal(ctx context.Context) error {
	view, err := g.node.replica.Local()
	if err != nil || !view.RecoveryDue() || !g.node.replica.Leads() {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []candidate
	for _, known := range view.Generations() {
		if known.Retired != 0 {
			continue
		}
		s, err := g.set.Secret(known.Number)
		if err != nil {
			return err
		}
		all = append(all, candidate{known.Number, s})
	}
	rec, err := dealRecovery(view.Rule().Standing, all)
	if err != nil {
		return err
	}
	_, err = g.node.core.Order(ctx, func(*state.View) (*command.Command, error) {
		return &command.Command{Op: &command.Command_PutRecovery{PutRecovery: &command.PutRecovery{By: g.node.who.node[:], Recovery: rec}}}, nil
	})
	return err
}

// recoveryStatus says what would be lost with every node.
func recoveryStatus(s *kms.Status, view *state.View) {
	head := view.Head()
	s.Head = kms.Head{Term: head.Term, Index: head.Index, Digest: head.Digest.String(), PolicySerial: head.PolicySerial}
	s.LastBackup = view.LastBackup()
	s.Recoverable = view.Recoverable()
	if rec := view.Recovery(); rec != nil {
		s.RecoveryShares, s.RecoveryThreshold = len(rec.Shares), rec.Threshold
	}
	switch standing := view.Rule().Standing; {
	case s.Recoverable && s.LastBackup.IsZero():
		s.Warnings = append(s.Warnings, "no backup was made yet: shares of the recovery key open a backup, and nothing else")
	case s.Recoverable:
	case len(standing.RecoveryKeys) > 0:
		s.Warnings = append(s.Warnings, "the recovery key is not dealt yet to those who hold recovery keys since the last amendment: backups made now open with the shares dealt before, if there were any")
	default:
		s.Warnings = append(s.Warnings, "no recovery keys: when every node is lost, every key is lost for good, with or without a backup; an amendment can name recovery keys")
	}
}
