package core

import (
	"context"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// DeclareCompromise puts on record that others know a generation, as an order of
// the signers says. The errors are those of state.CheckCompromise, and Unavailable.
func (c *Core) DeclareCompromise(ctx context.Context, order []byte) (uint32, error) {
	g, err := openly(ctx, c, "DeclareCompromise", false, func(e *audit.Entry) (generation, error) {
		view, now, err := c.serving()
		if err != nil {
			return 0, err
		}
		o, err := view.CheckCompromise(order, now)
		if err != nil {
			return 0, err
		}
		cmd := c.command(now.UnixNano())
		cmd.Op = &command.Command_DeclareCompromise{DeclareCompromise: &command.DeclareCompromise{Order: order}}
		_, err = c.propose(ctx, cmd, e)
		return generation(o.Generation), err
	})
	return uint32(g), err
}

// ReplaceAuthority puts the certificate authority that fresh makes in the place
// of the one there is: as an order says, or without one where it is due. The
// errors are those of state.CheckReplacement and of fresh, Conflict and Unavailable.
func (c *Core) ReplaceAuthority(ctx context.Context, order []byte, fresh func(old *state.Authority) (state.Authority, error)) error {
	if len(order) == 0 { // the node itself; events tell of it
		return c.replaceAuthority(ctx, order, fresh, nil)
	}
	_, err := openly(ctx, c, "ReplaceAuthority", false, func(e *audit.Entry) (generation, error) {
		return 0, c.replaceAuthority(ctx, order, fresh, e)
	})
	return err
}

func (c *Core) replaceAuthority(ctx context.Context, order []byte, fresh func(old *state.Authority) (state.Authority, error), e *audit.Entry) error {
	view, now, err := c.serving()
	if err != nil {
		return err
	}
	if err := view.CheckReplacement(order, now); err != nil {
		return err
	}
	old := view.Authority()
	a, err := fresh(old)
	if err != nil {
		return err
	}
	cmd := c.command(now.UnixNano())
	cmd.Op = &command.Command_ReplaceAuthority{ReplaceAuthority: &command.ReplaceAuthority{Order: order, Replaces: old.Certificate,
		Authority: &command.Authority{Certificate: a.Certificate, Generation: a.Generation, WrappedKey: a.WrappedKey}}}
	_, err = c.propose(ctx, cmd, e)
	return err
}

// A Replacement gives new versions to the keys whose current one others may know,
// step by step. It keeps only its place.
type Replacement struct {
	core *Core
	key  kms.KeyID
	made int
}

// NewReplacement starts at the first key.
func (c *Core) NewReplacement() *Replacement { return &Replacement{core: c} }

// Made is how many keys got a new version.
func (r *Replacement) Made() int { return r.made }

// Step replaces what it finds next, and reports whether it has seen all keys. Keys
// that others change meanwhile are left to the next walk. It is safe to go on
// after an error.
func (r *Replacement) Step(ctx context.Context) (over bool, err error) {
	view, err := r.core.cfg.Replica.Local()
	if err != nil {
		return false, err
	}
	var due []*state.Key
	at, visited, over := r.key, 0, true
	view.KeysAfter(r.key, func(k *state.Key) bool {
		if visited++; visited > stepRecords || len(due) == stepSecrets {
			over = false
			return false
		}
		if at = k.ID; view.Replaces(k) {
			due = append(due, k)
		}
		return true
	})
	if len(due) > 0 {
		err = r.core.replaceExposed(ctx, view, due)
	}
	switch {
	case errors.Is(err, kms.Conflict):
		err = nil
	case err != nil:
		return false, err
	default:
		r.made += len(due)
	}
	r.key = at
	return over, nil
}

func (c *Core) replaceExposed(ctx context.Context, view *state.View, keys []*state.Key) error {
	cmd := c.command(c.now(view).UnixNano())
	op := &command.ReplaceExposed{}
	for _, k := range keys {
		v, err := c.cfg.Keyring.Next(k, cmd.GetTime())
		if err != nil {
			return err
		}
		op.Keys = append(op.Keys, &command.NewVersion{Key: k.ID[:], Revision: k.Revision,
			Version: &command.KeyVersion{Number: uint32(v.Number), Generation: v.Generation, Created: v.Created, Wrapped: v.Wrapped}})
	}
	cmd.Op = &command.Command_ReplaceExposed{ReplaceExposed: op}
	_, err := c.cfg.Replica.Propose(ctx, cmd)
	return err
}

// FinishCompromise retires a compromised generation on which nothing hangs any
// more. The errors are those of state.CheckFinished, and Unavailable.
func (c *Core) FinishCompromise(ctx context.Context, generation uint32) error {
	view, now, err := c.serving()
	if err != nil {
		return err
	}
	if err := view.CheckFinished(generation); err != nil {
		return err
	}
	cmd := c.command(now.UnixNano())
	cmd.Op = &command.Command_FinishCompromise{FinishCompromise: &command.FinishCompromise{Generation: generation}}
	_, err = c.cfg.Replica.Propose(ctx, cmd)
	return err
}

// Exposed lists what others may know and the domain cannot make good alone, of
// every app. Who asks shows an order of the signers that declared a compromise in
// this domain: whether it was obeyed does not matter. The errors are those of
// govern, Invalid and Unavailable.
func (c *Core) Exposed(ctx context.Context, order []byte, after string) (kms.ExposedPage, error) {
	view, err := c.cfg.Replica.View(ctx)
	if err != nil {
		return kms.ExposedPage{}, err
	}
	rule := view.Rule()
	if _, err := rule.Standing.OpenOrder(rule.Policy, order, govern.DeedCompromise); err != nil {
		return kms.ExposedPage{}, err
	}
	l := &listing{view: view}
	err = l.list(after)
	return l.page, err
}

// A listing goes through keys, credentials and secrets, from a place on.
type listing struct {
	view    *state.View
	page    kms.ExposedPage
	visited int
}

// Places begin with what is listed there.
const (
	placeKeys        = "k"
	placeCredentials = "c"
	placeSecrets     = "s"
)

func (l *listing) list(after string) error {
	kind, place, _ := strings.Cut(after, ".")
	raw, err := hex.DecodeString(place)
	if err != nil || len(after) > 2048 {
		return kms.Errorf(kms.Invalid, "no place in the list").WithField("after")
	}
	switch kind {
	case "", placeKeys:
		var id kms.KeyID
		if copy(id[:], raw); l.keys(id) {
			return nil
		}
		raw = nil
		fallthrough
	case placeCredentials:
		var id kms.CredentialID
		if copy(id[:], raw); l.credentials(id) {
			return nil
		}
		raw = nil
		fallthrough
	case placeSecrets:
		l.secrets(string(raw))
		return nil
	}
	return kms.Errorf(kms.Invalid, "no place in the list").WithField("after")
}

// full ends a page behind the record before. So that no page takes long, it counts
// what was looked at, too.
func (l *listing) full(kind string, last []byte) bool {
	l.visited++
	if len(l.page.Items) < kms.MaxExposedPage && l.visited <= 8*stepRecords {
		return false
	}
	l.page.Next = kind + "." + hex.EncodeToString(last)
	return true
}

func (l *listing) keys(after kms.KeyID) (full bool) {
	last := after
	l.view.KeysAfter(after, func(k *state.Key) bool {
		if full = l.full(placeKeys, last[:]); full {
			return false
		}
		last = k.ID
		x := kms.Exposed{App: k.App, Key: k.ID, Spec: k.Spec}
		for i := range k.Versions {
			if l.view.Exposed(&k.Versions[i]) {
				x.Versions = append(x.Versions, k.Versions[i].Number)
			}
		}
		if len(x.Versions) > 0 {
			current, ok := k.Version(0)
			x.Replaced = ok && !l.view.Exposed(current)
			x.Advice = keyAdvice(k, x.Replaced)
			l.page.Items = append(l.page.Items, x)
		}
		return true
	})
	return full
}

// keyAdvice says what is to be done about a key.
func keyAdvice(k *state.Key, replaced bool) string {
	row, _ := k.Spec.Capability()
	switch {
	case replaced:
		return "re-encrypt what these versions encrypted, then disable and destroy them"
	case k.State == kms.PendingDeletion:
		return "the key is about to be deleted"
	case row == nil || !row.InPlace:
		return "the spec has no versions: make a new key, have the alias name it, tell those who hold the public half, re-encrypt or sign anew, delete this one"
	case k.Origin != kms.Generated:
		return "the material was imported: import a new key, have the alias name it, re-encrypt, delete this one"
	case len(k.Versions) >= kms.MaxKeyVersions:
		return "the key has all the versions it can have: destroy old ones, then rotate it, and re-encrypt"
	}
	return "the domain is about to give it a new version, or the key's state does not let it: then make a new key"
}

func (l *listing) credentials(after kms.CredentialID) (full bool) {
	last := after
	l.view.CredentialsAfter(after, func(c *state.Credential) bool {
		if full = l.full(placeCredentials, last[:]); full {
			return false
		}
		last = c.ID
		if l.view.ExposedCredential(c) && !c.Expired(l.view.Time().UnixNano()) {
			l.page.Items = append(l.page.Items, kms.Exposed{App: c.App, Credential: c.ID, Refused: time.Unix(0, l.view.RefusedFrom(c)).UTC(),
				Advice: "have the app make another credential, and revoke this one"})
		}
		return true
	})
	return full
}

func (l *listing) secrets(after string) {
	last := after
	l.view.SecretsAfter(after, func(place string, s *state.Secret) bool {
		if l.full(placeSecrets, []byte(last)) {
			return false
		}
		last = place
		x := kms.Exposed{App: s.App, Secret: s.Name, Advice: "put a new value where it is used and here, then destroy these versions"}
		for _, v := range s.Versions {
			if l.view.ExposedSecret(s, v) {
				x.Values = append(x.Values, v.Number)
			}
		}
		if len(x.Values) > 0 {
			l.page.Items = append(l.page.Items, x)
		}
		return true
	})
}
