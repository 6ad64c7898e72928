package state_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

func reserve(key uint64, version uint32, count, limit uint64) *command.Command {
	return &command.Command{Op: &command.Command_Reserve{Reserve: &command.Reserve{Key: id(key), Version: version, Count: count, Limit: limit}}}
}

func rotateEvery(key, revision uint64, period int64) *command.Command {
	return &command.Command{Op: &command.Command_SetRotation{SetRotation: &command.SetRotation{Key: id(key), Revision: revision, Period: period}}}
}

func rotateDue(threshold uint64, key, revision uint64, number uint32) *command.Command {
	return &command.Command{Op: &command.Command_RotateDue{RotateDue: &command.RotateDue{Keys: []*command.NewVersion{{Key: id(key), Revision: revision, Threshold: threshold,
		Version: &command.KeyVersion{Number: number, Created: start, Wrapped: []byte("material"), Reserved: 2}}}}}}
}

func noteUse(since int64, keys ...uint64) *command.Command {
	op := &command.NoteUse{Since: since}
	for _, k := range keys {
		op.Keys = append(op.Keys, id(k)...)
	}
	return &command.Command{Op: &command.Command_NoteUse{NoteUse: op}}
}

// TestReserve: what is set aside adds up to the limit and no further, moves no
// revision, and is the node's own doing.
func TestReserve(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	m.must(m.do(nil, reserve(100, 1, 6, 10)))
	m.unchanged("more than is left", nil, reserve(100, 1, 5, 10), kms.Exhausted)
	m.unchanged("a sum that overflows", nil, reserve(100, 1, ^uint64(0), 10), kms.Exhausted)
	m.unchanged("over the spec's own limit", nil, reserve(100, 1, 1<<32, ^uint64(0)), kms.Exhausted)
	m.unchanged("nothing", nil, reserve(100, 1, 0, 10), kms.Invalid)
	m.unchanged("an app's", m.by(1), reserve(100, 1, 1, 10), kms.Invalid)
	m.unchanged("no such version", nil, reserve(100, 2, 1, 10), kms.Misused)
	m.unchanged("no such key", nil, reserve(101, 1, 1, 10), kms.NotFound)
	got := m.must(m.do(nil, reserve(100, 1, 4, 10)))
	if got.Versions[0].Reserved != 10 || got.Revision != k.Revision {
		t.Errorf("%d set aside, revision %d, want 10 and %d", got.Versions[0].Reserved, got.Revision, k.Revision)
	}
	m.unchanged("under a lower limit than what is set aside", nil, reserve(100, 1, 1, 5), kms.Exhausted)
}

// TestRotateDue: a key is rotated when its time has come or it is worn, as it was
// seen, once.
func TestRotateDue(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	m.unchanged("no whole day", m.by(1), rotateEvery(100, k.Revision, day+1), kms.Invalid)
	m.unchanged("too long", m.by(1), rotateEvery(100, k.Revision, 3651*day), kms.Invalid)
	m.unchanged("negative", m.by(1), rotateEvery(100, k.Revision, -day), kms.Invalid)
	m.unchanged("another app", m.by(2), rotateEvery(100, k.Revision, day), kms.Foreign)
	k = m.must(m.do(m.by(1), rotateEvery(100, k.Revision, day)))
	due := k.Rotation.Next
	m.unchanged("not due", nil, rotateDue(0, 100, k.Revision, 2), kms.Conflict)
	m.must(m.do(nil, reserve(100, 1, 5, 10)))
	m.unchanged("not worn", nil, rotateDue(6, 100, k.Revision, 2), kms.Conflict)
	m.unchanged("an app's", m.by(1), rotateDue(5, 100, k.Revision, 2), kms.Invalid)
	m.unchanged("another revision", nil, rotateDue(5, 100, k.Revision+1, 2), kms.Conflict)
	m.unchanged("another number", nil, rotateDue(5, 100, k.Revision, 3), kms.Conflict)
	was := k.Revision
	k = m.must(m.do(nil, rotateDue(5, 100, k.Revision, 2)))
	if k.Current != 2 || k.Versions[1].Reserved != 2 || k.Rotation.Next < due {
		t.Errorf("%+v", k)
	}
	m.unchanged("twice", nil, rotateDue(5, 100, was, 2), kms.Conflict)
	if due := m.View().RotationsDue(m.View().Time(), 10); len(due) != 0 {
		t.Errorf("%d due", len(due))
	}
	at := m.View().Time().Add(2 * kms.Day)
	if due := m.View().RotationsDue(at, 10); len(due) != 1 || due[0].ID != k.ID {
		t.Errorf("%d due later", len(due))
	}
	k = m.must(m.do(m.by(1), &command.Command{Op: &command.Command_SetKeyState{SetKeyState: &command.SetKeyState{Key: id(100), Revision: k.Revision, State: uint32(kms.KeyDisabled)}}}))
	if due := m.View().RotationsDue(at, 10); len(due) != 0 {
		t.Errorf("a disabled key is due")
	}
	_ = k
}

// TestWearSurvives: what is left of use is the same after a snapshot and a replay.
func TestWearSurvives(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	m.must(m.do(m.by(1), putKey(1, 101)))
	m.must(m.do(m.by(1), rotateEvery(100, k.Revision, 7*day)))
	m.must(m.do(nil, reserve(100, 1, 6, 10)))
	if r := m.do(nil, noteUse(start, 100, 999)); r.Err != nil {
		t.Fatal(r.Err)
	}
	m.do(nil, noteUse(start-1, 100)) // never back
	m.unchanged("an app's note", m.by(1), noteUse(start, 101), kms.Invalid)
	m.unchanged("half an id", nil, &command.Command{Op: &command.Command_NoteUse{NoteUse: &command.NoteUse{Since: 1, Keys: []byte("half")}}}, kms.Invalid)
	want := descriptions(m.View())
	if got, _ := m.View().Key(kms.KeyID(id(100))); got.LastUsed != start {
		t.Errorf("used at %d, want %d", got.LastUsed, start)
	}
	restored := restore(t, snapshot(t, m.Machine))
	if diff := cmp.Diff(want, descriptions(restored.View())); diff != "" {
		t.Errorf("restored: %s", diff)
	}
	if due := restored.View().RotationsDue(m.View().Time().Add(8*kms.Day), 10); len(due) != 1 {
		t.Errorf("%d due after a snapshot", len(due))
	}
	if diff := cmp.Diff(want, descriptions(replayed(m).View())); diff != "" {
		t.Errorf("replayed: %s", diff)
	}
}
