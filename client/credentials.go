package client

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// The procedures. What makes a credential is not repeatable: a secret whose
// reply was lost is lost, and the credential is there.
var (
	actListCredentials  = action{name: "ListCredentials", repeatable: true}
	actCreateCredential = action{name: "CreateCredential"}
	actRotateCredential = action{name: "RotateCredential"}
	actRevokeCredential = action{name: "RevokeCredential"}
	actEnrol            = action{name: "Enrol", unsigned: true}
)

// A NewCredential is a credential that was just made, with its secret.
type NewCredential struct {
	kms.CredentialInfo
	APIKey APIKey // shown this once
}

// ListCredentials lists the app's credentials that have not expired. Errors:
// Denied without the permission "read".
func (c *Client) ListCredentials(ctx context.Context) ([]kms.CredentialInfo, error) {
	r, err := callNative(ctx, c, actListCredentials, c.credentials().ListCredentials, &holdfastv1.ListCredentialsRequest{})
	if err != nil {
		return nil, err
	}
	var all []kms.CredentialInfo
	for _, m := range r.GetCredentials() {
		info, err := c.credentialInfo(m)
		if err != nil {
			return nil, garbled(actListCredentials, 0, err)
		}
		all = append(all, info)
	}
	return all, nil
}

// CreateCredential makes another credential of the app, which can do and lasts
// no more than the client's own. It is sent once: after an error of kind
// Unavailable there may be one that nobody has the key of, to be revoked. Errors:
// Invalid, Denied, Exhausted.
func (c *Client) CreateCredential(ctx context.Context, req kms.CreateCredentialRequest) (NewCredential, error) {
	r, err := callNative(ctx, c, actCreateCredential, c.credentials().CreateCredential, &holdfastv1.CreateCredentialRequest{
		Name: req.Name, Permissions: req.Permissions.Names(), Expires: timestamp(req.Expires)})
	if err != nil {
		return NewCredential{}, err
	}
	return c.newCredential(actCreateCredential, r.GetCredential(), r.GetApiKey())
}

// RotateCredential makes a successor of a credential with the same permissions
// and expiry. The old one stays good for the grace time, in whole seconds, and
// ends at once without one. It is sent once, as CreateCredential is. Errors:
// those of CreateCredential, NotFound.
func (c *Client) RotateCredential(ctx context.Context, id kms.CredentialID, grace time.Duration) (NewCredential, error) {
	if grace < 0 || grace > kms.MaxGrace {
		return NewCredential{}, misuse(actRotateCredential, kms.Invalid, "", "a grace time is at most %s", kms.MaxGrace)
	}
	r, err := callNative(ctx, c, actRotateCredential, c.credentials().RotateCredential, &holdfastv1.RotateCredentialRequest{
		Id: id.String(), GraceSeconds: uint32(grace / time.Second)})
	if err != nil {
		return NewCredential{}, err
	}
	return c.newCredential(actRotateCredential, r.GetCredential(), r.GetApiKey())
}

// RevokeCredential ends a credential of the app: once it returns, no node takes
// another request of it. Errors: NotFound; Misused for the app's last one that
// may manage and does not expire.
func (c *Client) RevokeCredential(ctx context.Context, id kms.CredentialID) error {
	_, err := callNative(ctx, c, actRevokeCredential, c.credentials().RevokeCredential, &holdfastv1.RevokeCredentialRequest{Id: id.String()})
	return err
}

// EnrolByTicket makes a new app with an operator's ticket, which is good once.
// It needs no credential, and leaves the client's own as it is. Errors: Denied
// for what is no ticket of this domain's, Expired, Exists for one that was used.
func (c *Client) EnrolByTicket(ctx context.Context, code string) (Credential, error) {
	return c.enrol(ctx, &holdfastv1.EnrolRequest{Ticket: code})
}

// EnrolAttested makes a new app for the program that the client's Workload is:
// it proves itself for this one purpose, to a domain whose policy names it.
// Errors: Denied, Unavailable.
func (c *Client) EnrolAttested(ctx context.Context) (Credential, error) {
	if c.session == nil {
		return Credential{}, misuse(actEnrol, kms.Invalid, "give a Workload in the configuration", "the client is no attested program")
	}
	challenge, ev, err := c.prove(ctx, actEnrol, attest.ForEnrolment)
	if err != nil {
		return Credential{}, err
	}
	return c.enrol(ctx, &holdfastv1.EnrolRequest{Attested: &holdfastv1.AttestedEnrolment{Challenge: challenge, Evidence: ev}})
}

func (c *Client) enrol(ctx context.Context, req *holdfastv1.EnrolRequest) (Credential, error) {
	svc := holdfastv1connect.NewEnrolmentServiceClient(nativeHTTP{c, true}, c.native(), nativeOptions()...)
	r, err := callNative(ctx, c, actEnrol, svc.Enrol, req)
	if err != nil {
		return Credential{}, err
	}
	id, err := kms.ParseAppID(r.GetAppId())
	if err != nil || r.GetApiKey() == "" || r.GetCredentialId() != r.GetAppId() {
		return Credential{}, garbled(actEnrol, 0, err)
	}
	return Credential{AppID: id, APIKey: NewAPIKey(r.GetApiKey())}, nil
}

func (c *Client) credentials() holdfastv1connect.CredentialServiceClient {
	return holdfastv1connect.NewCredentialServiceClient(nativeHTTP{c, false}, c.native(), nativeOptions()...)
}

func (c *Client) newCredential(a action, m *holdfastv1.Credential, key string) (NewCredential, error) {
	info, err := c.credentialInfo(m)
	if err != nil || key == "" {
		return NewCredential{}, garbled(a, 0, err)
	}
	return NewCredential{CredentialInfo: info, APIKey: NewAPIKey(key)}, nil
}

func (c *Client) credentialInfo(m *holdfastv1.Credential) (kms.CredentialInfo, error) {
	info := kms.CredentialInfo{App: c.app, Name: printable(m.GetName())}
	var err error
	if info.ID, err = kms.ParseCredentialID(m.GetId()); err != nil {
		return info, err
	}
	if info.Permissions, err = kms.ParsePermissions(m.GetPermissions()); err != nil {
		return info, err
	}
	if m.GetCreated() != nil {
		info.Created = m.GetCreated().AsTime()
	}
	if m.GetExpires() != nil {
		info.Expires = m.GetExpires().AsTime()
	}
	return info, nil
}

// timestamp prints a time; the zero time is none at all.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
