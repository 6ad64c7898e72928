package attest

import (
	"crypto/subtle"
	"fmt"
	"slices"
)

// A field pairs what an identity states with what claims prove.
type field struct {
	name string
	want Hex // nil: not stated
	got  Hex
}

// differing names the first stated field that differs.
func differing(fields ...field) string {
	for _, f := range fields {
		if f.want != nil && !f.want.Equal(f.got) {
			return fmt.Sprintf("%s is %s", f.name, f.got)
		}
	}
	return ""
}

// below names a number that is under its floor.
func below[N uint16 | uint32](name string, got, floor N) string {
	if got < floor {
		return fmt.Sprintf("%s is %d, below %d", name, got, floor)
	}
	return ""
}

// masked reports whether got equals want where mask has ones. A nil mask asks
// for nothing.
func masked(got, want, mask Hex) bool {
	if mask == nil {
		return true
	}
	if len(got) != len(mask) || len(want) != len(mask) {
		return false
	}
	return Hex(and(got, mask)).Equal(and(want, mask))
}

func and(a, b []byte) []byte {
	out := make([]byte, len(a))
	for i := range a {
		out[i] = a[i] & b[i]
	}
	return out
}

// firstOf is the first that is not the zero value: a complaint, or an error.
func firstOf[T comparable](all ...T) T {
	var none T
	for _, v := range all {
		if v != none {
			return v
		}
	}
	return none
}

func unless(ok bool, text string) string {
	if ok {
		return ""
	}
	return text
}

func (id SGXIdentity) mismatch(c *SGXClaims) string {
	product := ""
	if id.ISVProdID != nil && *id.ISVProdID != c.ISVProdID {
		product = fmt.Sprintf("isv_prod_id is %d", c.ISVProdID)
	}
	return firstOf(
		differing(field{"mrenclave", id.MRENCLAVE, c.MRENCLAVE}, field{"mrsigner", id.MRSIGNER, c.MRSIGNER}, field{"config_id", id.ConfigID, c.ConfigID}),
		product,
		below("isv_svn", c.ISVSVN, id.MinISVSVN),
		below("config_svn", c.ConfigSVN, id.MinConfigSVN),
		unless(masked(c.Attributes, id.Attributes, id.AttributesMask), "attributes are "+c.Attributes.String()),
	)
}

func (id TDXIdentity) mismatch(c *TDXClaims) string {
	return firstOf(
		differing(
			field{"mrtd", id.MRTD, c.MRTD},
			field{"rtmr0", id.RTMR0, c.RTMR0}, field{"rtmr1", id.RTMR1, c.RTMR1},
			field{"rtmr2", id.RTMR2, c.RTMR2}, field{"rtmr3", id.RTMR3, c.RTMR3},
			field{"mrconfigid", id.MRConfigID, c.MRConfigID}, field{"mrowner", id.MROwner, c.MROwner},
			field{"mrownerconfig", id.MROwnerConfig, c.MROwnerConfig}, field{"mrseam", id.MRSEAM, c.MRSEAM}),
		unless(eachAtLeast(c.TEETCBSVN, id.MinTEETCBSVN), "tee_tcb_svn is "+c.TEETCBSVN.String()),
		unless(masked(c.TDAttributes, id.TDAttributes, id.TDAttributesMask), "td_attributes are "+c.TDAttributes.String()),
		unless(masked(c.XFAM, id.XFAM, id.XFAMMask), "xfam is "+c.XFAM.String()),
	)
}

func eachAtLeast(got, floor Hex) bool {
	if floor == nil {
		return true
	}
	if len(got) != len(floor) {
		return false
	}
	for i := range floor {
		if got[i] < floor[i] {
			return false
		}
	}
	return true
}

// Bits of the guest policy of an SNP machine.
const (
	snpPolicySMT     = 1 << 16
	snpPolicyMigrate = 1 << 18
)

func (id SNPIdentity) mismatch(c *SNPClaims) string {
	return firstOf(
		differing(
			field{"measurement", id.Measurement, c.Measurement}, field{"id_key_digest", id.IDKeyDigest, c.IDKeyDigest},
			field{"author_key_digest", id.AuthorKeyDigest, c.AuthorKeyDigest}, field{"family_id", id.FamilyID, c.FamilyID},
			field{"image_id", id.ImageID, c.ImageID}, field{"host_data", id.HostData, c.HostData}),
		below("guest_svn", c.GuestSVN, id.MinGuestSVN),
		below("abi", uint16(c.Policy), id.MinABI),
		unless(c.VMPL <= id.MaxVMPL, fmt.Sprintf("vmpl is %d", c.VMPL)),
		unless(id.MigrationAgent || c.Policy&snpPolicyMigrate == 0, "a migration agent may copy it"),
		unless(!id.NoSMT || c.Policy&snpPolicySMT == 0, "it may share a core"),
		unless(len(id.Products) == 0 || slices.Contains(id.Products, c.Product), "product is "+c.Product),
		unless(id.VLEK || !c.SignedByVLEK, "signed by a VLEK"),
		id.mismatchTCB(c),
	)
}

func (id SNPIdentity) mismatchTCB(c *SNPClaims) string {
	return firstOf(
		unless(c.ReportedTCB.AtLeast(id.MinTCB), fmt.Sprintf("reported_tcb is %+v", c.ReportedTCB)),
		unless(c.CommittedTCB.AtLeast(id.MinTCB), fmt.Sprintf("committed_tcb is %+v", c.CommittedTCB)),
		unless(c.LaunchTCB.AtLeast(id.MinTCB), fmt.Sprintf("launch_tcb is %+v", c.LaunchTCB)),
	)
}

// isZero reports whether b has no bit set.
func isZero(b []byte) bool {
	return subtle.ConstantTimeCompare(b, make([]byte, len(b))) == 1
}
