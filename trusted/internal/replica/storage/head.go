package storage

import (
	"encoding/binary"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/seal"
)

const headName = "head"

// The head is one small record in two slots that are written in turn, so that
// a write that is torn, or never reaches the disk, leaves the one before. A
// slot lies in a block of its own and fits a sector of 512 bytes, which disks
// write whole.
const (
	slots       = 2
	slotStep    = 4096
	headSize    = slots * slotStep
	headVersion = 2
	headPlain   = 1 + 8 + 8 + 8 + seal.TagLen + 8 + 8 + 8 + 8
	headSealed  = headPlain + seal.Overhead
)

// A head says what the rest of the store must hold.
type head struct {
	seq uint64 // counts the heads; the highest is the newest

	// The log has the records first to last; none if first is last+1. The tag
	// is the last record's, or, in an empty log, what its next record must
	// follow. Records after last may exist that were never acknowledged.
	first, last uint64
	lastTag     tag
	lastTerm    uint64

	metaSeq uint64 // of the meta that was there; meta is this one or the next
	layout  uint64 // meta's count of changes to the list of segments, likewise

	// applied is an entry that was applied, and so committed: no leader has another
	// one there. Some after it may have been, too.
	applied uint64
}

func (h head) empty() bool { return h.first > h.last }

func slotAAD(slot int) []byte { return []byte{'s', byte('0' + slot)} }

func (h head) marshal() []byte {
	b := make([]byte, 0, headPlain)
	b = append(b, headVersion)
	for _, v := range []uint64{h.seq, h.first, h.last} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	b = append(b, h.lastTag[:]...)
	for _, v := range []uint64{h.lastTerm, h.metaSeq, h.layout, h.applied} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func parseHead(plain []byte) (head, error) {
	var h head
	c := cursor{rest: plain}
	version := c.u8()
	h.seq, h.first, h.last = c.u64(), c.u64(), c.u64()
	copy(h.lastTag[:], c.bytes(seal.TagLen))
	h.lastTerm, h.metaSeq, h.layout, h.applied = c.u64(), c.u64(), c.u64(), c.u64()
	switch {
	case !c.done() || version != headVersion:
		return head{}, kms.Errorf(kms.Damaged, "head of an unknown form")
	case h.first == 0 || h.first-1 > h.last:
		return head{}, kms.Errorf(kms.Damaged, "head with an impossible range %d to %d", h.first, h.last)
	}
	return h, nil
}

// headSlots is what the head's file was found to hold.
type headSlots struct {
	newest head
	slot   int    // where it lies
	record []byte // its bytes
	torn   bool   // the other slot has something that does not open
}

// readSlots finds the newest head. A slot that does not open may be a torn
// write, so the other one counts, if there is one; whether the rest of the
// store agrees with it is then seen.
func readSlots(box *seal.Box, data []byte) (headSlots, error) {
	found := headSlots{slot: -1}
	for slot := range slots {
		record, blank := slotOf(data, slot)
		if blank {
			continue
		}
		plain, err := box.Open(nil, record, slotAAD(slot))
		if err != nil {
			found.torn = true
			continue
		}
		h, err := parseHead(plain)
		if err != nil {
			return headSlots{}, err
		}
		if found.slot < 0 || h.seq > found.newest.seq {
			found.newest, found.slot, found.record = h, slot, record
		}
	}
	if found.slot < 0 {
		return headSlots{}, kms.Errorf(kms.Damaged, "neither of its two records opens")
	}
	return found, nil
}

// slotOf returns a slot's bytes, and whether nothing was ever written there.
func slotOf(data []byte, slot int) (record []byte, blank bool) {
	start := slot * slotStep
	if len(data) < start+headSealed {
		return nil, len(data) <= start
	}
	record = data[start : start+headSealed : start+headSealed]
	for _, b := range record {
		if b != 0 {
			return record, false
		}
	}
	return record, true
}
