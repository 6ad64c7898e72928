package compat_test

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg/kwp"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

const (
	gcmIV  = 96  // bits that AES-GCM here always takes
	gcmTag = 128 // and gives
)

var digests = map[string]kms.Digest{"SHA-224": kms.SHA224, "SHA-256": kms.SHA256, "SHA-384": kms.SHA384, "SHA-512": kms.SHA512}

func digestOf(g *group) (kms.Digest, error) {
	if d, ok := digests[g.SHA]; ok {
		return d, nil
	}
	return 0, skip("digest is not one of SHA-224 to SHA-512")
}

var errSize = skip("RSA key is not of 2048, 3072 or 4096 bits")

func rsaSpec(g *group) (kms.Spec, error) {
	s, ok := map[int]kms.Spec{2048: kms.RSA2048, 3072: kms.RSA3072, 4096: kms.RSA4096}[g.KeySize]
	if !ok {
		return 0, errSize
	}
	return s, nil
}

// A slot names a key; the vectors of a group share one, and parsing is slow.
type slot struct {
	spec kms.Spec
	key  string
}

var parsed = map[slot]alg.Key{}

func keep(s kms.Spec, key []byte, parse func() (alg.Key, error)) (alg.Key, error) {
	at := slot{s, string(key)}
	if k, ok := parsed[at]; ok {
		return k, nil
	}
	k, err := parse()
	if err == nil {
		parsed[at] = k
	}
	return k, err
}

func imported(s kms.Spec, material []byte) (alg.Key, error) {
	return keep(s, material, func() (alg.Key, error) {
		stored, err := alg.Import(s, secret.Copy(material))
		if err != nil {
			return alg.Key{}, err
		}
		return alg.Parse(s, stored)
	})
}

func public(s kms.Spec, spki []byte) (alg.Key, error) {
	return keep(s, spki, func() (alg.Key, error) { return alg.ParsePublic(s, spki) })
}

func runAEAD(g *group, v *vector) error {
	spec := map[int]kms.Spec{128: kms.AES128GCM, 192: kms.AES192GCM, 256: kms.AES256GCM}[g.KeySize]
	if g.IVSize != gcmIV {
		return skip("GCM nonce is not of 96 bits")
	}
	if g.TagSize != gcmTag {
		return skip("GCM tag is not of 128 bits")
	}
	k, err := imported(spec, v.Key)
	if err != nil {
		return err
	}
	got, err := k.Decrypt(nil, slices.Concat(v.CT, v.IV, v.Tag), v.AAD)
	if err := opened(v, got, err); err != nil || !v.valid() {
		return err
	}
	body, err := k.Encrypt(nil, v.Msg, v.AAD)
	if err != nil {
		return err
	}
	got, err = k.Decrypt(nil, body, v.AAD)
	return opened(v, got, err)
}

// refused says whether the import of a key ended as it should.
func refused(what string, err error) error {
	var why skip
	if errors.As(err, &why) {
		return why
	}
	if errors.Is(err, kms.Invalid) {
		return nil
	}
	return fmt.Errorf("a key with %s is imported: %v", what, err)
}

// rsaPrivate imports the group's private key.
func rsaPrivate(g *group) (alg.Key, error) {
	s, err := rsaSpec(g)
	if err != nil {
		return alg.Key{}, err
	}
	return imported(s, g.PrivateKeyPKCS8)
}

func runOAEP(g *group, v *vector) error {
	if isThreePrimes(g) {
		_, err := rsaPrivate(g)
		return refused("three primes", err)
	}
	if g.SHA != "SHA-256" || g.MGFSHA != "SHA-256" {
		return skip("OAEP is not with SHA-256 in both places")
	}
	if len(v.Label) > 0 {
		return skip("OAEP has a label")
	}
	k, err := rsaPrivate(g)
	if err != nil {
		return err
	}
	got, err := k.AsymmetricDecrypt(v.CT, kms.PaddingOAEP)
	return opened(v, got, err)
}

// isThreePrimes reads the version of the PKCS #1 key within PKCS #8: 1 is for
// more primes than two (RFC 8017, appendix A.1.2).
func isThreePrimes(g *group) bool {
	var outer struct {
		Version   int
		Algorithm asn1.RawValue
		Key       []byte
	}
	var inner struct {
		Version int
		N       asn1.RawValue
	}
	if _, err := asn1.Unmarshal(g.PrivateKeyPKCS8, &outer); err != nil {
		return false
	}
	_, err := asn1.Unmarshal(outer.Key, &inner)
	return err == nil && inner.Version == 1
}

// runPKCS1Decrypt knows that a wrong padding is no error: it opens to bytes that
// are the same each time, and not what the vector says was lost.
func runPKCS1Decrypt(g *group, v *vector) error {
	k, err := rsaPrivate(g)
	if err != nil {
		return err
	}
	got, err := k.AsymmetricDecrypt(v.CT, kms.PaddingPKCS1)
	if !v.invalid() {
		return opened(v, got, err)
	}
	again, errAgain := k.AsymmetricDecrypt(v.CT, kms.PaddingPKCS1)
	if !bytes.Equal(got, again) || (err == nil) != (errAgain == nil) {
		return fmt.Errorf("opens in two ways: %x, %v and %x, %v", got, err, again, errAgain)
	}
	if err != nil && (!errors.Is(err, kms.DecryptFailed) || !slices.Contains(v.Flags, "InvalidCiphertextFormat")) {
		return fmt.Errorf("says that the padding is wrong: %v", err)
	}
	if err == nil && len(v.Msg) > 0 && bytes.Equal(got, v.Msg) {
		return fmt.Errorf("opens to %x", got)
	}
	return nil
}

