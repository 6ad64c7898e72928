package intel

import (
	"encoding/asn1"

	"github.com/holdfast-kms/holdfast/attest"
)

// components is the number of parts that Intel versions of a platform.
const components = 16

// PCK is what the certificate of a platform's key says of the platform.
type PCK struct {
	PPID       [16]byte
	Components [components]byte // the parts of CPUSVN
	PCESVN     uint16
	CPUSVN     [16]byte
	PCEID      [2]byte
	FMSPC      [6]byte
}

// oidSGX is the arc of the extension in which the PCK certificate says this,
// and of everything in it (Intel SGX PCK Certificate and CRL Profile, 1.3.5).
var oidSGX = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// Members of the extension.
const (
	sgxPPID = iota + 1
	sgxTCB
	sgxPCEID
	sgxFMSPC
)

// Members of the TCB: 1 to 16 are the components.
const (
	tcbPCESVN = components + 1
	tcbCPUSVN = components + 2
)

func parsePCK(c *certificate) (*PCK, error) {
	for _, x := range c.Extensions {
		if x.Id.Equal(oidSGX) {
			return ParseSGXExtension(x.Value)
		}
	}
	return nil, attest.Refuse(attest.BadCertificate, partOf(c), "it does not describe the platform")
}

// ParseSGXExtension reads the value of the SGX extension of a PCK certificate.
// Every member that PCK has a field for must be there once; members that are
// not known are passed over, as are those that only some platforms have.
func ParseSGXExtension(der []byte) (*PCK, error) {
	var p PCK
	err := members(der, oidSGX, []uint{sgxPPID, sgxTCB, sgxPCEID, sgxFMSPC}, func(id uint, value asn1.RawValue) bool {
		switch id {
		case sgxPPID:
			return octets(value, p.PPID[:])
		case sgxTCB:
			return p.parseTCB(value.FullBytes) == nil
		case sgxPCEID:
			return octets(value, p.PCEID[:])
		case sgxFMSPC:
			return octets(value, p.FMSPC[:])
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return &p, nil
}

func (p *PCK) parseTCB(der []byte) error {
	var required []uint
	for id := uint(1); id <= tcbCPUSVN; id++ {
		required = append(required, id)
	}
	return members(der, append(oidSGX[:len(oidSGX):len(oidSGX)], sgxTCB), required, func(id uint, value asn1.RawValue) bool {
		switch {
		case 1 <= id && id <= components:
			n, ok := number(value, 0xff)
			p.Components[id-1] = byte(n)
			return ok
		case id == tcbPCESVN:
			n, ok := number(value, 0xffff)
			p.PCESVN = uint16(n)
			return ok
		case id == tcbCPUSVN:
			return octets(value, p.CPUSVN[:])
		}
		return true
	})
}

// members walks a sequence of pairs of object identifier and value. Of the
// identifiers directly below arc it calls use with the last number; each may be
// there once, and the required ones must be.
func members(der []byte, arc asn1.ObjectIdentifier, required []uint, use func(id uint, value asn1.RawValue) bool) error {
	const part = "SGX extension of the PCK certificate"
	var list []struct {
		ID    asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	if rest, err := asn1.Unmarshal(der, &list); err != nil || len(rest) > 0 {
		return attest.Refuse(attest.Malformed, part, "not a sequence of members")
	}
	seen := map[uint]bool{}
	for _, m := range list {
		if len(m.ID) != len(arc)+1 || !m.ID[:len(arc)].Equal(arc) {
			return attest.Refuse(attest.Malformed, part, "foreign member %s", m.ID)
		}
		id := uint(m.ID[len(arc)])
		if seen[id] || !use(id, m.Value) {
			return attest.Refuse(attest.Malformed, part, "member %s", m.ID)
		}
		seen[id] = true
	}
	for _, id := range required {
		if !seen[id] {
			return attest.Refuse(attest.Malformed, part, "member %s.%d is missing", arc, id)
		}
	}
	return nil
}

// octets copies an octet string that has exactly the length of into.
func octets(v asn1.RawValue, into []byte) bool {
	ok := v.Class == asn1.ClassUniversal && v.Tag == asn1.TagOctetString && !v.IsCompound && len(v.Bytes) == len(into)
	if ok {
		copy(into, v.Bytes)
	}
	return ok
}

// number reads an integer of 0 to limit.
func number(v asn1.RawValue, limit int) (int, bool) {
	var n int
	rest, err := asn1.Unmarshal(v.FullBytes, &n)
	return n, err == nil && len(rest) == 0 && 0 <= n && n <= limit
}
