package client

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// Secrets are the app's secrets: values with names and versions, over the native
// API. What changes state is sent once; after an error of kind Unavailable it may
// have happened all the same.
//
// The errors that any method may have: Invalid, NotFound, Denied (a permission, or
// the condition of the key that protects the secret), Exhausted, Unavailable and
// Stale; those that change something add Disabled (the secret's deletion is
// scheduled) and Conflict.
type Secrets struct{ c *Client }

// Secrets are the app's secrets.
func (c *Client) Secrets() Secrets { return Secrets{c} }

var (
	actCreateSecret   = action{name: "CreateSecret"}
	actPutSecret      = action{name: "PutSecretValue"}
	actGetSecret      = action{name: "GetSecretValue", repeatable: true}
	actDescribeSecret = action{name: "DescribeSecret", repeatable: true}
	actListSecrets    = action{name: "ListSecrets", repeatable: true}
	actSecretVersions = action{name: "ListSecretVersions", repeatable: true}
	actUpdateSecret   = action{name: "UpdateSecret"}
	actSetSecretKey   = action{name: "SetSecretKey"}
	actLabelSecret    = action{name: "LabelSecretVersion"}
	actPromoteSecret  = action{name: "PromoteSecretVersion"}
	actDestroySecret  = action{name: "DestroySecretVersion"}
	actDeleteSecret   = action{name: "DeleteSecret"}
	actRestoreSecret  = action{name: "RestoreSecret"}
)

func (c *Client) secretService() holdfastv1connect.SecretServiceClient {
	return holdfastv1connect.NewSecretServiceClient(nativeHTTP{c, false}, c.native(), nativeOptions()...)
}

// tell calls a procedure that answers with a secret.
func tell[Req, Res any, P interface {
	*Res
	GetSecret() *holdfastv1.Secret
}](ctx context.Context, c *Client, a action, m method[Req, Res], req *Req) (kms.SecretInfo, error) {
	r, err := callNative(ctx, c, a, m, req)
	if err != nil {
		return kms.SecretInfo{}, err
	}
	return secretInfo(a, P(r).GetSecret())
}

// A NewSecret is what to make a secret of.
type NewSecret struct {
	Name        kms.SecretName
	Value       []byte // 1 to kms.MaxSecretValue bytes
	Key         string // id or alias of the key that is to protect it; "": the domain's own
	Description string
	Rotation    kms.RotationInterval
}

// Create makes a secret with its first value. Errors: Exists, also while the
// deletion of a secret of this name is scheduled; those of using the key.
func (s Secrets) Create(ctx context.Context, n NewSecret) (kms.SecretInfo, error) {
	return tell(ctx, s.c, actCreateSecret, s.c.secretService().CreateSecret, &holdfastv1.CreateSecretRequest{Name: string(n.Name), Value: n.Value,
		Key: n.Key, Description: n.Description, Rotation: string(n.Rotation)})
}

// Put gives a secret another version, in one step. Whatever fails, it has a
// current one.
func (s Secrets) Put(ctx context.Context, r kms.PutSecretRequest) (kms.SecretVersionInfo, error) {
	m, err := callNative(ctx, s.c, actPutSecret, s.c.secretService().PutSecretValue, &holdfastv1.PutSecretValueRequest{Name: string(r.Name),
		Value: r.Value, Pending: r.Pending, Labels: r.Labels})
	if err != nil {
		return kms.SecretVersionInfo{}, err
	}
	return secretVersion(actPutSecret, m.GetVersion())
}

// Get returns a value: the current one, or that of a version or label.
func (s Secrets) Get(ctx context.Context, r kms.GetSecretRequest) (kms.SecretValue, error) {
	m, err := callNative(ctx, s.c, actGetSecret, s.c.secretService().GetSecretValue, &holdfastv1.GetSecretValueRequest{Name: string(r.Name),
		Version: uint32(r.Version), Label: r.Label})
	if err != nil {
		return kms.SecretValue{}, err
	}
	v, err := secretVersion(actGetSecret, m.GetVersion())
	if err != nil || m.GetName() != string(r.Name) || r.Version != 0 && v.Number != r.Version {
		return kms.SecretValue{}, garbled(actGetSecret, 0, err)
	}
	return kms.SecretValue{SecretVersionInfo: v, Name: r.Name, Data: m.GetValue()}, nil
}

