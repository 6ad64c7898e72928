package server

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
)

// beatInterval is how often streams are woken to look at what changes with time
// alone.
const beatInterval = time.Second

// watched is what streams of the status share: it is put together once a beat,
// however many watch, and not at all where nobody does.
type watched struct {
	mu      sync.Mutex
	beat    uint64
	status  kms.Status // without what moves all the time
	version uint64     // how often it has changed; 0: nobody has asked yet
}

// look returns which status it is that the node has, in the beat that it is.
func (w *watched) look(beat uint64, read func() kms.Status) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.version > 0 && w.beat == beat {
		return w.version
	}
	s := read()
	// Readings, which change without anything having happened.
	s.DomainTime, s.Index, s.ReplayAge, s.Attestation = time.Time{}, 0, "", ""
	if w.version == 0 || !reflect.DeepEqual(s, w.status) {
		w.status = s
		w.version++
	}
	w.beat = beat
	return w.version
}

// WatchEvents is core.Core's, for callers who are nobody.
func (n *Node) WatchEvents(ctx context.Context, r kms.WatchRequest, send func(kms.Events) error) error {
	return n.core.WatchEvents(ctx, r, send)
}

// WatchStatus calls send at once, whenever the node's status has changed, at most
// once a second, and every core.KeepAlive seconds. It goes on when the node has
// stopped serving, and says why, and ends when it closes. The errors are those
// of send and ctx, Exhausted and Unavailable.
func (n *Node) WatchStatus(ctx context.Context, send func() error) error {
	seat, err := n.core.Watches().Enter(kms.AppID{})
	if err != nil {
		return err
	}
	defer seat.Leave()
	sent, at := uint64(0), uint64(0)
	for {
		beat := n.core.Watches().Beats()
		version := n.watched.look(beat, n.Status)
		if version != sent || beat-at >= core.KeepAlive {
			if err := send(); err != nil {
				return err
			}
			sent, at = version, beat
		}
		if err := seat.Wait(ctx); err != nil {
			return err
		}
	}
}

// whyStopped says why a node has stopped, as far as everybody may know it: the
// kinds of what went wrong and the files of the node's state, but no path of the
// machine.
func whyStopped(err error) string {
	why := "the node has stopped"
	for e := (*kms.Error)(nil); errors.As(err, &e); err = e.Err {
		if e.Kind != kms.Unavailable && e.Kind != kms.Internal {
			why += ": " + e.Kind.Error()
		}
		if e.File != "" {
			why += ": " + e.File
		}
	}
	return why + ": mend the cause and restart it"
}

// whyFailed says why an examination did not succeed. What was refused is told in
// full, for no host wrote it; of what could not be had, what to do.
func whyFailed(fault error) string {
	if errors.Is(fault, kms.Denied) {
		return fault.Error()
	}
	if hint := kms.HintOf(fault); hint != "" {
		return "evidence or collateral could not be had: " + hint
	}
	return "evidence or collateral could not be had: see to the platform and to where collateral comes from"
}
