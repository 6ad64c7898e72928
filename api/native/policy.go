package native

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// A Ruler shows the rules and takes the documents that change them. The errors
// of what changes them are those of the rules of succession.
type Ruler interface {
	PolicyReader
	SubmitPolicy(ctx context.Context, envelope []byte) (kms.SubmittedPolicy, error)
	CheckPolicy(ctx context.Context, envelope []byte) (kms.CheckedPolicy, error)
	Amend(ctx context.Context, envelope []byte) (kms.Amended, error)
}

// A PolicyReader shows the rules. Its errors: NotFound, Unavailable.
type PolicyReader interface {
	Policy(ctx context.Context, serial uint64) (*kms.PolicyShown, error)
	Policies(ctx context.Context) (kms.PolicyHistory, error)
}

// policies serves the PolicyService.
type policies struct{ Ruler }

func (p policies) SubmitPolicy(ctx context.Context, r *connect.Request[holdfastv1.SubmitPolicyRequest]) (*connect.Response[holdfastv1.SubmitPolicyResponse], error) {
	s, err := p.Ruler.SubmitPolicy(ctx, []byte(r.Msg.GetEnvelope()))
	if err != nil {
		return nil, spoken(err)
	}
	return connect.NewResponse(&holdfastv1.SubmitPolicyResponse{Serial: s.Serial, Digest: digest(s.Digest), Activates: timestamp(s.Activates)}), nil
}

func (p policies) CheckPolicy(ctx context.Context, r *connect.Request[holdfastv1.CheckPolicyRequest]) (*connect.Response[holdfastv1.CheckPolicyResponse], error) {
	c, err := p.Ruler.CheckPolicy(ctx, []byte(r.Msg.GetEnvelope()))
	if err != nil {
		return nil, spoken(err)
	}
	m := &holdfastv1.CheckPolicyResponse{Serial: c.Serial, Digest: digest(c.Digest)}
	for _, l := range c.Lockouts {
		m.Lockouts = append(m.Lockouts, &holdfastv1.Lockout{Kind: l.Kind, Who: l.Who, Why: l.Why})
	}
	return connect.NewResponse(m), nil
}

func (p policies) Amend(ctx context.Context, r *connect.Request[holdfastv1.AmendRequest]) (*connect.Response[holdfastv1.AmendResponse], error) {
	a, err := p.Ruler.Amend(ctx, []byte(r.Msg.GetEnvelope()))
	if err != nil {
		return nil, spoken(err)
	}
	return connect.NewResponse(&holdfastv1.AmendResponse{Serial: uint32(a.Serial), Digest: digest(a.Digest), Dropped: a.Dropped}), nil
}

func (p policies) GetPolicy(ctx context.Context, r *connect.Request[holdfastv1.GetPolicyRequest]) (*connect.Response[holdfastv1.GetPolicyResponse], error) {
	s, err := p.Policy(ctx, r.Msg.GetSerial())
	if err != nil {
		return nil, spoken(err)
	}
	m := &holdfastv1.GetPolicyResponse{DomainId: s.Domain.String(), Charter: string(s.Charter), Bootstrap: string(s.Bootstrap),
		Policy: string(s.Policy), Since: timestamp(s.Since), Next: string(s.Next)}
	for _, envelope := range s.Amendments {
		m.Amendments = append(m.Amendments, string(envelope))
	}
	return connect.NewResponse(m), nil
}

func (p policies) ListPolicies(ctx context.Context, _ *connect.Request[holdfastv1.ListPoliciesRequest]) (*connect.Response[holdfastv1.ListPoliciesResponse], error) {
	h, err := p.Policies(ctx)
	if err != nil {
		return nil, err
	}
	m := &holdfastv1.ListPoliciesResponse{}
	for _, e := range h.Policies {
		m.Policies = append(m.Policies, policyEntry(e))
	}
	if h.Next != nil {
		m.Next = policyEntry(*h.Next)
	}
	return connect.NewResponse(m), nil
}

func policyEntry(e kms.PolicyEntry) *holdfastv1.PolicyEntry {
	return &holdfastv1.PolicyEntry{Serial: e.Serial, Digest: digest(e.Digest), Since: timestamp(e.Since)}
}

// digest prints a digest as documents do.
func digest(d [32]byte) string { return kms.DomainID(d).String() }

// A spokenError is a refusal that is told in full, to anyone: what is wrong with
// a document of governance, which is public and signed by those who rule.
type spokenError struct{ refusal *kms.Error }

func (e spokenError) Error() string { return e.refusal.Error() }

// Unwrap returns the refusal.
func (e spokenError) Unwrap() error { return e.refusal }

// spokenCodes are the codes of what may be spoken. What is stale or in conflict
// stays so: unlike a change to a key it is not to be tried again.
var spokenCodes = map[kms.Kind]connect.Code{
	kms.Invalid: connect.CodeInvalidArgument, kms.TooLarge: connect.CodeInvalidArgument, kms.Denied: connect.CodePermissionDenied,
	kms.Misused: connect.CodeFailedPrecondition, kms.NotFound: connect.CodeNotFound, kms.Exists: connect.CodeAlreadyExists,
	kms.Conflict: connect.CodeFailedPrecondition, kms.Stale: connect.CodeFailedPrecondition, kms.Expired: connect.CodeFailedPrecondition,
	kms.Exhausted: connect.CodeResourceExhausted, kms.Unsupported: connect.CodeFailedPrecondition,
}

// spoken has an error told in full if it is of such a kind.
func spoken(err error) error {
	var e *kms.Error
	if !errors.As(err, &e) {
		return err
	}
	if _, ok := spokenCodes[e.Kind]; !ok {
		return err
	}
	return spokenError{e}
}

// speak is a spoken error as it leaves, and the fault that goes with it.
func (e spokenError) speak() (verdict, *holdfastv1.Fault) {
	kind := verdicts[e.refusal.Kind].kind
	text := "refused"
	if e.refusal.Err != nil {
		text = e.refusal.Err.Error()
	}
	hint := kms.HintOf(e.refusal)
	if hint == "" && e.refusal.Kind == kms.Exists {
		hint = "it was submitted before: nothing is left to do"
	}
	return verdict{spokenCodes[e.refusal.Kind], kind, text}, &holdfastv1.Fault{Kind: kind, Field: e.refusal.Field, Hint: hint}
}
