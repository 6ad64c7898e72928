// Package core is the door to the keys: authenticate, authorise, do, release.
// There is one method per operation, and no other way from the outside to a key.
package core

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authn"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/keyring"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Replica is the replicated state that the core works on.
type Replica interface {
	// Propose puts a command through the log. Unavailable leaves open whether it happened.
	Propose(ctx context.Context, c *command.Command) (state.Result, error)
	// View is a state that holds everything acknowledged before the call.
	View() (*state.View, error)
}

// Config says how a Core works.
type Config struct {
	Replica Replica
	Root    *root.Root
	Keyring *keyring.Keyring
	Authn   *authn.Authenticator
	Now     func() time.Time // the host's clock
	// OpenEnrolment lets anyone enrol; false lets nobody.
	OpenEnrolment bool
	// MaxApps is how many apps may enrol; zero means DefaultMaxApps.
	MaxApps uint32
}

// DefaultMaxApps bounds what open enrolment can fill the state with.
const DefaultMaxApps = 10_000

// A Core is the door.
type Core struct {
	cfg    Config
	slow   *pool
	newest atomic.Int64 // the latest reading of domain time, ns: it never goes back
}

// New makes a Core.
func New(cfg Config) *Core {
	if cfg.MaxApps == 0 {
		cfg.MaxApps = DefaultMaxApps
	}
	return &Core{cfg: cfg, slow: newPool()}
}

// now is domain time. A domain of one takes the host's clock, which may stand
// still or jump ahead but is never followed back.
func (c *Core) now(view *state.View) time.Time {
	t := max(c.cfg.Now().UnixNano(), view.Time().UnixNano())
	for {
		old := c.newest.Load()
		if t <= old {
			return time.Unix(0, old)
		}
		if c.newest.CompareAndSwap(old, t) {
			return time.Unix(0, t)
		}
	}
}

// Now is domain time as this node knows it.
func (c *Core) Now(view *state.View) time.Time { return c.now(view) }

// Authenticate decides who sent a request. The Caller is good for that one
// request, under the state that was current when it arrived. The errors are
// Unauthenticated, Stale, Replayed, Exhausted and Unavailable.
func (c *Core) Authenticate(_ context.Context, cred kms.Credential) (*Caller, error) {
	view, err := c.cfg.Replica.View()
	if err != nil {
		return nil, err
	}
	p, err := c.cfg.Authn.Authenticate(view, cred, c.now(view))
	if err != nil {
		return nil, err
	}
	return &Caller{core: c, view: view, who: p}, nil
}

// Enrol makes a new app with its first credential, whose id is the app's. The
// errors are Denied, Exhausted and Unavailable.
func (c *Core) Enrol(ctx context.Context) (kms.Enrolment, error) {
	if !c.cfg.OpenEnrolment {
		return kms.Enrolment{}, kms.Errorf(kms.Denied, "enrolment is closed").
			WithHint("ask an operator of the domain for credentials")
	}
	view, err := c.cfg.Replica.View()
	if err != nil {
		return kms.Enrolment{}, err
	}
	now := c.now(view).UnixNano()
	id := kms.NewUUID(random16())
	apiKey := authn.NewAPIKey()
	defer apiKey.Wipe()
	cred := &state.Credential{ID: kms.CredentialID(id), App: kms.AppID(id), Permissions: kms.PermAll,
		Generation: c.cfg.Root.Current(), Created: now}
	wrapped, err := c.cfg.Root.Wrap(authn.CredentialSlot(cred), apiKey)
	if err != nil {
		return kms.Enrolment{}, err
	}
	cmd := c.command(now)
	cmd.Op = &command.Command_PutApp{PutApp: &command.PutApp{
		App: &command.App{Id: id[:], Created: now},
		Credential: &command.Credential{Id: id[:], App: id[:], Permissions: uint32(cred.Permissions),
			Created: now, Generation: cred.Generation, Wrapped: wrapped},
		MaxApps: c.cfg.MaxApps,
	}}
	if _, err := c.cfg.Replica.Propose(ctx, cmd); err != nil {
		return kms.Enrolment{}, err
	}
	e := kms.Enrolment{App: kms.AppID(id), Credential: kms.CredentialID(id)}
	err = apiKey.Use(func(b []byte) error { e.APIKey = string(b); return nil })
	return e, err
}

// command starts a command with an id of its own.
func (c *Core) command(now int64) *command.Command {
	id := random16()
	return &command.Command{Id: id[:], Time: now}
}

func random16() (b [16]byte) {
	rand.Read(b[:])
	return b
}

// A Caller is an authenticated request. It is good for one operation, and is
// not safe for concurrent use.
type Caller struct {
	core *Core
	view *state.View
	who  authn.Principal
}

func (c *Caller) app() kms.AppID { return c.who.Credential.App }

// useKey is the first line of every operation that uses a key: permission,
// ownership, state, expiry, usage.
func (c *Caller) useKey(ref kms.KeyRef, u kms.Usage) (*state.Key, error) {
	if err := authz.Permission(c.who.Credential, kms.PermUse); err != nil {
		return nil, err
	}
	return authz.UseKey(c.view, c.app(), ref.ID, u, c.core.now(c.view))
}

// maxTries is how often a change is tried that runs into others' changes.
const maxTries = 8

// change authorises and proposes a state change. Apply refuses it with
// Conflict if anything that build relied on has moved; then it is built again
// on the newest state.
func (c *Caller) change(ctx context.Context, build func(*command.Command) error) (state.Result, error) {
	for try := 1; ; try++ {
		if err := authz.Permission(c.who.Credential, kms.PermManage); err != nil {
			return state.Result{}, err
		}
		cmd := c.core.command(c.core.now(c.view).UnixNano())
		cmd.Principal = c.principal()
		if err := build(cmd); err != nil {
			return state.Result{}, err
		}
		res, err := c.core.cfg.Replica.Propose(ctx, cmd)
		if !errors.Is(err, kms.Conflict) || try == maxTries {
			return res, err
		}
		if err := c.refresh(); err != nil {
			return state.Result{}, err
		}
	}
}

func (c *Caller) principal() *command.Principal {
	cred := c.who.Credential
	return &command.Principal{App: cred.App[:], Credential: cred.ID[:], CredentialRevision: cred.Revision,
		RequestMac: c.who.Mark[:], RequestTime: c.who.Time.UnixNano()}
}

// refresh takes up the newest state. A credential that is gone meanwhile
// authorises nothing more.
func (c *Caller) refresh() error {
	view, err := c.core.cfg.Replica.View()
	if err != nil {
		return err
	}
	cred, ok := view.Credential(c.who.Credential.ID)
	if !ok {
		return kms.Errorf(kms.Unauthenticated, "the credential was revoked")
	}
	c.view, c.who.Credential = view, cred
	return nil
}
