package state_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func reader(b []byte) io.Reader { return bytes.NewReader(b) }

func decode(t testing.TB, data []byte) *command.Command {
	var c command.Command
	if err := proto.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

func checkpoint(c state.Checkpoint) *command.Command {
	return &command.Command{Op: &command.Command_Checkpoint{Checkpoint: &command.Checkpoint{Index: c.Index, Digest: c.Digest[:]}}}
}

// populate makes one of everything that is tallied, and removes some of it.
func (m *machine) populate() {
	m.lives(rand.New(rand.NewPCG(3, 8)), 400)
	m.must(m.do(m.by(1), putCred(cred(1, 50, kms.PermAll, 0))))
	m.must(m.do(m.by(1), putCred(cred(1, 51, kms.PermAll, 0))))
	m.must(m.do(m.by(1), m.revoke(50)))
	m.must(m.do(nil, putEphemeral(m.View().Calendar().At(m.View().Time()), 1)))
	m.grow(2, 3)
	m.must(m.do(nil, removeNode(1, 3, kms.NodeExpelled, m.removal(3, 7))))
	m.configure(1, 2)
}

// Each node keeps the digest by what changes; it is that of a machine that was
// restored from a snapshot, and so counted everything anew.
func TestDigestIsThatOfTheState(t *testing.T) {
	m := newMachine(t)
	m.populate()
	again := restored(t, m.Machine)
	if m.Tally() != again.Tally() {
		t.Error("what was counted as it changed is not what there is")
	}
	if m.Digest() != again.Digest() {
		t.Error("a restored machine has another digest")
	}
	other := state.New()
	for i, entry := range m.log {
		replay(other, uint64(i+1), entry)
		if i%7 == 0 {
			other.Publish()
		}
	}
	if m.Digest() != other.Digest() {
		t.Error("another machine with the same log has another digest")
	}
	before := m.Digest()
	m.must(m.do(nil, pass()))
	if m.Digest() == before {
		t.Error("an entry leaves the digest as it was")
	}
}

// Two machines that answer a command differently have different digests, though
// nothing else differs.
func TestDigestSeesResults(t *testing.T) {
	a, b := newMachine(t), state.New()
	for i, entry := range a.log {
		b.Apply(uint64(i+1), entry)
	}
	if a.Digest() != b.Digest() {
		t.Fatal("they differ from the start")
	}
	c := deleteKey(999, 1)
	a.refused("deleting", a.do(a.by(1), c), kms.NotFound)
	same := importKey(999, 1)
	same.Id, same.Time, same.Principal = c.Id, c.Time, a.by(1)
	same.GetImportKey().Key = nil
	data, _ := proto.Marshal(same)
	if r := b.Apply(a.index, data); r.Err == nil || r.Err.Kind != kms.Invalid {
		t.Fatal(r.Err)
	}
	if a.Digest() == b.Digest() {
		t.Error("the digest does not show that they answered differently")
	}
}

// TestDigestSeesEveryField changes every field of every record of a snapshot, one
// at a time: the digest has to be another one. A new field is not forgotten.
func TestDigestSeesEveryField(t *testing.T) {
	m := newMachine(t)
	m.populate()
	want := m.Digest()
	records := split(t, snapshot(t, m.Machine))
	seen := map[string]bool{}
	for i, rec := range records[:len(records)-1] { // the end counts the others
		if rec.GetDone() != nil || rec.GetSeen() != nil {
			continue // of these, what they do to results is digested
		}
		for _, change := range changes(rec) {
			kind := reflect.TypeOf(rec.GetKind()).String() + "." + change.name
			if seen[kind] {
				continue
			}
			again := state.New()
			if again.Restore(reader(join(t, records, i, change.record))) != nil {
				continue // refused, which is as good
			}
			again.Publish()
			if seen[kind] = true; again.Digest() == want {
				t.Errorf("%s is another, and the digest is not", kind)
			}
		}
	}
	for _, kind := range []string{"Key.created", "Key.revision", "Key.expires", "Credential.revision", "Credential.wrapped", "App.created", "Alias.updated",
		"Header.time", "Header.revision", "Header.epoch", "Node.boot", "Node.feature", "RemovedNode.time", "Ephemeral.checksum", "SpentOrder.expires"} {
		if !seen["*command.Record_"+kind] {
			t.Errorf("%s was not tried", kind)
		}
	}
}

// split reads a snapshot's records, and join writes them with the i-th another one.
func split(t *testing.T, b []byte) (all []*command.Record) {
	for len(b) > 0 {
		length, n := binary.Uvarint(b)
		rec := &command.Record{}
		if err := proto.Unmarshal(b[n:n+int(length)], rec); err != nil {
			t.Fatal(err)
		}
		all, b = append(all, rec), b[n+int(length):]
	}
	return all
}

func join(t *testing.T, all []*command.Record, i int, other *command.Record) (out []byte) {
	for j, rec := range all {
		if j == i {
			rec = other
		}
		b, err := proto.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		out = append(binary.AppendUvarint(out, uint64(len(b))), b...)
	}
	return out
}

// A change is a record with one field that is another.
type change struct {
	name   string
	record *command.Record
}

func changes(rec *command.Record) (all []change) {
	inner := rec.ProtoReflect().WhichOneof(rec.ProtoReflect().Descriptor().Oneofs().Get(0))
	fields := inner.Message().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsList() || f.Message() != nil {
			continue
		}
		other := proto.Clone(rec).(*command.Record)
		m := other.ProtoReflect().Mutable(inner).Message()
		switch v := m.Get(f); v.Interface().(type) {
		case uint32:
			m.Set(f, protoreflect.ValueOfUint32(uint32(v.Uint())+1))
		case uint64:
			m.Set(f, protoreflect.ValueOfUint64(v.Uint()+1))
		case int64:
			m.Set(f, protoreflect.ValueOfInt64(v.Int()+1))
		case bool:
			m.Set(f, protoreflect.ValueOfBool(!v.Bool()))
		case string:
			m.Set(f, protoreflect.ValueOfString(v.String()+"x"))
		case []byte:
			b := bytes.Clone(v.Bytes())
			if len(b) == 0 {
				b = []byte{0}
			}
			b[len(b)-1]++
			m.Set(f, protoreflect.ValueOfBytes(b))
		}
		all = append(all, change{string(f.Name()), other})
	}
	return all
}

