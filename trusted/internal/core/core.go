// Package core is the door to the keys: authenticate, authorise, do, release.
// There is one method per operation, and no other way from the outside to a key.
package core

import (
	"context"
	"crypto/rand"
	"errors"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/auditing"
	"github.com/holdfast-kms/holdfast/trusted/internal/authn"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/keyring"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/session"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
	"github.com/holdfast-kms/holdfast/trusted/internal/traffic"
)

// Replica is the replicated state that the core works on.
type Replica interface {
	// Propose puts a command through the log. Unavailable leaves open whether it happened.
	Propose(ctx context.Context, c *command.Command) (state.Result, error)
	// View is a state that holds everything acknowledged before the call, by any
	// node. Stale and Unavailable say that this node cannot know.
	View(ctx context.Context) (*state.View, error)
	// Local is the newest state that this node has.
	Local() (*state.View, error)
}

// Config says how a Core works.
type Config struct {
	Replica Replica
	Root    *root.Root
	Keyring *keyring.Keyring
	Authn   *authn.Authenticator
	// Evidence is how quotes are made and judged.
	Evidence Evidence
	// Sessions knows attested workloads; nil: none are taken.
	Sessions *session.Judge
	// Runtimes is what attested runtimes are served with.
	Runtimes Runtimes
	Now      func() time.Time // the host's clock
	// Serving is nil while the policy in force lets this node serve. It is asked
	// before every request.
	Serving func(view *state.View, now time.Time) error
	// Admits is nil if the node could serve under a policy.
	Admits func(p *govern.Policy, now time.Time) error
	// Leads reports whether this node leads the domain, whose background work is
	// done by one node; nil: it is the only one.
	Leads func() bool
	// Audit is where operations leave their entries; nil: nowhere.
	Audit *auditing.Log
	// MaxPerApp is how many operations of one app are done at once; zero: any number.
	MaxPerApp int
	// MayBegin refuses an operation of an app that asks for much of a node that has too
	// much to do; nil: nobody is refused so. The error is Exhausted.
	MayBegin func(context.Context, kms.AppID) error
	// MaxApps is how many apps may enrol; zero means DefaultMaxApps.
	MaxApps uint32
	// MaxInvocations lowers how often a version of a key encrypts with random
	// nonces; zero, and what is over the spec's own limit, mean that one.
	MaxInvocations uint64
}

// DefaultMaxApps bounds what open enrolment can fill the state with.
const DefaultMaxApps = 10_000

// A Core is the door.
type Core struct {
	cfg     Config
	slow    *pool
	watches *Watches

	secretTurns turns // changes of secrets, by app and name

	wear    *wear
	newest  atomic.Int64 // the latest reading of domain time, ns: it never goes back
	limiter *traffic.Limiter
	keeper  auditKeeper

	unconfirmed atomic.Uint64 // requests that no current state could be had for
}

// New makes a Core.
func New(cfg Config) *Core {
	if cfg.MaxApps == 0 {
		cfg.MaxApps = DefaultMaxApps
	}
	return &Core{cfg: cfg, slow: newPool(), watches: newWatches(), limiter: traffic.NewLimiter(cfg.Now), wear: newWear()}
}

// now is domain time. Where a quorum keeps it, it is what the state says. Below
// that it is the host's clock, which may stand still or jump ahead but is never
// followed back.
func (c *Core) now(view *state.View) time.Time {
	if view.QuorumTime() {
		return view.Time()
	}
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

// Authenticate decides who sent a request. What it returns is good for that one
// request, under the state that was current when it arrived. The errors are
// Unauthenticated, Stale, Replayed, Exhausted, Denied (a session whose evidence
// does not hold any more) and Unavailable.
func (c *Core) Authenticate(ctx context.Context, cred kms.Credential) (*Audited, error) {
	view, err := c.cfg.Replica.View(ctx)
	if err != nil {
		c.unconfirmed.Add(1)
		return nil, err
	}
	if err := c.cfg.Serving(view, c.now(view)); err != nil {
		return nil, err
	}
	caller := &Caller{core: c, view: view}
	if err := caller.identify(cred); err != nil {
		c.refused(view, err)
		return nil, err
	}
	return &Audited{caller}, nil
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
	who  authn.Principal // without a credential: a workload without an app

	ticket   string           // of the session that the request shows, if any
	client   session.Client   // of the request's connection
	workload *session.Verdict // on that session; nil: nothing is attested

	charged bool // the app's rate, for this request

	entry *audit.Entry // of the operation under way; nil: none is written
	asked string       // the alias that the key was named by
}

// app is the caller's app, zero where it has none.
func (c *Caller) app() (id kms.AppID) {
	if c.who.Credential != nil {
		id = c.who.Credential.App
	}
	return id
}

// maxTries is how often a change is tried that runs into others' changes.
const maxTries = 8

// change authorises and proposes a state change. Apply refuses it with
// Conflict if anything that build relied on has moved; then it is built again
// on the newest state.
func (c *Caller) change(ctx context.Context, build func(*command.Command) error) (state.Result, error) {
	return c.changeAs(ctx, kms.PermManage, build)
}

// changeAs is change for who has another permission.
func (c *Caller) changeAs(ctx context.Context, p kms.Permissions, build func(*command.Command) error) (state.Result, error) {
	if err := c.charge(kms.ManagementWork); err != nil {
		return state.Result{}, err
	}
	for try := 1; ; try++ {
		if err := authz.Permission(c.who.Credential, p); err != nil {
			return state.Result{}, err
		}
		cmd := c.core.command(c.core.now(c.view).UnixNano())
		cmd.Principal = c.principal()
		if err := build(cmd); err != nil {
			return state.Result{}, err
		}
		res, err := c.core.propose(ctx, cmd, c.entry)
		if !errors.Is(err, kms.Conflict) || try == maxTries {
			return res, err
		}
		if err := c.refresh(ctx); err != nil {
			return state.Result{}, err
		}
	}
}

func (c *Caller) principal() *command.Principal {
	cred := c.who.Credential
	p := &command.Principal{App: cred.App[:], Credential: cred.ID[:], CredentialRevision: cred.Revision,
		RequestMac: c.who.Mark[:], RequestTime: c.who.Time.UnixNano()}
	if c.workload != nil {
		p.PolicySerial = c.workload.PolicySerial()
	}
	return p
}

// refresh takes up the newest state. A credential that is gone meanwhile, and a
// session that does not hold any more, authorise nothing more.
func (c *Caller) refresh(ctx context.Context) error {
	view, err := c.core.cfg.Replica.View(ctx)
	if err != nil {
		return err
	}
	cred, ok := view.Credential(c.who.Credential.ID)
	if !ok {
		return kms.Errorf(kms.Unauthenticated, "the credential was revoked")
	}
	c.view, c.who.Credential = view, cred
	if c.workload == nil {
		return nil
	}
	return c.judge()
}
