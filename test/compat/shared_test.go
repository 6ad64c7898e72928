package compat_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

var agreementSpecs = map[string]kms.Spec{"curve25519": kms.X25519, "secp256r1": kms.ECP256, "secp384r1": kms.ECP384, "secp521r1": kms.ECP521}

// runAgreement agrees with public keys in DER. What is acceptable may be refused,
// and must be right where it is not.
func runAgreement(g *group, v *vector) error {
	spec, ok := agreementSpecs[g.Curve]
	if !ok {
		return skip("curve " + g.Curve)
	}
	private, err := hex.DecodeString(v.Private)
	if err != nil {
		return err
	}
	public, err := hex.DecodeString(v.Public)
	if err != nil {
		return err
	}
	if spec != kms.X25519 { // a number, written shorter or longer
		private = sized(private, map[kms.Spec]int{kms.ECP256: 32, kms.ECP384: 48, kms.ECP521: 66}[spec])
	}
	stored, err := alg.Import(spec, secret.New(private))
	if err != nil && v.invalid() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the private key: %w", err)
	}
	k, err := alg.Parse(spec, stored)
	if err != nil {
		return err
	}
	got, err := k.Agree(public)
	same := err == nil && hex.EncodeToString(got) == v.Shared
	switch {
	case err != nil && !errors.Is(err, kms.Invalid):
		return err
	case v.valid() && !same:
		return fmt.Errorf("agrees on %x, %v", got, err)
	case v.invalid() && err == nil:
		return fmt.Errorf("agrees on %x", got)
	case err == nil && !same:
		return fmt.Errorf("agrees on something else: %x", got)
	}
	return nil
}

func sized(number []byte, n int) []byte {
	number = bytes.TrimLeft(number, "\x00")
	return append(make([]byte, max(0, n-len(number))), number...)
}

var kemSpecs = map[string]kms.Spec{"ML-KEM-768": kms.MLKEM768, "ML-KEM-1024": kms.MLKEM1024}

func kemKey(g *group, v *vector) (alg.Key, kms.Spec, error) {
	spec, ok := kemSpecs[g.ParameterSet]
	if !ok {
		return alg.Key{}, 0, skip("parameter set " + g.ParameterSet)
	}
	stored, err := alg.Import(spec, secret.Copy(v.Seed))
	if err != nil {
		return alg.Key{}, 0, err
	}
	k, err := alg.Parse(spec, stored)
	return k, spec, err
}

func runDecapsulation(g *group, v *vector) error {
	k, _, err := kemKey(g, v)
	var why skip
	switch {
	case errors.As(err, &why):
		return why
	case err != nil && v.invalid():
		return nil
	case err != nil:
		return err
	}
	got, err := k.Decapsulate(v.C)
	same := err == nil && bytes.Equal(got, v.K)
	switch {
	case v.valid() && !same:
		return fmt.Errorf("decapsulates to %x, %v", got, err)
	case v.invalid() && same:
		return fmt.Errorf("decapsulates to %x", got)
	}
	return nil
}

func runKeyGeneration(g *group, v *vector) error {
	k, _, err := kemKey(g, v)
	if err != nil {
		return err
	}
	spki, err := k.Public()
	if err != nil || !bytes.HasSuffix(spki, v.EK) {
		return fmt.Errorf("another public key: %x, %v", spki, err)
	}
	return nil
}

var dsaSpecs = map[string]kms.Spec{"ML-DSA-44": kms.MLDSA44, "ML-DSA-65": kms.MLDSA65, "ML-DSA-87": kms.MLDSA87}

// runMLDSA verifies signatures of messages without a context, which is all that
// is served.
func runMLDSA(g *group, v *vector) error {
	spec, ok := dsaSpecs[g.Algorithm]
	switch {
	case !ok:
		return skip("algorithm " + g.Algorithm)
	case len(v.Ctx) > 0:
		return skip("signature has a context")
	}
	k, err := alg.ParsePublic(spec, g.PublicKeyDER)
	if err != nil {
		if v.invalid() {
			return nil
		}
		return err
	}
	valid, err := k.Verify(kms.SigningInput{Message: v.Msg}, v.Sig)
	return verified(v, valid, err)
}
