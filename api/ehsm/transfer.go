package ehsm

import (
	"context"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// exportDataKey always uses OAEP, whatever padding is sent: as eHSM does. For a
// key without paddings it means nothing.
func exportDataKey(ctx context.Context, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	if x.args.noTarget {
		return kms.NotFound
	}
	c, err := x.caller.Rewrap(ctx, kms.RewrapRequest{Key: key, Data: x.args.data, Binding: kms.RawBinding(x.args.aad),
		Layout: kms.LayoutEHSM, Target: kms.KeyRef{ID: x.args.target}, Padding: kms.PaddingOAEP})
	if err != nil {
		return err
	}
	x.begin(success)
	x.base64("newdatakey", c.Data)
	return nil
}

func importParameters(ctx context.Context, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	p, err := x.caller.ImportParameters(ctx, kms.ImportParametersRequest{Key: key.ID, Spec: x.args.spec})
	if err != nil {
		return err
	}
	text, err := publicPEM(p.PublicKey)
	if err != nil {
		return err
	}
	x.begin(success)
	x.text("pubkey", text)
	x.base64("importToken", p.Token)
	return nil
}

func importKey(ctx context.Context, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	if len(x.args.token) == 0 {
		return &importFailed
	}
	if _, err := x.caller.ImportKey(ctx, kms.ImportRequest{
		Key: key.ID, Token: x.args.token, Wrapping: x.args.wrapping, Material: x.args.data}); err != nil {
		return err
	}
	x.begin(success)
	x.boolean("result", true)
	return nil
}

func exportKey(ctx context.Context, x *exchange) error {
	key, err := x.key()
	if err != nil {
		return err
	}
	e, err := x.caller.ExportKey(ctx, key)
	defer clear(e.Material)
	if err != nil {
		return err
	}
	x.begin(success)
	x.base64("key_material", e.Material)
	x.text("keyid", key.ID.String())
	if spec, ok := wire.SpecName(e.Spec); ok {
		x.text("keyspec", spec)
	}
	return nil
}

// subjectPublicKeyInfo is RFC 5280, section 4.1.
type subjectPublicKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Key       asn1.BitString
}

var oidRSA = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1} // rsaEncryption, RFC 8017, appendix C

// publicPEM prints a public key, SubjectPublicKeyInfo in DER, as eHSM does: RSA as
// PKCS #1, which is all that its Rust SDK reads, any other as it is.
func publicPEM(der []byte) (string, error) {
	var info subjectPublicKeyInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return "", kms.Errorf(kms.Internal, "the core's public key is not SubjectPublicKeyInfo")
	}
	block := pem.Block{Type: "PUBLIC KEY", Bytes: der}
	if info.Algorithm.Algorithm.Equal(oidRSA) {
		block = pem.Block{Type: "RSA PUBLIC KEY", Bytes: info.Key.RightAlign()}
	}
	return string(pem.EncodeToMemory(&block)), nil
}