// Describe tells all of a secret but its values, also while its deletion is
// scheduled.
func (s Secrets) Describe(ctx context.Context, name kms.SecretName) (kms.SecretInfo, error) {
	return tell(ctx, s.c, actDescribeSecret, s.c.secretService().DescribeSecret, &holdfastv1.DescribeSecretRequest{Name: string(name)})
}

// SecretFilter says which secrets List lists, and which page of them.
type SecretFilter struct {
	Key     string // id or alias of the key that protects them; "": any
	Overdue bool   // only those whose next rotation is past

	PageSize int    // at most 1000; zero: 100
	Page     string // Next of the page before; "": the first
}

// A SecretPage is one page of secrets. It may be short, or empty, and not the last.
type SecretPage struct {
	Secrets []kms.SecretInfo
	Next    string // "": it is the last page
}

// List lists the app's secrets in order of their names, a page at a time.
func (s Secrets) List(ctx context.Context, f SecretFilter) (SecretPage, error) {
	r, err := callNative(ctx, s.c, actListSecrets, s.c.secretService().ListSecrets, &holdfastv1.ListSecretsRequest{
		PageSize: uint32(max(0, f.PageSize)), PageToken: f.Page, Key: f.Key, Overdue: f.Overdue})
	if err != nil {
		return SecretPage{}, err
	}
	page := SecretPage{Next: r.GetNextPageToken()}
	for _, m := range r.GetSecrets() {
		info, err := secretInfo(actListSecrets, m)
		if err != nil {
			return SecretPage{}, err
		}
		page.Secrets = append(page.Secrets, info)
	}
	return page, nil
}

