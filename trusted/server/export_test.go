package server

import (
	"bytes"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// RulesWritten is nil once what the node would judge others by after a restart is
// of the policy and the restart mode in force.
func (n *Node) RulesWritten() error {
	now, on := rulesOf(n.machine.View()), n.members.written.Load()
	if on == nil || on.standing.RestartMode != now.standing.RestartMode || on.policy.Serial != now.policy.Serial {
		return kms.Errorf(kms.Stale, "not written yet")
	}
	return nil
}

// EpochSecret is a copy of the secret of an epoch; nil where the node has none.
func (n *Node) EpochSecret(epoch uint64) (b []byte) {
	view, err := n.replica.Local()
	if err != nil {
		return nil
	}
	e, _ := view.Ephemeral(epoch)
	s, err := n.runtimes.Secret(epoch, e.Checksum)
	if err != nil {
		return nil
	}
	_ = s.Use(func(held []byte) error { b = bytes.Clone(held); return nil })
	return b
}

// Epoch is the epoch that it is, and what was published of it.
func (n *Node) Epoch() (epoch uint64, published state.Ephemeral) {
	view, err := n.replica.Local()
	if err != nil {
		return 0, published
	}
	epoch = view.Calendar().At(n.core.Now(view))
	published, _ = view.Ephemeral(epoch)
	return epoch, published
}

// MaintainGenerations has what there is to do about master secrets done now.
func (n *Node) MaintainGenerations() { n.generations.nudge() }

// HoldsGeneration reports whether the node has a master secret in memory, or about
// to be on its disk.
func (n *Node) HoldsGeneration(number uint32) bool {
	n.generations.mu.Lock()
	defer n.generations.mu.Unlock()
	_, err := n.generations.set.Secret(number)
	return err == nil || n.generations.unwritten
}