// Checkpoints come at the same entries on every node, and one that has another
// state than the leader stops.
func TestCheckpoints(t *testing.T) {
	m := newMachine(t)
	var half *state.Machine
	for m.View().Checkpoint().Index == 0 {
		if m.index == state.CheckpointEvery-1 {
			half = restored(t, m.Machine)
			half.Apply(m.index+1, entry(t, m, pass()))
		}
		m.must(m.do(nil, pass()))
	}
	c := m.View().Checkpoint()
	half.Publish()
	if c.Index != state.CheckpointEvery-1 || half.View().Checkpoint() != c {
		t.Fatalf("checkpoint at %d, and %d after a snapshot", c.Index, half.View().Checkpoint().Index)
	}
	m.must(m.do(nil, checkpoint(c)))
	m.refused("of an app", m.do(m.by(1), checkpoint(c)), kms.Invalid)
	m.refused("where there is none", m.do(nil, checkpoint(state.Checkpoint{Index: c.Index - 1, Digest: c.Digest})), kms.Stale)
	short := checkpoint(c)
	short.GetCheckpoint().Digest = c.Digest[:31]
	m.refused("no digest", m.do(nil, short), kms.Invalid)
	after := restored(t, m.Machine)
	if after.View().Checkpoint() != c {
		t.Error("a snapshot does not have the checkpoint")
	}
	c.Digest[0]++
	r := m.do(nil, checkpoint(c))
	if r.Err == nil || r.Err.Kind != kms.Damaged || m.Fatal() == nil {
		t.Fatalf("another digest: %v", r.Err)
	}
	if r := m.do(m.by(1), putKey(1, 100)); r.Err == nil {
		t.Error("a machine that differs goes on")
	}
}

// The first checkpoint is where the entry number crosses, whoever crosses it: a
// command, or a configuration.
func TestCheckpointAtConfiguration(t *testing.T) {
	m := newMachine(t)
	m.index = state.CheckpointEvery + 5
	m.configure(1)
	if c := m.View().Checkpoint(); c.Index != 3 || c.Digest == [32]byte{} {
		t.Errorf("checkpoint %+v", c)
	}
}

func entry(t testing.TB, m *machine, c *command.Command) []byte {
	c.Id, c.Time = id(1_000_000+m.index+1), m.time
	b, err := proto.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestDigestForm: nodes of different versions of the program compare digests, so
// the form is fixed. If this changes, a domain of old and new nodes stops.
func TestDigestForm(t *testing.T) {
	m := state.New()
	if got, want := fmt.Sprintf("%x", m.Digest()), "c3bece37562d9a7759f13fe9f0bee078cfb4d7851a41666606de8d6c5252529d"; got != want {
		t.Errorf("the empty state has digest %s, want %s", got, want)
	}
	full := newMachine(t)
	full.lives(rand.New(rand.NewPCG(5, 5)), 200)
	full.must(full.do(nil, full.put(2, nil)))
	full.must(full.do(nil, removeNode(1, 2, kms.NodeExpelled, full.removal(2, 7))))
	if got, want := fmt.Sprintf("%x", full.Tally()), "[bf34742f5febe67b 6a627a38606a88a4 c46c70f556d0b41e 45ee8c257802b63e]"; got != want {
		t.Errorf("the records add up to %s, want %s", got, want)
	}
}

// BenchmarkDigest is what a checkpoint costs, with 100,000 keys.
func BenchmarkDigest(b *testing.B) {
	m := newMachine(b)
	for _, data := range m.putKeys(100_000) {
		m.index++
		m.must(m.Apply(m.index, data))
	}
	b.ResetTimer()
	for range b.N {
		m.Digest()
	}
}
