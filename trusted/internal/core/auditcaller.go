package core

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
)

// nothing is the request of an operation that takes none.
type nothing struct{}

// Agree is Caller.Agree.
func (a *Audited) Agree(ctx context.Context, r kms.AgreeRequest) (kms.SharedSecret, error) {
	return audited(ctx, a, "Agree", r, (*Caller).Agree)
}

// Encapsulate is Caller.Encapsulate.
func (a *Audited) Encapsulate(ctx context.Context, r kms.EncapsulateRequest) (kms.SharedSecret, error) {
	return audited(ctx, a, "Encapsulate", r, (*Caller).Encapsulate)
}

// Decapsulate is Caller.Decapsulate.
func (a *Audited) Decapsulate(ctx context.Context, r kms.DecapsulateRequest) (kms.SharedSecret, error) {
	return audited(ctx, a, "Decapsulate", r, (*Caller).Decapsulate)
}

// CreateAlias is Caller.CreateAlias.
func (a *Audited) CreateAlias(ctx context.Context, name string, key kms.KeyID) (kms.Alias, error) {
	return audited(ctx, a, "CreateAlias", kms.Alias{Name: name, Key: key}, func(c *Caller, ctx context.Context, _ kms.Alias) (kms.Alias, error) {
		return c.CreateAlias(ctx, name, key)
	})
}

// UpdateAlias is Caller.UpdateAlias.
func (a *Audited) UpdateAlias(ctx context.Context, name string, key kms.KeyID) (kms.Alias, error) {
	return audited(ctx, a, "UpdateAlias", kms.Alias{Name: name, Key: key}, func(c *Caller, ctx context.Context, _ kms.Alias) (kms.Alias, error) {
		return c.UpdateAlias(ctx, name, key)
	})
}

// DeleteAlias is Caller.DeleteAlias.
func (a *Audited) DeleteAlias(ctx context.Context, name string) error {
	return done(ctx, a, "DeleteAlias", name, (*Caller).DeleteAlias)
}

// ListAliases is Caller.ListAliases.
func (a *Audited) ListAliases(ctx context.Context, r kms.ListAliasesRequest) (kms.AliasPage, error) {
	return audited(ctx, a, "ListAliases", r, (*Caller).ListAliases)
}

// GetCondition is Caller.GetCondition.
func (a *Audited) GetCondition(ctx context.Context, id kms.KeyID) (kms.Condition, error) {
	return audited(ctx, a, "GetCondition", id, (*Caller).GetCondition)
}

// SetCondition is Caller.SetCondition.
func (a *Audited) SetCondition(ctx context.Context, r kms.SetConditionRequest) (kms.Condition, error) {
	return audited(ctx, a, "SetCondition", r, (*Caller).SetCondition)
}

// ListCredentials is Caller.ListCredentials.
func (a *Audited) ListCredentials(ctx context.Context) ([]kms.CredentialInfo, error) {
	return audited(ctx, a, "ListCredentials", nothing{}, func(c *Caller, ctx context.Context, _ nothing) ([]kms.CredentialInfo, error) {
		return c.ListCredentials(ctx)
	})
}

// CreateCredential is Caller.CreateCredential.
func (a *Audited) CreateCredential(ctx context.Context, r kms.CreateCredentialRequest) (kms.NewCredential, error) {
	return audited(ctx, a, "CreateCredential", r, (*Caller).CreateCredential)
}

// RotateCredential is Caller.RotateCredential.
func (a *Audited) RotateCredential(ctx context.Context, r kms.RotateCredentialRequest) (kms.NewCredential, error) {
	return audited(ctx, a, "RotateCredential", r, (*Caller).RotateCredential)
}

// RevokeCredential is Caller.RevokeCredential.
func (a *Audited) RevokeCredential(ctx context.Context, id kms.CredentialID) error {
	return done(ctx, a, "RevokeCredential", id, (*Caller).RevokeCredential)
}

// DescribeKey is Caller.DescribeKey.
func (a *Audited) DescribeKey(ctx context.Context, id kms.KeyID) (kms.KeyDescription, error) {
	return audited(ctx, a, "DescribeKey", id, (*Caller).DescribeKey)
}

// DescribeKeys is Caller.DescribeKeys.
func (a *Audited) DescribeKeys(ctx context.Context, r kms.ListKeysRequest) (kms.KeyDescriptionPage, error) {
	return audited(ctx, a, "DescribeKeys", r, (*Caller).DescribeKeys)
}

