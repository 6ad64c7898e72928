package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// Sharers makes secrets that two sides share.
type Sharers interface {
	Agree(ctx context.Context, r kms.AgreeRequest) (kms.SharedSecret, error)
	Encapsulate(ctx context.Context, r kms.EncapsulateRequest) (kms.SharedSecret, error)
	Decapsulate(ctx context.Context, r kms.DecapsulateRequest) (kms.SharedSecret, error)
}

// Rotations has keys rotated by themselves.
type Rotations interface {
	SetRotation(ctx context.Context, r kms.SetRotationRequest) (kms.KeyDescription, error)
}

func (keys) Agree(ctx context.Context, r *connect.Request[holdfastv1.AgreeRequest]) (*connect.Response[holdfastv1.AgreeResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	req := kms.AgreeRequest{Key: kms.KeyRef{ID: id}, Peer: r.Msg.GetPeerPublicKey()}
	if name := r.Msg.GetPeerKeyId(); name != "" {
		if req.PeerKey, err = kms.ParseKeyID(name); err != nil {
			return nil, kms.Errorf(kms.Invalid, "not a key's id").WithField("peer_key_id")
		}
	}
	if req.Derivation, err = derivationOf(r.Msg.GetDerivation()); err != nil {
		return nil, err
	}
	s, err := caller.Agree(ctx, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.AgreeResponse{KeyId: s.Key.ID.String(), Version: uint32(s.Key.Version), Secret: s.Secret}), nil
}

func (keys) Encapsulate(ctx context.Context, r *connect.Request[holdfastv1.EncapsulateRequest]) (*connect.Response[holdfastv1.EncapsulateResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	d, err := derivationOf(r.Msg.GetDerivation())
	if err != nil {
		return nil, err
	}
	s, err := caller.Encapsulate(ctx, kms.EncapsulateRequest{Key: kms.KeyRef{ID: id}, Derivation: d})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.EncapsulateResponse{KeyId: s.Key.ID.String(), Version: uint32(s.Key.Version), Secret: s.Secret, Ciphertext: s.Ciphertext}), nil
}

func (keys) Decapsulate(ctx context.Context, r *connect.Request[holdfastv1.DecapsulateRequest]) (*connect.Response[holdfastv1.DecapsulateResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	d, err := derivationOf(r.Msg.GetDerivation())
	if err != nil {
		return nil, err
	}
	s, err := caller.Decapsulate(ctx, kms.DecapsulateRequest{Key: kms.KeyRef{ID: id}, Ciphertext: r.Msg.GetCiphertext(), Derivation: d})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.DecapsulateResponse{KeyId: s.Key.ID.String(), Version: uint32(s.Key.Version), Secret: s.Secret}), nil
}

// derivationOf reads what is to be made of a shared secret. The core asks
// whether it may be.
func derivationOf(m *holdfastv1.Derivation) (kms.Derivation, error) {
	if m.GetLength() > kms.MaxDataKey {
		return kms.Derivation{}, kms.Errorf(kms.Invalid, "1 to %d bytes are derived", kms.MaxDataKey).WithField("length")
	}
	return kms.Derivation{Info: m.GetInfo(), Length: int(m.GetLength()), Raw: m.GetRaw()}, nil
}

func (keys) SetKeyRotation(ctx context.Context, r *connect.Request[holdfastv1.SetKeyRotationRequest]) (*connect.Response[holdfastv1.SetKeyRotationResponse], error) {
	return describing(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) (kms.KeyDescription, error) {
		return c.SetRotation(ctx, kms.SetRotationRequest{Key: id, Period: kms.RotationDays(r.Msg.GetRotationPeriodDays())})
	}, func(k *holdfastv1.Key) *holdfastv1.SetKeyRotationResponse {
		return &holdfastv1.SetKeyRotationResponse{Key: k}
	})
}
