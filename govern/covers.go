package govern

import (
	"slices"

	"github.com/holdfast-kms/holdfast/attest"
)

// covers reports whether all that match narrow match id too. The tests go
// through every field of the three types, so that a new one is not forgotten.
func (id Identity) covers(narrow Identity) bool {
	switch tee := id.TEE(); {
	case tee == "" || tee != narrow.TEE():
		return false
	case tee == attest.SGX:
		return coversSGX(id.SGX, narrow.SGX)
	case tee == attest.TDX:
		return coversTDX(id.TDX, narrow.TDX)
	}
	return coversSNP(id.SNP, narrow.SNP)
}

func coversSGX(wide, narrow *attest.SGXIdentity) bool {
	return stated(wide.MRENCLAVE, narrow.MRENCLAVE) && stated(wide.MRSIGNER, narrow.MRSIGNER) && stated(wide.ConfigID, narrow.ConfigID) &&
		(wide.ISVProdID == nil || narrow.ISVProdID != nil && *wide.ISVProdID == *narrow.ISVProdID) &&
		wide.MinISVSVN <= narrow.MinISVSVN && wide.MinConfigSVN <= narrow.MinConfigSVN &&
		statedMasked(wide.Attributes, wide.AttributesMask, narrow.Attributes, narrow.AttributesMask)
}

func coversTDX(wide, narrow *attest.TDXIdentity) bool {
	return stated(wide.MRTD, narrow.MRTD) && stated(wide.RTMR0, narrow.RTMR0) && stated(wide.RTMR1, narrow.RTMR1) &&
		stated(wide.RTMR2, narrow.RTMR2) && stated(wide.RTMR3, narrow.RTMR3) && stated(wide.MRConfigID, narrow.MRConfigID) &&
		stated(wide.MROwner, narrow.MROwner) && stated(wide.MROwnerConfig, narrow.MROwnerConfig) && stated(wide.MRSEAM, narrow.MRSEAM) &&
		floored(wide.MinTEETCBSVN, narrow.MinTEETCBSVN) &&
		statedMasked(wide.TDAttributes, wide.TDAttributesMask, narrow.TDAttributes, narrow.TDAttributesMask) &&
		statedMasked(wide.XFAM, wide.XFAMMask, narrow.XFAM, narrow.XFAMMask)
}

func coversSNP(wide, narrow *attest.SNPIdentity) bool {
	return stated(wide.Measurement, narrow.Measurement) && stated(wide.IDKeyDigest, narrow.IDKeyDigest) &&
		stated(wide.AuthorKeyDigest, narrow.AuthorKeyDigest) && stated(wide.FamilyID, narrow.FamilyID) &&
		stated(wide.ImageID, narrow.ImageID) && stated(wide.HostData, narrow.HostData) &&
		wide.MinGuestSVN <= narrow.MinGuestSVN && wide.MaxVMPL >= narrow.MaxVMPL &&
		narrow.MinTCB.AtLeast(wide.MinTCB) && wide.MinABI <= narrow.MinABI &&
		coversProducts(wide.Products, narrow.Products) &&
		(wide.MigrationAgent || !narrow.MigrationAgent) && (!wide.NoSMT || narrow.NoSMT) && (wide.VLEK || !narrow.VLEK)
}

// stated reports whether narrow states what wide states.
func stated(wide, narrow attest.Hex) bool {
	return wide == nil || narrow != nil && wide.Equal(narrow)
}

// statedMasked reports whether narrow fixes every bit that wide fixes, to the
// same value.
func statedMasked(wide, wideMask, narrow, narrowMask attest.Hex) bool {
	if wideMask == nil {
		return true
	}
	if len(wide) != len(wideMask) || len(narrow) != len(wideMask) || len(narrowMask) != len(wideMask) {
		return false
	}
	for i, mask := range wideMask {
		if mask&^narrowMask[i] != 0 || (wide[i]^narrow[i])&mask != 0 {
			return false
		}
	}
	return true
}

// floored reports whether each byte of narrow is at least that of wide.
func floored(wide, narrow attest.Hex) bool {
	if wide == nil {
		return true
	}
	if len(wide) != len(narrow) {
		return false
	}
	for i := range wide {
		if narrow[i] < wide[i] {
			return false
		}
	}
	return true
}

func coversProducts(wide, narrow []string) bool {
	if len(wide) == 0 {
		return true
	}
	return len(narrow) > 0 && !slices.ContainsFunc(narrow, func(p string) bool { return !slices.Contains(wide, p) })
}