// RotateKey is Caller.RotateKey.
func (a *Audited) RotateKey(ctx context.Context, id kms.KeyID) (kms.KeyDescription, error) {
	return audited(ctx, a, "RotateKey", id, (*Caller).RotateKey)
}

// SetVersionState is Caller.SetVersionState.
func (a *Audited) SetVersionState(ctx context.Context, r kms.SetVersionStateRequest) (kms.KeyDescription, error) {
	return audited(ctx, a, "SetVersionState", r, (*Caller).SetVersionState)
}

// ScheduleDeletion is Caller.ScheduleDeletion.
func (a *Audited) ScheduleDeletion(ctx context.Context, r kms.ScheduleDeletionRequest) (kms.KeyDescription, error) {
	return audited(ctx, a, "ScheduleDeletion", r, (*Caller).ScheduleDeletion)
}

// CancelDeletion is Caller.CancelDeletion.
func (a *Audited) CancelDeletion(ctx context.Context, id kms.KeyID) (kms.KeyDescription, error) {
	return audited(ctx, a, "CancelDeletion", id, (*Caller).CancelDeletion)
}

// MAC is Caller.MAC.
func (a *Audited) MAC(ctx context.Context, r kms.MACRequest) (kms.MessageMAC, error) {
	return audited(ctx, a, "MAC", r, (*Caller).MAC)
}

// VerifyMAC is Caller.VerifyMAC.
func (a *Audited) VerifyMAC(ctx context.Context, r kms.VerifyMACRequest) (kms.Verification, error) {
	return audited(ctx, a, "VerifyMAC", r, (*Caller).VerifyMAC)
}

// CreateKey is Caller.CreateKey.
func (a *Audited) CreateKey(ctx context.Context, r kms.CreateKeyRequest) (kms.Key, error) {
	return audited(ctx, a, "CreateKey", r, (*Caller).CreateKey)
}

// MakeKey is Caller.MakeKey.
func (a *Audited) MakeKey(ctx context.Context, r kms.CreateKeyRequest) (kms.KeyDescription, error) {
	return audited(ctx, a, "MakeKey", r, (*Caller).MakeKey)
}

// SetKeyEnabled is Caller.SetKeyEnabled.
func (a *Audited) SetKeyEnabled(ctx context.Context, id kms.KeyID, enabled bool) error {
	operation := "DisableKey"
	if enabled {
		operation = "EnableKey"
	}
	return done(ctx, a, operation, id, func(c *Caller, ctx context.Context, id kms.KeyID) error { return c.SetKeyEnabled(ctx, id, enabled) })
}

// DeleteKey is Caller.DeleteKey.
func (a *Audited) DeleteKey(ctx context.Context, id kms.KeyID) error {
	return done(ctx, a, "DeleteKey", id, (*Caller).DeleteKey)
}

// DeleteAllKeys is Caller.DeleteAllKeys.
func (a *Audited) DeleteAllKeys(ctx context.Context) error {
	return done(ctx, a, "DeleteAllKeys", nothing{}, func(c *Caller, ctx context.Context, _ nothing) error {
		return c.DeleteAllKeys(ctx)
	})
}

// ListKeys is Caller.ListKeys.
func (a *Audited) ListKeys(ctx context.Context, r kms.ListKeysRequest) (kms.KeyPage, error) {
	return audited(ctx, a, "ListKeys", r, (*Caller).ListKeys)
}

// GenerateQuote is Caller.GenerateQuote.
func (a *Audited) GenerateQuote(ctx context.Context, r kms.QuoteRequest) (kms.Quote, error) {
	return audited(ctx, a, "GenerateQuote", r, (*Caller).GenerateQuote)
}

// VerifyQuote is Caller.VerifyQuote.
func (a *Audited) VerifyQuote(ctx context.Context, r kms.VerifyQuoteRequest) (kms.QuoteVerdict, error) {
	return audited(ctx, a, "VerifyQuote", r, (*Caller).VerifyQuote)
}

// PutQuotePolicy is Caller.PutQuotePolicy.
func (a *Audited) PutQuotePolicy(ctx context.Context, r kms.PutQuotePolicyRequest) (kms.QuotePolicy, error) {
	return audited(ctx, a, "PutQuotePolicy", r, (*Caller).PutQuotePolicy)
}

// QuotePolicy is Caller.QuotePolicy.
func (a *Audited) QuotePolicy(ctx context.Context, id kms.QuotePolicyID) (kms.QuotePolicy, error) {
	return audited(ctx, a, "QuotePolicy", id, (*Caller).QuotePolicy)
}

