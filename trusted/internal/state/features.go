package state

import (
	"math"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// Needs is the feature level that a command belongs to. Nobody sends a command
// that is above the domain's level (see View.CheckFeature): nodes of an older
// program would stop at it.
//
// Level 1 is what every program knows. An operation that is new gets a line here
// with the next level, and so does a new field of an old one, where it is used:
// an older program would pass it over, and its state would be another. Records of
// a snapshot follow the commands that make them. A domain never goes back.
func Needs(c *command.Command) uint32 {
	switch c.GetOp().(type) {
	case nil: // of a program that is newer than this one, or of none
		return math.MaxUint32
	}
	return 1
}

// CheckFeature refuses a command that not every voter may know. Levels never fall,
// so an old view refuses too much and never too little. The error is Unsupported.
func (v *View) CheckFeature(c *command.Command) error {
	level := max(v.feature, 1) // a domain is founded at a level that its command names
	switch needs := Needs(c); {
	case needs <= level:
		return nil
	case needs == math.MaxUint32:
		return kms.Errorf(kms.Unsupported, "this program knows no such operation")
	default:
		return kms.Errorf(kms.Unsupported, "this takes feature level %d, and the domain is at %d", needs, level).
			WithHint("every node that votes has to run a program that knows it; `holdfast node list` shows who does. Then the level rises by itself")
	}
}

// Announced is the newest feature level that every voter knows; zero before the
// domain was founded.
func (v *View) Announced() uint32 {
	var level uint32
	for i, id := range v.voters {
		n, ok := v.Member(id)
		if !ok {
			return 0
		}
		if i == 0 || n.Feature < level {
			level = n.Feature
		}
	}
	return level
}

// raiseFeature raises the domain's level once all voters know it. A program that
// does not know it stops: it could not tell what comes.
func (m *Machine) raiseFeature(by *command.Principal, p *command.RaiseFeature) Result {
	if by != nil || p.GetLevel() <= m.next.feature {
		return refuse(kms.Conflict, "the domain is at that feature level already")
	}
	if err := m.spokenBy(p.GetBy()); err != nil {
		return refuseAs(err)
	}
	if all := m.next.Announced(); p.GetLevel() > all {
		return refuseAs(kms.Errorf(kms.Conflict, "the voters all know feature level %d alone", all))
	}
	if p.GetLevel() > m.known {
		return m.stop(kms.Errorf(kms.Damaged, "the domain goes to feature level %d, and this program knows %d", p.GetLevel(), m.known))
	}
	m.next.feature = p.GetLevel()
	m.event(kms.Event{Kind: kms.EventFeatureRaised, Number: uint64(p.GetLevel())})
	return Result{}
}
