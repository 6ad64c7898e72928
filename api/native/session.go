package native

import (
	"context"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// An Opener makes attested workloads known. Its errors: Unauthenticated (no
// client certificate, or no challenge of this domain), Stale (the challenge),
// Denied (the evidence), Exhausted and Unavailable.
type Opener interface {
	OpenSession(ctx context.Context, r kms.OpenSessionRequest) (kms.Session, error)
}

// sessions serves the SessionService.
type sessions struct{ Opener }

func (s sessions) OpenSession(ctx context.Context, r *connect.Request[holdfastv1.OpenSessionRequest]) (*connect.Response[holdfastv1.OpenSessionResponse], error) {
	ev := r.Msg.GetEvidence()
	opened, err := s.Opener.OpenSession(ctx, kms.OpenSessionRequest{
		Challenge: r.Msg.GetChallenge(), ClientKey: callOf(ctx).clientKey,
		Evidence: kms.Evidence{TEE: ev.GetTee(), Quote: ev.GetQuote(), Collateral: ev.GetCollateral()},
	})
	if err != nil {
		return nil, authenticating(err)
	}
	return connect.NewResponse(&holdfastv1.OpenSessionResponse{Ticket: opened.Ticket, Expires: timestamppb.New(opened.Expires)}), nil
}
