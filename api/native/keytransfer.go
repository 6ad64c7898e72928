package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

func (keys) GetImportParameters(ctx context.Context, r *connect.Request[holdfastv1.GetImportParametersRequest]) (*connect.Response[holdfastv1.GetImportParametersResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	req := kms.ImportParametersRequest{Key: id, Spec: kms.RSA3072}
	if r.Msg.GetWrappingSpec() != "" {
		if req.Spec, err = kms.ParseSpec(r.Msg.GetWrappingSpec()); err != nil {
			return nil, kms.Errorf(kms.Invalid, "unknown key spec").WithField("wrapping_spec")
		}
	}
	p, err := caller.ImportParameters(ctx, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GetImportParametersResponse{KeyId: p.Key.ID.String(), PublicKey: p.PublicKey, Token: p.Token,
		Expires: timestamp(p.Expires)}), nil
}

func (keys) ImportKeyMaterial(ctx context.Context, r *connect.Request[holdfastv1.ImportKeyMaterialRequest]) (*connect.Response[holdfastv1.ImportKeyMaterialResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	wrapping, err := kms.ParseWrapping(r.Msg.GetWrapping())
	if err != nil {
		return nil, err
	}
	k, err := caller.ImportKey(ctx, kms.ImportRequest{Key: id, Token: r.Msg.GetToken(), Wrapping: wrapping, Material: r.Msg.GetMaterial()})
	if kms.KindOf(err) == kms.Unauthenticated && err != nil { // the token is at fault, not the caller
		return nil, kms.Errorf(kms.Invalid, "not a token for this key as it is").WithField("token")
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.ImportKeyMaterialResponse{KeyId: k.ID.String(), Version: uint32(k.Current)}), nil
}

func (keys) ExportKey(ctx context.Context, r *connect.Request[holdfastv1.ExportKeyRequest]) (*connect.Response[holdfastv1.ExportKeyResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	k, err := caller.ExportKey(ctx, kms.KeyRef{ID: id, Version: kms.KeyVersion(r.Msg.GetVersion())})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.ExportKeyResponse{KeyId: k.Key.ID.String(), Version: uint32(k.Key.Version), Spec: k.Spec.String(), Material: k.Material}), nil
}
