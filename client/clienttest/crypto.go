package clienttest

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// use returns the key that p names if it serves u and its secret is a T.
func use[T any](a *tenant, id string, u kms.Usage) (secret T, k *key, no *refusal) {
	k, no = a.find(id)
	if no != nil {
		return secret, k, no
	}
	secret, ok := k.secret.(T)
	if !ok || !k.usages.Has(u) {
		return secret, k, misused
	}
	return secret, k, nil
}

// symmetric returns the cipher of an AES key.
func (a *tenant) symmetric(id string, u kms.Usage) (cipher.AEAD, *refusal) {
	raw, k, no := use[[]byte](a, id, u)
	if no != nil {
		return nil, no
	}
	block, err := aes.NewCipher(raw)
	if err != nil || k.spec.Family != kms.Symmetric {
		return nil, misused
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, misused
	}
	return aead, nil
}

// seal is eHSM's layout: ciphertext ‖ nonce ‖ tag.
func seal(aead cipher.AEAD, plaintext, aad []byte) []byte {
	nonce := random(12)
	sealed := aead.Seal(nil, nonce, plaintext, aad)
	n := len(plaintext)
	return append(append(append([]byte{}, sealed[:n]...), nonce...), sealed[n:]...)
}

func open(aead cipher.AEAD, ciphertext, aad []byte) ([]byte, *refusal) {
	n := len(ciphertext) - 28
	if n < 0 {
		return nil, misused
	}
	sealed := append(append([]byte{}, ciphertext[:n]...), ciphertext[n+12:]...)
	plain, err := aead.Open(nil, ciphertext[n:n+12], sealed, aad)
	if err != nil {
		return nil, undecryptable
	}
	return plain, nil
}

func encrypt(a *tenant, p payload) (fields, *refusal) {
	aead, no := a.symmetric(p.KeyID, kms.UseEncrypt)
	if no != nil {
		return nil, no
	}
	return fields{"ciphertext": seal(aead, p.Plaintext, p.AAD)}, nil
}

func decrypt(a *tenant, p payload) (fields, *refusal) {
	aead, no := a.symmetric(p.KeyID, kms.UseDecrypt)
	if no != nil {
		return nil, no
	}
	plain, no := open(aead, p.Ciphertext, p.AAD)
	return fields{"plaintext": plain}, no
}

func dataKey(a *tenant, p payload) (fields, *refusal) {
	aead, no := a.symmetric(p.KeyID, kms.UseEncrypt)
	if no != nil {
		return nil, no
	}
	if k, _ := a.find(p.KeyID); k.imported {
		return nil, misused // as eHSM
	}
	plain := random(p.KeyLen)
	return fields{"plaintext": plain, "ciphertext": seal(aead, plain, p.AAD)}, nil
}

func wrappedOnly(a *tenant, p payload) (fields, *refusal) {
	f, no := dataKey(a, p)
	delete(f, "plaintext")
	return f, no
}

func exportDataKey(a *tenant, p payload) (fields, *refusal) {
	aead, no := a.symmetric(p.KeyID, kms.UseDecrypt)
	if no != nil {
		return nil, no
	}
	plain, no := open(aead, p.OldDataKey, p.AAD)
	if no != nil {
		return nil, no
	}
	sealed, no := a.encryptTo(p.Target, plain, kms.PaddingOAEP)
	return fields{"newdatakey": sealed}, no
}

func asymmetricEncrypt(a *tenant, p payload) (fields, *refusal) {
	padding, ok := wire.ParsePadding(p.PaddingMode)
	if !ok {
		return nil, badPadding
	}
	sealed, no := a.encryptTo(p.KeyID, p.Plaintext, padding)
	return fields{"ciphertext": sealed}, no
}

func (a *tenant) encryptTo(id string, plaintext []byte, padding kms.Padding) ([]byte, *refusal) {
	priv, _, no := use[*rsa.PrivateKey](a, id, kms.UseEncrypt)
	if no != nil {
		return nil, no
	}
	var sealed []byte
	err := rsa.ErrMessageTooLong
	switch padding {
	case kms.PaddingOAEP:
		sealed, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &priv.PublicKey, plaintext, nil)
	case kms.PaddingPKCS1:
		//lint:ignore SA1019 eHSM's clients have it.
		sealed, err = rsa.EncryptPKCS1v15(rand.Reader, &priv.PublicKey, plaintext)
	}
	if err != nil {
		return nil, misused
	}
	return sealed, nil
}

