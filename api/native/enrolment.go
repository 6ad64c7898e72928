package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// An Enroller makes apps, in the one of these ways that the domain's policy
// names; the others are Denied. Its errors: Expired, Exists (used before),
// Foreign (another domain's ticket), Denied for everything else about the caller.
type Enroller interface {
	Enrol(ctx context.Context) (kms.Enrolment, error)
	EnrolByTicket(ctx context.Context, code string) (kms.Enrolment, error)
	EnrolAttested(ctx context.Context, r kms.AttestedEnrolment) (kms.Enrolment, error)
}

// enrolment serves the EnrolmentService.
type enrolment struct{ Enroller }

func (e enrolment) Enrol(ctx context.Context, r *connect.Request[holdfastv1.EnrolRequest]) (*connect.Response[holdfastv1.EnrolResponse], error) {
	made, err := e.enrol(ctx, r.Msg)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.EnrolResponse{
		AppId: made.App.String(), CredentialId: made.Credential.String(), ApiKey: made.APIKey}), nil
}

func (e enrolment) enrol(ctx context.Context, m *holdfastv1.EnrolRequest) (kms.Enrolment, error) {
	a := m.GetAttested()
	switch {
	case m.GetTicket() != "" && a != nil:
		return kms.Enrolment{}, kms.Errorf(kms.Invalid, "a ticket or evidence, not both").WithField("attested")
	case m.GetTicket() != "":
		return e.EnrolByTicket(ctx, m.GetTicket())
	case a == nil:
		return e.Enroller.Enrol(ctx)
	}
	return e.EnrolAttested(ctx, kms.AttestedEnrolment{ClientKey: callOf(ctx).clientKey, Challenge: a.GetChallenge(),
		Evidence: evidenceOf(a.GetEvidence())})
}

func evidenceOf(e *holdfastv1.Evidence) kms.Evidence {
	return kms.Evidence{TEE: e.GetTee(), Quote: e.GetQuote(), Collateral: e.GetCollateral()}
}
