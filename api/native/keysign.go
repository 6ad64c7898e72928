package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// A signingMessage has something to be signed.
type signingMessage interface {
	GetMessage() []byte
	GetDigest() string
	GetPrehashed() bool
	GetPadding() string
}

func signingInput(m signingMessage) (in kms.SigningInput, err error) {
	in = kms.SigningInput{Message: m.GetMessage(), Prehashed: m.GetPrehashed()}
	if in.Digest, err = kms.ParseDigest(m.GetDigest()); err != nil {
		return in, err
	}
	in.Padding, err = kms.ParsePadding(m.GetPadding(), kms.PaddingPSS)
	return in, err
}

func (keys) Sign(ctx context.Context, r *connect.Request[holdfastv1.SignRequest]) (*connect.Response[holdfastv1.SignResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	in, err := signingInput(r.Msg)
	if err != nil {
		return nil, err
	}
	s, err := caller.Sign(ctx, kms.SignRequest{Key: kms.KeyRef{ID: id}, Input: in})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.SignResponse{KeyId: s.Key.ID.String(), Version: uint32(s.Key.Version), Signature: s.Data}), nil
}

func (keys) Verify(ctx context.Context, r *connect.Request[holdfastv1.VerifyRequest]) (*connect.Response[holdfastv1.VerifyResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	in, err := signingInput(r.Msg)
	if err != nil {
		return nil, err
	}
	v, err := caller.Verify(ctx, kms.VerifyRequest{Key: kms.KeyRef{ID: id}, Input: in, Signature: r.Msg.GetSignature()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.VerifyResponse{KeyId: v.Key.ID.String(), Version: uint32(v.Key.Version), Valid: v.Valid}), nil
}

func (keys) GetPublicKey(ctx context.Context, r *connect.Request[holdfastv1.GetPublicKeyRequest]) (*connect.Response[holdfastv1.GetPublicKeyResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	p, err := caller.PublicKey(ctx, kms.KeyRef{ID: id})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GetPublicKeyResponse{KeyId: p.Key.ID.String(), Version: uint32(p.Key.Version), Spec: p.Spec.String(), PublicKey: p.DER}), nil
}

func (keys) GenerateMac(ctx context.Context, r *connect.Request[holdfastv1.GenerateMacRequest]) (*connect.Response[holdfastv1.GenerateMacResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	m, err := caller.MAC(ctx, kms.MACRequest{Key: kms.KeyRef{ID: id}, Message: r.Msg.GetMessage()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GenerateMacResponse{KeyId: m.Key.ID.String(), Version: uint32(m.Key.Version), Mac: m.Data}), nil
}

func (keys) VerifyMac(ctx context.Context, r *connect.Request[holdfastv1.VerifyMacRequest]) (*connect.Response[holdfastv1.VerifyMacResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	v, err := caller.VerifyMAC(ctx, kms.VerifyMACRequest{Key: kms.KeyRef{ID: id}, Message: r.Msg.GetMessage(), MAC: r.Msg.GetMac()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.VerifyMacResponse{KeyId: v.Key.ID.String(), Version: uint32(v.Key.Version), Valid: v.Valid}), nil
}
