// Package alg is the algorithms, over keys that are lent to it. It keeps no
// state: Generate makes key material, Import takes it from outside, Parse turns
// material into a Key, and a Key computes.
//
// A Key has only func fields. Library types that hold key schedules and
// private numbers stay captured inside the closures, where no printer,
// encoder or debugger of ours can walk to them.
//
// What a secret goes into takes the same time, branches and memory accesses for
// every secret, as far as the libraries keep their word: the host of a TEE
// watches all three.
package alg

import (
	"bytes"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// A Key computes with one version of one key. A func that the key's spec does
// not have is nil; call through the methods, which say Misused instead.
// All funcs are safe for concurrent use.
type Key struct {
	encrypt func(dst, plaintext, aad []byte) ([]byte, error)
	decrypt func(dst, body, aad []byte) ([]byte, error)
	encTo   func(plaintext []byte, p kms.Padding) ([]byte, error)
	decFrom func(ciphertext []byte, p kms.Padding) ([]byte, error)
	unwrap  func(wrapped []byte, w kms.Wrapping) (opened []byte, good bool, err error)
	sign    func(in kms.SigningInput) ([]byte, error)
	verify  func(in kms.SigningInput, signature []byte) (bool, error)
	mac     func(message []byte) ([]byte, error)
	agree   func(peer []byte) ([]byte, error)

	encapsulate func() (shared, ciphertext []byte)
	decapsulate func(ciphertext []byte) ([]byte, error)

	public func() ([]byte, error)
}

var (
	errMisused = kms.Errorf(kms.Misused, "keys of this spec have no such operation")
	errDecrypt = kms.Errorf(kms.DecryptFailed, "ciphertext does not open")
)

// Encrypt appends the encryption of plaintext under a symmetric key to dst, in
// the body layout of the spec: AES-GCM: ciphertext ‖ 12-byte nonce ‖ 16-byte
// tag; SM4: ciphertext ‖ 16-byte counter block or vector, and aad is ignored.
// Nonces and vectors are random.
func (k Key) Encrypt(dst, plaintext, aad []byte) ([]byte, error) {
	if k.encrypt == nil {
		return nil, errMisused
	}
	return k.encrypt(dst, plaintext, aad)
}

// Decrypt appends what body opens to, to dst. Every failure is DecryptFailed.
func (k Key) Decrypt(dst, body, aad []byte) ([]byte, error) {
	if k.decrypt == nil {
		return nil, errMisused
	}
	return k.decrypt(dst, body, aad)
}

// AsymmetricEncrypt encrypts to the public half. RSA: PaddingOAEP is with
// SHA-256, MGF1 with SHA-256 and no label, PaddingPKCS1 is RSAES-PKCS1-v1_5 (RFC
// 8017), any other is Misused. SM2: the padding means nothing, the ciphertext is
// ASN.1 DER. A plaintext that is too long is TooLarge.
func (k Key) AsymmetricEncrypt(plaintext []byte, p kms.Padding) ([]byte, error) {
	if k.encTo == nil {
		return nil, errMisused
	}
	return k.encTo(plaintext, p)
}

// AsymmetricDecrypt opens what AsymmetricEncrypt made. Every failure is
// DecryptFailed, but for PaddingPKCS1, which does not fail: what is wrongly
// padded opens to bytes that only the key's owner could tell from a plaintext
// (see implicit.go), and that are the same each time.
func (k Key) AsymmetricDecrypt(ciphertext []byte, p kms.Padding) ([]byte, error) {
	if k.decFrom == nil {
		return nil, errMisused
	}
	return k.decFrom(ciphertext, p)
}

// Sign signs a message or digest. A digest of the wrong size, or a padding or
// digest that the spec does not sign with, is Misused.
func (k Key) Sign(in kms.SigningInput) ([]byte, error) {
	if k.sign == nil {
		return nil, errMisused
	}
	return k.sign(in)
}

// Verify reports whether signature is good; a malformed one is just not good.
// The errors are those of Sign.
func (k Key) Verify(in kms.SigningInput, signature []byte) (bool, error) {
	if k.verify == nil {
		return false, errMisused
	}
	return k.verify(in, signature)
}

// MAC is the message authentication code of a message, as long as the digest
// that the spec names.
func (k Key) MAC(message []byte) ([]byte, error) {
	if k.mac == nil {
		return nil, errMisused
	}
	return k.mac(message)
}

// Public is the SubjectPublicKeyInfo (RFC 5280) of the key, DER.
func (k Key) Public() ([]byte, error) {
	if k.public == nil {
		return nil, errMisused
	}
	return k.public()
}

// algorithm is how one spec makes, reads and moves its material.
type algorithm struct {
	generate func() (secret.Bytes, error)
	parse    func(material []byte) (Key, error)

	// parsePublic makes a Key of a public half; nil: the spec has none.
	parsePublic func(spki []byte) (Key, error)
	// load makes stored material of what a tenant brings, in any of the formats
	// of kms.ImportRequest. It need not say what is wrong: nobody is told.
	load func(brought []byte) (secret.Bytes, error)
	// export makes PKCS #8 of stored material; nil: it leaves as it is stored.
	export func(material []byte) (secret.Bytes, error)
}

// algorithms is the one place that switches on specs.
var algorithms = map[kms.Spec]algorithm{
	kms.AES128GCM:   raw(16, 16, 16, parseGCM),
	kms.AES192GCM:   raw(24, 24, 24, parseGCM),
	kms.AES256GCM:   raw(32, 32, 32, parseGCM),
	kms.RSA2048:     rsaBits(2048),
	kms.RSA3072:     rsaBits(3072),
	kms.RSA4096:     rsaBits(4096),
	kms.ECP224:      nistCurve(p224),
	kms.ECP256:      nistCurve(p256),
	kms.ECSecp256k1: curveSecp256k1,
	kms.ECP384:      nistCurve(p384),
	kms.ECP521:      nistCurve(p521),
	kms.SM2:         curveSM2,
	kms.SM4CTR:      raw(16, 16, 16, parseSM4CTR),
	kms.SM4CBC:      raw(16, 16, 16, parseSM4CBC),
	kms.Ed25519:     edwards25519,
	kms.HMACSHA224:  hmacKey(kms.SHA224),
	kms.HMACSHA256:  hmacKey(kms.SHA256),
	kms.HMACSHA384:  hmacKey(kms.SHA384),
	kms.HMACSHA512:  hmacKey(kms.SHA512),
	kms.X25519:      curve25519,
	kms.MLKEM768:    kem768,
	kms.MLKEM1024:   kem1024,
	kms.MLDSA44:     dsa44,
	kms.MLDSA65:     dsa65,
	kms.MLDSA87:     dsa87,
}

// raw is a spec whose material is random bytes: size of them where they are
// generated, from low to high where they are brought.
func raw(size, low, high int, parse func(material []byte) (Key, error)) algorithm {
	fits := func(material []byte) bool { return low <= len(material) && len(material) <= high }
	return algorithm{
		generate: func() (secret.Bytes, error) { return secret.Random(size), nil },
		parse: func(material []byte) (Key, error) {
			if !fits(material) {
				return Key{}, kms.Errorf(kms.Damaged, "key has %d bytes, want %d to %d", len(material), low, high)
			}
			return parse(material)
		},
		load: func(brought []byte) (secret.Bytes, error) {
			if !fits(brought) {
				return secret.Bytes{}, errMaterial
			}
			return secret.Copy(brought), nil
		},
	}
}

// Generate makes new key material of a spec. For RSA it takes from a tenth of a
// second to several.
func Generate(s kms.Spec) (secret.Bytes, error) {
	a, ok := algorithms[s]
	if !ok {
		return secret.Bytes{}, kms.Errorf(kms.Misused, "no algorithm for key spec %s", s)
	}
	return a.generate()
}

// Parse makes a Key of material. The material is not kept. The error is
// Damaged: what is parsed was generated or checked before it was stored.
func Parse(s kms.Spec, material secret.Bytes) (k Key, err error) {
	a, ok := algorithms[s]
	if !ok {
		return Key{}, kms.Errorf(kms.Damaged, "stored key has unknown spec %d", s)
	}
	err = material.Use(func(b []byte) error {
		k, err = a.parse(b)
		return err
	})
	return k, err
}

// ParsePublic makes a Key of the SubjectPublicKeyInfo of a spec: it encrypts and
// verifies, and has no private half. One key has one encoding, that of Public.
// The error is Invalid.
func ParsePublic(s kms.Spec, spki []byte) (Key, error) {
	parse := algorithms[s].parsePublic
	if parse == nil {
		return Key{}, kms.Errorf(kms.Invalid, "keys of spec %s have no public half", s)
	}
	k, err := parse(spki)
	if err != nil {
		return Key{}, errPublic
	}
	if again, err := k.Public(); err != nil || !bytes.Equal(again, spki) {
		return Key{}, errPublic
	}
	return k, nil
}

var errPublic = kms.Errorf(kms.Invalid, "not a public key of this spec").WithField("public_key")

var errMaterial = kms.Errorf(kms.Invalid, "not key material of this spec").WithField("material")

// Import checks key material that a tenant brings, in one of the formats of
// kms.ImportRequest, and returns it as it is stored. The error is Invalid, and
// tells nothing of the material; for a spec without an algorithm it is Misused.
func Import(s kms.Spec, brought secret.Bytes) (stored secret.Bytes, err error) {
	a, ok := algorithms[s]
	if !ok {
		return secret.Bytes{}, kms.Errorf(kms.Misused, "no algorithm for key spec %s", s)
	}
	err = brought.Use(func(b []byte) error {
		stored, err = a.load(b)
		return err
	})
	if err != nil {
		return secret.Bytes{}, errMaterial
	}
	return stored, nil
}

// Export returns stored material in the format in which it leaves: PKCS #8 DER
// of asymmetric keys, the raw key of others. It does not ask whether the key is
// exportable. The errors are those of Parse.
func Export(s kms.Spec, material secret.Bytes) (out secret.Bytes, err error) {
	if _, err := Parse(s, material); err != nil {
		return secret.Bytes{}, err
	}
	export := algorithms[s].export
	err = material.Use(func(b []byte) error {
		if export == nil {
			out = secret.Copy(b)
			return nil
		}
		out, err = export(b)
		return err
	})
	return out, err
}
