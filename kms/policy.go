package kms

import "time"

// A Lockout is somebody whom a policy would no longer let in, as far as the node
// that was asked can tell.
type Lockout struct {
	Kind string // one of the Lockout kinds
	Who  string // a node's id, a runtime's or program's identity, an app's id, an operator's key
	Why  string
}

// The kinds of lockouts.
const (
	LockoutNode     = "node"     // could not serve any more
	LockoutRuntime  = "runtime"  // a program could not get a runtime's keys any more
	LockoutWorkload = "workload" // a session that is open now would be refused
	LockoutApp      = "app"      // enrolment or requests of apps
	LockoutOperator = "operator" // its documents would not be taken any more
)

// A CheckedPolicy is what would become of a policy that is submitted.
type CheckedPolicy struct {
	SubmittedPolicy
	Lockouts []Lockout
}

// An Amended names the amendment that changed who rules.
type Amended struct {
	Serial int
	Digest [32]byte
	// Dropped is the serial of a scheduled policy that the new rulers have to sign
	// again; zero: none.
	Dropped uint64
}

// A PolicyShown is a policy with everything that it is to be verified by. Its
// parts are envelopes, but for Charter, which is JSON.
type PolicyShown struct {
	Domain     DomainID
	Charter    []byte
	Bootstrap  []byte
	Amendments [][]byte // oldest first
	Policy     []byte
	Since      time.Time // when it came into force; zero: not known
	Next       []byte    // a policy that waits for its time; nil: none
}

// A PolicyEntry names a policy of a domain's history.
type PolicyEntry struct {
	Serial uint64
	Digest [32]byte
	Since  time.Time // when it came, or comes, into force; zero: not known
}

// A PolicyHistory is the policies that a domain has been ruled by.
type PolicyHistory struct {
	Policies []PolicyEntry // oldest first; the last one is in force
	Next     *PolicyEntry  // waits for its time; nil: none
}
