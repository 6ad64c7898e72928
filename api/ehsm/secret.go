package ehsm

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-kms/holdfast/kms"
)

// Secrets keeps an app's secrets. A Caller that is none has no such actions. Its
// errors: NotFound for the secret, Disabled where its deletion is scheduled, and,
// with the field "key", those of using the key that protects it.
type Secrets interface {
	SecretValues
	SecretBook
	SecretLife
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

// SecretLife changes and ends secrets.
type SecretLife interface {
	UpdateSecret(ctx context.Context, r kms.UpdateSecretRequest) (kms.SecretInfo, error)
	DeleteSecret(ctx context.Context, r kms.DeleteSecretRequest) (kms.SecretInfo, error)
	RestoreSecret(ctx context.Context, name kms.SecretName) (kms.SecretInfo, error)
}

// maxSecrets is how many ListSecrets lists: eHSM has no pages.
const maxSecrets = 4000

// Answers of the secret manager.
var (
	secretTaken     = answer{code: 400, message: "Secret name already exists, cannot use the same secret name"}
	noSecretKey     = answer{code: 400, message: "Cannot find cmk by keyid."}
	rotationRange   = answer{code: 400, message: "The rotation time is less than 6 hours or more than 8760 hours"}
	descNoSecret    = answer{code: 400, message: "Cannot find secretName"}
	descDeleted     = answer{code: 400, message: "Can not modify a deleted secret."}
	putNoSecret     = answer{code: 400, message: "Can not find secretName"}
	putDeleted      = answer{code: 400, message: "Can not put value for a deleted secret."}
	deleteNoSecret  = answer{code: 400, message: "Delete error, Can not find the secretName"}
	forceUnclear    = answer{code: 400, message: "The forceDelete must be true or false"}
	restoreNoSecret = answer{code: 400, message: "Can not restore secret, the secretName not find."}
	secretNotText   = answer{code: 400, message: "The secret's value is not text, please read it through the native API."}
)

// secretsOf is the caller's secrets.
func (x *exchange) secretsOf() (Secrets, error) {
	s, ok := x.caller.(Secrets)
	if !ok {
		return nil, &apiNotFound
	}
	return s, nil
}

// secretAnswer says what an error means for a secret that does not exist, or is
// to be deleted; nil: what it means anywhere. Those of the key that protects it are
// another matter.
func secretAnswer(err error, missing, deleted *answer) error {
	var e *kms.Error
	if errors.As(err, &e) && e.Field == "key" {
		switch e.Kind {
		case kms.NotFound, kms.Foreign:
			return &noSecretKey
		}
		return err
	}
	switch kind := kms.KindOf(err); {
	case kind == kms.NotFound && missing != nil:
		return missing
	case kind == kms.Disabled && deleted != nil:
		return deleted
	}
	return err
}

func (x *exchange) secretName() kms.SecretName { return kms.SecretName(x.args.secretName) }

// beginNamed starts a reply whose message has the secret's name in it.
func (x *exchange) beginNamed(before, after string) {
	x.beginText(before + string(x.args.secretName) + after)
}

// beginText is begin for a message that may need escaping.
func (x *exchange) beginText(message string) {
	x.append(`{"code":200,"message":`)
	x.quoted([]byte(message))
	x.append(`,"result":{`)
}

func (x *exchange) quoted(s []byte) {
	x.out.Reserve(len(`\u0000`)*len(s) + 2)
	x.out.B, _ = jsontext.AppendQuote(x.out.B, s)
}

func createSecret(ctx context.Context, x *exchange) error {
	secrets, err := x.secretsOf()
	if err != nil {
		return err
	}
	a := &x.args
	if a.noKey {
		return &noSecretKey
	}
	_, err = secrets.CreateSecret(ctx, kms.CreateSecretRequest{Name: x.secretName(), Value: a.data, Key: a.key,
		Description: string(a.description), Rotation: a.rotation})
	if kms.KindOf(err) == kms.Exists && err != nil {
		return &secretTaken
	}
	if err != nil {
		return secretAnswer(err, nil, nil)
	}
	x.beginNamed("The ", " create success.")
	return nil
}

func updateSecretDesc(ctx context.Context, x *exchange) error {
	secrets, err := x.secretsOf()
	if err != nil {
		return err
	}
	description := string(x.args.description)
	if _, err := secrets.UpdateSecret(ctx, kms.UpdateSecretRequest{Name: x.secretName(), Description: &description}); err != nil {
		return secretAnswer(err, &descNoSecret, &descDeleted)
	}
	x.begin("Update secret description success.")
	return nil
}

func putSecretValue(ctx context.Context, x *exchange) error {
	secrets, err := x.secretsOf()
	if err != nil {
		return err
	}
	if _, err := secrets.PutSecret(ctx, kms.PutSecretRequest{Name: x.secretName(), Value: x.args.data}); err != nil {
		return secretAnswer(err, &putNoSecret, &putDeleted)
	}
	x.beginNamed("The ", " new version put success.")
	return nil
}

// getSecretValue answers an unknown version with nothing, as eHSM does.
func getSecretValue(ctx context.Context, x *exchange) error {
	secrets, err := x.secretsOf()
	if err != nil {
		return err
	}
	v, err := secrets.GetSecret(ctx, kms.GetSecretRequest{Name: x.secretName(), Version: kms.SecretVersion(x.args.length)})
	defer clear(v.Data)
	var e *kms.Error
	switch {
	case errors.As(err, &e) && e.Kind == kms.NotFound && e.Field == "version":
		x.begin(successful)
		return nil
	case err != nil:
		none := &answer{code: 400, message: "Can't find the " + string(x.args.secretName) + "'s value."}
		return secretAnswer(err, none, none)
	case !utf8.Valid(v.Data):
		return &secretNotText
	}
	x.begin(successful)
	x.text("secretName", string(v.Name))
	x.name("secretData")
	x.quoted(v.Data)
	x.integer("versionId", int64(v.Number))
	x.integer("createTime", v.Created.UnixMilli())
	return nil
}

// listSecretVersionIDs answers what is unknown or deleted with an empty list, as
// eHSM does.
func listSecretVersionIDs(ctx context.Context, x *exchange) error {
	secrets, err := x.secretsOf()
	if err != nil {
		return err
	}
	page, err := secrets.ListSecretVersions(ctx, kms.ListSecretVersionsRequest{Name: x.secretName()})
	if k := kms.KindOf(err); err != nil && k != kms.NotFound && k != kms.Disabled {
		return err
	}
	x.begin("List secret versionIds success.")
	x.text("secretName", string(x.args.secretName))
	x.integer("totalCount", int64(page.Total))
	x.name("versionIds")
	x.append("[")
	for _, v := range page.Versions {
		x.comma()
		x.append("{")
		x.integer("versionId", int64(v.Number))
		x.integer("createTime", v.Created.UnixMilli())
		x.append("}")
	}
	x.append("]")
	return nil
}

// listSecrets lists the first secrets of the app, or the one that is named.
func listSecrets(ctx context.Context, x *exchange) error {
	secrets, err := x.secretsOf()
	if err != nil {
		return err
	}
	all, err := x.listedSecrets(ctx, secrets)
	if err != nil {
		return err
	}
	x.begin("List secrets success.")
	x.integer("totalCount", int64(len(all)))
	x.name("secretList")
	x.append("[")
	for i := range all {
		x.comma()
		x.append("{")
		x.secret(&all[i])
		x.append("}")
	}
	x.append("]")
	return nil
}

func (x *exchange) listedSecrets(ctx context.Context, secrets Secrets) (all []kms.SecretInfo, err error) {
	if len(x.args.secretName) > 0 {
		s, err := secrets.DescribeSecret(ctx, x.secretName())
		switch {
		case err == nil:
			return []kms.SecretInfo{s}, nil
		case kms.KindOf(err) == kms.NotFound:
			return nil, nil
		}
		return nil, err
	}
	for page := (kms.SecretPage{}); len(all) < maxSecrets; {
		if page, err = secrets.ListSecrets(ctx, kms.ListSecretsRequest{After: page.Next}); err != nil {
			return nil, err
		}
		if all = append(all, page.Secrets...); page.Next == "" {
			break
		}
	}
	return all[:min(len(all), maxSecrets)], nil
}

// secret appends what eHSM tells of a secret.
func (x *exchange) secret(s *kms.SecretInfo) {
	x.text("secretName", string(s.Name))
	x.integer("createTime", s.Created.UnixMilli())
	if s.Description != "" {
		x.text("description", s.Description)
	}
	if !s.Due.IsZero() {
		x.integer("plannedDeleteTime", s.Due.UnixMilli())
	}
}

// describeSecret answers an unknown secret with nothing, as eHSM does.
func describeSecret(ctx context.Context, x *exchange) error {
	secrets, err := x.secretsOf()
	if err != nil {
		return err
	}
	s, err := secrets.DescribeSecret(ctx, x.secretName())
	unknown := kms.KindOf(err) == kms.NotFound
	if err != nil && !unknown {
		return err
	}
	x.begin("Describe secrets success.")
	if unknown && err != nil {
		return nil
	}
	x.secret(&s)
	if s.Rotation == "" {
		return nil
	}
	x.text("rotationInterval", string(s.Rotation))
	if s.Rotated.IsZero() {
		x.text("lastRotationDate", "") // as eHSM says it of every secret
	} else {
		x.integer("lastRotationDate", s.Rotated.UnixMilli())
	}
	x.integer("nextRotationDate", s.NextRotated.UnixMilli())
	return nil
}

func deleteSecret(ctx context.Context, x *exchange) error {
	secrets, err := x.secretsOf()
	if err != nil {
		return err
	}
	a := &x.args
	r := kms.DeleteSecretRequest{Name: x.secretName(), Days: a.length, Force: a.force}
	if r.Days == 0 {
		r.Days = kms.DefaultRecoveryDays
	}
	if _, err := secrets.DeleteSecret(ctx, r); err != nil {
		return secretAnswer(err, &deleteNoSecret, nil)
	}
	if r.Force {
		x.beginNamed("The ", " delete success")
	} else {
		x.beginNamed("The ", " will be deleted after "+strconv.Itoa(r.Days)+" days.")
	}
	return nil
}

func restoreSecret(ctx context.Context, x *exchange) error {
	secrets, err := x.secretsOf()
	if err != nil {
		return err
	}
	if _, err := secrets.RestoreSecret(ctx, x.secretName()); err != nil {
		return secretAnswer(err, &restoreNoSecret, nil)
	}
	x.beginNamed("The ", " restore success.")
	return nil
}

// heldAnswer tells the owner of a key which secrets keep it from being destroyed.
// eHSM destroyed it, and the secrets with it.
func heldAnswer(err error) error {
	held, ok := errors.AsType[*kms.KeyHeldError](err)
	if !ok {
		return err
	}
	return &answer{code: 409, message: "The key still protects secrets: " + held.Error() + "."}
}

// Members of the payloads.

func readSecretName(x *exchange, f *field, v value) (refused *answer) {
	x.args.secretName, refused = f.text(v)
	return refused
}

func readSecretData(x *exchange, f *field, v value) (refused *answer) {
	x.args.data, refused = f.text(v)
	return refused
}

func readDescription(x *exchange, f *field, v value) (refused *answer) {
	x.args.description, refused = f.text(v)
	return refused
}

// readRotation reads an interval. eHSM's pattern admits a comma for a unit, of
// which it then makes none.
func readRotation(x *exchange, f *field, v value) *answer {
	s, refused := f.text(v)
	if refused != nil {
		return refused
	}
	x.args.rotation = kms.RotationInterval(s)
	if _, err := x.args.rotation.Duration(); err != nil {
		return invalidField(f.name, "format wrong")
	}
	if x.args.rotation.Check() != nil {
		return &rotationRange
	}
	return nil
}

// readForce takes true and false in any case, as eHSM's validator does; only "true"
// forces.
func readForce(x *exchange, f *field, v value) *answer {
	s, refused := f.text(v)
	if refused != nil {
		return refused
	}
	if !strings.EqualFold(string(s), "true") && !strings.EqualFold(string(s), "false") {
		return &forceUnclear
	}
	x.args.force = string(s) == "true"
	return nil
}

// checkWhole refuses a text of a v1 request in which another member of the same
// action could hide. The string that is signed escapes nothing, so that whoever
// catches the request could split it differently, and have another secret changed
// or another value kept: see checkOwn. Whatever way it is split, some member has
// the name of another one in it.
func (x *exchange) checkWhole(rt *route) *answer {
	if x.v2 != nil || !rt.is(whole) {
		return nil
	}
	for i := range rt.fields {
		v := rt.fields[i].in(x.req.Payload)
		if !isText(v) {
			continue
		}
		for _, name := range rt.names() {
			if strings.Contains(string(v.Text()), "&"+name+"=") {
				return invalidField(rt.fields[i].name, "cannot contain &"+name+"= with a signature of version 1")
			}
		}
	}
	return nil
}

// names are those of the members that an action takes, in every spelling, and of
// the members that are signed beside the payload and stand behind it.
func (rt *route) names() []string {
	names := []string{"timestamp"}
	for i := range rt.fields {
		names = append(append(names, rt.fields[i].name), rt.fields[i].also...)
	}
	return names
}
