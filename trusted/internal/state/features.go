package state

import (
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// Needs is the feature level that a command belongs to. Who proposes one that is
// above the domain's level refuses it: nodes of an older program would stop.
func Needs(*command.Command) uint32 { return 1 }

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
