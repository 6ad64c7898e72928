package server

import (
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"

	"google.golang.org/protobuf/proto"
)

// peersFile keeps what a node has to know of the others before the log speaks
// again: after a start a log of several voters says nothing until most of them
// have found each other, and they find each other by these rules.
const peersFile = "peers"

// maxNodes bounds what is read of others' lists of members.
const maxNodes = 256

// rules are what a node judges others by: who rules, by which policy, and who is
// a member. They never change; newer ones are a new value.
type rules struct {
	index    uint64 // of the log
	domain   kms.DomainID
	standing govern.Standing
	policy   *govern.Policy
	sockets  map[kms.NodeID]string // of all members
	signed   *wire.Rules           // what they were verified from
}

// verifyRules verifies rules that somebody else shows, or that lay on a disk:
// from the charter over bootstrap and amendments to the policy. Who is a member
// is not signed: that is a claim. The error is that of govern.
func verifyRules(charter *govern.Charter, r *wire.Rules) (*rules, error) {
	founded, err := govern.Found(charter, r.GetBootstrap(), r.GetPolicy_1())
	if err != nil {
		return nil, err
	}
	known := &rules{index: r.GetIndex(), domain: founded.Domain, standing: founded.Standing, signed: r}
	for _, a := range r.GetAmendments() {
		if known.standing, err = known.standing.Amend(a); err != nil {
			return nil, err
		}
	}
	if known.policy, err = known.standing.OpenPolicy(r.GetPolicy()); err != nil {
		return nil, err
	}
	if len(r.GetNodes()) > maxNodes {
		return nil, kms.Errorf(kms.TooLarge, "%d nodes", len(r.GetNodes()))
	}
	known.sockets = map[kms.NodeID]string{}
	for _, a := range r.GetNodes() {
		id, err := nodeID(a.GetNode())
		if err != nil {
			return nil, err
		}
		known.sockets[id] = a.GetSocket()
	}
	return known, nil
}

func nodeID(b []byte) (id kms.NodeID, err error) {
	if len(b) != len(id) {
		return id, kms.Errorf(kms.Invalid, "a node id has %d bytes", len(id))
	}
	copy(id[:], b)
	return id, nil
}

// rulesOf are the rules as the state has them; nil before the domain was founded.
func rulesOf(view *state.View) *rules {
	f, r := view.Founding(), view.Rule()
	if f == nil || r == nil {
		return nil
	}
	known := &rules{index: view.Index(), domain: f.Domain, standing: r.Standing, policy: r.Policy, sockets: map[kms.NodeID]string{},
		signed: &wire.Rules{Index: view.Index(), Bootstrap: f.Bootstrap, Policy_1: f.Policy, Amendments: r.Amendments, Policy: r.Envelope}}
	view.Nodes(func(n *state.Node) bool {
		if !n.Member() {
			return true
		}
		known.sockets[n.ID] = n.Socket
		known.signed.Nodes = append(known.signed.Nodes, &wire.Address{Node: n.ID[:], Socket: n.Socket})
		return true
	})
	return known
}

// same reports whether two rules lead to the same judgements.
func (r *rules) same(o *rules) bool {
	a, b := proto.CloneOf(r.signed), proto.CloneOf(o.signed)
	a.Index, b.Index = 0, 0
	return proto.Equal(a, b)
}

// newer reports whether r comes after o: by the log, and where one of the two is
// from somewhere else, by what was signed.
func (r *rules) newer(o *rules) bool {
	switch {
	case o == nil:
		return true
	case r.policy.Serial != o.policy.Serial:
		return r.policy.Serial > o.policy.Serial
	case r.standing.Amendments != o.standing.Amendments:
		return r.standing.Amendments > o.standing.Amendments
	}
	return r.index > o.index
}

// writeRules keeps the rules, sealed.
func (s *sealer) writeRules(r *rules) error {
	b, err := proto.Marshal(r.signed)
	if err != nil {
		return kms.Errorf(kms.Internal, "encoding: %w", err).WithFile(peersFile)
	}
	return s.write(peersFile, b)
}

func (s *sealer) readRules(charter *govern.Charter) (*rules, error) {
	b, err := s.read(peersFile)
	if err != nil {
		return nil, err
	}
	var r wire.Rules
	if err := proto.Unmarshal(b, &r); err != nil {
		return nil, kms.Errorf(kms.Damaged, "unknown format").WithFile(peersFile).WithHint(lostHint)
	}
	known, err := verifyRules(charter, &r)
	if err != nil {
		return nil, kms.Errorf(kms.Damaged, "%w", err).WithFile(peersFile).WithHint(charterHint)
	}
	return known, nil
}
