package core

import (
	"context"
	"crypto/sha256"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/session"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// OpenSession makes an attested workload known. It uses no key and changes no
// state. The errors are Unauthenticated (no client certificate, or no challenge
// of ours), Stale (the challenge), Denied (the evidence), Exhausted and Unavailable.
func (c *Core) OpenSession(ctx context.Context, r kms.OpenSessionRequest) (kms.Session, error) {
	return openly(ctx, c, "OpenSession", false, func(e *audit.Entry) (kms.Session, error) { return c.openSession(ctx, r, e) })
}

func (c *Core) openSession(ctx context.Context, r kms.OpenSessionRequest, e *audit.Entry) (s kms.Session, err error) {
	view, err := c.ready(ctx)
	if err != nil {
		return s, err
	}
	now := c.now(view)
	if _, err := c.cfg.Sessions.Check(r.Challenge, now); err != nil {
		return s, err // before a stranger waits in line
	}
	ev, err := c.evidenceOf(ctx, r.Evidence)
	if err != nil {
		return s, err
	}
	err = c.slow.serve(ctx, func() error {
		s.Ticket, s.Expires, err = c.cfg.Sessions.Open(ctx, session.Opening{Challenge: r.Challenge, ClientKey: r.ClientKey, Evidence: ev}, view.Policy(), now)
		return err
	})
	if err == nil && e != nil {
		if v, err := c.cfg.Sessions.Admit(s.Ticket, sha256.Sum256(r.ClientKey), view.Policy(), now); err == nil {
			e.Identity = v.Program()
		}
	}
	return s, err
}

// evidenceOf is somebody's evidence with collateral. The vendor may let us wait
// for that, so it comes before one waits in line with others.
func (c *Core) evidenceOf(ctx context.Context, e kms.Evidence) (attest.Evidence, error) {
	ev := attest.Evidence{TEE: attest.TEE(e.TEE), Quote: e.Quote, Collateral: e.Collateral}
	if ev.TEE == "" {
		ev.TEE = attest.Recognize(ev.Quote)
	}
	return ev, c.cfg.Evidence.complete(ctx, &ev)
}

// ready is the newest state, for what is served to strangers.
func (c *Core) ready(ctx context.Context) (view *state.View, err error) {
	if c.cfg.Sessions == nil {
		return nil, kms.Errorf(kms.Unavailable, "this node takes no attested workloads")
	}
	if view, err = c.cfg.Replica.View(ctx); err != nil {
		return nil, err
	}
	return view, c.cfg.Serving(view, c.now(view))
}

// identify decides who sent a request: the app that signed it, the workload
// whose session it shows, or both. A session that is shown must hold, even where
// the signature alone would do.
func (c *Caller) identify(cred kms.Credential) (err error) {
	now := c.core.now(c.view)
	if cred.Scheme != kms.SchemeSession {
		if c.who, err = c.core.cfg.Authn.Authenticate(c.view, cred, now); err != nil {
			return err
		}
		if cred.Scheme == kms.SchemeEHSMv1 && c.view.Policy().RequireV2 { // told to nobody but who holds the API key
			return kms.Errorf(kms.Denied, "the domain's policy takes no requests that are signed in version 1").
				WithHint("sign in version 2, as the SDK and the command do by default")
		}
	}
	c.ticket, c.client = cred.Session, cred.Client
	if c.ticket == "" && cred.Scheme != kms.SchemeSession {
		return nil
	}
	return c.judge()
}

// judge judges the caller's session under the policy that is in force in its
// view.
func (c *Caller) judge() (err error) {
	sessions := c.core.cfg.Sessions
	if sessions == nil || c.ticket == "" {
		return kms.Errorf(kms.Unauthenticated, "no valid session")
	}
	c.workload, err = sessions.Admit(c.ticket, c.client, c.view.Policy(), c.core.now(c.view))
	return err
}
