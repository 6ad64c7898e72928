package state_test

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"google.golang.org/protobuf/proto"
)

// putKeys are n encoded commands that make keys with random ids.
func (m *machine) putKeys(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([][]byte, n)
	p := m.by(1)
	for i := range all {
		var raw [16]byte
		binary.BigEndian.PutUint64(raw[:], r.Uint64())
		binary.BigEndian.PutUint64(raw[8:], r.Uint64())
		c := putKey(1, 0)
		c.GetPutKey().Key.Id = raw[:]
		c.Id, c.Time, c.Principal = id(r.Uint64()), m.time, p
		all[i], _ = proto.Marshal(c)
	}
	return all
}

// BenchmarkApplyPutKey is what a new key costs a node that is told of it.
func BenchmarkApplyPutKey(b *testing.B) {
	const batch = 100_000
	m := newMachine(b)
	log := m.putKeys(batch)
	fresh := snapshot(b, m.Machine)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i%batch == 0 {
			b.StopTimer()
			m.Machine, m.index = restore(b, fresh), 3
			b.StartTimer()
		}
		m.index++
		m.Apply(m.index, log[i%batch])
		if i%64 == 0 {
			m.Publish()
		}
	}
}
