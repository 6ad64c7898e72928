package client

import (
	"bytes"
	"context"
	"errors"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// The procedures of governance. A document that is submitted twice is refused
// the second time, so it is sent once and its outcome told.
var (
	actSubmitPolicy = action{name: "SubmitPolicy", unsigned: true}
	actCheckPolicy  = action{name: "CheckPolicy", unsigned: true, repeatable: true}
	actAmend        = action{name: "Amend", unsigned: true}
	actShowPolicy   = action{name: "GetPolicy", unsigned: true, repeatable: true}
	actListPolicies = action{name: "ListPolicies", unsigned: true, repeatable: true}
)

// SubmitPolicy puts the next policy in force, or schedules it where it says when.
// The envelope is signed by the threshold, and by the owner; the client needs no
// credential. Errors: Invalid, TooLarge, Denied (signatures, another domain, a
// policy that would expel the node), Exists (it is in force), Stale or Conflict
// (it is not the successor), Expired, Unavailable.
func (c *Client) SubmitPolicy(ctx context.Context, envelope []byte) (kms.SubmittedPolicy, error) {
	r, err := callNative(ctx, c, actSubmitPolicy, c.policies().SubmitPolicy, &holdfastv1.SubmitPolicyRequest{Envelope: string(envelope)})
	if err != nil {
		return kms.SubmittedPolicy{}, err
	}
	s := kms.SubmittedPolicy{Serial: r.GetSerial()}
	if !unhex(s.Digest[:], r.GetDigest()) {
		return s, garbled(actSubmitPolicy, 0, errDigest)
	}
	if r.GetActivates() != nil {
		s.Activates = r.GetActivates().AsTime()
	}
	return s, nil
}

var errDigest = errors.New("a digest of another form")

// CheckPolicy says what SubmitPolicy would say, and who would be locked out as
// far as the node can tell. It changes nothing. A policy that would expel the
// node is told as a lockout; the other errors are those of SubmitPolicy.
func (c *Client) CheckPolicy(ctx context.Context, envelope []byte) (kms.CheckedPolicy, error) {
	r, err := callNative(ctx, c, actCheckPolicy, c.policies().CheckPolicy, &holdfastv1.CheckPolicyRequest{Envelope: string(envelope)})
	if err != nil {
		return kms.CheckedPolicy{}, err
	}
	checked := kms.CheckedPolicy{SubmittedPolicy: kms.SubmittedPolicy{Serial: r.GetSerial()}}
	if !unhex(checked.Digest[:], r.GetDigest()) {
		return kms.CheckedPolicy{}, garbled(actCheckPolicy, 0, errDigest)
	}
	for _, l := range r.GetLockouts() {
		checked.Lockouts = append(checked.Lockouts, kms.Lockout{Kind: printable(l.GetKind()), Who: printable(l.GetWho()), Why: printable(l.GetWhy())})
	}
	return checked, nil
}

// Amend changes who rules. The envelope is signed by the threshold and every new
// key, and by the owner, or the new one. Errors: those of SubmitPolicy; Exhausted.
func (c *Client) Amend(ctx context.Context, envelope []byte) (kms.Amended, error) {
	r, err := callNative(ctx, c, actAmend, c.policies().Amend, &holdfastv1.AmendRequest{Envelope: string(envelope)})
	if err != nil {
		return kms.Amended{}, err
	}
	a := kms.Amended{Serial: int(r.GetSerial()), Dropped: r.GetDropped()}
	if !unhex(a.Digest[:], r.GetDigest()) {
		return a, garbled(actAmend, 0, errDigest)
	}
	return a, nil
}

// Policy fetches the policy with a serial, zero for the one in force, and what it
// is to be verified by. The node's word for it is not verified here: see
// VerifyPolicy, and Config.Trust. Errors: NotFound.
func (c *Client) Policy(ctx context.Context, serial uint64) (*kms.PolicyShown, error) {
	r, err := callNative(ctx, c, actShowPolicy, c.policies().GetPolicy, &holdfastv1.GetPolicyRequest{Serial: serial})
	if err != nil {
		return nil, err
	}
	p := &kms.PolicyShown{Charter: []byte(r.GetCharter()), Bootstrap: []byte(r.GetBootstrap()), Policy: []byte(r.GetPolicy()), Next: []byte(r.GetNext())}
	if !unhex(p.Domain[:], r.GetDomainId()) {
		return nil, garbled(actShowPolicy, 0, errors.New("a domain id of another form"))
	}
	for _, envelope := range r.GetAmendments() {
		p.Amendments = append(p.Amendments, []byte(envelope))
	}
	if r.GetSince() != nil {
		p.Since = r.GetSince().AsTime()
	}
	return p, nil
}

// Policies lists the policies that the domain has been ruled by, as the node
// says.
func (c *Client) Policies(ctx context.Context) (kms.PolicyHistory, error) {
	r, err := callNative(ctx, c, actListPolicies, c.policies().ListPolicies, &holdfastv1.ListPoliciesRequest{})
	if err != nil {
		return kms.PolicyHistory{}, err
	}
	var h kms.PolicyHistory
	for _, m := range r.GetPolicies() {
		e, err := policyEntry(m.GetSerial(), m.GetDigest(), m.GetSince())
		if err != nil {
			return kms.PolicyHistory{}, err
		}
		h.Policies = append(h.Policies, e)
	}
	if m := r.GetNext(); m != nil {
		e, err := policyEntry(m.GetSerial(), m.GetDigest(), m.GetSince())
		if err != nil {
			return kms.PolicyHistory{}, err
		}
		h.Next = &e
	}
	return h, nil
}

func policyEntry(serial uint64, digest string, since *timestamppb.Timestamp) (kms.PolicyEntry, error) {
	e := kms.PolicyEntry{Serial: serial}
	if !unhex(e.Digest[:], digest) {
		return e, garbled(actListPolicies, 0, errDigest)
	}
	if since != nil {
		e.Since = since.AsTime()
	}
	return e, nil
}

func (c *Client) policies() holdfastv1connect.PolicyServiceClient {
	return holdfastv1connect.NewPolicyServiceClient(nativeHTTP{c, true}, c.native(), nativeOptions()...)
}

// VerifyPolicy verifies a policy that a node showed, of any age, from the charter
// on: the bootstrap is of this charter, each amendment follows, and the policy was
// signed by those who ruled at some time. That it is the latest, or was ever in
// force, it cannot know. It returns who rules by now. The error is Invalid or
// Denied.
func VerifyPolicy(charter *govern.Charter, p *kms.PolicyShown) (*govern.Policy, govern.Standing, error) {
	var none govern.Standing
	shown, err := govern.ParseCharter(p.Charter)
	if err != nil {
		return nil, none, deny(err, "", "the charter that the node shows")
	}
	if !bytes.Equal(shown.Canonical(), charter.Canonical()) {
		return nil, none, denyf("is this the node, and the charter, that you mean?", "the node's charter is another one: %q, digest %s", shown.Name, shown.Digest())
	}
	_, standing, err := govern.VerifyBootstrap(charter, p.Bootstrap)
	if err != nil {
		return nil, none, deny(err, "", "the bootstrap that the node shows")
	}
	if p.Domain != standing.Domain || len(p.Amendments) > maxAmendments {
		return nil, none, denyf("", "the node shows the documents of domain %s, with %d amendments, and says that it is of %s", standing.Domain, len(p.Amendments), p.Domain)
	}
	policy, refusal := standing.OpenPolicy(p.Policy)
	for _, envelope := range p.Amendments {
		if standing, err = standing.Amend(envelope); err != nil {
			return nil, none, deny(err, "", "an amendment that the node shows")
		}
		if opened, err := standing.OpenPolicy(p.Policy); err == nil {
			policy, refusal = opened, nil
		} else if policy == nil {
			refusal = err
		}
	}
	if refusal != nil {
		return nil, none, deny(refusal, "", "the policy that the node shows")
	}
	return policy, standing, nil
}
