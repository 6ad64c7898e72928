package client

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

var (
	actNativeEncrypt    = action{name: "Encrypt", repeatable: true}
	actNativeDecrypt    = action{name: "Decrypt", repeatable: true}
	actReEncrypt        = action{name: "ReEncrypt", repeatable: true}
	actNativeDataKey    = action{name: "GenerateDataKey", repeatable: true}
	actNativeWrapped    = action{name: "GenerateDataKeyWithoutPlaintext", repeatable: true}
	actNativeSign       = action{name: "Sign", repeatable: true}
	actNativeVerify     = action{name: "Verify", repeatable: true}
	actNativePublic     = action{name: "GetPublicKey", repeatable: true}
	actGenerateMac      = action{name: "GenerateMac", repeatable: true}
	actNativeVerifyMac  = action{name: "VerifyMac", repeatable: true}
	actGenerateRandom   = action{name: "GenerateRandom", repeatable: true}
	actNativeParameters = action{name: "GetImportParameters", repeatable: true}
	actNativeImport     = action{name: "ImportKeyMaterial"}
	actNativeExport     = action{name: "ExportKey", repeatable: true}
)

// CipherOptions say how something is encrypted. To open it takes the same.
type CipherOptions struct {
	// Binding is what the ciphertext opens with alone. AES-GCM only.
	Binding kms.Binding
	// Layout is LayoutEHSM for what eHSM's API has made or is to open. Zero: the
	// native one, where the spec has it.
	Layout kms.Layout
	// Padding of RSA keys; zero: OAEP.
	Padding kms.Padding
	// Version that encrypted, to open what does not name it and is of none of the
	// newest 16; zero: those are tried. To encrypt it means nothing.
	Version kms.KeyVersion
}

func (o CipherOptions) messages() (b *holdfastv1.Binding, l holdfastv1.Layout, padding string) {
	if o.Layout == kms.LayoutEHSM {
		l = holdfastv1.Layout_LAYOUT_EHSM
	}
	if o.Padding != 0 {
		padding = o.Padding.String()
	}
	if o.Binding.IsZero() {
		return nil, l, padding
	}
	b = &holdfastv1.Binding{}
	var isMap bool
	if b.Context, isMap = o.Binding.Context(); !isMap {
		b.Aad, _ = o.Binding.Raw()
	}
	return b, l, padding
}

// Encrypt encrypts 1 to kms.MaxPlaintext bytes under a key's current version. The
// ciphertext names key and version, where the spec's can.
func (k Keys) Encrypt(ctx context.Context, key string, plaintext []byte, o CipherOptions) (kms.Ciphertext, error) {
	b, l, padding := o.messages()
	r, err := callNative(ctx, k.c, actNativeEncrypt, k.c.keyService().Encrypt,
		&holdfastv1.EncryptRequest{Key: key, Plaintext: plaintext, Binding: b, Layout: l, Padding: padding})
	if err != nil {
		return kms.Ciphertext{}, err
	}
	ref, err := refOf(actNativeEncrypt, r, r.GetCiphertext())
	return kms.Ciphertext{Key: ref, Data: r.GetCiphertext()}, err
}

// Decrypt opens what Encrypt or GenerateDataKey made. Without a key, "", the
// ciphertext names it. Errors: DecryptFailed, whatever the cause.
func (k Keys) Decrypt(ctx context.Context, key string, ciphertext []byte, o CipherOptions) (kms.Plaintext, error) {
	b, l, padding := o.messages()
	r, err := callNative(ctx, k.c, actNativeDecrypt, k.c.keyService().Decrypt,
		&holdfastv1.DecryptRequest{Key: key, Ciphertext: ciphertext, Binding: b, Layout: l, Padding: padding, Version: uint32(o.Version)})
	if err != nil {
		return kms.Plaintext{}, err
	}
	ref, err := refOf(actNativeDecrypt, r)
	return kms.Plaintext{Key: ref, Data: r.GetPlaintext()}, err
}

// A Move says from where to where Reencrypt moves a ciphertext.
type Move struct {
	Source string // key; "": the ciphertext names it
	From   CipherOptions
	Target string // key
	To     CipherOptions
}

