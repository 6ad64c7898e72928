package kms

import (
	"fmt"
	"slices"
)

// A Spec is the algorithm and size of a key. Its number is stored in sealed
// state: never renumber one.
type Spec uint8

// The key specs. What each may do is in the table of Capabilities. Up to 99
// the numbers are those that eHSM gives its specs; ours start at 100.
const (
	AES128GCM Spec = 1
	AES192GCM Spec = 2
	AES256GCM Spec = 3

	RSA2048 Spec = 10
	RSA3072 Spec = 11
	RSA4096 Spec = 12

	ECP224      Spec = 20
	ECP256      Spec = 21
	ECSecp256k1 Spec = 22
	ECP384      Spec = 23
	ECP521      Spec = 24

	SM2    Spec = 30
	SM4CTR Spec = 31
	SM4CBC Spec = 32

	HMACSHA256 Spec = 40 // eHSM's EH_HMAC, which it names and never had

	Ed25519    Spec = 100
	HMACSHA224 Spec = 101
	HMACSHA384 Spec = 102
	HMACSHA512 Spec = 103
	X25519     Spec = 104
	MLKEM768   Spec = 105
	MLKEM1024  Spec = 106
	MLDSA44    Spec = 107
	MLDSA65    Spec = 108
	MLDSA87    Spec = 109
)

// A Family groups the specs that are handled alike.
type Family uint8

// The families of specs.
const (
	Symmetric  Family = iota + 1 // one secret key that encrypts
	Asymmetric                   // a private key with a public half
	MAC                          // one secret key that authenticates messages
)

// A Capability says everything that any part of Holdfast needs to know of what
// keys of a spec may do. Every facade and every check reads it; nothing else
// switches on specs but the algorithms themselves.
type Capability struct {
	Spec   Spec
	Name   string // the native name, for people and JSON
	Family Family
	Bits   int // security-relevant size: length of key, modulus, curve or digest; of a lattice, its dimension (ML-KEM) or claimed strength (ML-DSA)

	// UsageSets are the sets that a key may be created with; its usages must
	// lie within one of them. The first is the default.
	UsageSets []Usages

	// Unserved are further sets that a key may be created with although no
	// operation of the spec serves them. Such a key shows its public half and
	// does nothing else. eHSM's clients create them, so they are admitted.
	Unserved []Usages

	// Overhead is the most that symmetric encryption adds to a plaintext in
	// eHSM's layout, in bytes.
	Overhead int

	// Integrity: a symmetric ciphertext that was altered does not open. Where it
	// is false an altered one opens to something else, or tells an attacker who
	// may alter it many times what is in it.
	Integrity bool

	// Binds: a ciphertext can be bound to additional data. Where it is false
	// eHSM's clients may give some, and it is ignored, as eHSM does; every other
	// layout is refused, since it promises a binding.
	Binds bool

	DataKeys bool // may protect data keys
	InPlace  bool // rotation may add a version under the same id

	// MaxInvocations is how often one version may encrypt; zero: as often as one likes.
	MaxInvocations uint64

	// Slow: making a key or using its private half takes a processor for
	// milliseconds, so it waits for its turn in a bounded pool.
	Slow bool

	// Digests that Sign and Verify accept; the first is the default. A spec
	// that signs and has none signs the message itself.
	Digests []Digest

	// SignPaddings and EncryptPaddings are what an operation must name one of.
	// Where there are none, a padding that is named means nothing.
	SignPaddings    []Padding
	EncryptPaddings []Padding

	// MaxPlaintext is the most that one asymmetric encryption takes, in bytes,
	// with the padding that takes most; zero where the spec has none.
	MaxPlaintext int
}

// GenerateVerifyMAC is the set of a key that makes and verifies MACs.
const GenerateVerifyMAC = Usages(UseMAC | UseVerify)

