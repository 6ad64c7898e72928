package state

import (
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// A Calendar says which epoch it is, by domain time. Epochs follow each other
// without a gap, and their numbers only grow: where an amendment changes how
// long they are, the epoch of that moment ends and the next one begins there.
// Until then epoch e is the e-th since 1970.
type Calendar struct {
	Epoch  uint64 // that begins at From
	From   int64  // ns since 1970
	Length time.Duration
}

// At is the epoch of a time.
func (c Calendar) At(t time.Time) uint64 {
	since := t.UnixNano() - c.From
	if since < 0 || c.Length <= 0 {
		return c.Epoch
	}
	return c.Epoch + uint64(since/int64(c.Length))
}

// Begins is when an epoch does that did not begin before the calendar; for an
// earlier one it is when the calendar began.
func (c Calendar) Begins(epoch uint64) time.Time {
	return time.Unix(0, c.From).Add(time.Duration(epoch-min(c.Epoch, epoch)) * c.Length).UTC()
}

// Ends is when an epoch does that has not ended before the calendar began; for an
// earlier one it is when the calendar began.
func (c Calendar) Ends(epoch uint64) time.Time {
	if epoch < c.Epoch {
		return time.Unix(0, c.From).UTC()
	}
	return time.Unix(0, c.From).Add(time.Duration(epoch-c.Epoch+1) * c.Length).UTC()
}

// MaxEphemerals is how many epochs' secrets are kept at most, however long the
// policy would keep them: with epochs of ten minutes, four weeks.
const MaxEphemerals = 1 << 12

// An Ephemeral is what is published of an epoch's secret.
type Ephemeral struct {
	Epoch    uint64
	Checksum [32]byte
	Ends     time.Time // of the epoch
}

// Calendar is the domain's.
func (v *View) Calendar() Calendar { return v.calendar }

// Ephemeral is what was published of an epoch's secret. It may be past its time.
func (v *View) Ephemeral(epoch uint64) (Ephemeral, bool) {
	i, found := slices.BinarySearchFunc(v.ephemerals, epoch, compareEpoch)
	if !found {
		return Ephemeral{}, false
	}
	return v.ephemerals[i], true
}

// LivingEphemerals are those that can still be used at a time.
func (v *View) LivingEphemerals(at time.Time) (all []Ephemeral) {
	for _, e := range v.ephemerals {
		if at.Before(v.Until(e)) {
			all = append(all, e)
		}
	}
	return all
}

// Until is from when on an epoch's secret is not used and not kept any more:
// when the age that the policy in force allows has passed since the epoch ended.
func (v *View) Until(e Ephemeral) time.Time {
	age := time.Duration(v.rule.Policy.EphemeralAge)
	if length := v.calendar.Length; length < age/MaxEphemerals { // so that the product is smaller than age, and no overflow
		age = MaxEphemerals * length
	}
	return e.Ends.Add(age)
}

func compareEpoch(e Ephemeral, epoch uint64) int {
	switch {
	case e.Epoch < epoch:
		return -1
	case e.Epoch > epoch:
		return 1
	}
	return 0
}

// putEphemeral publishes what names the secret of the epoch that it is, or of
// the next one. Never of one that has a secret: public keys may have been made
// with it.
func (m *Machine) putEphemeral(by *command.Principal, p *command.PutEphemeral) Result {
	e := Ephemeral{Epoch: p.GetEpoch(), Ends: m.next.calendar.Ends(p.GetEpoch())}
	if by != nil || !fill(e.Checksum[:], p.GetChecksum()) {
		return refuse(kms.Invalid, "record of an epoch's secret is malformed")
	}
	if now := m.next.calendar.At(m.next.Time()); e.Epoch != now && e.Epoch != now+1 {
		return refuse(kms.Stale, "neither of this epoch nor of the next")
	}
	if _, there := m.next.Ephemeral(e.Epoch); there {
		return refuse(kms.Exists, "the epoch has its secret already")
	}
	m.setEphemerals(append(m.next.LivingEphemerals(m.next.Time()), e))
	return Result{}
}

// setEphemerals takes a slice that nobody else has: views share what they hold.
func (m *Machine) setEphemerals(all []Ephemeral) {
	slices.SortFunc(all, func(a, b Ephemeral) int { return compareEpoch(a, b.Epoch) })
	const most = MaxEphemerals + 4 // this epoch, the next, and what rounding leaves
	m.next.ephemerals = all[max(0, len(all)-most):]
}

// reckon begins a new calendar where the length of epochs has changed. It runs
// after each command.
func (m *Machine) reckon() {
	if m.next.rule == nil {
		return
	}
	length, old := time.Duration(m.next.rule.Standing.Intervals.Epoch), m.next.calendar
	if old.Length == length {
		return
	}
	if old.Length == 0 {
		m.next.calendar = Calendar{Length: length}
		return
	}
	c := Calendar{Epoch: old.At(m.next.Time()) + 1, From: m.next.time, Length: length}
	m.next.calendar = c
	all := slices.Clone(m.next.ephemerals)
	for i, e := range all {
		if ends := c.Ends(e.Epoch); e.Epoch >= c.Epoch || ends.Before(e.Ends) {
			all[i].Ends = ends
		}
	}
	m.setEphemerals(all)
}

// putEpochs and loadEpochs are a snapshot's.
func (v *View) putEpochs(h *command.Header) {
	h.Epoch, h.EpochFrom, h.EpochLength = v.calendar.Epoch, v.calendar.From, int64(v.calendar.Length)
}

func (m *Machine) loadEpochs(h *command.Header) error {
	c := Calendar{Epoch: h.GetEpoch(), From: h.GetEpochFrom(), Length: time.Duration(h.GetEpochLength())}
	if c.Length < 0 || c.From < 0 || c.Length == 0 && c != (Calendar{}) {
		return malformed("snapshot: epochs")
	}
	m.next.calendar = c
	return nil
}

func (v *View) writeEphemerals(out *recordWriter) {
	for _, e := range v.ephemerals {
		out.put(&command.Record{Kind: &command.Record_Ephemeral{Ephemeral: &command.Ephemeral{
			Epoch: e.Epoch, Checksum: e.Checksum[:], Ends: e.Ends.UnixNano()}}})
	}
}

func (m *Machine) loadEphemeral(p *command.Ephemeral) error {
	e := Ephemeral{Epoch: p.GetEpoch(), Ends: time.Unix(0, p.GetEnds()).UTC()}
	all := m.next.ephemerals
	if !fill(e.Checksum[:], p.GetChecksum()) || m.next.rule == nil || len(all) > 0 && all[len(all)-1].Epoch >= e.Epoch {
		return malformed("snapshot: an epoch's secret")
	}
	m.next.ephemerals = append(all, e)
	return nil
}
