// Package raw is the bare operations of every key spec, computed by the
// libraries alone: what `holdfast bench` compares a node with. Its keys protect
// nothing.
package raw

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"errors"

	"github.com/holdfast-kms/holdfast/kms"
)

// Operations are what can be done with a key of one spec; nil where it cannot.
type Operations struct {
	Create  func() error
	Encrypt func() error
	Decrypt func() error
	DataKey func() error
	Sign    func() error
	Verify  func() error
	MAC     func() error
}

// DataKeySize is what asymmetric keys encrypt: a data key.
const DataKeySize = 32

var errWrong = errors.New("raw: the operation undid itself wrongly")

// Of makes a key of a spec and its operations on messages of size bytes. RSA
// encrypts with OAEP and signs with PSS, over the spec's default digest.
func Of(spec kms.Spec, size int) (Operations, error) {
	row, ok := spec.Capability()
	if !ok {
		return Operations{}, kms.Errorf(kms.Invalid, "unknown key spec")
	}
	message := make([]byte, size)
	rand.Read(message)
	switch spec {
	case kms.AES128GCM, kms.AES192GCM, kms.AES256GCM:
		return aesGCM(row.Bits/8, message)
	case kms.SM4CTR, kms.SM4CBC:
		return sm4Mode(spec, message)
	case kms.RSA2048, kms.RSA3072, kms.RSA4096:
		return rsaBits(row.Bits, message)
	case kms.ECP224, kms.ECP256, kms.ECP384, kms.ECP521:
		return nist(spec, message)
	case kms.ECSecp256k1:
		return secp256k1Curve(message)
	case kms.SM2:
		return sm2Curve(message)
	case kms.Ed25519:
		return edwards(message)
	case kms.MLDSA44, kms.MLDSA65, kms.MLDSA87:
		return moduleLattice(spec, message)
	case kms.X25519:
		return Operations{Create: func() error { _, err := ecdh.X25519().GenerateKey(rand.Reader); return err }}, nil
	case kms.MLKEM768:
		return Operations{Create: func() error { _, err := mlkem.GenerateKey768(); return err }}, nil
	case kms.MLKEM1024:
		return Operations{Create: func() error { _, err := mlkem.GenerateKey1024(); return err }}, nil
	}
	return hmacOf(spec, message)
}
