package client

import (
	"context"
	"encoding/hex"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// unhex fills dst from hexadecimal text of exactly its length.
func unhex(dst []byte, s string) bool {
	b, err := hex.DecodeString(s)
	return err == nil && copy(dst, b) == len(dst) && len(b) == len(dst)
}

// keyPayload names the key that a call is about.
type keyPayload struct {
	KeyID kms.KeyID `json:"keyid"`
}

// CreateKey makes a key of the app and returns its id. It is durable when the
// call returns. Zero Usages are the spec's default, a zero Origin is Generated;
// an Imported key waits for ImportKey. That a key is Exportable is for good.
// Errors: Invalid for an unknown spec, Misused for usages the spec does not have.
func (c *Client) CreateKey(ctx context.Context, req kms.CreateKeyRequest) (kms.KeyID, error) {
	payload, err := createKeyPayload(req)
	if err == nil && req.Exportable && c.v1 {
		err = errNotV1(actCreateKey, "exportable keys")
	}
	if err != nil {
		return kms.KeyID{}, err
	}
	r, err := call[struct {
		KeyID string `json:"keyid"`
	}](ctx, c, actCreateKey, payload)
	if err != nil {
		return kms.KeyID{}, err
	}
	id, err := kms.ParseKeyID(r.KeyID)
	if err != nil {
		return kms.KeyID{}, garbled(actCreateKey, 0, err)
	}
	return id, nil
}

// errNotV1 refuses what eHSM's own signature is not good enough for.
func errNotV1(a action, what string) error {
	return misuse(a, kms.Invalid, "leave SignatureV1 out of the configuration", "%s cannot be asked for with an eHSM signature", what)
}

type newKeyPayload struct {
	KeySpec    string `json:"keyspec"`
	Origin     string `json:"origin"`
	KeyUsage   string `json:"keyusage,omitempty"`
	Exportable bool   `json:"exportable,omitempty"`
}

func createKeyPayload(req kms.CreateKeyRequest) (newKeyPayload, error) {
	p := newKeyPayload{Exportable: req.Exportable}
	spec, ok := req.Spec.Capability()
	if !ok {
		return p, misuse(actCreateKey, kms.Invalid, "", "unknown key spec")
	}
	if req.Usages == 0 {
		req.Usages = spec.UsageSets[0]
	}
	if req.Origin == 0 {
		req.Origin = kms.Generated
	}
	var known [3]bool
	p.KeySpec, known[0] = wire.SpecName(req.Spec)
	p.Origin, known[1] = wire.OriginName(req.Origin)
	p.KeyUsage, known[2] = wire.UsagesName(req.Usages)
	if !known[2] {
		known[2] = req.Usages == spec.UsageSets[0] // what is meant where nothing is said
	}
	if known != [3]bool{true, true, true} {
		return p, misuse(actCreateKey, kms.Invalid, "usages are encrypt and decrypt, sign and verify, or mac and verify",
			"this protocol has no name for the spec, the origin or the usages")
	}
	return p, nil
}

// A Key is what ListKeys tells of a key.
type Key struct {
	ID      kms.KeyID    `json:"key_id"`
	Spec    kms.Spec     `json:"spec"`
	State   kms.KeyState `json:"state"` // Enabled, also where it waits for ImportKey, or KeyDisabled
	Created time.Time    `json:"created"`
	Expires time.Time    `json:"expires,omitzero"` // zero: never
}

// ListKeys returns the app's keys, at most kms.MaxKeysPage of them.
func (c *Client) ListKeys(ctx context.Context) ([]Key, error) {
	r, err := call[struct {
		List []listedKey `json:"list"`
	}](ctx, c, actListKey, nil)
	if err != nil {
		return nil, err
	}
	keys := make([]Key, len(r.List))
	for i, l := range r.List {
		if keys[i], err = l.key(); err != nil {
			return nil, garbled(actListKey, 0, err)
		}
	}
	return keys, nil
}

// never is how a node says that a key does not expire: the last second of the
// year 9999, in milliseconds.
const never = 253_402_300_799_000

// listedKey is one entry of ListKey. Times are in milliseconds since 1970.
type listedKey struct {
	KeyID    string `json:"keyid"`
	Created  int64  `json:"creationDate"`
	Expires  int64  `json:"expireTime"`
	KeySpec  string `json:"keyspec"`
	KeyState int    `json:"keyState"`
}

func (l listedKey) key() (Key, error) {
	id, err := kms.ParseKeyID(l.KeyID)
	if err != nil {
		return Key{}, err
	}
	spec, ok := wire.ParseSpec(l.KeySpec)
	if !ok {
		// One that eHSM has no name for, or zero where this SDK has none either: the
		// rest is still true.
		spec, _ = kms.ParseSpec(l.KeySpec)
	}
	k := Key{ID: id, Spec: spec, State: kms.KeyDisabled, Created: time.UnixMilli(l.Created).UTC()}
	if l.KeyState == 1 {
		k.State = kms.Enabled
	}
	if l.Expires > 0 && l.Expires < never {
		k.Expires = time.UnixMilli(l.Expires).UTC()
	}
	return k, nil
}

// EnableKey lets a disabled key be used again. An enabled key stays so.
// Errors: NotFound, also where the key is another app's.
func (c *Client) EnableKey(ctx context.Context, id kms.KeyID) error {
	_, err := call[struct{}](ctx, c, actEnableKey, keyPayload{id})
	return err
}

// DisableKey stops every use of a key: once it returns, no node honours the
// key. Errors: NotFound, also where the key is another app's.
func (c *Client) DisableKey(ctx context.Context, id kms.KeyID) error {
	_, err := call[struct{}](ctx, c, actDisableKey, keyPayload{id})
	return err
}

// DeleteKey destroys a key for good: what was encrypted under it can never be
// opened again. An unknown key is no error.
func (c *Client) DeleteKey(ctx context.Context, id kms.KeyID) error {
	_, err := call[struct{}](ctx, c, actDeleteKey, keyPayload{id})
	return err
}

// DeleteAllKeys destroys every key of the app for good.
func (c *Client) DeleteAllKeys(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, actDeleteAll, nil)
	return err
}
