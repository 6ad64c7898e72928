package kms

import "time"

// A Served is a request that was answered, for who counts them. Operation is a
// name out of a facade's own table, or "unknown": never what a client wrote.
type Served struct {
	Facade    string
	Operation string
	OK        bool
	Kind      Kind // of the error, where not OK
	Stream    bool // how long it took says nothing
}

// Outcome names how the request ended: "ok", or the error's kind.
func (s Served) Outcome() string {
	if s.OK {
		return "ok"
	}
	return s.Kind.Label()
}

// Metrics is a reading of a node's gauges and counters. Nothing in it is of one
// app, key or person: it may be shown to whoever runs the machine. Counters are
// since the node's start.
type Metrics struct {
	Ready bool
	// Running is false once the node has stopped; what comes from the state is then
	// as it was last known, or zero.
	Running bool
	Secure  bool // no simulated evidence, now or ever

	Raft RaftProgress
	// Stale counts requests refused because the node could not confirm that its
	// state is current.
	Stale uint64
	// Confirmed is how long ago the state was last known to be current; zero for a
	// domain of one, where it always is.
	Confirmed time.Duration

	DomainTime   time.Time
	HostTime     time.Time
	PolicySerial uint64
	PolicyUntil  time.Time
	Feature      uint32

	Generation uint32
	RewrapLeft int // secrets that are wrapped under an older generation

	EvidenceAge     time.Duration
	CollateralFrom  time.Time
	CollateralUntil time.Time
	// ExaminationFailed: the last examination of the node did not succeed.
	ExaminationFailed bool

	Apps    int
	Keys    int
	Secrets int

	Replayed  uint64        // requests refused because they were accepted before
	ReplayAge time.Duration // how old a request of eHSM's first scheme may be

	// Limited counts requests over their app's rate, by class.
	Limited map[WorkClass]uint64
	Load    Load
	Audit   AuditProgress
}

// RaftProgress is how far a node's copy of the log is.
type RaftProgress struct {
	Leader   bool
	HasLead  bool // the node knows of a leader
	Term     uint64
	Commit   uint64
	Applied  uint64
	Last     uint64 // entry of the log
	Voters   int
	Learners int
}

// Load is how much work a node has taken on.
type Load struct {
	UnderWay int    // requests
	Shed     uint64 // requests refused because too many were
}

// AuditProgress is how far the audit log is behind. The zero value: there is none.
type AuditProgress struct {
	Enabled bool
	Entries uint64        // accepted by every required sink
	Waiting int           // entries
	Lag     time.Duration // since the oldest of them was made
	Refused uint64        // operations refused because no entry could be written
	Failing bool          // a required sink takes nothing
}

// Readiness says whether a node can serve, and why not.
type Readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons,omitempty"`
}
