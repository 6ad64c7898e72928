package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

func (keys) Encrypt(ctx context.Context, r *connect.Request[holdfastv1.EncryptRequest]) (*connect.Response[holdfastv1.EncryptResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	req := kms.EncryptRequest{Key: kms.KeyRef{ID: id}, Plaintext: r.Msg.GetPlaintext()}
	if err := cipherOf("", r.Msg.GetBinding(), r.Msg.GetLayout(), r.Msg.GetPadding(), &req.Binding, &req.Layout, &req.Padding); err != nil {
		return nil, err
	}
	defer clear(req.Plaintext)
	c, err := caller.Encrypt(ctx, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.EncryptResponse{KeyId: c.Key.ID.String(), Version: uint32(c.Key.Version), Ciphertext: c.Data}), nil
}

func (keys) Decrypt(ctx context.Context, r *connect.Request[holdfastv1.DecryptRequest]) (*connect.Response[holdfastv1.DecryptResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	req := kms.DecryptRequest{Data: r.Msg.GetCiphertext()}
	if req.Key.ID, err = sourceOf(ctx, caller, "key", r.Msg.GetKey(), r.Msg.GetLayout()); err != nil {
		return nil, err
	}
	if err := cipherOf("", r.Msg.GetBinding(), r.Msg.GetLayout(), r.Msg.GetPadding(), &req.Binding, &req.Layout, &req.Padding); err != nil {
		return nil, err
	}
	if err := versionOf("version", r.Msg.GetVersion(), &req.Key); err != nil {
		return nil, err
	}
	p, err := caller.Decrypt(ctx, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.DecryptResponse{KeyId: p.Key.ID.String(), Version: uint32(p.Key.Version), Plaintext: p.Data}), nil
}

func (keys) ReEncrypt(ctx context.Context, r *connect.Request[holdfastv1.ReEncryptRequest]) (*connect.Response[holdfastv1.ReEncryptResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	m := r.Msg
	var req kms.ReencryptRequest
	req.Source.Data = m.GetCiphertext()
	if req.Source.Key.ID, err = sourceOf(ctx, caller, "source_key", m.GetSourceKey(), m.GetSourceLayout()); err != nil {
		return nil, err
	}
	if req.Target.Key.ID, err = find(ctx, caller, "target_key", m.GetTargetKey()); err != nil {
		return nil, err
	}
	if err := cipherOf("source_", m.GetSourceBinding(), m.GetSourceLayout(), m.GetSourcePadding(), &req.Source.Binding, &req.Source.Layout, &req.Source.Padding); err != nil {
		return nil, err
	}
	if err := cipherOf("target_", m.GetTargetBinding(), m.GetTargetLayout(), m.GetTargetPadding(), &req.Target.Binding, &req.Target.Layout, &req.Target.Padding); err != nil {
		return nil, err
	}
	if err := versionOf("source_version", m.GetSourceVersion(), &req.Source.Key); err != nil {
		return nil, err
	}
	c, err := caller.Reencrypt(ctx, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.ReEncryptResponse{KeyId: c.Key.ID.String(), Version: uint32(c.Key.Version), Ciphertext: c.Data,
		SourceKeyId: c.Source.ID.String(), SourceVersion: uint32(c.Source.Version)}), nil
}

// versionOf adds the version that encrypted something to the key.
func versionOf(field string, n uint32, ref *kms.KeyRef) error {
	if n != 0 && ref.ID == (kms.KeyID{}) {
		return kms.Errorf(kms.Invalid, "a version without its key").WithField(field)
	}
	ref.Version = kms.KeyVersion(n)
	return nil
}

// sourceOf is the key that is to open a ciphertext: none, where that names it.
func sourceOf(ctx context.Context, caller Caller, field, name string, l holdfastv1.Layout) (kms.KeyID, error) {
	if name == "" && l == holdfastv1.Layout_LAYOUT_UNSPECIFIED {
		return kms.KeyID{}, nil
	}
	return find(ctx, caller, field, name)
}

// cipherOf reads what encrypting and decrypting have in common. prefix is that of
// the members' names.
func cipherOf(prefix string, bm *holdfastv1.Binding, lm holdfastv1.Layout, pm string, b *kms.Binding, l *kms.Layout, p *kms.Padding) (err error) {
	switch lm {
	case holdfastv1.Layout_LAYOUT_UNSPECIFIED:
		*l = kms.LayoutOwn
	case holdfastv1.Layout_LAYOUT_EHSM:
		*l = kms.LayoutEHSM
	default:
		return kms.Errorf(kms.Invalid, "unknown layout").WithField(prefix + "layout")
	}
	if *b, err = bindingOf(prefix+"binding", bm); err != nil {
		return err
	}
	if *p, err = kms.ParsePadding(pm, kms.PaddingOAEP); err != nil {
		return kms.Errorf(kms.Invalid, "unknown padding").WithField(prefix + "padding")
	}
	return nil
}

func bindingOf(field string, m *holdfastv1.Binding) (kms.Binding, error) {
	b := kms.RawBinding(m.GetAad())
	if len(m.GetContext()) > 0 {
		if !b.IsZero() {
			return b, kms.Errorf(kms.Invalid, "either bytes or a map").WithField(field)
		}
		b = kms.ContextBinding(m.GetContext())
	}
	if b.Size() > kms.MaxBinding {
		return b, kms.Errorf(kms.TooLarge, "a binding of %d bytes, at most %d", b.Size(), kms.MaxBinding).WithField(field)
	}
	return b, nil
}

// defaultDataKey is the length of a data key where none is said: AES-256's.
const defaultDataKey = 32

func (keys) GenerateDataKey(ctx context.Context, r *connect.Request[holdfastv1.GenerateDataKeyRequest]) (*connect.Response[holdfastv1.GenerateDataKeyResponse], error) {
	k, err := dataKey(ctx, r.Msg, false)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GenerateDataKeyResponse{KeyId: k.Key.ID.String(), Version: uint32(k.Key.Version), Plaintext: k.Plaintext, Ciphertext: k.Wrapped}), nil
}

func (keys) GenerateDataKeyWithoutPlaintext(ctx context.Context, r *connect.Request[holdfastv1.GenerateDataKeyWithoutPlaintextRequest]) (*connect.Response[holdfastv1.GenerateDataKeyWithoutPlaintextResponse], error) {
	k, err := dataKey(ctx, r.Msg, true)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GenerateDataKeyWithoutPlaintextResponse{KeyId: k.Key.ID.String(), Version: uint32(k.Key.Version), Ciphertext: k.Wrapped}), nil
}

// A dataKeyMessage asks for a data key, in clear beside or not.
type dataKeyMessage interface {
	GetKey() string
	GetLength() uint32
	GetBinding() *holdfastv1.Binding
	GetLayout() holdfastv1.Layout
}

func dataKey(ctx context.Context, m dataKeyMessage, wrappedOnly bool) (kms.DataKey, error) {
	caller, id, err := keyOf(ctx, "key", m.GetKey())
	if err != nil {
		return kms.DataKey{}, err
	}
	req := kms.DataKeyRequest{Key: kms.KeyRef{ID: id}, Length: int(m.GetLength()), NoPlaintext: wrappedOnly}
	if req.Length == 0 {
		req.Length = defaultDataKey
	}
	var none kms.Padding
	if err := cipherOf("", m.GetBinding(), m.GetLayout(), "", &req.Binding, &req.Layout, &none); err != nil {
		return kms.DataKey{}, err
	}
	return caller.GenerateDataKey(ctx, req)
}

func (keys) GenerateRandom(ctx context.Context, r *connect.Request[holdfastv1.GenerateRandomRequest]) (*connect.Response[holdfastv1.GenerateRandomResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	b, err := caller.Random(ctx, int(r.Msg.GetLength()))
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GenerateRandomResponse{Random: b}), nil
}
