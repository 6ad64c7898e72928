package core

import (
	"context"
	"sync"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// turns has changes of one thing follow each other on this node, so that they do
// not keep running into each other's revisions. Nodes do not know of each other's
// turns: it is Apply that decides.
type turns struct {
	mu    sync.Mutex
	lines map[string]*line
}

type line struct {
	turn chan struct{} // holds a token while nobody's turn it is
	n    int           // who is in it
}

// wait waits for the turn, and calls late if it had to. The error is late's, or
// Unavailable where ctx ends first.
func (t *turns) wait(ctx context.Context, name string, late func() error) (leave func(), err error) {
	l := t.enter(name)
	leave = func() {
		l.turn <- struct{}{}
		t.exit(name, l)
	}
	select {
	case <-l.turn:
		return leave, nil
	default:
	}
	select {
	case <-l.turn:
	case <-ctx.Done():
		t.exit(name, l)
		return nil, kms.Errorf(kms.Unavailable, "waiting for other changes: %w", ctx.Err())
	}
	if err := late(); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

func (t *turns) enter(name string) *line {
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.lines[name]
	if !ok {
		if t.lines == nil {
			t.lines = map[string]*line{}
		}
		l = &line{turn: make(chan struct{}, 1)}
		l.turn <- struct{}{}
		t.lines[name] = l
	}
	l.n++
	return l
}

func (t *turns) exit(name string, l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.n--; l.n == 0 {
		delete(t.lines, name)
	}
}

// Sizes of a step of re-encrypting secrets.
const (
	keepSecrets  = 64
	keepVersions = 256
)

// KeepSecrets moves secrets whose key was rotated to the key's current version, a
// step at a time, and returns how many it moved: none, when nothing is left. A key
// that may not be used now, or a version of it that is disabled, is left alone.
// The error is Unavailable, or says why a secret could not be moved; the others
// were.
func (c *Core) KeepSecrets(ctx context.Context) (moved int, err error) {
	view, now, err := c.serving()
	if err != nil {
		return 0, nil // a node that does not serve does not re-wrap either
	}
	node := &Caller{core: c, view: view} // nobody asks: the node itself does
	batch, stuck := &command.RewrapSecrets{}, error(nil)
	versions := 0
	view.SecretsBehind(func(k *state.Key, s *state.Secret) bool {
		r, err := node.catchUp(ctx, k, s, keepVersions-versions)
		if err != nil {
			stuck = kms.Errorf(kms.KindOf(err), "a secret of app %s: %w", s.App, err)
		}
		if r != nil {
			batch.Secrets = append(batch.Secrets, r)
			versions += len(r.GetVersions())
		}
		return len(batch.GetSecrets()) < keepSecrets && versions < keepVersions && ctx.Err() == nil
	})
	if len(batch.GetSecrets()) == 0 {
		return 0, stuck
	}
	cmd := c.command(now.UnixNano())
	cmd.Op = &command.Command_RewrapSecrets{RewrapSecrets: batch}
	if _, err := c.cfg.Replica.Propose(ctx, cmd); err != nil {
		return 0, err
	}
	return len(batch.GetSecrets()), stuck
}

// catchUp wraps at most limit versions of a secret under the current version of
// its key; nil: there is nothing that could be.
func (c *Caller) catchUp(ctx context.Context, k *state.Key, s *state.Secret, limit int) (*command.SecretRewrapped, error) {
	if !k.State.Allows(kms.UseEncrypt) {
		return nil, nil
	}
	r := &command.SecretRewrapped{App: s.App[:], Name: string(s.Name), Revision: s.Revision}
	for _, v := range s.Versions {
		under, there := k.Version(kms.KeyVersion(v.Under))
		if v.Under == uint32(k.Current) || there && under.State != kms.VersionEnabled || len(r.GetVersions()) == limit {
			continue
		}
		w, err := c.rewrapVersion(ctx, s, k, v, s, k)
		if err != nil {
			return nil, err
		}
		r.Versions = append(r.Versions, w)
	}
	if len(r.GetVersions()) == 0 {
		return nil, nil
	}
	return r, nil
}

// collectSecret moves what a secret has wrapped under older generations.
func (w *Rewrapping) collectSecret(s *state.Secret, b *batch) {
	if s.Key != (kms.KeyID{}) || len(b.rewrap.GetSecrets()) == state.MaxRewrapped {
		return
	}
	to := b.rewrap.GetGeneration()
	r := &command.SecretRewrapped{App: s.App[:], Name: string(s.Name), Revision: s.Revision}
	for _, v := range s.Versions {
		if v.Under == to {
			continue
		}
		wrapped, err := w.core.cfg.Root.Rewrap(secretSlot(s, v.Number, v.Under), secretSlot(s, v.Number, to), v.Wrapped)
		if err != nil {
			w.stuck = kms.Errorf(kms.KindOf(err), "a secret of app %s, version %d: %w", s.App, v.Number, err)
			continue
		}
		r.Versions = append(r.Versions, &command.SecretWrap{Number: uint32(v.Number), From: v.Under, To: to, Wrapped: wrapped})
		b.add(wrapped)
	}
	if len(r.GetVersions()) > 0 {
		b.rewrap.Secrets = append(b.rewrap.Secrets, r)
	}
}