func asymmetricDecrypt(a *tenant, p payload) (fields, *refusal) {
	priv, _, no := use[*rsa.PrivateKey](a, p.KeyID, kms.UseDecrypt)
	if no != nil {
		return nil, no
	}
	padding, _ := wire.ParsePadding(p.PaddingMode)
	plain, err := decryptRSA(priv, p.Ciphertext, padding)
	if err != nil {
		return nil, undecryptable
	}
	return fields{"plaintext": plain}, nil
}

func decryptRSA(priv *rsa.PrivateKey, ciphertext []byte, padding kms.Padding) ([]byte, error) {
	switch padding {
	case kms.PaddingOAEP:
		return rsa.DecryptOAEP(sha256.New(), nil, priv, ciphertext, nil)
	case kms.PaddingPKCS1:
		//lint:ignore SA1019 eHSM's clients have it; whoever tests with this server may have the oracle.
		return rsa.DecryptPKCS1v15(nil, priv, ciphertext)
	}
	return nil, rsa.ErrDecryption
}

// signed is what is signed: a digest by hash, or the message itself.
func signed(p payload, k *key) (hash crypto.Hash, data []byte, no *refusal) {
	ids := map[string]crypto.Hash{"EH_SHA_224": crypto.SHA224, "EH_SHA_256": crypto.SHA256, "EH_SHA_384": crypto.SHA384,
		"EH_SHA_512": crypto.SHA512, "": crypto.SHA256}
	if len(k.spec.Digests) == 0 {
		if p.DigestMode != "" || p.MessageType != "EH_RAW" {
			return 0, nil, misused
		}
		return 0, p.Message, nil
	}
	hash, ok := ids[p.DigestMode]
	if !ok {
		return 0, nil, badDigest
	}
	if p.MessageType == "EH_DIGEST" {
		return hash, p.Message, nil
	}
	h := hash.New()
	h.Write(p.Message)
	return hash, h.Sum(nil), nil
}

func sign(a *tenant, p payload) (fields, *refusal) {
	signer, k, no := use[crypto.Signer](a, p.KeyID, kms.UseSign)
	if no != nil {
		return nil, no
	}
	hash, data, no := signed(p, k)
	if no != nil {
		return nil, no
	}
	var opts crypto.SignerOpts = hash
	if _, isRSA := signer.(*rsa.PrivateKey); isRSA {
		switch padding, _ := wire.ParsePadding(p.PaddingMode); padding {
		case kms.PaddingPSS:
			opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
		case kms.PaddingPKCS1:
		default:
			return nil, misused
		}
	}
	sig, err := signer.Sign(rand.Reader, data, opts)
	if err != nil {
		return nil, misused
	}
	return fields{"signature": sig}, nil
}

func verify(a *tenant, p payload) (fields, *refusal) {
	signer, k, no := use[crypto.Signer](a, p.KeyID, kms.UseVerify)
	if no != nil {
		return nil, no
	}
	hash, data, no := signed(p, k)
	if no != nil {
		return nil, no
	}
	var valid bool
	switch pub := signer.Public().(type) {
	case *ecdsa.PublicKey:
		valid = ecdsa.VerifyASN1(pub, data, p.Signature)
	case ed25519.PublicKey:
		valid = ed25519.Verify(pub, data, p.Signature)
	case *rsa.PublicKey:
		if padding, _ := wire.ParsePadding(p.PaddingMode); padding == kms.PaddingPKCS1 {
			valid = rsa.VerifyPKCS1v15(pub, hash, data, p.Signature) == nil
		} else {
			valid = rsa.VerifyPSS(pub, hash, data, p.Signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	}
	return fields{"result": valid}, nil
}

func (a *tenant) mac(p payload, u kms.Usage) ([]byte, *refusal) {
	raw, k, no := use[[]byte](a, p.KeyID, u)
	if no != nil {
		return nil, no
	}
	h, ok := hashes[k.spec.Spec]
	if !ok {
		return nil, misused
	}
	m := hmac.New(h, raw)
	m.Write(p.Message)
	return m.Sum(nil), nil
}

func generateMAC(a *tenant, p payload) (fields, *refusal) {
	mac, no := a.mac(p, kms.UseMAC)
	return fields{"mac": mac}, no
}

func verifyMAC(a *tenant, p payload) (fields, *refusal) {
	mac, no := a.mac(p, kms.UseVerify)
	return fields{"result": hmac.Equal(mac, p.MAC)}, no
}
