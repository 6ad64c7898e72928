package kms

import (
	"fmt"
	"time"
)

// A NodeRole is a node's part in the domain.
type NodeRole uint8

// The roles.
const (
	RoleWaiting NodeRole = iota + 1 // it asks to join, and has no part yet
	RoleLearner                     // it follows the log and does not vote
	RoleVoter                       // it votes
)

var nodeRoleNames = [...]string{RoleWaiting: "waiting", RoleLearner: "learner", RoleVoter: "voter"}

// Valid reports whether r is one of the roles above.
func (r NodeRole) Valid() bool { return r > 0 && int(r) < len(nodeRoleNames) }

func (r NodeRole) String() string {
	if !r.Valid() {
		return fmt.Sprintf("NodeRole(%d)", uint8(r))
	}
	return nodeRoleNames[r]
}

// MarshalText prints the role's name.
func (r NodeRole) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// A Departure is why a node is not part of the domain any more.
type Departure uint8

// The departures.
const (
	NodeDrained  Departure = iota + 1 // it said so itself
	NodeExpelled                      // an operator or the owner ordered it
	NodeRefused                       // the policy in force does not admit what it proved
	NodeAged                          // it proved nothing for longer than the policy allows
	NodeReplaced                      // another node came for it
)

var departureNames = [...]string{NodeDrained: "drained", NodeExpelled: "removed by order", NodeRefused: "refused by the policy",
	NodeAged: "evidence too old", NodeReplaced: "replaced"}

// Departures lists every departure, for tables that must be exhaustive.
func Departures() []Departure {
	return []Departure{NodeDrained, NodeExpelled, NodeRefused, NodeAged, NodeReplaced}
}

// Valid reports whether d is one of the departures above.
func (d Departure) Valid() bool { return d > 0 && int(d) < len(departureNames) }

// Forced reports whether the node did not go of its own accord.
func (d Departure) Forced() bool { return d == NodeExpelled || d == NodeRefused || d == NodeAged }

func (d Departure) String() string {
	if !d.Valid() {
		return fmt.Sprintf("Departure(%d)", uint8(d))
	}
	return departureNames[d]
}

// MarshalText prints the departure in words.
func (d Departure) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// A NodeInfo is what may be told of a node of the domain.
type NodeInfo struct {
	ID       NodeID   `json:"node_id"`
	Name     string   `json:"name,omitempty"` // for people
	Role     NodeRole `json:"role"`           // as the log's configuration has it, or is about to
	Leader   bool     `json:"leader"`
	Self     bool     `json:"self"`              // it is the node that was asked
	Socket   string   `json:"socket,omitempty"`  // where other nodes reach it
	API      string   `json:"api,omitempty"`     // where clients do
	Replaces NodeID   `json:"replaces,omitzero"` // the node that goes for it

	TEE              string    `json:"tee,omitempty"`
	Program          string    `json:"program,omitempty"`  // its measurement
	Identity         string    `json:"identity,omitempty"` // the program as approvals name it: JSON, as govern prints it
	Platform         string    `json:"platform,omitempty"` // the machine, as approvals name it; empty: it hides its id
	TCBStatus        string    `json:"tcb_status,omitempty"`
	EvaluationNumber uint32    `json:"tcb_evaluation_data_number,omitempty"`
	Simulated        bool      `json:"simulated"`
	Proved           time.Time `json:"proved,omitzero"`      // when its evidence was put on record
	ValidUntil       time.Time `json:"valid_until,omitzero"` // of that evidence

	FeatureLevel uint32    `json:"feature_level"` // the newest that its program knows
	Generations  uint32    `json:"generations"`   // it has the master secrets in use below this number
	Joined       time.Time `json:"joined"`        // when it was first seen
	Revision     uint64    `json:"revision"`

	Connected bool   `json:"connected"`        // the node that was asked has a channel to it
	Trouble   string `json:"trouble,omitzero"` // why it does not serve, as far as is known
}

// A DepartedNode is one that is gone for good: its id never comes back.
type DepartedNode struct {
	ID     NodeID    `json:"node_id"`
	Reason Departure `json:"reason"`
	Time   time.Time `json:"time"`
}

// A NodeList is who has a part in the domain or waits for one, and who had.
type NodeList struct {
	Nodes    []NodeInfo     `json:"nodes"`              // by id
	Departed []DepartedNode `json:"departed,omitempty"` // by id
}
