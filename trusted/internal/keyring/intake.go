package keyring

import (
	"encoding/binary"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// An import token is the private half of the wrapping key itself, wrapped for
// the one key, revision and time that it was asked for. So nothing is stored
// for an import that never comes, a second one takes nothing away from the
// first, any node can take either, and nobody can make one. Layout:
//
//	format ‖ wrapping spec ‖ generation ‖ expiry (ns since 1970) ‖ wrapped key
const (
	tokenFormat = 1
	tokenHead   = 1 + 1 + 4 + 8
)

// TokenLife is how long an import token is good for (eHSM's is 24 hours too).
const TokenLife = 24 * time.Hour

// errToken is the one answer to a token that is not good.
var errToken = kms.Errorf(kms.Unauthenticated, "the import token is not one for this key as it is now")

// NewIntake makes a wrapping key for the import of rec, and returns its public
// half (SubjectPublicKeyInfo, DER) and the token.
func (r *Keyring) NewIntake(rec *state.Key, spec kms.Spec, expires int64) (public, token []byte, err error) {
	material, err := alg.Generate(spec)
	if err != nil {
		return nil, nil, err
	}
	defer material.Wipe()
	k, err := alg.Parse(spec, material)
	if err != nil {
		return nil, nil, err
	}
	if public, err = k.Public(); err != nil {
		return nil, nil, err
	}
	head := []byte{tokenFormat, byte(spec)}
	head = binary.BigEndian.AppendUint32(head, r.root.Current())
	head = binary.BigEndian.AppendUint64(head, uint64(expires))
	wrapped, err := r.root.Wrap(intakeSlot(rec, r.root.Current(), head), material)
	return public, append(head, wrapped...), err
}

// Import opens material that was wrapped to the key of a token, and returns it
// as rec's first version. The errors are Unauthenticated (the token), Expired,
// DecryptFailed (the material, whatever is wrong with it) and Misused.
func (r *Keyring) Import(rec *state.Key, in kms.ImportRequest, now int64) (state.Version, error) {
	spec, private, err := r.openToken(rec, in.Token, now)
	if err != nil {
		return state.Version{}, err
	}
	defer private.Wipe()
	k, err := alg.Parse(spec, private)
	if err != nil {
		return state.Version{}, errToken
	}
	material, err := unwrap(k, spec, rec.Spec, in)
	if err != nil {
		return state.Version{}, err
	}
	defer material.Wipe()
	return r.wrap(rec, first, material, now)
}

// errMaterial is the one answer to material that is not good.
var errMaterial = kms.Errorf(kms.DecryptFailed, "ciphertext does not open")

// unwrap opens material that was wrapped to k, of spec wrapping, for a key of
// spec target. To SM2 there is one way to encrypt, whatever it is called.
func unwrap(k alg.Key, wrapping, target kms.Spec, in kms.ImportRequest) (secret.Bytes, error) {
	if wrapping != kms.SM2 {
		return k.Unwrap(target, in.Material, in.Wrapping)
	}
	opened, err := k.AsymmetricDecrypt(in.Material, kms.PaddingNone)
	if err != nil {
		return secret.Bytes{}, errMaterial
	}
	brought := secret.New(opened)
	defer brought.Wipe()
	stored, err := alg.Import(target, brought)
	if err != nil {
		return secret.Bytes{}, errMaterial
	}
	return stored, nil
}

func (r *Keyring) openToken(rec *state.Key, token []byte, now int64) (kms.Spec, secret.Bytes, error) {
	if len(token) < tokenHead || token[0] != tokenFormat {
		return 0, secret.Bytes{}, errToken
	}
	head := token[:tokenHead]
	generation := binary.BigEndian.Uint32(head[2:])
	private, err := r.root.Unwrap(intakeSlot(rec, generation, head), token[tokenHead:])
	if err != nil {
		return 0, secret.Bytes{}, errToken
	}
	if now >= int64(binary.BigEndian.Uint64(head[6:])) {
		private.Wipe()
		return 0, secret.Bytes{}, kms.Errorf(kms.Expired, "the import token has expired")
	}
	return kms.Spec(head[1]), private, nil
}

// intakeSlot binds a token to the key, its app and its revision, which moves
// when the material is there: a token is good for one import.
func intakeSlot(rec *state.Key, generation uint32, head []byte) root.Slot {
	facts := append([]byte(nil), rec.App[:]...)
	facts = append(facts, byte(rec.Spec))
	facts = binary.BigEndian.AppendUint64(facts, rec.Revision)
	return root.Slot{Purpose: root.WrapImport, Generation: generation, ID: rec.ID[:], Version: 1, Facts: append(facts, head...)}
}
