package intel_test

import (
	"encoding/asn1"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	. "github.com/holdfast-kms/holdfast/attest/intel/inteltest"
)

// place finds a member by its identifier below the extension's own.
func place(t *testing.T, members []Member, id ...int) *Member {
	t.Helper()
	for i := range members {
		if cmp.Equal(members[i].ID, id) {
			return &members[i]
		}
	}
	t.Fatalf("no member %v", id)
	return nil
}

func tcbOf(t *testing.T, members []Member) []Member {
	t.Helper()
	return place(t, members, 2).Value.([]Member)
}

func TestSGXExtension(t *testing.T) {
	members := DefaultMembers()
	tcb := tcbOf(t, members)
	for i := range 16 {
		place(t, tcb, 2, i+1).Value = 255 - i
	}
	place(t, tcb, 2, 17).Value = math.MaxUint16
	place(t, members, 3).Value = []byte{1, 2}
	got, err := intel.ParseSGXExtension(SGXExtension(members))
	if err != nil {
		t.Fatal(err)
	}
	want := &intel.PCK{
		PPID: got.PPID, Components: [16]byte{255, 254, 253, 252, 251, 250, 249, 248, 247, 246, 245, 244, 243, 242, 241, 240},
		PCESVN: math.MaxUint16, CPUSVN: [16]byte{Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn},
		PCEID: [2]byte{1, 2}, FMSPC: [6]byte{0xd0, 0xe1, 0xc0, 0xff, 0xee, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" || got.PPID == [16]byte{} {
		t.Errorf("PPID %x %s", got.PPID, diff)
	}
}

func TestSGXExtensionRefuses(t *testing.T) {
	without := func(list []Member, i int) []Member { return append(append([]Member{}, list[:i]...), list[i+1:]...) }
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, m []Member) []Member
	}{
		{"no PPID", func(t *testing.T, m []Member) []Member { return without(m, 0) }},
		{"no TCB", func(t *testing.T, m []Member) []Member { return without(m, 1) }},
		{"no PCE", func(t *testing.T, m []Member) []Member { return without(m, 2) }},
		{"no FMSPC", func(t *testing.T, m []Member) []Member { return without(m, 3) }},
		{"FMSPC twice", func(t *testing.T, m []Member) []Member { return append(m, m[3]) }},
		{"short FMSPC", func(t *testing.T, m []Member) []Member { m[3].Value = []byte{1, 2, 3, 4, 5}; return m }},
		{"long FMSPC", func(t *testing.T, m []Member) []Member { m[3].Value = make([]byte, 7); return m }},
		{"FMSPC as a number", func(t *testing.T, m []Member) []Member { m[3].Value = 1; return m }},
		{"short PPID", func(t *testing.T, m []Member) []Member { m[0].Value = make([]byte, 15); return m }},
		{"a member one level deeper", func(t *testing.T, m []Member) []Member { return append(m, Member{ID: []int{9, 1}, Value: 1}) }},
		{"no first component", func(t *testing.T, m []Member) []Member { m[1].Value = without(tcbOf(t, m), 0); return m }},
		{"no last component", func(t *testing.T, m []Member) []Member { m[1].Value = without(tcbOf(t, m), 15); return m }},
		{"no PCESVN", func(t *testing.T, m []Member) []Member { m[1].Value = without(tcbOf(t, m), 16); return m }},
		{"no CPUSVN", func(t *testing.T, m []Member) []Member { m[1].Value = without(tcbOf(t, m), 17); return m }},
		{"a component twice", func(t *testing.T, m []Member) []Member { m[1].Value = append(tcbOf(t, m), tcbOf(t, m)[3]); return m }},
		{"a component too large", func(t *testing.T, m []Member) []Member { place(t, tcbOf(t, m), 2, 7).Value = 256; return m }},
		{"a component below zero", func(t *testing.T, m []Member) []Member { place(t, tcbOf(t, m), 2, 7).Value = -1; return m }},
		{"a component as bytes", func(t *testing.T, m []Member) []Member { place(t, tcbOf(t, m), 2, 7).Value = []byte{1}; return m }},
		{"PCESVN too large", func(t *testing.T, m []Member) []Member { place(t, tcbOf(t, m), 2, 17).Value = 65536; return m }},
		{"short CPUSVN", func(t *testing.T, m []Member) []Member {
			place(t, tcbOf(t, m), 2, 18).Value = make([]byte, 15)
			return m
		}},
		{"TCB as a number", func(t *testing.T, m []Member) []Member { m[1].Value = asn1.Enumerated(1); return m }},
		{"a component of another arc", func(t *testing.T, m []Member) []Member { place(t, tcbOf(t, m), 2, 7).ID = []int{3, 7}; return m }},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := intel.ParseSGXExtension(SGXExtension(c.spoil(t, DefaultMembers())))
			if attest.ReasonOf(err) != attest.Malformed {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	good := SGXExtension(DefaultMembers())
	for name, der := range map[string][]byte{"nothing": nil, "longer": append(good, 0), "shorter": good[:len(good)-1]} {
		if got, err := intel.ParseSGXExtension(der); attest.ReasonOf(err) != attest.Malformed {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
