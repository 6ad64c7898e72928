package ehsm

import (
	"context"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// eHSM's words for success: its core's, and its manager's. The Python tests look
// for "success" in each.
const (
	success    = "success!"
	successful = "successful"
)

func getVersion(_ context.Context, x *exchange) error {
	x.begin(success)
	x.text("version", x.config.Version)
	x.text("git_sha", x.config.GitSHA)
	return nil
}

func enroll(ctx context.Context, x *exchange) error {
	if x.config.Enroll == nil {
		return kms.NotFound
	}
	e, err := x.config.Enroll(ctx)
	if err != nil {
		return err
	}
	x.begin(successful)
	x.text("apikey", e.APIKey)
	x.text("appid", e.App.String())
	return nil
}

func createKey(ctx context.Context, x *exchange) error {
	a := &x.args
	k, err := x.caller.CreateKey(ctx, kms.CreateKeyRequest{Spec: a.spec, Usages: a.usages, Origin: a.origin, Exportable: a.exportable})
	if err != nil {
		return err
	}
	x.begin(success)
	x.text("keyid", k.ID.String())
	return nil
}

// key names the key that the payload names, in its current version.
func (x *exchange) key() (kms.KeyRef, error) {
	if x.args.noKey {
		return kms.KeyRef{}, kms.NotFound
	}
	return kms.KeyRef{ID: x.args.key}, nil
}

func encrypt(ctx context.Context, x *exchange) error { return x.encrypt(ctx, kms.Symmetric) }

func asymmetricEncrypt(ctx context.Context, x *exchange) error { return x.encrypt(ctx, kms.Asymmetric) }

func (x *exchange) encrypt(ctx context.Context, f kms.Family) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	c, err := x.caller.Encrypt(ctx, kms.EncryptRequest{Key: key, Family: f, Plaintext: x.args.data,
		Binding: kms.RawBinding(x.args.aad), Layout: kms.LayoutEHSM, Padding: x.args.padding})
	if err != nil {
		return err
	}
	x.begin(success)
	x.base64("ciphertext", c.Data)
	return nil
}

func decrypt(ctx context.Context, x *exchange) error { return x.decrypt(ctx, kms.Symmetric) }

func asymmetricDecrypt(ctx context.Context, x *exchange) error { return x.decrypt(ctx, kms.Asymmetric) }

func (x *exchange) decrypt(ctx context.Context, f kms.Family) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	p, err := x.caller.Decrypt(ctx, kms.DecryptRequest{Key: key, Family: f, Data: x.args.data,
		Binding: kms.RawBinding(x.args.aad), Layout: kms.LayoutEHSM, Padding: x.args.padding})
	defer clear(p.Data)
	if err != nil {
		return err
	}
	x.begin(success)
	x.base64("plaintext", p.Data)
	return nil
}

func generateDataKey(ctx context.Context, x *exchange) error { return x.dataKey(ctx, false) }

func wrapDataKey(ctx context.Context, x *exchange) error { return x.dataKey(ctx, true) }

func (x *exchange) dataKey(ctx context.Context, noPlaintext bool) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	d, err := x.caller.GenerateDataKey(ctx, kms.DataKeyRequest{
		Key: key, Length: x.args.length, Binding: kms.RawBinding(x.args.aad), Layout: kms.LayoutEHSM, NoPlaintext: noPlaintext})
	defer clear(d.Plaintext)
	if err != nil {
		return err
	}
	x.begin(success)
	if !noPlaintext {
		x.base64("plaintext", d.Plaintext)
	}
	x.base64("ciphertext", d.Wrapped)
	return nil
}

// input is what Sign and Verify are given. A missing digest_mode is the spec's
// default, and a padding is for the spec to ask for or to ignore.
func (x *exchange) input() kms.SigningInput {
	return kms.SigningInput{Message: x.args.data, Digest: x.args.digest,
		Prehashed: x.args.messageType == wire.Digest, Padding: x.args.padding, EHSM: true}
}

func sign(ctx context.Context, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	s, err := x.caller.Sign(ctx, kms.SignRequest{Key: key, Input: x.input()})
	if err != nil {
		return err
	}
	x.begin(success)
	x.base64("signature", s.Data)
	return nil
}

func verify(ctx context.Context, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	v, err := x.caller.Verify(ctx, kms.VerifyRequest{Key: key, Input: x.input(), Signature: x.args.proof})
	if err != nil {
		return err
	}
	x.begin(success)
	x.boolean("result", v.Valid)
	return nil
}

func generateMAC(ctx context.Context, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	m, err := x.caller.MAC(ctx, kms.MACRequest{Key: key, Message: x.args.data})
	if err != nil {
		return err
	}
	x.begin(success)
	x.base64("mac", m.Data)
	return nil
}

func verifyMAC(ctx context.Context, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	v, err := x.caller.VerifyMAC(ctx, kms.VerifyMACRequest{Key: key, Message: x.args.data, MAC: x.args.proof})
	if err != nil {
		return err
	}
	x.begin(success)
	x.boolean("result", v.Valid)
	return nil
}

func getPublicKey(ctx context.Context, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	p, err := x.caller.PublicKey(ctx, key)
	if err != nil {
		return err
	}
	text, err := publicPEM(p.DER)
	if err != nil {
		return err
	}
	x.begin(success)
	x.text("pubkey", text)
	x.text("keyid", key.ID.String())
	return nil
}

// listKey lists the first keys of the app; eHSM has no pages.
func listKey(ctx context.Context, x *exchange) error {
	page, err := x.caller.ListKeys(ctx, kms.ListKeysRequest{Limit: maxKeys})
	if err != nil {
		return err
	}
	x.begin(successful)
	x.name("list")
	x.append("[")
	for i := range page.Keys {
		x.listed(&page.Keys[i])
	}
	x.append("]")
	return nil
}

func (x *exchange) listed(k *kms.Key) {
	spec, ok := wire.SpecName(k.Spec)
	if !ok {
		spec = k.Spec.String() // made through another API
	}
	expires := int64(never)
	if !k.Expires.IsZero() {
		expires = k.Expires.UnixMilli()
	}
	state := int64(0)
	if k.State == kms.Enabled || k.State == kms.PendingImport { // eHSM's is about EnableKey alone
		state = 1
	}
	x.comma()
	x.append("{")
	x.text("keyid", k.ID.String())
	x.integer("creationDate", k.Created.UnixMilli())
	x.integer("expireTime", expires)
	x.text("alias", "")
	x.text("keyspec", spec)
	x.integer("keyState", state)
	x.append("}")
}

// deleteKey succeeds for a key that does not exist, as in eHSM.
func deleteKey(ctx context.Context, x *exchange) error {
	if !x.args.noKey {
		if err := x.caller.DeleteKey(ctx, x.args.key); err != nil {
			return heldAnswer(err)
		}
	}
	x.begin(successful)
	return nil
}

func deleteAllKey(ctx context.Context, x *exchange) error {
	if err := x.caller.DeleteAllKeys(ctx); err != nil {
		return heldAnswer(err)
	}
	x.begin(successful)
	return nil
}

func enableKey(ctx context.Context, x *exchange) error { return x.setEnabled(ctx, true) }

func disableKey(ctx context.Context, x *exchange) error { return x.setEnabled(ctx, false) }

func (x *exchange) setEnabled(ctx context.Context, enabled bool) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	if err := x.caller.SetKeyEnabled(ctx, key.ID, enabled); err != nil {
		return err
	}
	x.begin(successful)
	return nil
}