// Versions lists all versions of a secret, oldest first.
func (s Secrets) Versions(ctx context.Context, name kms.SecretName) (all []kms.SecretVersionInfo, err error) {
	for page := ""; ; {
		r, err := callNative(ctx, s.c, actSecretVersions, s.c.secretService().ListSecretVersions,
			&holdfastv1.ListSecretVersionsRequest{Name: string(name), PageSize: kms.MaxSecretsPage, PageToken: page})
		if err != nil {
			return nil, err
		}
		for _, m := range r.GetVersions() {
			v, err := secretVersion(actSecretVersions, m)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		if page = r.GetNextPageToken(); page == "" || len(all) > kms.MaxSecretVersions {
			return all, nil
		}
	}
}

// Update changes description and rotation interval.
func (s Secrets) Update(ctx context.Context, r kms.UpdateSecretRequest) (kms.SecretInfo, error) {
	return tell(ctx, s.c, actUpdateSecret, s.c.secretService().UpdateSecret, &holdfastv1.UpdateSecretRequest{Name: string(r.Name),
		Description: r.Description, Rotation: (*string)(r.Rotation)})
}

// SetKey has another key protect all versions of a secret; "" is the domain's own.
// Errors: those of using both keys.
func (s Secrets) SetKey(ctx context.Context, name kms.SecretName, key string) (kms.SecretInfo, error) {
	return tell(ctx, s.c, actSetSecretKey, s.c.secretService().SetSecretKey, &holdfastv1.SetSecretKeyRequest{Name: string(name), Key: key})
}

// Label puts a label of the app's own on a version, wherever it was before; version
// zero takes it away.
func (s Secrets) Label(ctx context.Context, r kms.LabelSecretRequest) (kms.SecretInfo, error) {
	return tell(ctx, s.c, actLabelSecret, s.c.secretService().LabelSecretVersion, &holdfastv1.LabelSecretVersionRequest{Name: string(r.Name),
		Label: r.Label, Version: uint32(r.Version)})
}

// Promote makes a version the current one, older or newer; what was current is the
// previous one then.
func (s Secrets) Promote(ctx context.Context, name kms.SecretName, v kms.SecretVersion) (kms.SecretInfo, error) {
	return tell(ctx, s.c, actPromoteSecret, s.c.secretService().PromoteSecretVersion, &holdfastv1.PromoteSecretVersionRequest{Name: string(name), Version: uint32(v)})
}

// DestroyVersion takes away a version that is not current, for good. Errors:
// Misused for the current one.
func (s Secrets) DestroyVersion(ctx context.Context, name kms.SecretName, v kms.SecretVersion) (kms.SecretInfo, error) {
	return tell(ctx, s.c, actDestroySecret, s.c.secretService().DestroySecretVersion, &holdfastv1.DestroySecretVersionRequest{Name: string(name), Version: uint32(v)})
}

// Delete schedules a deletion, or, forced, deletes a secret with all its versions
// at once and for good.
func (s Secrets) Delete(ctx context.Context, r kms.DeleteSecretRequest) (kms.SecretInfo, error) {
	if r.Days < 0 {
		return kms.SecretInfo{}, misuse(actDeleteSecret, kms.Invalid, "", "a deletion waits %d to %d days", kms.MinRecoveryDays, kms.MaxRecoveryDays)
	}
	return tell(ctx, s.c, actDeleteSecret, s.c.secretService().DeleteSecret, &holdfastv1.DeleteSecretRequest{Name: string(r.Name), Days: uint32(r.Days), Force: r.Force})
}

// Restore takes a scheduled deletion back. Errors: NotFound once it was due.
func (s Secrets) Restore(ctx context.Context, name kms.SecretName) (kms.SecretInfo, error) {
	return tell(ctx, s.c, actRestoreSecret, s.c.secretService().RestoreSecret, &holdfastv1.RestoreSecretRequest{Name: string(name)})
}

// secretInfo reads a secret. Its name may hold anything, and is not for terminals.
func secretInfo(a action, m *holdfastv1.Secret) (kms.SecretInfo, error) {
	s := kms.SecretInfo{Name: kms.SecretName(m.GetName()), Description: m.GetDescription(), Created: timeOf(m.GetCreated()), Changed: timeOf(m.GetChanged()),
		Due: timeOf(m.GetDeletion()), Rotation: kms.RotationInterval(printable(m.GetRotation())), Rotated: timeOf(m.GetLastRotation()),
		NextRotated: timeOf(m.GetNextRotation()), Current: kms.SecretVersion(m.GetCurrentVersion()), Versions: int(m.GetVersionCount()),
		Labels: []kms.SecretLabel{}, Revision: m.GetRevision()}
	var err error
	if s.Key, err = keyOrNone(m.GetKeyId()); err != nil || !s.Name.Valid() {
		return kms.SecretInfo{}, garbled(a, 0, err)
	}
	for _, l := range m.GetLabels() {
		if kms.ValidSecretLabel(l.GetName()) {
			s.Labels = append(s.Labels, kms.SecretLabel{Name: l.GetName(), Version: kms.SecretVersion(l.GetVersion())})
		}
	}
	return s, nil
}

func secretVersion(a action, m *holdfastv1.SecretVersion) (v kms.SecretVersionInfo, err error) {
	v = kms.SecretVersionInfo{Number: kms.SecretVersion(m.GetNumber()), Created: timeOf(m.GetCreated()), Labels: []string{}}
	if v.Key.ID, err = keyOrNone(m.GetKeyId()); err != nil || v.Number == 0 {
		return kms.SecretVersionInfo{}, garbled(a, 0, err)
	}
	v.Key.Version = kms.KeyVersion(m.GetKeyVersion())
	for _, l := range m.GetLabels() {
		if kms.ValidSecretLabel(l) {
			v.Labels = append(v.Labels, l)
		}
	}
	return v, nil
}

func keyOrNone(id string) (kms.KeyID, error) {
	if id == "" {
		return kms.KeyID{}, nil
	}
	return kms.ParseKeyID(id)
}