// Reencrypt is Caller.Reencrypt.
func (a *Audited) Reencrypt(ctx context.Context, r kms.ReencryptRequest) (kms.Reencrypted, error) {
	return audited(ctx, a, "Reencrypt", r, (*Caller).Reencrypt)
}

// Random is Caller.Random.
func (a *Audited) Random(ctx context.Context, n int) ([]byte, error) {
	return audited(ctx, a, "Random", n, (*Caller).Random)
}

// RuntimeKeys is Caller.RuntimeKeys.
func (a *Audited) RuntimeKeys(ctx context.Context, r kms.RuntimeKeyRequest) (kms.RuntimeKeys, error) {
	return audited(ctx, a, "RuntimeKeys", r, (*Caller).RuntimeKeys)
}

// RuntimeDecrypt is Caller.RuntimeDecrypt.
func (a *Audited) RuntimeDecrypt(ctx context.Context, r kms.RuntimeDecryptRequest) ([]byte, error) {
	return audited(ctx, a, "RuntimeDecrypt", r, (*Caller).RuntimeDecrypt)
}

// RuntimeMAC is Caller.RuntimeMAC.
func (a *Audited) RuntimeMAC(ctx context.Context, r kms.RuntimeMACRequest) (kms.RuntimeMAC, error) {
	return audited(ctx, a, "RuntimeMAC", r, (*Caller).RuntimeMAC)
}

// CreateSecret is Caller.CreateSecret.
func (a *Audited) CreateSecret(ctx context.Context, r kms.CreateSecretRequest) (kms.SecretInfo, error) {
	return audited(ctx, a, "CreateSecret", r, (*Caller).CreateSecret)
}

// PutSecret is Caller.PutSecret.
func (a *Audited) PutSecret(ctx context.Context, r kms.PutSecretRequest) (kms.SecretVersionInfo, error) {
	return audited(ctx, a, "PutSecret", r, (*Caller).PutSecret)
}

// GetSecret is Caller.GetSecret.
func (a *Audited) GetSecret(ctx context.Context, r kms.GetSecretRequest) (kms.SecretValue, error) {
	return audited(ctx, a, "GetSecret", r, (*Caller).GetSecret)
}

// DescribeSecret is Caller.DescribeSecret.
func (a *Audited) DescribeSecret(ctx context.Context, name kms.SecretName) (kms.SecretInfo, error) {
	return audited(ctx, a, "DescribeSecret", name, (*Caller).DescribeSecret)
}

// ListSecrets is Caller.ListSecrets.
func (a *Audited) ListSecrets(ctx context.Context, r kms.ListSecretsRequest) (kms.SecretPage, error) {
	return audited(ctx, a, "ListSecrets", r, (*Caller).ListSecrets)
}

// ListSecretVersions is Caller.ListSecretVersions.
func (a *Audited) ListSecretVersions(ctx context.Context, r kms.ListSecretVersionsRequest) (kms.SecretVersionPage, error) {
	return audited(ctx, a, "ListSecretVersions", r, (*Caller).ListSecretVersions)
}

// UpdateSecret is Caller.UpdateSecret.
func (a *Audited) UpdateSecret(ctx context.Context, r kms.UpdateSecretRequest) (kms.SecretInfo, error) {
	return audited(ctx, a, "UpdateSecret", r, (*Caller).UpdateSecret)
}

// LabelSecret is Caller.LabelSecret.
func (a *Audited) LabelSecret(ctx context.Context, r kms.LabelSecretRequest) (kms.SecretInfo, error) {
	return audited(ctx, a, "LabelSecret", r, (*Caller).LabelSecret)
}

// DestroySecretVersion is Caller.DestroySecretVersion.
func (a *Audited) DestroySecretVersion(ctx context.Context, r kms.SecretVersionRef) (kms.SecretInfo, error) {
	return audited(ctx, a, "DestroySecretVersion", r, (*Caller).DestroySecretVersion)
}

// SetSecretKey is Caller.SetSecretKey.
func (a *Audited) SetSecretKey(ctx context.Context, r kms.SetSecretKeyRequest) (kms.SecretInfo, error) {
	return audited(ctx, a, "SetSecretKey", r, (*Caller).SetSecretKey)
}

// DeleteSecret is Caller.DeleteSecret.
func (a *Audited) DeleteSecret(ctx context.Context, r kms.DeleteSecretRequest) (kms.SecretInfo, error) {
	return audited(ctx, a, "DeleteSecret", r, (*Caller).DeleteSecret)
}