const (
	gcmOverhead = 12 + 16 // a nonce and a tag (NIST SP 800-38D)
	ctrOverhead = 16      // an initial counter block
	cbcOverhead = 16 + 16 // an initialisation vector and at most a block of padding
	pkcs1Cost   = 11      // the least that PKCS #1 v1.5 padding takes of a modulus
	maxSM2      = 255     // as eHSM has it; the algorithm knows no limit

	// maxGCM is how often a key may encrypt with random 96-bit nonces, so that two
	// are the same with a probability of at most 2^-32 (NIST SP 800-38D, section 8.3).
	maxGCM = 1 << 32
)

// Sets that several rows share.
var (
	encrypts     = []Usages{EncryptDecrypt}
	signs        = []Usages{SignVerify}
	signsOrOpens = []Usages{SignVerify, EncryptDecrypt}
	macs         = []Usages{GenerateVerifyMAC}
	agrees       = []Usages{KeyAgreement, KeyAgreement | Usages(UseRaw)}
	signsOrAgree = append([]Usages{SignVerify}, agrees...)
	encapsulates = []Usages{Encapsulation, Encapsulation | Usages(UseRaw)}

	sha2       = []Digest{SHA256, SHA224, SHA384, SHA512}
	sha2AndSM3 = []Digest{SHA256, SHA224, SHA384, SHA512, SM3}

	rsaSigns    = []Padding{PaddingPSS, PaddingPKCS1}
	rsaEncrypts = []Padding{PaddingOAEP, PaddingPKCS1}
)

var capabilities = [...]Capability{
	aesGCMRow(AES128GCM, "AES-128-GCM", 128),
	aesGCMRow(AES192GCM, "AES-192-GCM", 192),
	aesGCMRow(AES256GCM, "AES-256-GCM", 256),
	rsaRow(RSA2048, "RSA-2048", 2048),
	rsaRow(RSA3072, "RSA-3072", 3072),
	rsaRow(RSA4096, "RSA-4096", 4096),
	ecRow(ECP224, "EC-P224", 224),
	agreeing(ecRow(ECP256, "EC-P256", 256)),
	ecRow(ECSecp256k1, "EC-secp256k1", 256),
	agreeing(ecRow(ECP384, "EC-P384", 384)),
	agreeing(ecRow(ECP521, "EC-P521", 521)),
	{Spec: SM2, Name: "SM2", Family: Asymmetric, Bits: 256, UsageSets: signsOrOpens,
		Digests: []Digest{SM3}, MaxPlaintext: maxSM2},
	{Spec: SM4CTR, Name: "SM4-CTR", Family: Symmetric, Bits: 128, UsageSets: encrypts, Overhead: ctrOverhead, DataKeys: true},
	{Spec: SM4CBC, Name: "SM4-CBC", Family: Symmetric, Bits: 128, UsageSets: encrypts, Overhead: cbcOverhead, DataKeys: true},
	macRow(HMACSHA256, "HMAC-SHA-256", 256),
	{Spec: Ed25519, Name: "Ed25519", Family: Asymmetric, Bits: 256, UsageSets: signs},
	macRow(HMACSHA224, "HMAC-SHA-224", 224),
	macRow(HMACSHA384, "HMAC-SHA-384", 384),
	macRow(HMACSHA512, "HMAC-SHA-512", 512),
	{Spec: X25519, Name: "X25519", Family: Asymmetric, Bits: 256, UsageSets: agrees},
	{Spec: MLKEM768, Name: "ML-KEM-768", Family: Asymmetric, Bits: 768, UsageSets: encapsulates},
	{Spec: MLKEM1024, Name: "ML-KEM-1024", Family: Asymmetric, Bits: 1024, UsageSets: encapsulates},
	{Spec: MLDSA44, Name: "ML-DSA-44", Family: Asymmetric, Bits: 128, UsageSets: signs},
	{Spec: MLDSA65, Name: "ML-DSA-65", Family: Asymmetric, Bits: 192, UsageSets: signs},
	{Spec: MLDSA87, Name: "ML-DSA-87", Family: Asymmetric, Bits: 256, UsageSets: signs},
}

