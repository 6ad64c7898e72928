package client

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

var (
	actAgree       = action{name: "Agree", repeatable: true}
	actEncapsulate = action{name: "Encapsulate", repeatable: true}
	actDecapsulate = action{name: "Decapsulate", repeatable: true}
	actSetRotation = action{name: "SetKeyRotation"}
)

func derivationMessage(d kms.Derivation) *holdfastv1.Derivation {
	return &holdfastv1.Derivation{Info: d.Info, Length: uint32(max(0, d.Length)), Raw: d.Raw}
}

// A Peer is the other side of an agreement.
type Peer struct {
	Public []byte    // SubjectPublicKeyInfo, DER
	Key    kms.KeyID // where it is a key of Holdfast too, to bind its id; each side names the other's
}

// Agree derives bytes from what a key and a peer's public key have in common. The
// peer derives the same with DeriveAgreed. Errors: Invalid for a public key that
// the key cannot agree with.
func (k Keys) Agree(ctx context.Context, key string, p Peer, d kms.Derivation) (kms.SharedSecret, error) {
	req := &holdfastv1.AgreeRequest{Key: key, PeerPublicKey: p.Public, Derivation: derivationMessage(d)}
	if p.Key != (kms.KeyID{}) {
		req.PeerKeyId = p.Key.String()
	}
	r, err := callNative(ctx, k.c, actAgree, k.c.keyService().Agree, req)
	if err != nil {
		return kms.SharedSecret{}, err
	}
	ref, err := refOf(actAgree, r, r.GetSecret())
	return kms.SharedSecret{Key: ref, Secret: r.GetSecret()}, err
}

// Encapsulate makes a secret, and a ciphertext of it for Decapsulate. Whoever has
// the public key can do the same without the node: DeriveEncapsulated makes of the
// secret that ML-KEM gives what Decapsulate gives.
func (k Keys) Encapsulate(ctx context.Context, key string, d kms.Derivation) (kms.SharedSecret, error) {
	r, err := callNative(ctx, k.c, actEncapsulate, k.c.keyService().Encapsulate, &holdfastv1.EncapsulateRequest{Key: key, Derivation: derivationMessage(d)})
	if err != nil {
		return kms.SharedSecret{}, err
	}
	ref, err := refOf(actEncapsulate, r, r.GetSecret(), r.GetCiphertext())
	return kms.SharedSecret{Key: ref, Secret: r.GetSecret(), Ciphertext: r.GetCiphertext()}, err
}

// Decapsulate finds the secret of a ciphertext. One that was made for another key
// gives another secret, not an error. Errors: DecryptFailed for what is no
// ciphertext of the spec.
func (k Keys) Decapsulate(ctx context.Context, key string, ciphertext []byte, d kms.Derivation) (kms.SharedSecret, error) {
	r, err := callNative(ctx, k.c, actDecapsulate, k.c.keyService().Decapsulate,
		&holdfastv1.DecapsulateRequest{Key: key, Ciphertext: ciphertext, Derivation: derivationMessage(d)})
	if err != nil {
		return kms.SharedSecret{}, err
	}
	ref, err := refOf(actDecapsulate, r, r.GetSecret())
	return kms.SharedSecret{Key: ref, Secret: r.GetSecret()}, err
}

// DeriveAgreed makes of a raw ECDH or X25519 secret what Agree makes of it, on the
// side of the peer. Of the two parties the one that is a key of Holdfast has its
// id. The error is of the derivation, Invalid or TooLarge.
func DeriveAgreed(shared []byte, d kms.Derivation, key, peer kms.Party) ([]byte, error) {
	if err := d.Check(); err != nil || d.Raw {
		return shared, err
	}
	return hkdf.Key(sha256.New, shared, nil, string(d.AgreementInfo(key, peer)), d.Length)
}

// DeriveEncapsulated makes of an ML-KEM secret what Encapsulate and Decapsulate
// make of it. The error is of the derivation, Invalid or TooLarge.
func DeriveEncapsulated(shared []byte, d kms.Derivation, key kms.Party, ciphertext []byte) ([]byte, error) {
	if err := d.Check(); err != nil || d.Raw {
		return shared, err
	}
	return hkdf.Key(sha256.New, shared, nil, string(d.EncapsulationInfo(key, ciphertext)), d.Length)
}

// SetRotation has a key rotated by itself: every so many whole days, at most
// kms.MaxRotationDays; zero ends it. Errors: Misused, as of Rotate.
func (k Keys) SetRotation(ctx context.Context, key string, period time.Duration) (kms.KeyDescription, error) {
	if err := kms.CheckRotation(period); err != nil {
		return kms.KeyDescription{}, misuse(actSetRotation, kms.Invalid, "", "a rotation period is %d to %d whole days", kms.MinRotationDays, kms.MaxRotationDays)
	}
	return describe(ctx, k.c, actSetRotation, k.c.keyService().SetKeyRotation,
		&holdfastv1.SetKeyRotationRequest{Key: key, RotationPeriodDays: uint32(period / kms.Day)})
}
