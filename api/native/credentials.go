package native

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// Credentials makes and lists the credentials of the calling app.
type Credentials interface {
	ListCredentials(ctx context.Context) ([]kms.CredentialInfo, error)
	CreateCredential(ctx context.Context, r kms.CreateCredentialRequest) (kms.NewCredential, error)
	RotateCredential(ctx context.Context, r kms.RotateCredentialRequest) (kms.NewCredential, error)
}

// Revoker ends one.
type Revoker interface {
	RevokeCredential(ctx context.Context, id kms.CredentialID) error
}

// credentials serves the CredentialService.
type credentials struct{}

func (credentials) ListCredentials(ctx context.Context, _ *connect.Request[holdfastv1.ListCredentialsRequest]) (*connect.Response[holdfastv1.ListCredentialsResponse], error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	all, err := c.ListCredentials(ctx)
	if err != nil {
		return nil, err
	}
	out := &holdfastv1.ListCredentialsResponse{}
	for _, info := range all {
		out.Credentials = append(out.Credentials, credentialMessage(info))
	}
	return connect.NewResponse(out), nil
}

func (credentials) CreateCredential(ctx context.Context, r *connect.Request[holdfastv1.CreateCredentialRequest]) (*connect.Response[holdfastv1.CreateCredentialResponse], error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	permissions, err := kms.ParsePermissions(r.Msg.GetPermissions())
	if err != nil {
		return nil, err
	}
	expires, err := timeOf("expires", r.Msg.GetExpires())
	if err != nil {
		return nil, err
	}
	made, err := c.CreateCredential(ctx, kms.CreateCredentialRequest{Name: r.Msg.GetName(), Permissions: permissions, Expires: expires})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.CreateCredentialResponse{
		Credential: credentialMessage(made.CredentialInfo), ApiKey: made.APIKey}), nil
}

func (credentials) RotateCredential(ctx context.Context, r *connect.Request[holdfastv1.RotateCredentialRequest]) (*connect.Response[holdfastv1.RotateCredentialResponse], error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	id, err := credentialID(r.Msg.GetId())
	if err != nil {
		return nil, err
	}
	made, err := c.RotateCredential(ctx, kms.RotateCredentialRequest{ID: id, Grace: time.Duration(r.Msg.GetGraceSeconds()) * time.Second})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.RotateCredentialResponse{
		Credential: credentialMessage(made.CredentialInfo), ApiKey: made.APIKey}), nil
}

func (credentials) RevokeCredential(ctx context.Context, r *connect.Request[holdfastv1.RevokeCredentialRequest]) (*connect.Response[holdfastv1.RevokeCredentialResponse], error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	id, err := credentialID(r.Msg.GetId())
	if err != nil {
		return nil, err
	}
	if err := c.RevokeCredential(ctx, id); err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.RevokeCredentialResponse{}), nil
}

func credentialID(s string) (kms.CredentialID, error) {
	id, err := kms.ParseCredentialID(s)
	if err != nil {
		return id, kms.Errorf(kms.Invalid, "not a credential's id").WithField("id")
	}
	return id, nil
}

// timeOf reads a timestamp; none at all is the zero time. The error is Invalid.
func timeOf(field string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if !t.IsValid() || t.AsTime().IsZero() {
		return time.Time{}, kms.Errorf(kms.Invalid, "not a time").WithField(field)
	}
	return t.AsTime(), nil
}

// timestamp prints a time; the zero time is none at all.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func credentialMessage(c kms.CredentialInfo) *holdfastv1.Credential {
	return &holdfastv1.Credential{Id: c.ID.String(), Name: c.Name, Permissions: c.Permissions.Names(),
		Created: timestamp(c.Created), Expires: timestamp(c.Expires)}
}
