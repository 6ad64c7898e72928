package inteltest

import (
	"encoding/asn1"
	"encoding/hex"
)

var oidSGX = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// A Member is one member of the SGX extension of a PCK certificate. Value is
// anything that encoding/asn1 can print; a []Member makes a sequence.
type Member struct {
	ID    []int // below the extension's own identifier
	Value any
}

// DefaultMembers describes a platform whose numbers are all Svn, with PCE 11.
func DefaultMembers() []Member {
	var tcb []Member
	cpusvn := make([]byte, 16)
	for i := range cpusvn {
		tcb = append(tcb, Member{[]int{2, i + 1}, Svn})
		cpusvn[i] = Svn
	}
	tcb = append(tcb, Member{[]int{2, 17}, 11}, Member{[]int{2, 18}, cpusvn})
	fmspc, _ := hex.DecodeString(FMSPC)
	return []Member{
		{[]int{1}, pattern("ppid", 16)},
		{[]int{2}, tcb},
		{[]int{3}, []byte{0, 0}},
		{[]int{4}, fmspc},
		{[]int{5}, asn1.Enumerated(1)},
	}
}

// SGXExtension prints the extension's value.
func SGXExtension(members []Member) []byte {
	type pair struct {
		ID    asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	var list []pair
	for _, m := range members {
		var der []byte
		if nested, ok := m.Value.([]Member); ok {
			der = SGXExtension(nested)
		} else {
			der = marshal(m.Value)
		}
		list = append(list, pair{append(oidSGX[:len(oidSGX):len(oidSGX)], m.ID...), asn1.RawValue{FullBytes: der}})
	}
	return marshal(list)
}

func marshal(v any) []byte {
	der, err := asn1.Marshal(v)
	if err != nil {
		panic(err) // a recipe that cannot be printed is a fault of the test
	}
	return der
}
