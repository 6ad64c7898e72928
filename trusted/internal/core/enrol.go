package core

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/session"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// An admission is why an app may enrol where not everybody may. One id enrols
// once until it expires.
type admission struct {
	id          [16]byte        // of the ticket, or of the challenge; zero: everybody may
	expires     time.Time       // not before the ticket or the challenge does
	permissions kms.Permissions // of the app's first credential
	entry       *audit.Entry    // nil: none is written
}

// Enrol makes a new app with its first credential, whose id is the app's, where
// everybody may. Where the reply is lost the app is there, and nobody has its
// key. The errors are Denied, Exhausted and Unavailable.
func (c *Core) Enrol(ctx context.Context) (kms.Enrolment, error) {
	return c.enrol(ctx, "Enrol", govern.EnrolOpen, func(*state.View, time.Time) (admission, error) {
		return admission{permissions: kms.PermAll}, nil
	})
}

// EnrolByTicket is Enrol for who has an operator's ticket: base64url, without
// padding, of its envelope. It enrols once: where the reply is lost, ask for
// another. The errors are those of Enrol, Expired, Exists (the ticket was used)
// and Foreign (it is another domain's).
func (c *Core) EnrolByTicket(ctx context.Context, code string) (kms.Enrolment, error) {
	return c.enrol(ctx, "EnrolByTicket", govern.EnrolTicket, func(view *state.View, now time.Time) (admission, error) {
		return openTicket(view.Policy(), code, now)
	})
}

// EnrolAttested is Enrol for a program that the policy names: its evidence
// answers a challenge of the domain's, once, and is bound to the key of the
// connection's client certificate. The errors are those of Enrol, Expired and
// Exists (the challenge), and Unavailable for collateral that cannot be had.
func (c *Core) EnrolAttested(ctx context.Context, r kms.AttestedEnrolment) (kms.Enrolment, error) {
	return c.enrol(ctx, "EnrolAttested", govern.EnrolAttested, func(view *state.View, now time.Time) (admission, error) {
		return c.admitProgram(ctx, r, view.Policy(), now)
	})
}

// admitProgram judges evidence for enrolment. Why it is refused is not told.
func (c *Core) admitProgram(ctx context.Context, r kms.AttestedEnrolment, p *govern.Policy, now time.Time) (admission, error) {
	if c.cfg.Sessions == nil || len(r.ClientKey) == 0 {
		return admission{}, errEnrolment
	}
	if _, err := c.cfg.Sessions.Check(r.Challenge, now); err != nil { // before a stranger waits in line
		return admission{}, refusedProgram(err)
	}
	ev, err := c.evidenceOf(ctx, r.Evidence)
	if err != nil {
		return admission{}, refusedProgram(err)
	}
	var id [16]byte
	var claims attest.Claims
	err = c.slow.serve(ctx, func() (err error) {
		id, claims, err = c.cfg.Sessions.Prove(ctx, attest.ForEnrolment, session.Opening{Challenge: r.Challenge, ClientKey: r.ClientKey,
			Evidence: ev}, p, now)
		return err
	})
	if err == nil {
		err = p.EnrolmentPolicy().Admit(claims, now)
	}
	if err != nil {
		return admission{}, refusedProgram(err)
	}
	// Clocks of nodes may differ: it is remembered for longer than any node takes it.
	return admission{id: id, expires: now.Add(2 * session.ChallengeLife), permissions: kms.PermAll}, nil
}

// refusedProgram tells what a program may know: not which rule it does not fit.
func refusedProgram(err error) error {
	switch kms.KindOf(err) {
	case kms.Stale:
		return kms.Errorf(kms.Expired, "the challenge is no longer good").WithField("challenge").WithHint("ask for another one")
	case kms.Unavailable, kms.Exhausted:
		return err
	}
	return errEnrolment
}

// enrol makes an app in one of the ways, if that is the domain's. It begins
// again where the policy changed meanwhile.
func (c *Core) enrol(ctx context.Context, operation string, mode govern.EnrolmentMode, admit func(*state.View, time.Time) (admission, error)) (kms.Enrolment, error) {
	return openly(ctx, c, operation, false, func(e *audit.Entry) (kms.Enrolment, error) {
		return c.tryEnrol(ctx, e, mode, admit)
	})
}

func (c *Core) tryEnrol(ctx context.Context, entry *audit.Entry, mode govern.EnrolmentMode, admit func(*state.View, time.Time) (admission, error)) (kms.Enrolment, error) {
	for try := 1; ; try++ {
		view, err := c.cfg.Replica.View(ctx)
		if err != nil {
			return kms.Enrolment{}, err
		}
		now := c.now(view)
		if err := c.cfg.Serving(view, now); err != nil {
			return kms.Enrolment{}, err
		}
		if view.Policy().Enrolment.Mode != mode {
			return kms.Enrolment{}, errEnrolment
		}
		a, err := admit(view, now)
		if err != nil {
			return kms.Enrolment{}, err
		}
		a.entry = entry
		e, err := c.putApp(ctx, view, a, now)
		if !errors.Is(err, kms.Conflict) || try == maxTries {
			return e, err
		}
	}
}

// errEnrolment is the answer to every way of enrolling that is not the
// domain's, and to whoever does not fulfil what it asks for.
var errEnrolment = kms.Errorf(kms.Denied, "the domain does not let the caller enrol in this way").
	WithHint("ask an operator of the domain for a ticket")

// openTicket reads and judges a ticket. A forged one and nonsense look alike.
func openTicket(p *govern.Policy, code string, now time.Time) (admission, error) {
	envelope, err := govern.DecodeCode(code)
	if err != nil {
		return admission{}, errEnrolment
	}
	t, err := p.OpenTicket(envelope)
	if err != nil {
		return admission{}, refusedTicket(err)
	}
	if err := t.ValidAt(now); err != nil {
		return admission{}, err
	}
	return admission{id: t.ID, expires: t.Expires, permissions: t.Permissions}, nil
}

// refusedTicket says so where a ticket is another domain's: who has it can read
// that in it.
func refusedTicket(err error) error {
	if e, ok := errors.AsType[*kms.Error](err); ok && e.Kind == kms.Denied && e.Field == "domain" {
		return kms.Errorf(kms.Foreign, "the ticket is another domain's").WithField("ticket")
	}
	return errEnrolment
}

func (c *Core) putApp(ctx context.Context, view *state.View, a admission, now time.Time) (kms.Enrolment, error) {
	id := kms.NewUUID(random16())
	rec := &state.Credential{ID: kms.CredentialID(id), App: kms.AppID(id), Permissions: a.permissions, Created: now.UnixNano()}
	var fresh freshCredential
	defer fresh.wipe()
	if err := fresh.make(c.cfg.Root, rec); err != nil {
		return kms.Enrolment{}, err
	}
	put := &command.PutApp{App: &command.App{Id: id[:], Created: rec.Created}, Credential: rec.Proto(), MaxApps: c.cfg.MaxApps}
	if a.id != ([16]byte{}) {
		put.Admission = &command.Admission{Id: a.id[:], Expires: a.expires.UnixNano(), PolicySerial: view.Policy().Serial}
	}
	cmd := c.command(rec.Created)
	cmd.Op = &command.Command_PutApp{PutApp: put}
	if _, err := c.propose(ctx, cmd, a.entry); err != nil {
		return kms.Enrolment{}, err
	}
	shown, err := fresh.reveal()
	return kms.Enrolment{App: rec.App, Credential: rec.ID, APIKey: shown.APIKey}, err
}
