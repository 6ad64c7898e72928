package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// A Remedy takes the orders that replace what others may know, and lists what is
// left to do. Its errors are those of the orders, and Unavailable.
type Remedy interface {
	DeclareCompromise(ctx context.Context, order []byte) (uint32, error)
	ListExposed(ctx context.Context, order []byte, after string) (kms.ExposedPage, error)
	ReplaceAuthority(ctx context.Context, order []byte) ([]byte, error)
}

func (d domains) DeclareCompromise(ctx context.Context, r *connect.Request[holdfastv1.DeclareCompromiseRequest]) (*connect.Response[holdfastv1.DeclareCompromiseResponse], error) {
	g, err := d.Custodian.DeclareCompromise(ctx, []byte(r.Msg.GetOrder()))
	if err != nil {
		return nil, spoken(err)
	}
	return connect.NewResponse(&holdfastv1.DeclareCompromiseResponse{Generation: g}), nil
}

func (d domains) ListExposed(ctx context.Context, r *connect.Request[holdfastv1.ListExposedRequest]) (*connect.Response[holdfastv1.ListExposedResponse], error) {
	page, err := d.Custodian.ListExposed(ctx, []byte(r.Msg.GetOrder()), r.Msg.GetAfter())
	if err != nil {
		return nil, spoken(err)
	}
	m := &holdfastv1.ListExposedResponse{Next: page.Next}
	for i := range page.Items {
		m.Exposed = append(m.Exposed, exposed(&page.Items[i]))
	}
	return connect.NewResponse(m), nil
}

func (d domains) ReplaceAuthority(ctx context.Context, r *connect.Request[holdfastv1.ReplaceAuthorityRequest]) (*connect.Response[holdfastv1.ReplaceAuthorityResponse], error) {
	certificate, err := d.Custodian.ReplaceAuthority(ctx, []byte(r.Msg.GetOrder()))
	if err != nil {
		return nil, spoken(err)
	}
	return connect.NewResponse(&holdfastv1.ReplaceAuthorityResponse{Certificate: string(certificate)}), nil
}

func exposed(x *kms.Exposed) *holdfastv1.Exposed {
	m := &holdfastv1.Exposed{AppId: x.App.String(), Replaced: x.Replaced, RefusedFrom: timestamp(x.Refused), Secret: string(x.Secret), Advice: x.Advice}
	if x.Key != (kms.KeyID{}) {
		m.KeyId, m.Spec = x.Key.String(), x.Spec.String()
	}
	if x.Credential != (kms.CredentialID{}) {
		m.CredentialId = x.Credential.String()
	}
	for _, v := range x.Versions {
		m.Versions = append(m.Versions, uint32(v))
	}
	for _, v := range x.Values {
		m.Values = append(m.Values, uint32(v))
	}
	return m
}

func compromises(all []kms.Compromise) (out []*holdfastv1.Compromise) {
	for _, c := range all {
		out = append(out, &holdfastv1.Compromise{Generation: c.Generation, Declared: timestamp(c.Declared),
			CredentialsRefusedFrom: timestamp(c.Refused), Finished: timestamp(c.Finished), KeysLeft: uint64(c.Left)})
	}
	return out
}
