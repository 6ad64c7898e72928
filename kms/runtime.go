package kms

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"
)

// MaxRuntime is the length of the longest name of a runtime, in bytes.
const MaxRuntime = 64

// A RuntimeKeyID is what a runtime calls one of its key pairs: 32 bytes of its
// own choice.
type RuntimeKeyID [32]byte

func (id RuntimeKeyID) String() string { return hex.EncodeToString(id[:]) }

// ParseRuntimeKeyID reads 64 hexadecimal digits of either case. The error is Invalid.
func ParseRuntimeKeyID(s string) (RuntimeKeyID, error) {
	id, err := parse32("runtime key id", s)
	return RuntimeKeyID(id), err
}

// A RuntimeKey names one key pair of a runtime. Long-term and ephemeral pairs of
// one id have nothing in common.
type RuntimeKey struct {
	Runtime   string // as policies name it: 1 to MaxRuntime bytes
	ID        RuntimeKeyID
	Ephemeral bool
	Period    uint64 // the generation of the master secret, or where Ephemeral the epoch
}

// String is the key for a person: `ledger, key id 00…, epoch 7`.
func (k RuntimeKey) String() string {
	period := "generation"
	if k.Ephemeral {
		period = "epoch"
	}
	return fmt.Sprintf("%q, key id %s, %s %d", k.Runtime, k.ID, period, k.Period)
}

// Validate refuses what cannot name a key pair. The error is Invalid and names
// the member.
func (k RuntimeKey) Validate() error {
	if len(k.Runtime) == 0 || len(k.Runtime) > MaxRuntime {
		return Errorf(Invalid, "a runtime's name has 1 to %d bytes", MaxRuntime).WithField("runtime")
	}
	if !k.Ephemeral && k.Period>>32 != 0 {
		return Errorf(Invalid, "a generation has 32 bits").WithField("generation")
	}
	return nil
}

// A RuntimeKeyRequest asks for a key pair.
type RuntimeKeyRequest struct {
	RuntimeKey
	Latest bool // of the newest generation, or of the epoch that it is, whatever Period says
}

// A RuntimePublicKey is the public half of a runtime's key pair, as the domain
// vouches for it.
type RuntimePublicKey struct {
	RuntimeKey
	Domain DomainID
	Public [32]byte // X25519 (RFC 7748)
	// Generation is of the key that signed: of the pair itself, or for an ephemeral
	// one the newest when it was signed.
	Generation uint32
	// Checksum is that of the secret that the pair was derived from: of the master
	// secret in the domain's chain, or of the epoch's secret.
	Checksum  [32]byte
	Expires   time.Time // of an ephemeral one, in whole seconds: nobody can open anything with it from then on
	Signature []byte    // Ed25519 of Signed, by the runtime signing key of Generation
}

// The labels of what is signed and sealed; see docs/runtimes.md.
const (
	runtimePublicLabel = "holdfast/v1/runtime-public-key\x00"
	runtimeSealedLabel = "holdfast/v1/runtime-sealed\x00"
)

// Signed is the text under the signature, which no other kind of text begins
// like:
//
//	label ‖ domain(32) ‖ length of runtime(1) ‖ runtime ‖ kind(1) ‖ id(32) ‖
//	period(8) ‖ generation(4) ‖ checksum(32) ‖ expires(8, s since 1970, 0: never) ‖ public(32)
//
// Numbers are big-endian; kind is 1 for long-term pairs, 2 for ephemeral ones.
func (p *RuntimePublicKey) Signed() []byte {
	b := p.RuntimeKey.appendTo([]byte(runtimePublicLabel), p.Domain)
	b = binary.BigEndian.AppendUint32(b, p.Generation)
	b = append(b, p.Checksum[:]...)
	var expires int64
	if !p.Expires.IsZero() {
		expires = p.Expires.Unix()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(expires))
	return append(b, p.Public[:]...)
}