func runPKCS1Verify(g *group, v *vector) error {
	return runRSAVerify(g, v, kms.PaddingPKCS1)
}

func runPSS(g *group, v *vector) error {
	d, err := digestOf(g)
	if err != nil {
		return err
	}
	if g.MGFSHA != g.SHA {
		return skip("PSS is not with one digest in both places")
	}
	if g.SLen != d.Size() {
		return skip("PSS salt is not as long as the digest")
	}
	return runRSAVerify(g, v, kms.PaddingPSS)
}

func runRSAVerify(g *group, v *vector, p kms.Padding) error {
	d, err := digestOf(g)
	if err != nil {
		return err
	}
	s, err := rsaSpec(g)
	if err != nil {
		return err
	}
	k, err := public(s, g.PublicKeyDER)
	if err != nil {
		return err
	}
	ok, err := k.Verify(kms.SigningInput{Message: v.Msg, Digest: d, Padding: p}, v.Sig)
	return verified(v, ok, err)
}

// runPKCS1Sign compares whole signatures: PKCS #1 v1.5 leaves nothing to chance.
func runPKCS1Sign(g *group, v *vector) error {
	d, err := digestOf(g)
	if err != nil {
		return err
	}
	k, err := rsaPrivate(g)
	if slices.Contains(v.Flags, "SmallPublicKey") {
		return refused("a public exponent below 65537", err)
	}
	if err != nil {
		return err
	}
	sig, err := k.Sign(kms.SigningInput{Message: v.Msg, Digest: d, Padding: kms.PaddingPKCS1})
	if err != nil {
		return err
	}
	if !bytes.Equal(sig, v.Sig) {
		return fmt.Errorf("signature is %x", sig)
	}
	return nil
}

// curves are ours, by the identifier of RFC 5480 within a public key.
var curves = map[string]kms.Spec{
	"1.3.132.0.33": kms.ECP224, "1.2.840.10045.3.1.7": kms.ECP256, "1.3.132.0.10": kms.ECSecp256k1,
	"1.3.132.0.34": kms.ECP384, "1.3.132.0.35": kms.ECP521,
}

func curveOf(spki []byte) (kms.Spec, error) {
	var key struct {
		ID    struct{ Algorithm, Curve asn1.ObjectIdentifier }
		Point asn1.BitString
	}
	if _, err := asn1.Unmarshal(spki, &key); err != nil {
		return 0, err
	}
	s, ok := curves[key.ID.Curve.String()]
	if !ok {
		return 0, skip("curve is not one of ours")
	}
	return s, nil
}

func runECDSA(g *group, v *vector) error {
	s, err := curveOf(g.PublicKeyDER)
	if err != nil {
		return err
	}
	d, err := digestOf(g)
	if err != nil {
		return err
	}
	if g.Type == "EcdsaBitcoinVerify" && isGreaterS(v.Sig) {
		return skip("the greater s is refused by Bitcoin, not by ECDSA")
	}
	k, err := public(s, g.PublicKeyDER)
	if err != nil {
		return err
	}
	ok, err := k.Verify(kms.SigningInput{Message: v.Msg, Digest: d}, v.Sig)
	return verified(v, ok, err)
}

// isGreaterS reports whether s is above half the order of secp256k1.
func isGreaterS(sig []byte) bool {
	var numbers struct{ R, S *big.Int }
	half, _ := new(big.Int).SetString("7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0", 16)
	_, err := asn1.Unmarshal(sig, &numbers)
	return err == nil && numbers.S.Cmp(half) > 0
}

func runEd25519(g *group, v *vector) error {
	k, err := public(kms.Ed25519, g.PublicKeyDER)
	if err != nil {
		return err
	}
	ok, err := k.Verify(kms.SigningInput{Message: v.Msg}, v.Sig)
	return verified(v, ok, err)
}

var macs = map[string]kms.Spec{
	"HMACSHA224": kms.HMACSHA224, "HMACSHA256": kms.HMACSHA256, "HMACSHA384": kms.HMACSHA384, "HMACSHA512": kms.HMACSHA512,
}

// runHMAC runs vectors with truncated tags as well: they are the front of ours,
// and never verify.
func runHMAC(g *group, v *vector) error {
	s, ok := macs[g.Algorithm]
	if !ok {
		return skip("HMAC is not with SHA-224 to SHA-512")
	}
	k, err := imported(s, v.Key)
	if err != nil {
		return err
	}
	ok, err = k.VerifyMAC(v.Msg, v.Tag)
	row, _ := s.Capability()
	if g.TagSize == row.Bits {
		return verified(v, ok, err)
	}
	if ok || err != nil {
		return fmt.Errorf("a truncated tag verifies: %t, %v", ok, err)
	}
	mac, err := k.MAC(v.Msg)
	return verified(v, bytes.HasPrefix(mac, v.Tag), err)
}

func runKWP(_ *group, v *vector) error {
	if v.valid() && len(v.Msg) == 0 {
		return skip("AES-KWP of nothing")
	}
	got, err := kwp.Unwrap(v.Key, v.CT)
	if errors.Is(err, kwp.ErrUnwrap) {
		err = kms.Errorf(kms.DecryptFailed, "%w", err)
	}
	return opened(v, got, err)
}
