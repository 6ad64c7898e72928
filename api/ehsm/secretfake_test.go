package ehsm_test

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// The core of these tests keeps no secrets: it says what it would of one.

var (
	secretMade   = time.UnixMilli(1_700_000_000_000).UTC()
	describedOne = kms.SecretInfo{Name: "s", Description: "d", Created: secretMade, Current: 2, Versions: 2}
)

func (c *core) CreateSecret(_ context.Context, r kms.CreateSecretRequest) (kms.SecretInfo, error) {
	r.Value = append([]byte(nil), r.Value...)
	return describedOne, c.note("CreateSecret", r)
}

func (c *core) PutSecret(_ context.Context, r kms.PutSecretRequest) (kms.SecretVersionInfo, error) {
	r.Value = append([]byte(nil), r.Value...)
	return kms.SecretVersionInfo{Number: 2}, c.note("PutSecret", r)
}

func (c *core) GetSecret(_ context.Context, r kms.GetSecretRequest) (kms.SecretValue, error) {
	c.data = []byte("value")
	return kms.SecretValue{Name: r.Name, SecretVersionInfo: kms.SecretVersionInfo{Number: 2, Created: secretMade}, Data: c.data}, c.note("GetSecret", r)
}

func (c *core) DescribeSecret(_ context.Context, name kms.SecretName) (kms.SecretInfo, error) {
	return describedOne, c.note("DescribeSecret", name)
}

func (c *core) ListSecrets(_ context.Context, r kms.ListSecretsRequest) (kms.SecretPage, error) {
	return kms.SecretPage{Secrets: []kms.SecretInfo{describedOne}}, c.note("ListSecrets", r)
}

func (c *core) ListSecretVersions(_ context.Context, r kms.ListSecretVersionsRequest) (kms.SecretVersionPage, error) {
	return kms.SecretVersionPage{Total: 1, Versions: []kms.SecretVersionInfo{{Number: 1, Created: secretMade}}}, c.note("ListSecretVersions", r)
}

func (c *core) UpdateSecret(_ context.Context, r kms.UpdateSecretRequest) (kms.SecretInfo, error) {
	return describedOne, c.note("UpdateSecret", r)
}

func (c *core) DeleteSecret(_ context.Context, r kms.DeleteSecretRequest) (kms.SecretInfo, error) {
	return describedOne, c.note("DeleteSecret", r)
}

func (c *core) RestoreSecret(_ context.Context, name kms.SecretName) (kms.SecretInfo, error) {
	return describedOne, c.note("RestoreSecret", name)
}