func (k RuntimeKey) appendTo(b []byte, domain DomainID) []byte {
	b = append(b, domain[:]...)
	b = append(b, byte(len(k.Runtime)))
	b = append(b, k.Runtime...)
	return k.appendHeader(b)
}

func (k RuntimeKey) kind() byte {
	if k.Ephemeral {
		return 2
	}
	return 1
}

func (k RuntimeKey) appendHeader(b []byte) []byte {
	b = append(b, k.kind())
	b = append(b, k.ID[:]...)
	return binary.BigEndian.AppendUint64(b, k.Period)
}

// A RuntimeSigningKey is the public half of the key that signs the runtimes'
// public keys in one generation.
type RuntimeSigningKey struct {
	Generation uint32
	Public     [32]byte // Ed25519
	Checksum   [32]byte // of that generation's master secret, in the domain's chain
	Retired    bool     // it signs nothing any more; what it signed can be verified
}

// RuntimeKeys is a key pair of a runtime, for the runtime. Who has them wipes them.
type RuntimeKeys struct {
	RuntimeKey
	Domain  DomainID
	Public  [32]byte
	Private []byte // X25519, 32 bytes
	State   []byte // symmetric, 32 bytes
	Expires time.Time
}

// Wipe clears the private halves.
func (k *RuntimeKeys) Wipe() { clear(k.Private); clear(k.State) }

// RuntimeDecryptRequest asks to open what was sealed to a runtime. Sealed names
// the key pair.
type RuntimeDecryptRequest struct {
	Runtime string
	Sealed  []byte
}

// RuntimeMACRequest asks for a MAC under the state key of a pair.
type RuntimeMACRequest struct {
	RuntimeKeyRequest
	Message []byte // 1 to MaxRuntimeMessage bytes
}

// A RuntimeMAC is a MAC of 32 bytes, with the pair whose state key made it.
type RuntimeMAC struct {
	RuntimeKey
	MAC []byte
}

// MaxRuntimeMessage is the longest message that is sealed to a runtime, or
// authenticated for it, in bytes. What is longer is sealed under a key of its own.
const MaxRuntimeMessage = 8192

const (
	sealedFormat   = 1
	sealedHeader   = 1 + 1 + 32 + 8 // format ‖ kind ‖ id ‖ period
	sealedOverhead = sealedHeader + 32 + 16
)

// MaxRuntimeSealed is the length of the longest sealed message, in bytes.
const MaxRuntimeSealed = MaxRuntimeMessage + sealedOverhead

// SealedHeader begins a message that is sealed to the key: format(1) ‖ kind(1) ‖
// id(32) ‖ period(8). What HPKE makes follows: the encapsulated key(32) and the
// ciphertext.
func (k RuntimeKey) SealedHeader() []byte { return k.appendHeader([]byte{sealedFormat}) }

// SealedInfo is HPKE's info for a message that is sealed to the key, which so
// opens under no other name, and in no other domain.
func (k RuntimeKey) SealedInfo(domain DomainID) []byte {
	return k.appendTo([]byte(runtimeSealedLabel), domain)
}

// ParseRuntimeSealed splits a sealed message into the key that it is for, without
// its runtime, and what HPKE made. The error is Invalid or TooLarge.
func ParseRuntimeSealed(b []byte) (k RuntimeKey, body []byte, err error) {
	switch {
	case len(b) > MaxRuntimeSealed:
		return k, nil, Errorf(TooLarge, "at most %d bytes", MaxRuntimeSealed).WithField("sealed")
	case len(b) < sealedOverhead || b[0] != sealedFormat || b[1] < 1 || b[1] > 2:
		return k, nil, Errorf(Invalid, "not a message that was sealed to a runtime").WithField("sealed")
	}
	k.Ephemeral = b[1] == 2
	copy(k.ID[:], b[2:])
	k.Period = binary.BigEndian.Uint64(b[34:])
	if !k.Ephemeral && k.Period>>32 != 0 {
		return RuntimeKey{}, nil, Errorf(Invalid, "not a message that was sealed to a runtime").WithField("sealed")
	}
	return k, b[sealedHeader:], nil
}