// Reencrypt opens a ciphertext in the node and encrypts what is in it anew,
// under the current version of another key or of its own. Errors: DecryptFailed.
func (k Keys) Reencrypt(ctx context.Context, ciphertext []byte, m Move) (out kms.Reencrypted, err error) {
	req := &holdfastv1.ReEncryptRequest{SourceKey: m.Source, TargetKey: m.Target, Ciphertext: ciphertext}
	req.SourceBinding, req.SourceLayout, req.SourcePadding = m.From.messages()
	req.SourceVersion = uint32(m.From.Version)
	req.TargetBinding, req.TargetLayout, req.TargetPadding = m.To.messages()
	r, err := callNative(ctx, k.c, actReEncrypt, k.c.keyService().ReEncrypt, req)
	if err != nil {
		return out, err
	}
	out.Data = r.GetCiphertext()
	if out.Key, err = refOf(actReEncrypt, r, r.GetCiphertext()); err != nil {
		return out, err
	}
	source, err := kms.ParseKeyID(r.GetSourceKeyId())
	if err != nil {
		return out, garbled(actReEncrypt, 0, err)
	}
	out.Source = kms.KeyRef{ID: source, Version: kms.KeyVersion(r.GetSourceVersion())}
	return out, nil
}

// GenerateDataKey makes 1 to kms.MaxDataKey random bytes, zero being 32, in clear
// and encrypted under a key.
func (k Keys) GenerateDataKey(ctx context.Context, key string, length int, o CipherOptions) (kms.DataKey, error) {
	b, l, _ := o.messages()
	r, err := callNative(ctx, k.c, actNativeDataKey, k.c.keyService().GenerateDataKey,
		&holdfastv1.GenerateDataKeyRequest{Key: key, Length: uint32(max(0, length)), Binding: b, Layout: l})
	if err != nil {
		return kms.DataKey{}, err
	}
	ref, err := refOf(actNativeDataKey, r, r.GetPlaintext(), r.GetCiphertext())
	return kms.DataKey{Key: ref, Plaintext: r.GetPlaintext(), Wrapped: r.GetCiphertext()}, err
}

// GenerateDataKeyWithoutPlaintext is GenerateDataKey for who is to open the data
// key later.
func (k Keys) GenerateDataKeyWithoutPlaintext(ctx context.Context, key string, length int, o CipherOptions) (kms.DataKey, error) {
	b, l, _ := o.messages()
	r, err := callNative(ctx, k.c, actNativeWrapped, k.c.keyService().GenerateDataKeyWithoutPlaintext,
		&holdfastv1.GenerateDataKeyWithoutPlaintextRequest{Key: key, Length: uint32(max(0, length)), Binding: b, Layout: l})
	if err != nil {
		return kms.DataKey{}, err
	}
	ref, err := refOf(actNativeWrapped, r, r.GetCiphertext())
	return kms.DataKey{Key: ref, Wrapped: r.GetCiphertext()}, err
}

// signingNames are a digest and a padding as messages have them; zero is "".
func signingNames(in kms.SigningInput) (digest, padding string) {
	if in.Digest != 0 {
		digest = in.Digest.String()
	}
	if in.Padding != 0 {
		padding = in.Padding.String()
	}
	return digest, padding
}

// Sign signs a message, or the digest of one. Zero Digest and Padding are the
// spec's default, and PSS.
func (k Keys) Sign(ctx context.Context, key string, in kms.SigningInput) (kms.Signature, error) {
	digest, padding := signingNames(in)
	r, err := callNative(ctx, k.c, actNativeSign, k.c.keyService().Sign,
		&holdfastv1.SignRequest{Key: key, Message: in.Message, Prehashed: in.Prehashed, Digest: digest, Padding: padding})
	if err != nil {
		return kms.Signature{}, err
	}
	ref, err := refOf(actNativeSign, r, r.GetSignature())
	return kms.Signature{Key: ref, Data: r.GetSignature()}, err
}

// Verify asks whether a signature is good. A bad one is no error.
func (k Keys) Verify(ctx context.Context, key string, in kms.SigningInput, signature []byte) (kms.Verification, error) {
	digest, padding := signingNames(in)
	r, err := callNative(ctx, k.c, actNativeVerify, k.c.keyService().Verify,
		&holdfastv1.VerifyRequest{Key: key, Message: in.Message, Prehashed: in.Prehashed, Digest: digest, Padding: padding, Signature: signature})
	if err != nil {
		return kms.Verification{}, err
	}
	ref, err := refOf(actNativeVerify, r)
	return kms.Verification{Key: ref, Valid: err == nil && r.GetValid()}, err
}

// PublicKey returns the public half of a key.
func (k Keys) PublicKey(ctx context.Context, key string) (kms.PublicKey, error) {
	r, err := callNative(ctx, k.c, actNativePublic, k.c.keyService().GetPublicKey, &holdfastv1.GetPublicKeyRequest{Key: key})
	if err != nil {
		return kms.PublicKey{}, err
	}
	out := kms.PublicKey{DER: r.GetPublicKey()}
	out.Spec, _ = kms.ParseSpec(r.GetSpec())
	out.Key, err = refOf(actNativePublic, r, r.GetPublicKey())
	return out, err
}

