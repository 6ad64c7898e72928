package runtimes

import (
	"crypto/subtle"
	"sync"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// epochs are the secrets of epochs, in memory and nowhere else.
type epochs struct {
	mu   sync.RWMutex
	held map[uint64]*held
}

// held is an epoch's secret. Until it is known to be the one that the domain
// published it is a proposal, which nothing is derived from.
type held struct {
	secret    secret.Bytes
	checksum  [Size]byte
	published bool
}

// Propose makes a secret for an epoch and returns its checksum, to be published;
// where it was done before, that of the same secret. Settle says what became of it.
func (k *Keys) Propose(epoch uint64) (checksum [Size]byte, err error) {
	k.epochs.mu.Lock()
	defer k.epochs.mu.Unlock()
	if h := k.epochs.held[epoch]; h != nil {
		return h.checksum, nil
	}
	h := &held{secret: secret.Random(Size)}
	if h.checksum, err = HoldfastLabels.Checksum(h.secret, k.domain, epoch); err != nil {
		return checksum, err
	}
	k.epochs.held[epoch] = h
	return h.checksum, nil
}

// Proposed is the secret that was proposed for an epoch and not published yet, as
// it is handed to other members before the domain comes to know of it.
func (k *Keys) Proposed(epoch uint64) (s secret.Bytes, ok bool) {
	k.epochs.mu.RLock()
	defer k.epochs.mu.RUnlock()
	h := k.epochs.held[epoch]
	if h == nil || h.published {
		return s, false
	}
	return h.secret, true
}

// Adopt takes another member's proposal for an epoch, unless there is one here: a
// second place where it is if it comes to be published. The error is Damaged.
func (k *Keys) Adopt(epoch uint64, from secret.Bytes) error {
	sum, err := HoldfastLabels.Checksum(from, k.domain, epoch)
	if err == nil && from.Len() != Size {
		err = kms.Errorf(kms.Damaged, "the secret of an epoch has %d bytes", Size)
	}
	k.epochs.mu.Lock()
	defer k.epochs.mu.Unlock()
	if err != nil || k.epochs.held[epoch] != nil {
		from.Wipe()
		return err
	}
	k.epochs.held[epoch] = &held{secret: from, checksum: sum}
	return nil
}

// Settle takes up the secret of an epoch whose checksum was published: the one
// that was proposed here, if it is that one. Else what was proposed is cleared,
// for another was published first.
func (k *Keys) Settle(epoch uint64, published [Size]byte) {
	k.epochs.mu.Lock()
	defer k.epochs.mu.Unlock()
	h := k.epochs.held[epoch]
	if h == nil {
		return
	}
	h.published = subtle.ConstantTimeCompare(h.checksum[:], published[:]) == 1
	if !h.published {
		k.epochs.drop(epoch)
	}
}

// Receive takes the secret of an epoch from another member. The error is Damaged
// where it does not have the published checksum: then it is cleared, and nothing
// changes.
func (k *Keys) Receive(epoch uint64, from secret.Bytes, published [Size]byte) error {
	sum, err := HoldfastLabels.Checksum(from, k.domain, epoch)
	if err == nil && (from.Len() != Size || subtle.ConstantTimeCompare(sum[:], published[:]) != 1) {
		err = kms.Errorf(kms.Damaged, "the secret of epoch %d that was received is not the one that was published", epoch)
	}
	if err != nil {
		from.Wipe()
		return err
	}
	k.epochs.mu.Lock()
	defer k.epochs.mu.Unlock()
	k.epochs.drop(epoch)
	k.epochs.held[epoch] = &held{secret: from, checksum: sum, published: true}
	return nil
}

// Keep clears the secrets of all epochs that keep does not want.
func (k *Keys) Keep(keep func(epoch uint64) bool) {
	k.epochs.mu.Lock()
	defer k.epochs.mu.Unlock()
	for epoch := range k.epochs.held {
		if !keep(epoch) {
			k.epochs.drop(epoch)
		}
	}
}

// Held reports whether this node has the published secret of an epoch.
func (k *Keys) Held(epoch uint64) bool {
	k.epochs.mu.RLock()
	defer k.epochs.mu.RUnlock()
	h := k.epochs.held[epoch]
	return h != nil && h.published
}

func (e *epochs) drop(epoch uint64) {
	if h := e.held[epoch]; h != nil {
		h.secret.Wipe()
		delete(e.held, epoch)
	}
}

// Secret is the secret of an epoch with the published checksum, as it is handed
// to another member. It is cleared when its time has come. The error is
// NotFound where this node does not have it.
func (k *Keys) Secret(epoch uint64, published [Size]byte) (secret.Bytes, error) {
	k.epochs.mu.RLock()
	defer k.epochs.mu.RUnlock()
	h := k.epochs.held[epoch]
	if h == nil || !h.published || subtle.ConstantTimeCompare(h.checksum[:], published[:]) != 1 {
		return secret.Bytes{}, errGone(epoch)
	}
	return h.secret, nil
}

func errGone(epoch uint64) error {
	return kms.Errorf(kms.NotFound, "no member of the domain has the secret of epoch %d any more", epoch).
		WithField("epoch").WithHint("the secrets of epochs do not outlive the members' memory: use a later epoch's key")
}
