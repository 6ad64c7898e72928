package server

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A node whose TEE derives no sealing key (TDX) seals its files under a key that
// it makes at each start and that is in memory alone. So after a restart nothing of
// its folder opens, whatever the host puts there, and it joins anew, as a new node
// without a past. It can show no key of what it was. That one it still takes the
// place of, as the member that takes it in finds out by evidence: same machine, same
// address, and dead. Whoever can show that has the machine, and could have ended the
// old node anyway; how many nodes the machine has in the domain does not change.

// ephemeralFile marks, in clear, a folder whose other files open nowhere once the
// process that wrote them has ended. A host that makes or removes it gains nothing:
// files are set aside that it could have deleted, or the node does not start.
const ephemeralFile = "ephemeral"

const ephemeralText = "The TEE of this node has no sealing key. What else is in this folder opens nowhere once its process has ended, " +
	"and is set aside at the next start: the node joins its domain anew.\n"

const (
	foundStaying = "have one process do all of it that stays up while people sign: `holdfastd found --stay`"
	joinAnew     = "name members of the domain that this node is to join, with --join; where most of them are lost, " + restoreElsewhere
	// restoreElsewhere is for who would carry a domain on.
	restoreElsewhere = "restore the domain from a backup and shares of the recovery key: " + restoreStaying
	restoreStaying   = "have one process do all of it that stays up while people sign and hand over shares: `holdfastd recover --stay`"
)

// cannotKeep is what a node says that would have to keep something over a restart.
func cannotKeep(what string) *kms.Error {
	return kms.Errorf(kms.Misused, "%s: %w, so nothing that this node writes opens after a restart", what, attest.ErrNoSealingKey)
}

// sealingKey is the platform's, or one that nobody will have again.
func sealingKey(ctx context.Context, p Platform) (key []byte, ephemeral bool, err error) {
	if key, err = p.SealingKey(ctx); !errors.Is(err, attest.ErrNoSealingKey) {
		return key, false, err
	}
	key = make([]byte, 32)
	rand.Read(key)
	return key, true, nil
}

// beginAnew sets aside what an earlier start of this node left in its folder, and
// marks this one. A folder without the mark is of a node on another kind of machine,
// which may still need it.
func (n *Node) beginAnew(s *sealer) error {
	names, err := s.disk.ListDir(stateDir)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "listing the node's folder: %w", err)
	}
	left := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !storage.Owns(name) && !slices.Contains(ownFiles, name) })
	if len(left) > 0 && !slices.Contains(names, ephemeralFile) {
		return kms.Errorf(kms.Exists, "the folder holds a node that was sealed on a platform with a sealing key, and this one has none").WithFile(left[0]).
			WithHint("start that node on its own machine, and name an empty folder for this one")
	}
	if err := s.disk.Replace(stateDir, ephemeralFile, []byte(ephemeralText)); err != nil {
		return kms.Errorf(kms.Unavailable, "marking the node's folder: %w", err).WithFile(ephemeralFile).WithHint(writeHint)
	}
	for _, name := range left {
		if err := s.forget(name); err != nil {
			return err
		}
	}
	if len(left) > 0 {
		n.cfg.Logger.Warn("what an earlier start left is set aside: this platform has no sealing key, so it opens nowhere; the node begins anew", "files", len(left))
	}
	return nil
}

// ownFiles are the names of what a node may have in its folder beside its log.
var ownFiles = []string{identityFile, rootFile, peersFile, joiningFile, founderFile, recoveringFile, receiverFile}

// comesBackTo refuses a domain that this node could not come back to after a
// restart.
func (a *applicant) comesBackTo(shown *rules) error {
	if !a.sealer.ephemeral {
		return nil
	}
	return takesEphemeral(shown.standing)
}

func takesEphemeral(standing govern.Standing) error {
	if standing.RestartMode == govern.Rejoin {
		return nil
	}
	return kms.Errorf(kms.Denied, "the domain's restart mode is %q, in which a node resumes from its files: %w", standing.RestartMode, attest.ErrNoSealingKey).
		WithField("restart_mode").WithHint(`have owner and signers amend the charter to restart mode "rejoin", or join with a node that has a sealing key`)
}

// predecessor is the member whose place a node takes that cannot show that it was
// it: one without a sealing key, of the same machine, that was reached at the same
// address. It is none where the machine is another one; then an operator has the old
// one go. proven says that the evidence counts for the old one's key: where the
// policy wants approvals, for the very program that was approved. The errors are
// Denied (it lives, or the domain does not take such nodes) and Unavailable.
func (m *members) predecessor(ctx context.Context, view *state.View, c attest.Claims, ask *wire.Join) (old kms.NodeID, proven bool, err error) {
	if c.TEE != attest.TDX {
		return old, false, nil
	}
	if err := takesEphemeral(view.Rule().Standing); err != nil {
		return old, false, err
	}
	rec, succeeded := slotOf(view, c, ask.GetSocket())
	switch {
	case succeeded:
		return old, false, kms.Errorf(kms.Unavailable, "the node that was there before the last one is about to be removed")
	case rec == nil:
		return old, false, nil
	case m.alive(ctx, rec.ID):
		return old, false, refusedFor(kms.RefusedAlive, kms.Errorf(kms.Denied, "the node of this machine at this address is alive").
			WithHint("stop that node first, or give this one another address"))
	}
	approved := view.Policy().Admission == govern.AdmitAttested || sameRegisters(rec.Claims.TDX, c.TDX)
	return rec.ID, approved, nil
}

// slotOf finds the member of a machine that is reached at an address. succeeded says
// that it was replaced itself a moment ago, and the one that it was for is not gone yet.
func slotOf(view *state.View, c attest.Claims, socket string) (found *state.Node, succeeded bool) {
	machine := c.Platform.Machine()
	view.Nodes(func(rec *state.Node) bool {
		same := rec.Member() && rec.Claims.TEE == c.TEE && len(machine) > 0 && rec.Claims.Platform.Machine().Equal(machine) && rec.Socket == socket
		if same {
			succeeded = succeeded || found != nil
			found = rec
		}
		return true
	})
	return found, succeeded
}

// sameRegisters compares all of a machine's measurements: who approved of one did
// not approve of another kernel or command line.
func sameRegisters(a, b *attest.TDXClaims) bool {
	return a != nil && b != nil && a.MRTD.Equal(b.MRTD) && a.RTMR0.Equal(b.RTMR0) && a.RTMR1.Equal(b.RTMR1) && a.RTMR2.Equal(b.RTMR2) && a.RTMR3.Equal(b.RTMR3) &&
		a.MRConfigID.Equal(b.MRConfigID) && a.MROwner.Equal(b.MROwner) && a.MROwnerConfig.Equal(b.MROwnerConfig)
}
