package state

// SetKnown has the machine be of a program that knows feature levels up to level.
func (m *Machine) SetKnown(level uint32) { m.known = level }

// Tally is the sum over the records that there can be many of.
func (m *Machine) Tally() [4]uint64 { return m.next.tally }

// LoadGathering loads the members of a state as if it were in the making.
func (m *Machine) LoadGathering(v *View) error {
	h := v.header(0)
	h.Gathering = true
	return m.loadMembers(h)
}
