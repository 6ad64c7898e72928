package attest

import (
	"crypto/sha512"
	"encoding/binary"
	"hash"
)

// A Purpose is one use of evidence. It goes into the report data, so evidence
// that was made for one use is refused for every other.
type Purpose string

// The purposes. A new use of evidence gets a new one.
const (
	ForSelf      Purpose = "self"      // a node to itself, before it opens anything
	ForBootstrap Purpose = "bootstrap" // a founder, for the key that the bootstrap names
	ForNode      Purpose = "node"      // a node to its peers: joining, and each handshake after
	ForService   Purpose = "service"   // a node to its clients: TLS key and CA key
	ForWorkload  Purpose = "workload"  // a client to the domain: the key of its certificate
	ForEnrolment Purpose = "enrolment" // a client to the domain, for a first credential
	ForRecovery  Purpose = "recovery"  // a new node to who holds shares: its key, and the one that shares are sealed to
	ForBackup    Purpose = "backup"    // a node to whoever restores: what a backup that it made says in clear
	ForChallenge Purpose = "challenge" // a node for whoever asks, for a challenge of the asker's
)

// A Binding is what evidence is bound to beside its purpose.
type Binding struct {
	// Keys are the public keys that the program holds, as DER
	// SubjectPublicKeyInfo or as the purpose says, in the purpose's order.
	Keys [][]byte
	// Domain is the domain ID, or the digest of the charter where there is no
	// domain yet; zeros where there is neither.
	Domain [32]byte
	// PolicySerial and PolicyDigest are those of the policy that the program
	// obeys; zeros where it has none yet.
	PolicySerial uint64
	PolicyDigest [32]byte
	// Nonce is the verifier's, never the prover's.
	Nonce []byte
}

// bindingLabel separates these digests from every other use of the hash.
const bindingLabel = "holdfast report data v1"

// ReportData is the 64 bytes that a program has its TEE sign: SHA-512 over the
// label, the purpose, the number of keys, each key, the domain, the policy's
// serial and digest and the nonce. Numbers are 8 bytes, big-endian, and what
// has no fixed length is preceded by its length as such a number, so no two
// bindings have the same input.
func ReportData(purpose Purpose, b Binding) [64]byte {
	h := sha512.New()
	writeSized(h, []byte(bindingLabel))
	writeSized(h, []byte(purpose))
	writeNumber(h, uint64(len(b.Keys)))
	for _, key := range b.Keys {
		writeSized(h, key)
	}
	h.Write(b.Domain[:])
	writeNumber(h, b.PolicySerial)
	h.Write(b.PolicyDigest[:])
	writeSized(h, b.Nonce)
	return [64]byte(h.Sum(nil))
}

func writeSized(h hash.Hash, b []byte) {
	writeNumber(h, uint64(len(b)))
	h.Write(b)
}

func writeNumber(h hash.Hash, n uint64) {
	h.Write(binary.BigEndian.AppendUint64(nil, n))
}
