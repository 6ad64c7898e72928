package native

import (
	"context"
	"encoding/base64"
	"strconv"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// Secrets is what a caller may do with secrets. The errors are those that the
// core's documentation lists.
type Secrets interface {
	SecretValues
	SecretBook
	SecretKeeper
	SecretLife
	SecretEnd
}

// SecretValues writes and reads values.
type SecretValues interface {
	CreateSecret(ctx context.Context, r kms.CreateSecretRequest) (kms.SecretInfo, error)
	PutSecret(ctx context.Context, r kms.PutSecretRequest) (kms.SecretVersionInfo, error)
	GetSecret(ctx context.Context, r kms.GetSecretRequest) (kms.SecretValue, error)
}

// SecretBook shows secrets, and no values.
type SecretBook interface {
	DescribeSecret(ctx context.Context, name kms.SecretName) (kms.SecretInfo, error)
	ListSecrets(ctx context.Context, r kms.ListSecretsRequest) (kms.SecretPage, error)
	ListSecretVersions(ctx context.Context, r kms.ListSecretVersionsRequest) (kms.SecretVersionPage, error)
}

// SecretKeeper changes what is noted of a secret, and what protects it.
type SecretKeeper interface {
	UpdateSecret(ctx context.Context, r kms.UpdateSecretRequest) (kms.SecretInfo, error)
	SetSecretKey(ctx context.Context, r kms.SetSecretKeyRequest) (kms.SecretInfo, error)
}

// SecretLife changes what becomes of versions.
type SecretLife interface {
	LabelSecret(ctx context.Context, r kms.LabelSecretRequest) (kms.SecretInfo, error)
	DestroySecretVersion(ctx context.Context, r kms.SecretVersionRef) (kms.SecretInfo, error)
}

// SecretEnd ends secrets.
type SecretEnd interface {
	DeleteSecret(ctx context.Context, r kms.DeleteSecretRequest) (kms.SecretInfo, error)
	RestoreSecret(ctx context.Context, name kms.SecretName) (kms.SecretInfo, error)
}

// secrets serves the SecretService.
type secrets struct{}

// secretKey is the key that a request names; none is the domain's own.
func secretKey(ctx context.Context, caller Caller, name string) (kms.KeyID, error) {
	if name == "" {
		return kms.KeyID{}, nil
	}
	return find(ctx, caller, "key", name)
}

func (secrets) CreateSecret(ctx context.Context, r *connect.Request[holdfastv1.CreateSecretRequest]) (*connect.Response[holdfastv1.CreateSecretResponse], error) {
	defer clear(r.Msg.GetValue())
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	key, err := secretKey(ctx, caller, r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	info, err := caller.CreateSecret(ctx, kms.CreateSecretRequest{Name: kms.SecretName(r.Msg.GetName()), Value: r.Msg.GetValue(), Key: key,
		Description: r.Msg.GetDescription(), Rotation: kms.RotationInterval(r.Msg.GetRotation())})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.CreateSecretResponse{Secret: secretMessage(info)}), nil
}

func (secrets) PutSecretValue(ctx context.Context, r *connect.Request[holdfastv1.PutSecretValueRequest]) (*connect.Response[holdfastv1.PutSecretValueResponse], error) {
	defer clear(r.Msg.GetValue())
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	v, err := caller.PutSecret(ctx, kms.PutSecretRequest{Name: kms.SecretName(r.Msg.GetName()), Value: r.Msg.GetValue(),
		Pending: r.Msg.GetPending(), Labels: r.Msg.GetLabels()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.PutSecretValueResponse{Version: secretVersionMessage(v)}), nil
}

func (secrets) GetSecretValue(ctx context.Context, r *connect.Request[holdfastv1.GetSecretValueRequest]) (*connect.Response[holdfastv1.GetSecretValueResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	v, err := caller.GetSecret(ctx, kms.GetSecretRequest{Name: kms.SecretName(r.Msg.GetName()), Version: kms.SecretVersion(r.Msg.GetVersion()), Label: r.Msg.GetLabel()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GetSecretValueResponse{Name: string(v.Name), Value: v.Data, Version: secretVersionMessage(v.SecretVersionInfo)}), nil
}

func (secrets) ListSecrets(ctx context.Context, r *connect.Request[holdfastv1.ListSecretsRequest]) (*connect.Response[holdfastv1.ListSecretsResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	req := kms.ListSecretsRequest{Overdue: r.Msg.GetOverdue()}
	if req.Limit, err = pageSize(r.Msg.GetPageSize()); err != nil {
		return nil, err
	}
	// Names hold anything, and a token is one word.
	after, err := base64.RawURLEncoding.Strict().DecodeString(r.Msg.GetPageToken())
	if req.After = kms.SecretName(after); err != nil || len(after) > 0 && !req.After.Valid() {
		return nil, errPageToken()
	}
	if req.Key, err = secretKey(ctx, caller, r.Msg.GetKey()); err != nil {
		return nil, err
	}
	page, err := caller.ListSecrets(ctx, req)
	if err != nil {
		return nil, err
	}
	out := &holdfastv1.ListSecretsResponse{NextPageToken: base64.RawURLEncoding.EncodeToString([]byte(page.Next))}
	for _, s := range page.Secrets {
		out.Secrets = append(out.Secrets, secretMessage(s))
	}
	return connect.NewResponse(out), nil
}

func (secrets) ListSecretVersions(ctx context.Context, r *connect.Request[holdfastv1.ListSecretVersionsRequest]) (*connect.Response[holdfastv1.ListSecretVersionsResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	req := kms.ListSecretVersionsRequest{Name: kms.SecretName(r.Msg.GetName())}
	if req.Limit, err = pageSize(r.Msg.GetPageSize()); err != nil {
		return nil, err
	}
	if token := r.Msg.GetPageToken(); token != "" {
		after, err := strconv.ParseUint(token, 10, 32)
		if err != nil {
			return nil, errPageToken()
		}
		req.After = kms.SecretVersion(after)
	}
	page, err := caller.ListSecretVersions(ctx, req)
	if err != nil {
		return nil, err
	}
	out := &holdfastv1.ListSecretVersionsResponse{Total: uint32(page.Total)}
	if page.Next != 0 {
		out.NextPageToken = strconv.FormatUint(uint64(page.Next), 10)
	}
	for _, v := range page.Versions {
		out.Versions = append(out.Versions, secretVersionMessage(v))
	}
	return connect.NewResponse(out), nil
}

// telling answers a request for a secret with what it is then.
func telling[Res any](ctx context.Context, do func(Caller) (kms.SecretInfo, error), answer func(*holdfastv1.Secret) *Res) (*connect.Response[Res], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	info, err := do(caller)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(answer(secretMessage(info))), nil
}

func (secrets) DescribeSecret(ctx context.Context, r *connect.Request[holdfastv1.DescribeSecretRequest]) (*connect.Response[holdfastv1.DescribeSecretResponse], error) {
	return telling(ctx, func(c Caller) (kms.SecretInfo, error) { return c.DescribeSecret(ctx, kms.SecretName(r.Msg.GetName())) },
		func(s *holdfastv1.Secret) *holdfastv1.DescribeSecretResponse {
			return &holdfastv1.DescribeSecretResponse{Secret: s}
		})
}

func (secrets) UpdateSecret(ctx context.Context, r *connect.Request[holdfastv1.UpdateSecretRequest]) (*connect.Response[holdfastv1.UpdateSecretResponse], error) {
	return telling(ctx, func(c Caller) (kms.SecretInfo, error) {
		return c.UpdateSecret(ctx, kms.UpdateSecretRequest{Name: kms.SecretName(r.Msg.GetName()), Description: r.Msg.Description,
			Rotation: (*kms.RotationInterval)(r.Msg.Rotation)})
	}, func(s *holdfastv1.Secret) *holdfastv1.UpdateSecretResponse {
		return &holdfastv1.UpdateSecretResponse{Secret: s}
	})
}

func (secrets) SetSecretKey(ctx context.Context, r *connect.Request[holdfastv1.SetSecretKeyRequest]) (*connect.Response[holdfastv1.SetSecretKeyResponse], error) {
	return telling(ctx, func(c Caller) (kms.SecretInfo, error) {
		key, err := secretKey(ctx, c, r.Msg.GetKey())
		if err != nil {
			return kms.SecretInfo{}, err
		}
		return c.SetSecretKey(ctx, kms.SetSecretKeyRequest{Name: kms.SecretName(r.Msg.GetName()), Key: key})
	}, func(s *holdfastv1.Secret) *holdfastv1.SetSecretKeyResponse {
		return &holdfastv1.SetSecretKeyResponse{Secret: s}
	})
}

func (secrets) LabelSecretVersion(ctx context.Context, r *connect.Request[holdfastv1.LabelSecretVersionRequest]) (*connect.Response[holdfastv1.LabelSecretVersionResponse], error) {
	return telling(ctx, func(c Caller) (kms.SecretInfo, error) {
		if r.Msg.GetLabel() == kms.LabelCurrent { // PromoteSecretVersion says so
			return kms.SecretInfo{}, kms.Errorf(kms.Invalid, "not a label of the app's own").WithField("label")
		}
		return c.LabelSecret(ctx, kms.LabelSecretRequest{Name: kms.SecretName(r.Msg.GetName()), Label: r.Msg.GetLabel(), Version: kms.SecretVersion(r.Msg.GetVersion())})
	}, func(s *holdfastv1.Secret) *holdfastv1.LabelSecretVersionResponse {
		return &holdfastv1.LabelSecretVersionResponse{Secret: s}
	})
}

func (secrets) PromoteSecretVersion(ctx context.Context, r *connect.Request[holdfastv1.PromoteSecretVersionRequest]) (*connect.Response[holdfastv1.PromoteSecretVersionResponse], error) {
	return telling(ctx, func(c Caller) (kms.SecretInfo, error) {
		if r.Msg.GetVersion() == 0 {
			return kms.SecretInfo{}, kms.Errorf(kms.Invalid, "no version is named").WithField("version")
		}
		return c.LabelSecret(ctx, kms.LabelSecretRequest{Name: kms.SecretName(r.Msg.GetName()), Label: kms.LabelCurrent, Version: kms.SecretVersion(r.Msg.GetVersion())})
	}, func(s *holdfastv1.Secret) *holdfastv1.PromoteSecretVersionResponse {
		return &holdfastv1.PromoteSecretVersionResponse{Secret: s}
	})
}

func (secrets) DestroySecretVersion(ctx context.Context, r *connect.Request[holdfastv1.DestroySecretVersionRequest]) (*connect.Response[holdfastv1.DestroySecretVersionResponse], error) {
	return telling(ctx, func(c Caller) (kms.SecretInfo, error) {
		return c.DestroySecretVersion(ctx, kms.SecretVersionRef{Name: kms.SecretName(r.Msg.GetName()), Version: kms.SecretVersion(r.Msg.GetVersion())})
	}, func(s *holdfastv1.Secret) *holdfastv1.DestroySecretVersionResponse {
		return &holdfastv1.DestroySecretVersionResponse{Secret: s}
	})
}

func (secrets) DeleteSecret(ctx context.Context, r *connect.Request[holdfastv1.DeleteSecretRequest]) (*connect.Response[holdfastv1.DeleteSecretResponse], error) {
	return telling(ctx, func(c Caller) (kms.SecretInfo, error) {
		return c.DeleteSecret(ctx, kms.DeleteSecretRequest{Name: kms.SecretName(r.Msg.GetName()), Days: int(r.Msg.GetDays()), Force: r.Msg.GetForce()})
	}, func(s *holdfastv1.Secret) *holdfastv1.DeleteSecretResponse {
		return &holdfastv1.DeleteSecretResponse{Secret: s}
	})
}

func (secrets) RestoreSecret(ctx context.Context, r *connect.Request[holdfastv1.RestoreSecretRequest]) (*connect.Response[holdfastv1.RestoreSecretResponse], error) {
	return telling(ctx, func(c Caller) (kms.SecretInfo, error) { return c.RestoreSecret(ctx, kms.SecretName(r.Msg.GetName())) },
		func(s *holdfastv1.Secret) *holdfastv1.RestoreSecretResponse {
			return &holdfastv1.RestoreSecretResponse{Secret: s}
		})
}

func secretMessage(s kms.SecretInfo) *holdfastv1.Secret {
	m := &holdfastv1.Secret{Name: string(s.Name), Description: s.Description, Created: timestamp(s.Created), Changed: timestamp(s.Changed),
		Deletion: timestamp(s.Due), KeyId: keyText(s.Key), Rotation: string(s.Rotation), LastRotation: timestamp(s.Rotated),
		NextRotation: timestamp(s.NextRotated), CurrentVersion: uint32(s.Current), VersionCount: uint32(s.Versions), Revision: s.Revision}
	for _, l := range s.Labels {
		m.Labels = append(m.Labels, &holdfastv1.SecretLabel{Name: l.Name, Version: uint32(l.Version)})
	}
	return m
}

func secretVersionMessage(v kms.SecretVersionInfo) *holdfastv1.SecretVersion {
	return &holdfastv1.SecretVersion{Number: uint32(v.Number), Created: timestamp(v.Created), Labels: v.Labels,
		KeyId: keyText(v.Key.ID), KeyVersion: uint32(v.Key.Version)}
}

// keyText prints the id of a key; none is "".
func keyText(id kms.KeyID) string {
	if id == (kms.KeyID{}) {
		return ""
	}
	return id.String()
}

// heldFault tells the owner of a key which secrets keep it from being destroyed.
func heldFault(held *kms.KeyHeldError, v *verdict, fault *holdfastv1.Fault) {
	v.message = "the key still protects secrets: " + held.Error()
	fault.Hint = "delete these secrets, or have another key protect them (SetSecretKey)"
}
