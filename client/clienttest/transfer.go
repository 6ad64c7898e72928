package clienttest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/client/internal/kwp"
	"github.com/holdfast-kms/holdfast/kms"
)

var (
	importFailed  = &refusal{500, "Import key failed."}
	importMisused = &refusal{500, "ImportKeyMaterial failed."}
	tokenFailed   = &refusal{500, "ImportToken failed."}
)

func importParameters(a *tenant, p payload) (fields, *refusal) {
	k, no := a.find(p.KeyID)
	if no != nil {
		return nil, no
	}
	spec, _ := wire.ParseSpec(p.KeySpec)
	wrapping, ok := rsaKeys[spec]
	if !ok || k.secret != nil {
		return nil, misused
	}
	k.wrapping, k.token = wrapping(), base64.StdEncoding.EncodeToString(random(48))
	return fields{"pubkey": rsaPEM(&k.wrapping.PublicKey), "importToken": k.token}, nil
}

func importMaterial(a *tenant, p payload) (fields, *refusal) {
	k, no := a.find(p.KeyID)
	switch {
	case no != nil:
		return nil, no
	case k.secret != nil || k.wrapping == nil:
		return nil, importMisused
	case p.Token != k.token:
		return nil, tokenFailed
	}
	material, err := unwrap(k.wrapping, p)
	if err != nil {
		return nil, importFailed
	}
	if k.secret = load(k.spec, material); k.secret == nil {
		return nil, importFailed
	}
	k.wrapping, k.token = nil, ""
	return fields{"result": true}, nil
}

func unwrap(priv *rsa.PrivateKey, p payload) ([]byte, error) {
	if p.PaddingMode != "EH_RSA_AES_KEY_WRAP" {
		padding, _ := wire.ParsePadding(p.PaddingMode)
		return decryptRSA(priv, p.Material, padding)
	}
	head := min(priv.Size(), len(p.Material))
	kek, err := decryptRSA(priv, p.Material[:head], kms.PaddingOAEP)
	if err != nil {
		return nil, err
	}
	return kwp.Unwrap(kek, p.Material[head:])
}

// load makes a secret of material, nil where it does not fit the spec.
func load(c *kms.Capability, material []byte) any {
	if c.Family == kms.MAC || aesBytes[c.Spec] == len(material) && len(material) > 0 {
		return material
	}
	parsed, err := x509.ParsePKCS8PrivateKey(material)
	if err != nil {
		parsed, err = x509.ParsePKCS1PrivateKey(material)
	}
	if err != nil {
		parsed, err = x509.ParseECPrivateKey(material)
	}
	if err != nil {
		return nil
	}
	switch k := parsed.(type) {
	case *rsa.PrivateKey:
		if _, is := rsaKeys[c.Spec]; is && k.N.BitLen() == c.Bits {
			return k
		}
	case *ecdsa.PrivateKey:
		if curves[c.Spec] == k.Curve {
			return k
		}
	case ed25519.PrivateKey:
		if c.Spec == kms.Ed25519 {
			return k
		}
	}
	return nil
}

func exportKey(a *tenant, p payload) (fields, *refusal) {
	k, no := a.find(p.KeyID)
	if no != nil {
		return nil, no
	}
	if !k.exportable || k.secret == nil {
		return nil, misused
	}
	spec, _ := wire.SpecName(k.spec.Spec)
	if raw, ok := k.secret.([]byte); ok {
		return fields{"key_material": raw, "keyspec": spec}, nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(k.secret)
	if err != nil {
		return nil, misused
	}
	return fields{"key_material": der, "keyspec": spec}, nil
}
