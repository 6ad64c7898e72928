package alg

import (
	"crypto/rsa"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg/kwp"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// Unwrap opens key material that was wrapped to this RSA key, and imports it as
// a key of spec s, as Import does. Every failure is DecryptFailed.
//
// With WrapPKCS1 an answer that told whether the padding was good would be
// Bleichenbacher's oracle. So a wrong padding opens to other bytes, as in
// AsymmetricDecrypt, these are imported like any, and only then both verdicts
// make one. What is learned is whether all of it was good; and then the
// material is there, and the caller must not lend this key again.
func (k Key) Unwrap(s kms.Spec, wrapped []byte, w kms.Wrapping) (secret.Bytes, error) {
	if k.unwrap == nil {
		return secret.Bytes{}, errMisused
	}
	opened, good, err := k.unwrap(wrapped, w)
	if err != nil {
		return secret.Bytes{}, err
	}
	stored, err := Import(s, secret.New(opened))
	if err != nil || !good {
		stored.Wipe()
		return secret.Bytes{}, errDecrypt
	}
	return stored, nil
}

// unwrapOAEP opens what was wrapped with OAEP, alone or around an AES key.
func unwrapOAEP(priv *rsa.PrivateKey, wrapped []byte, w kms.Wrapping) ([]byte, error) {
	if len(wrapped) < priv.Size() {
		return nil, errDecrypt
	}
	head, body := wrapped[:priv.Size()], wrapped[priv.Size():]
	opened, err := decryptOAEP(priv, head)
	if err != nil {
		return nil, err
	}
	switch {
	case w == kms.WrapOAEPAES:
		defer clear(opened)
		plain, err := kwp.Unwrap(opened, body)
		if err != nil {
			return nil, errDecrypt
		}
		return plain, nil
	case len(body) > 0:
		return nil, errDecrypt
	}
	return opened, nil
}