// RestoreSecret is Caller.RestoreSecret.
func (a *Audited) RestoreSecret(ctx context.Context, name kms.SecretName) (kms.SecretInfo, error) {
	return audited(ctx, a, "RestoreSecret", name, (*Caller).RestoreSecret)
}

// SetLabels is Caller.SetLabels.
func (a *Audited) SetLabels(ctx context.Context, r kms.LabelsRequest) (kms.KeyDescription, error) {
	return audited(ctx, a, "SetLabels", r, (*Caller).SetLabels)
}

// Rewrap is Caller.Rewrap.
func (a *Audited) Rewrap(ctx context.Context, r kms.RewrapRequest) (kms.Ciphertext, error) {
	return audited(ctx, a, "Rewrap", r, (*Caller).Rewrap)
}

// ImportParameters is Caller.ImportParameters.
func (a *Audited) ImportParameters(ctx context.Context, r kms.ImportParametersRequest) (kms.ImportParameters, error) {
	return audited(ctx, a, "ImportParameters", r, (*Caller).ImportParameters)
}

// ImportKey is Caller.ImportKey.
func (a *Audited) ImportKey(ctx context.Context, r kms.ImportRequest) (kms.Key, error) {
	return audited(ctx, a, "ImportKey", r, (*Caller).ImportKey)
}

// ExportKey is Caller.ExportKey.
func (a *Audited) ExportKey(ctx context.Context, ref kms.KeyRef) (kms.ExportedKey, error) {
	return audited(ctx, a, "ExportKey", ref, (*Caller).ExportKey)
}

// Encrypt is Caller.Encrypt.
func (a *Audited) Encrypt(ctx context.Context, r kms.EncryptRequest) (kms.Ciphertext, error) {
	return audited(ctx, a, "Encrypt", r, (*Caller).Encrypt)
}

// Decrypt is Caller.Decrypt.
func (a *Audited) Decrypt(ctx context.Context, r kms.DecryptRequest) (kms.Plaintext, error) {
	return audited(ctx, a, "Decrypt", r, (*Caller).Decrypt)
}

// GenerateDataKey is Caller.GenerateDataKey.
func (a *Audited) GenerateDataKey(ctx context.Context, r kms.DataKeyRequest) (kms.DataKey, error) {
	return audited(ctx, a, "GenerateDataKey", r, (*Caller).GenerateDataKey)
}

// Sign is Caller.Sign.
func (a *Audited) Sign(ctx context.Context, r kms.SignRequest) (kms.Signature, error) {
	return audited(ctx, a, "Sign", r, (*Caller).Sign)
}

// Verify is Caller.Verify.
func (a *Audited) Verify(ctx context.Context, r kms.VerifyRequest) (kms.Verification, error) {
	return audited(ctx, a, "Verify", r, (*Caller).Verify)
}

// PublicKey is Caller.PublicKey.
func (a *Audited) PublicKey(ctx context.Context, ref kms.KeyRef) (kms.PublicKey, error) {
	return audited(ctx, a, "PublicKey", ref, (*Caller).PublicKey)
}

// SetRotation is Caller.SetRotation.
func (a *Audited) SetRotation(ctx context.Context, r kms.SetRotationRequest) (kms.KeyDescription, error) {
	return audited(ctx, a, "SetRotation", r, (*Caller).SetRotation)
}

// FindKey is Caller.FindKey: a step of the operation that it is asked for, whose
// entry names the alias. It has an entry of its own where it ends there.
func (a *Audited) FindKey(ctx context.Context, alias string) (kms.KeyID, error) {
	id, err := a.caller.FindKey(ctx, alias)
	if a.caller.asked = alias; err == nil {
		return id, nil
	}
	return audited(ctx, a, "FindKey", alias, func(*Caller, context.Context, string) (kms.KeyID, error) { return id, err })
}

// SignReply is Caller.SignReply: it ends VerifyQuote, whose entry stands for both.
func (a *Audited) SignReply(ctx context.Context, text []byte) ([]byte, error) {
	return a.caller.SignReply(ctx, text)
}

// WatchEvents is Caller.WatchEvents. Its entry is written before anything is sent.
func (a *Audited) WatchEvents(ctx context.Context, r kms.WatchRequest, send func(kms.Events) error) error {
	c := a.caller
	err := done(ctx, a, "WatchEvents", r, func(c *Caller, _ context.Context, _ kms.WatchRequest) error { return c.mayWatch() })
	if err != nil {
		return err
	}
	return c.WatchEvents(ctx, r, send)
}
