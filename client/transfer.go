package client

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/client/internal/kwp"
	"github.com/holdfast-kms/holdfast/kms"
)

// wrappingSpec is the key that ImportKey wraps to: 128 bits of security, made in
// a fraction of a second.
const wrappingSpec = kms.RSA3072

// ImportKey gives an Imported key, made with CreateKey, its material. The
// material is wrapped here, to a key that the node makes for this one import; in
// clear it does not leave this process. It is, for symmetric and HMAC keys, the
// raw key; for RSA PKCS #8 or PKCS #1; for EC and SM2 PKCS #8, SEC 1 or the raw
// private number; for Ed25519 PKCS #8 or the raw seed (RFC 8032); all in DER.
// Errors: Invalid for material that does not fit the key, Misused for a key that
// waits for none, NotFound, Foreign.
func (c *Client) ImportKey(ctx context.Context, id kms.KeyID, material []byte) error {
	p, err := c.ImportParameters(ctx, id, wrappingSpec)
	if err != nil {
		return err
	}
	w := kms.WrapOAEPAES
	if len(material) <= maxOAEPMaterial {
		w = kms.WrapOAEP
	}
	wrapped, err := WrapKey(p.PublicKey, w, material)
	if err != nil {
		return err
	}
	return c.ImportKeyMaterial(ctx, kms.ImportRequest{Key: id, Token: p.Token, Wrapping: w, Material: wrapped})
}

// maxOAEPMaterial is the longest material that OAEP alone wraps: every
// symmetric key, and no private key in DER.
const maxOAEPMaterial = 64

// ImportParameters asks for a fresh public key to wrap the material of an
// Imported key to, of one of the RSA specs or SM2, and for the token that proves
// to the node that it made it. Both are good for one import, within 24 hours;
// Expires stays zero. ImportKey does all of it; this is for material that
// another machine wraps.
func (c *Client) ImportParameters(ctx context.Context, id kms.KeyID, spec kms.Spec) (kms.ImportParameters, error) {
	name, ok := wire.SpecName(spec)
	if !ok {
		return kms.ImportParameters{}, misuse(actParameters, kms.Invalid, "", "unknown key spec")
	}
	r, err := call[struct {
		PEM   string `json:"pubkey"`
		Token string `json:"importToken"`
	}](ctx, c, actParameters, struct {
		keyPayload
		KeySpec string `json:"keyspec"`
	}{keyPayload{id}, name})
	if err != nil {
		return kms.ImportParameters{}, err
	}
	got, der, err := parsePublicKey(r.PEM)
	if err != nil || got != spec || r.Token == "" {
		return kms.ImportParameters{}, garbled(actParameters, 0, err)
	}
	return kms.ImportParameters{Key: kms.KeyRef{ID: id}, PublicKey: der, Token: []byte(r.Token)}, nil
}

// ImportKeyMaterial brings material that WrapKey wrapped. Errors: as ImportKey;
// DecryptFailed where it was wrapped to another key, Expired for an old token.
func (c *Client) ImportKeyMaterial(ctx context.Context, req kms.ImportRequest) error {
	name, ok := wire.WrappingName(req.Wrapping)
	if !ok {
		return misuse(actImport, kms.Invalid, "", "unknown wrapping")
	}
	if n := len(req.Material); n == 0 || n > kms.MaxPlaintext {
		return misuse(actImport, kms.Invalid, "", "wrapped material has 1 to %d bytes, not %d", kms.MaxPlaintext, n)
	}
	done, err := c.judge(ctx, actImport, struct {
		keyPayload
		PaddingMode string `json:"padding_mode"`
		Material    []byte `json:"key_material"`
		Token       string `json:"importToken"`
	}{keyPayload{req.Key}, name, req.Material, string(req.Token)})
	if err == nil && !done {
		err = garbled(actImport, 0, nil)
	}
	return err
}

// WrapKey wraps key material to the public key of ImportParameters, an RSA
// SubjectPublicKeyInfo in DER; this SDK has no SM2. OAEP is with SHA-256, MGF1 with SHA-256 and no
// label (RFC 8017); WrapOAEPAES is that of a fresh AES-256 key, followed by the
// material under that key by AES-KWP (RFC 5649): CKM_RSA_AES_KEY_WRAP of PKCS #11.
func WrapKey(publicKey []byte, w kms.Wrapping, material []byte) ([]byte, error) {
	parsed, err := x509.ParsePKIXPublicKey(publicKey)
	pub, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, misuse(actImport, kms.Invalid, "", "the wrapping key is not an RSA key")
	}
	if len(material) == 0 {
		return nil, misuse(actImport, kms.Invalid, "", "the key material is empty")
	}
	switch w {
	case kms.WrapOAEP:
		return wrapOAEP(pub, material)
	case kms.WrapPKCS1:
		//lint:ignore SA1019 eHSM has it. What is unsafe is to decrypt it.
		wrapped, err := rsa.EncryptPKCS1v15(rand.Reader, pub, material)
		return wrapped, orTooLong(err)
	case kms.WrapOAEPAES:
		return wrapOAEPAES(pub, material)
	}
	return nil, misuse(actImport, kms.Invalid, "", "unknown wrapping")
}

func wrapOAEP(pub *rsa.PublicKey, material []byte) ([]byte, error) {
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, pub, material, nil)
	return wrapped, orTooLong(err)
}

func wrapOAEPAES(pub *rsa.PublicKey, material []byte) ([]byte, error) {
	kek := make([]byte, 32)
	defer clear(kek)
	rand.Read(kek)
	head, err := wrapOAEP(pub, kek)
	if err != nil {
		return nil, err
	}
	body, err := kwp.Wrap(kek, material)
	if err != nil {
		return nil, orTooLong(err)
	}
	return append(head, body...), nil
}

// orTooLong is what else can be wrong with material.
func orTooLong(err error) error {
	if err == nil {
		return nil
	}
	return misuse(actImport, kms.TooLarge, "wrap it with WrapOAEPAES", "the key material is too long for the wrapping")
}

// ExportKey returns the private half or secret of a key that was created
// exportable: PKCS #8 DER of an asymmetric key, the raw key of others. Spec is zero
// where this SDK does not know it. From then on the key is as safe as what you keep
// it in. Errors: Denied or Misused for a key that was not created so, NotFound,
// Foreign, Disabled.
func (c *Client) ExportKey(ctx context.Context, id kms.KeyID) (kms.ExportedKey, error) {
	if c.v1 {
		return kms.ExportedKey{}, errNotV1(actExport, "the export of a key")
	}
	r, err := call[struct {
		Material []byte `json:"key_material"`
		KeySpec  string `json:"keyspec"`
	}](ctx, c, actExport, keyPayload{id})
	if err := orMissing(actExport, err, r.Material); err != nil {
		return kms.ExportedKey{}, err
	}
	spec, _ := wire.ParseSpec(r.KeySpec)
	return kms.ExportedKey{Key: kms.KeyRef{ID: id}, Spec: spec, Material: r.Material}, nil
}