func aesGCMRow(s Spec, name string, bits int) Capability {
	return Capability{Spec: s, Name: name, Family: Symmetric, Bits: bits, UsageSets: encrypts, Overhead: gcmOverhead,
		Integrity: true, Binds: true, DataKeys: true, InPlace: true, MaxInvocations: maxGCM}
}

func rsaRow(s Spec, name string, bits int) Capability {
	return Capability{Spec: s, Name: name, Family: Asymmetric, Bits: bits, UsageSets: signsOrOpens, Slow: true,
		Digests: sha2, SignPaddings: rsaSigns, EncryptPaddings: rsaEncrypts, MaxPlaintext: bits/8 - pkcs1Cost}
}

func ecRow(s Spec, name string, bits int) Capability {
	return Capability{Spec: s, Name: name, Family: Asymmetric, Bits: bits, UsageSets: signs, Unserved: encrypts, Digests: sha2AndSM3}
}

// agreeing adds key agreement to a curve's row (NIST SP 800-56A).
func agreeing(row Capability) Capability {
	row.UsageSets = signsOrAgree
	return row
}

func macRow(s Spec, name string, bits int) Capability {
	return Capability{Spec: s, Name: name, Family: MAC, Bits: bits, UsageSets: macs}
}

// capabilityOf is indexed by spec, so that a request pays one array access.
var capabilityOf = func() (t [256]*Capability) {
	for i := range capabilities {
		t[capabilities[i].Spec] = &capabilities[i]
	}
	return t
}()

// Capabilities lists what every known spec may do. The table is shared: do not change it.
func Capabilities() []Capability { return capabilities[:] }

// Capability returns the row of s, and false where s is not a known spec.
func (s Spec) Capability() (*Capability, bool) {
	c := capabilityOf[s]
	return c, c != nil
}

// ParseSpec finds a spec by its native name. The error is Invalid.
func ParseSpec(name string) (Spec, error) {
	for i := range capabilities {
		if capabilities[i].Name == name {
			return capabilities[i].Spec, nil
		}
	}
	return 0, Errorf(Invalid, "unknown key spec").WithField("spec")
}

func (s Spec) String() string {
	if c, ok := s.Capability(); ok {
		return c.Name
	}
	return fmt.Sprintf("Spec(%d)", uint8(s))
}

// MarshalText prints the spec's native name.
func (s Spec) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Admits reports whether a key of this spec may be created for usages u.
func (c *Capability) Admits(u Usages) bool {
	within := func(set Usages) bool { return u.Within(set) }
	return slices.ContainsFunc(c.UsageSets, within) || slices.ContainsFunc(c.Unserved, within)
}

// Serves reports whether an operation of this spec serves u.
func (c *Capability) Serves(u Usage) bool {
	return slices.ContainsFunc(c.UsageSets, func(set Usages) bool { return set.Has(u) })
}

// HasDigest reports whether signatures of this spec may be made over d.
func (c *Capability) HasDigest(d Digest) bool { return slices.Contains(c.Digests, d) }

// CheckLayout refuses a layout or a binding that ciphertexts of this spec
// cannot have. The error is Invalid, or Misused for a key that does not encrypt.
func (c *Capability) CheckLayout(l Layout, b Binding) error {
	data, raw := b.Raw()
	switch {
	case !c.Serves(UseEncrypt):
		return Errorf(Misused, "keys of spec %s do not encrypt", c.Name)
	case l != LayoutNative && l != LayoutEHSM:
		return Errorf(Invalid, "unknown ciphertext layout")
	case c.Binds:
		return nil
	case l == LayoutNative:
		return Errorf(Invalid, "ciphertexts of spec %s cannot be bound to anything, so they have eHSM's layout only", c.Name)
	case !raw || c.Family == Asymmetric && len(data) > 0:
		return Errorf(Invalid, "ciphertexts of spec %s cannot be bound to anything", c.Name).WithField("aad")
	}
	return nil
}