// GenerateMac makes the MAC of a message.
func (k Keys) GenerateMac(ctx context.Context, key string, message []byte) (kms.MessageMAC, error) {
	r, err := callNative(ctx, k.c, actGenerateMac, k.c.keyService().GenerateMac, &holdfastv1.GenerateMacRequest{Key: key, Message: message})
	if err != nil {
		return kms.MessageMAC{}, err
	}
	ref, err := refOf(actGenerateMac, r, r.GetMac())
	return kms.MessageMAC{Key: ref, Data: r.GetMac()}, err
}

// VerifyMac asks whether a MAC is that of a message. A bad one is no error.
func (k Keys) VerifyMac(ctx context.Context, key string, message, mac []byte) (kms.Verification, error) {
	r, err := callNative(ctx, k.c, actNativeVerifyMac, k.c.keyService().VerifyMac, &holdfastv1.VerifyMacRequest{Key: key, Message: message, Mac: mac})
	if err != nil {
		return kms.Verification{}, err
	}
	ref, err := refOf(actNativeVerifyMac, r)
	return kms.Verification{Key: ref, Valid: err == nil && r.GetValid()}, err
}

// Random returns 1 to kms.MaxRandom random bytes of the node's.
func (k Keys) Random(ctx context.Context, n int) ([]byte, error) {
	r, err := callNative(ctx, k.c, actGenerateRandom, k.c.keyService().GenerateRandom, &holdfastv1.GenerateRandomRequest{Length: uint32(max(0, n))})
	if err != nil {
		return nil, err
	}
	if len(r.GetRandom()) != n {
		return nil, garbled(actGenerateRandom, 0, nil)
	}
	return r.GetRandom(), nil
}

// ImportParameters asks for a public key to wrap the material of an Imported key
// to, of one of the RSA specs or SM2; zero is RSA-3072.
func (k Keys) ImportParameters(ctx context.Context, key string, wrapping kms.Spec) (out kms.ImportParameters, err error) {
	m := &holdfastv1.GetImportParametersRequest{Key: key}
	if wrapping != 0 {
		m.WrappingSpec = wrapping.String()
	}
	r, err := callNative(ctx, k.c, actNativeParameters, k.c.keyService().GetImportParameters, m)
	if err != nil {
		return out, err
	}
	out = kms.ImportParameters{PublicKey: r.GetPublicKey(), Token: r.GetToken(), Expires: timeOf(r.GetExpires())}
	if out.Key.ID, err = kms.ParseKeyID(r.GetKeyId()); err != nil || len(out.PublicKey) == 0 || len(out.Token) == 0 {
		return out, garbled(actNativeParameters, 0, err)
	}
	return out, nil
}

// ImportMaterial brings material that WrapKey wrapped. Errors: DecryptFailed
// where it does not open or does not fit the key, Expired for an old token.
func (k Keys) ImportMaterial(ctx context.Context, key string, token []byte, w kms.Wrapping, material []byte) (kms.KeyRef, error) {
	r, err := callNative(ctx, k.c, actNativeImport, k.c.keyService().ImportKeyMaterial,
		&holdfastv1.ImportKeyMaterialRequest{Key: key, Token: token, Wrapping: w.String(), Material: material})
	if err != nil {
		return kms.KeyRef{}, err
	}
	return refOf(actNativeImport, r)
}

// Export returns the material of an exportable key: PKCS #8 DER of an asymmetric
// key, the raw key of others. Version zero is the current one.
func (k Keys) Export(ctx context.Context, key string, v kms.KeyVersion) (kms.ExportedKey, error) {
	r, err := callNative(ctx, k.c, actNativeExport, k.c.keyService().ExportKey, &holdfastv1.ExportKeyRequest{Key: key, Version: uint32(v)})
	if err != nil {
		return kms.ExportedKey{}, err
	}
	out := kms.ExportedKey{Material: r.GetMaterial()}
	out.Spec, _ = kms.ParseSpec(r.GetSpec())
	out.Key, err = refOf(actNativeExport, r, r.GetMaterial())
	return out, err
}

// refOf reads which version of which key a reply is about, and asks that none of
// its members is missing.
func refOf(a action, m interface {
	GetKeyId() string
	GetVersion() uint32
}, members ...[]byte) (kms.KeyRef, error) {
	id, err := kms.ParseKeyID(m.GetKeyId())
	if err != nil {
		return kms.KeyRef{}, garbled(a, 0, err)
	}
	return kms.KeyRef{ID: id, Version: kms.KeyVersion(m.GetVersion())}, orMissing(a, nil, members...)
}
