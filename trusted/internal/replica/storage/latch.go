package storage

import (
	"cmp"
	"log/slog"
	"sync/atomic"

	"github.com/holdfast-kms/holdfast/kms"
)

// A latch holds the first error of a store, for good.
type latch struct {
	logger *slog.Logger
	tell   func(error)
	cause  atomic.Pointer[kms.Error]
}

// trip latches err if nothing has been latched, and returns what is latched.
func (l *latch) trip(err error) error {
	e := kms.Errorf(kms.Unavailable, "storage has stopped: %w", err).
		WithHint(cmp.Or(kms.HintOf(err), "the node recovers by a restart; if that fails too, its message says which file is at fault"))
	if !l.cause.CompareAndSwap(nil, e) {
		return l.err()
	}
	l.logger.Error("storage has stopped; the node must be restarted", "kind", kms.KindOf(err).Error(), "error", err)
	if l.tell != nil {
		// On its own goroutine: whoever writes may hold locks that the owner's answer needs.
		go l.tell(e)
	}
	return e
}

func (l *latch) err() error {
	if e := l.cause.Load(); e != nil {
		return e
	}
	return nil
}

// close refuses writes from now on, which is no error to tell anyone of.
func (l *latch) close() {
	l.cause.CompareAndSwap(nil, kms.Errorf(kms.Unavailable, "storage is closed"))
}
