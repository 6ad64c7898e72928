package native

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// A Prover shows what the node is. Its errors: Invalid, Unavailable.
type Prover interface {
	Proof(ctx context.Context, nonce []byte) (*kms.Proof, error)
	// Challenge is a nonce of the domain's, and until when it may be answered.
	Challenge(ctx context.Context) (challenge []byte, expires time.Time, domain kms.DomainID, err error)
}

// attestation serves the AttestationService.
type attestation struct{ Prover }

func (a attestation) GetEvidence(ctx context.Context, r *connect.Request[holdfastv1.GetEvidenceRequest]) (*connect.Response[holdfastv1.GetEvidenceResponse], error) {
	p, err := a.Proof(ctx, r.Msg.GetNonce())
	if err != nil {
		return nil, err
	}
	m := &holdfastv1.GetEvidenceResponse{
		Evidence: &holdfastv1.Evidence{Tee: p.Evidence.TEE, Quote: p.Evidence.Quote, Collateral: p.Evidence.Collateral},
		DomainId: p.Domain.String(), NodeId: p.Node.String(), Charter: string(p.Charter), Bootstrap: string(p.Bootstrap),
		Policy: string(p.Policy), Authority: p.Authority,
	}
	for _, envelope := range p.Amendments {
		m.Amendments = append(m.Amendments, string(envelope))
	}
	return connect.NewResponse(m), nil
}

func (a attestation) GetChallenge(ctx context.Context, _ *connect.Request[holdfastv1.GetChallengeRequest]) (*connect.Response[holdfastv1.GetChallengeResponse], error) {
	challenge, expires, domain, err := a.Challenge(ctx)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GetChallengeResponse{
		Challenge: challenge, Expires: timestamppb.New(expires), DomainId: domain.String()}), nil
}
