package native

import (
	"context"
	"strings"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// Keys is what a caller may do with keys. The errors of every method: those that
// the core's documentation lists; each is told as the table of errors says.
type Keys interface {
	KeyBook
	KeyLife
	KeyEnd
	Rotations
	Sharers
	Aliases
	AliasBook
	Ciphers
	Signers
	MACs
	Sources
	Transfers
	Conditions
}

// KeyBook makes and shows keys.
type KeyBook interface {
	MakeKey(ctx context.Context, r kms.CreateKeyRequest) (kms.KeyDescription, error)
	DescribeKey(ctx context.Context, id kms.KeyID) (kms.KeyDescription, error)
	DescribeKeys(ctx context.Context, r kms.ListKeysRequest) (kms.KeyDescriptionPage, error)
}

// KeyLife changes keys.
type KeyLife interface {
	RotateKey(ctx context.Context, id kms.KeyID) (kms.KeyDescription, error)
	SetVersionState(ctx context.Context, r kms.SetVersionStateRequest) (kms.KeyDescription, error)
	SetLabels(ctx context.Context, r kms.LabelsRequest) (kms.KeyDescription, error)
}

// KeyEnd ends keys.
type KeyEnd interface {
	ScheduleDeletion(ctx context.Context, r kms.ScheduleDeletionRequest) (kms.KeyDescription, error)
	CancelDeletion(ctx context.Context, id kms.KeyID) (kms.KeyDescription, error)
	DeleteKey(ctx context.Context, id kms.KeyID) error
}

// Aliases gives keys names.
type Aliases interface {
	CreateAlias(ctx context.Context, name string, key kms.KeyID) (kms.Alias, error)
	UpdateAlias(ctx context.Context, name string, key kms.KeyID) (kms.Alias, error)
	DeleteAlias(ctx context.Context, name string) error
}

// AliasBook shows the names.
type AliasBook interface {
	FindKey(ctx context.Context, alias string) (kms.KeyID, error)
	ListAliases(ctx context.Context, r kms.ListAliasesRequest) (kms.AliasPage, error)
}

// Ciphers encrypts and decrypts.
type Ciphers interface {
	Encrypt(ctx context.Context, r kms.EncryptRequest) (kms.Ciphertext, error)
	Decrypt(ctx context.Context, r kms.DecryptRequest) (kms.Plaintext, error)
	Reencrypt(ctx context.Context, r kms.ReencryptRequest) (kms.Reencrypted, error)
}

// Signers signs.
type Signers interface {
	Sign(ctx context.Context, r kms.SignRequest) (kms.Signature, error)
	Verify(ctx context.Context, r kms.VerifyRequest) (kms.Verification, error)
	PublicKey(ctx context.Context, ref kms.KeyRef) (kms.PublicKey, error)
}

// MACs authenticates messages, and switches keys on and off.
type MACs interface {
	MAC(ctx context.Context, r kms.MACRequest) (kms.MessageMAC, error)
	VerifyMAC(ctx context.Context, r kms.VerifyMACRequest) (kms.Verification, error)
	SetKeyEnabled(ctx context.Context, id kms.KeyID, enabled bool) error
}

// Sources makes what is random.
type Sources interface {
	GenerateDataKey(ctx context.Context, r kms.DataKeyRequest) (kms.DataKey, error)
	Random(ctx context.Context, n int) ([]byte, error)
}

// Transfers brings keys in and takes them out.
type Transfers interface {
	ImportParameters(ctx context.Context, r kms.ImportParametersRequest) (kms.ImportParameters, error)
	ImportKey(ctx context.Context, r kms.ImportRequest) (kms.Key, error)
	ExportKey(ctx context.Context, ref kms.KeyRef) (kms.ExportedKey, error)
}

// Conditions is what a caller may do with the use conditions of keys.
type Conditions interface {
	SetCondition(ctx context.Context, r kms.SetConditionRequest) (kms.Condition, error)
	GetCondition(ctx context.Context, id kms.KeyID) (kms.Condition, error)
}

// keys serves the KeyService.
type keys struct{}

// keyOf is who is calling, and the key that the request is about.
func keyOf(ctx context.Context, field, name string) (Caller, kms.KeyID, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, kms.KeyID{}, err
	}
	id, err := find(ctx, caller, field, name)
	return caller, id, err
}

// find is the key that an id or alias names.
func find(ctx context.Context, caller Caller, field, name string) (kms.KeyID, error) {
	parse := kms.ParseKeyID
	if strings.HasPrefix(name, kms.AliasPrefix) {
		parse = func(name string) (kms.KeyID, error) { return caller.FindKey(ctx, name) }
	}
	id, err := parse(name)
	if kms.KindOf(err) == kms.Invalid && err != nil {
		return id, kms.Errorf(kms.Invalid, "not a key's id or alias").WithField(field)
	}
	return id, err
}

// describing answers a request for a key with its description.
func describing[Res any](ctx context.Context, key string, do func(Caller, kms.KeyID) (kms.KeyDescription, error), answer func(*holdfastv1.Key) *Res) (*connect.Response[Res], error) {
	caller, id, err := keyOf(ctx, "key", key)
	if err != nil {
		return nil, err
	}
	d, err := do(caller, id)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(answer(keyMessage(&d))), nil
}

// done answers a request for a key with nothing.
func done[Res any](ctx context.Context, key string, do func(Caller, kms.KeyID) error, answer *Res) (*connect.Response[Res], error) {
	caller, id, err := keyOf(ctx, "key", key)
	if err != nil {
		return nil, err
	}
	if err := do(caller, id); err != nil {
		return nil, err
	}
	return connect.NewResponse(answer), nil
}

func (keys) SetCondition(ctx context.Context, r *connect.Request[holdfastv1.SetConditionRequest]) (*connect.Response[holdfastv1.SetConditionResponse], error) {
	caller, id, err := keyOf(ctx, "key_id", r.Msg.GetKeyId())
	if err != nil {
		return nil, err
	}
	set, err := caller.SetCondition(ctx, kms.SetConditionRequest{Key: id, Condition: []byte(r.Msg.GetCondition()), Order: []byte(r.Msg.GetOrder())})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.SetConditionResponse{Revision: set.Revision}), nil
}

func (keys) GetCondition(ctx context.Context, r *connect.Request[holdfastv1.GetConditionRequest]) (*connect.Response[holdfastv1.GetConditionResponse], error) {
	caller, id, err := keyOf(ctx, "key_id", r.Msg.GetKeyId())
	if err != nil {
		return nil, err
	}
	c, err := caller.GetCondition(ctx, id)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GetConditionResponse{Condition: string(c.Condition), Revision: c.Revision}), nil
}