// SigningInput fills in what in leaves to the spec and refuses what the spec
// does not sign; u is UseSign or UseVerify. The error is Misused.
func (c *Capability) SigningInput(in SigningInput, u Usage) (SigningInput, error) {
	if !c.Serves(u) || c.Family != Asymmetric {
		return in, Errorf(Misused, "keys of spec %s do not sign", c.Name)
	}
	if len(c.Digests) == 0 {
		if in.Digest != 0 || in.Prehashed {
			return in, Errorf(Misused, "keys of spec %s sign the message itself, not a digest", c.Name)
		}
		return in, nil
	}
	if in.EHSM && len(c.Digests) == 1 {
		in.Prehashed = false
		if u == UseSign {
			in.Digest = c.Digests[0]
		}
	}
	if in.Digest == 0 {
		in.Digest = c.Digests[0]
	}
	if !c.HasDigest(in.Digest) {
		return in, Errorf(Misused, "keys of spec %s do not sign over %s", c.Name, in.Digest)
	}
	return c.signPadding(in)
}

func (c *Capability) signPadding(in SigningInput) (SigningInput, error) {
	if len(c.SignPaddings) == 0 {
		in.Padding = 0
		return in, nil
	}
	if !slices.Contains(c.SignPaddings, in.Padding) {
		return in, Errorf(Misused, "signatures of spec %s are padded as one of %v", c.Name, c.SignPaddings)
	}
	return in, nil
}

// A Digest is a hash function that a signature is made over.
type Digest uint8

// The digests (FIPS 180-4; SM3: GB/T 32905).
const (
	SHA224 Digest = iota + 1
	SHA256
	SHA384
	SHA512
	SM3
)

// Size is the length of the digest in bytes, 0 for an unknown one.
func (d Digest) Size() int {
	switch d {
	case SHA224:
		return 28
	case SHA256, SM3:
		return 32
	case SHA384:
		return 48
	case SHA512:
		return 64
	}
	return 0
}

func (d Digest) String() string {
	names := [...]string{SHA224: "SHA-224", SHA256: "SHA-256", SHA384: "SHA-384", SHA512: "SHA-512", SM3: "SM3"}
	if int(d) < len(names) && d != 0 {
		return names[d]
	}
	return fmt.Sprintf("Digest(%d)", uint8(d))
}

// A Padding is how RSA operations are padded (RFC 8017).
type Padding uint8

// The paddings.
const (
	PaddingNone Padding = iota + 1
	PaddingPKCS1
	PaddingPSS
	PaddingOAEP
)

func (p Padding) String() string {
	names := [...]string{PaddingNone: "none", PaddingPKCS1: "PKCS1", PaddingPSS: "PSS", PaddingOAEP: "OAEP"}
	if int(p) < len(names) && p != 0 {
		return names[p]
	}
	return fmt.Sprintf("Padding(%d)", uint8(p))
}

// A Layout is how a ciphertext is laid out on the wire.
type Layout uint8

// The layouts.
const (
	// LayoutNative names key id and version in front, so that a ciphertext can
	// be opened without being told its key.
	LayoutNative Layout = iota + 1
	// LayoutEHSM is the spec's body alone, as eHSM's clients store it. AES-GCM:
	// ciphertext ‖ 12-byte nonce ‖ 16-byte tag. SM4: ciphertext ‖ 16-byte counter
	// block or vector. RSA: as long as the modulus. SM2: ASN.1 DER (GM/T 0009).
	LayoutEHSM
	// LayoutOwn, in a request, is LayoutNative for a spec whose ciphertexts have
	// it, and else LayoutEHSM, which then is bound to nothing: a binding is refused.
	LayoutOwn
)
