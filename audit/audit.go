// Package audit is the record of who did what in a domain: its entries, the
// chain that they form, the heads that a node signs, and how to check all of it
// offline. It opens no file and reads no clock.
//
// An entry is one line of JSON in one spelling, with its members in a fixed
// order. It never holds a payload, a plaintext, a ciphertext or a message of
// anybody's. Each entry names the hash of the one before it of the same node, so
//
//	hash_n = SHA-256("holdfast audit entry v1\n" ‖ line_n), line_n names hash_(n-1)
//	hash_0 = SHA-256("holdfast audit chain v1\n" ‖ domain ‖ node)
//
// A Head is a statement of the domain that a node's chain has a hash at a
// number, signed with the domain's audit key. The log of the domain keeps the
// newest head of each node; Checkpoint is what anybody may have of them, with
// what proves the key.
//
// Verify reads lines and heads and finds every entry that was removed, altered
// or put elsewhere, and every end that is missing, up to the last head. What
// comes behind it is chained but signed by nobody, and the Report says so.
package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// Limits of an entry. Longer texts are cut off: what happened is told even where
// a name is too long.
const (
	MaxText  = 256      // bytes of a name, a reason, an identity or an operation
	MaxCount = 64       // counters in an entry
	MaxLine  = 64 << 10 // bytes of a line, its end included: more than all of that
)

// A Hash is that of an entry.
type Hash [sha256.Size]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

const (
	entryLabel = "holdfast audit entry v1\n"
	chainLabel = "holdfast audit chain v1\n"
)

// Genesis is what the first entry of a node names as the one before it.
func Genesis(domain kms.DomainID, node kms.NodeID) Hash {
	b := append([]byte(chainLabel), domain[:]...)
	return sha256.Sum256(append(b, node[:]...))
}

// Operations that a node records of itself; all others are those of its API.
const (
	// Start is the first entry after each start of a node. Head is the last head
	// that the domain's log knew of then: behind it nothing but the chain says what
	// there was.
	Start = "Start"
	// Stop is the last one before a node ends in order.
	Stop = "Stop"
	// Refused counts requests that were refused before it was known who sent them,
	// by kind of refusal, since the last such entry.
	Refused = "Refused"
	// Lost counts, by operation, requests that were refused because no entry could
	// be written of them.
	Lost = "Lost"
)

// OK is the outcome of what succeeded; any other is a kms.Kind's label.
const OK = "ok"

// Outcome is that of an operation which returned err.
func Outcome(err error) string {
	if err == nil {
		return OK
	}
	return kms.KindOf(err).Label()
}

// An Entry is one operation. What is zero is not said.
type Entry struct {
	Seq  uint64 // 1, 2, … of its node
	Node kms.NodeID
	Time time.Time // domain time, in whole microseconds

	Epoch      uint64
	Operation  string
	App        kms.AppID
	Credential kms.CredentialID
	Identity   string // that the caller's evidence proved
	Key        kms.KeyRef
	Source     kms.KeyRef // where what went under Key came from
	Name       string     // of an alias, a secret, a runtime
	Object     string     // id or serial of what else was used or made
	Index      uint64     // of the log's entry that changed the state
	Outcome    string
	Reason     string // a code: the member at fault, or why evidence was refused
	Recovered  bool   // the change was in the log, and its entry was made after a start or a failure
	// For is the node that owed this entry and was removed: this one writes it in
	// its stead.
	For    kms.NodeID
	Head   uint64 // of a Start
	Counts []Count

	Prev Hash // of the entry before
}

// A Count says how often something happened.
type Count struct {
	Name string
	N    uint64
}

// Sum is the hash of a line, without its end.
func Sum(line []byte) Hash {
	var space [1024]byte // most lines fit, and none is too long
	return sha256.Sum256(append(append(space[:0], entryLabel...), line...))
}
