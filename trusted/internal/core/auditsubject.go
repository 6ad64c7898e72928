package core

import (
	"strconv"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// describe says in an entry what a request or a result is about: which keys, in
// which version, and what else has a name. It takes nothing else out of them. What
// a result says goes before what was asked for.
func describe(e *audit.Entry, v any) {
	switch v := v.(type) {
	case kms.KeyID:
		name(e, kms.KeyRef{ID: v})
	case kms.KeyRef:
		name(e, v)
	case kms.EncryptRequest:
		name(e, v.Key)
	case kms.Ciphertext:
		name(e, v.Key)
	case kms.DecryptRequest:
		name(e, ciphertextKey(v))
	case kms.Plaintext:
		name(e, v.Key)
	case kms.DataKeyRequest:
		name(e, v.Key)
	case kms.DataKey:
		name(e, v.Key)
	case kms.SignRequest:
		name(e, v.Key)
	case kms.Signature:
		name(e, v.Key)
	case kms.VerifyRequest:
		name(e, v.Key)
	case kms.Verification:
		name(e, v.Key)
	case kms.PublicKey:
		name(e, v.Key)
	case kms.MACRequest:
		name(e, v.Key)
	case kms.MessageMAC:
		name(e, v.Key)
	case kms.VerifyMACRequest:
		name(e, v.Key)
	case kms.AgreeRequest:
		name(e, v.Key)
	case kms.EncapsulateRequest:
		name(e, v.Key)
	case kms.DecapsulateRequest:
		name(e, v.Key)
	case kms.SharedSecret:
		name(e, v.Key)
	case kms.RewrapRequest:
		name(e, v.Target)
		e.Source = v.Key
	case kms.ReencryptRequest:
		name(e, v.Target.Key)
		e.Source = ciphertextKey(v.Source)
	case kms.Reencrypted:
		name(e, v.Key)
		e.Source = v.Source
	default:
		describeKeys(e, v)
	}
}

// describeKeys is describe for what looks after keys.
func describeKeys(e *audit.Entry, v any) {
	switch v := v.(type) {
	case kms.CreateKeyRequest:
		e.Name = v.Alias
	case kms.Key:
		name(e, kms.KeyRef{ID: v.ID, Version: v.Current})
	case kms.KeyDescription:
		if e.Key.Version == 0 { // where one version is meant, the result is of the key as a whole
			name(e, kms.KeyRef{ID: v.ID, Version: v.Current})
		}
	case kms.SetVersionStateRequest:
		name(e, v.Key)
		e.Object = v.State.String()
	case kms.ScheduleDeletionRequest:
		name(e, kms.KeyRef{ID: v.Key})
	case kms.SetRotationRequest:
		name(e, kms.KeyRef{ID: v.Key})
	case kms.LabelsRequest:
		name(e, kms.KeyRef{ID: v.Key})
	case kms.SetConditionRequest:
		name(e, kms.KeyRef{ID: v.Key})
	case kms.Alias:
		e.Name = v.Name
		name(e, kms.KeyRef{ID: v.Key})
	case string: // of an alias
		e.Name = v
	case kms.ListAliasesRequest:
		name(e, kms.KeyRef{ID: v.Key})
	case kms.ImportParametersRequest:
		name(e, kms.KeyRef{ID: v.Key})
	case kms.ImportRequest:
		name(e, kms.KeyRef{ID: v.Key})
	case kms.ExportedKey:
		name(e, v.Key)
	default:
		describeSecrets(e, v)
	}
}

// describeSecrets is describe for secrets.
func describeSecrets(e *audit.Entry, v any) {
	switch v := v.(type) {
	case kms.SecretName:
		e.Name = string(v)
	case kms.CreateSecretRequest:
		e.Name = string(v.Name)
		name(e, kms.KeyRef{ID: v.Key})
	case kms.PutSecretRequest:
		e.Name = string(v.Name)
	case kms.GetSecretRequest:
		e.Name = string(v.Name)
		secretVersion(e, v.Version)
	case kms.UpdateSecretRequest:
		e.Name = string(v.Name)
	case kms.LabelSecretRequest:
		e.Name = string(v.Name)
		secretVersion(e, v.Version)
	case kms.SecretVersionRef:
		e.Name = string(v.Name)
		secretVersion(e, v.Version)
	case kms.SetSecretKeyRequest:
		e.Name = string(v.Name)
		name(e, kms.KeyRef{ID: v.Key})
	case kms.DeleteSecretRequest:
		e.Name = string(v.Name)
	case kms.ListSecretVersionsRequest:
		e.Name = string(v.Name)
	case kms.ListSecretsRequest:
		name(e, kms.KeyRef{ID: v.Key})
	case kms.SecretVersionInfo:
		secretVersion(e, v.Number)
		name(e, v.Key)
	case kms.SecretValue:
		secretVersion(e, v.Number)
		name(e, v.Key)
	default:
		describeOthers(e, v)
	}
}

// describeOthers is describe for everything else.
func describeOthers(e *audit.Entry, v any) {
	switch v := v.(type) {
	case kms.CredentialID:
		e.Object = v.String()
	case kms.RotateCredentialRequest:
		e.Object = v.ID.String()
	case kms.NewCredential:
		if e.Object == "" { // else it is the one that this one follows
			e.Object = v.ID.String()
		}
	case kms.QuotePolicyID:
		e.Object = v.String()
	case kms.QuotePolicy:
		e.Object = v.ID.String()
	case kms.VerifyQuoteRequest:
		if v.Policy != nil {
			e.Object = v.Policy.String()
		}
	case kms.RuntimeKeyRequest:
		e.Name = v.Runtime
	case kms.RuntimeDecryptRequest:
		e.Name = v.Runtime
	case kms.RuntimeMACRequest:
		e.Name = v.Runtime
	case kms.Enrolment:
		e.App, e.Credential = v.App, v.Credential
	case kms.SubmittedPolicy:
		e.Object = "policy " + strconv.FormatUint(v.Serial, 10)
	case kms.Amended:
		e.Object = "amendment " + strconv.Itoa(v.Serial)
	case generation:
		e.Object = "generation " + strconv.FormatUint(uint64(v), 10)
	}
}

// A generation of the master secret.
type generation uint32

// name says which key an entry is about; nothing where none is named.
func name(e *audit.Entry, ref kms.KeyRef) {
	if ref.ID != (kms.KeyID{}) {
		e.Key = ref
	}
}

func secretVersion(e *audit.Entry, n kms.SecretVersion) {
	if n != 0 {
		e.Object = strconv.FormatUint(uint64(n), 10)
	}
}

// ciphertextKey is the key that is to open a ciphertext: the one that was named,
// or else the one that the ciphertext names.
func ciphertextKey(r kms.DecryptRequest) kms.KeyRef {
	if r.Key.ID != (kms.KeyID{}) {
		return r.Key
	}
	ref, err := nativeKey(r.Data)
	if err != nil {
		return kms.KeyRef{}
	}
	return ref
}

// describeChange adds what a command makes, whose id no request had.
func describeChange(e *audit.Entry, cmd *command.Command) {
	switch op := cmd.GetOp().(type) {
	case *command.Command_PutKey:
		copy(e.Key.ID[:], op.PutKey.GetKey().GetId())
		e.Key.Version = kms.KeyVersion(op.PutKey.GetKey().GetCurrent())
	case *command.Command_PutCredential:
		var id kms.CredentialID
		if copy(id[:], op.PutCredential.GetCredential().GetId()); e.Object == "" {
			e.Object = id.String()
		}
	case *command.Command_PutApp:
		copy(e.App[:], op.PutApp.GetApp().GetId())
		copy(e.Credential[:], op.PutApp.GetCredential().GetId())
	case *command.Command_PutQuotePolicy:
		var id kms.QuotePolicyID
		copy(id[:], op.PutQuotePolicy.GetPolicy().GetId())
		e.Object = id.String()
	}
}

// withhold clears what is in a result that is not released.
func withhold(v any) {
	switch v := v.(type) {
	case kms.Plaintext:
		clear(v.Data)
	case kms.DataKey:
		clear(v.Plaintext)
	case kms.ExportedKey:
		clear(v.Material)
	case kms.SecretValue:
		clear(v.Data)
	case kms.SharedSecret:
		clear(v.Secret)
	case kms.RuntimeKeys:
		clear(v.Private)
		clear(v.State)
	case []byte:
		clear(v)
	}
}
