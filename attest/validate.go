package attest

import "fmt"

// Validate returns BadPolicy if p says something that cannot be meant: a
// measurement of the wrong length, an identity that names nobody in
// particular, a status that no vendor gives. Such a policy admits nobody.
func (p Policy) Validate() error {
	return firstOf(
		validateFor(SGX, p.SGX.Terms, p.SGX.Identities),
		validateFor(TDX, p.TDX.Terms, p.TDX.Identities),
		validateFor(SNP, p.SNP.Terms, p.SNP.Identities),
	)
}

func validateFor[I interface{ validate() error }](tee TEE, terms Terms, identities []I) error {
	if err := terms.validate(); err != nil {
		return Refuse(BadPolicy, string(tee), "%w", err)
	}
	for i, id := range identities {
		if err := id.validate(); err != nil {
			return Refuse(BadPolicy, fmt.Sprintf("%s identity %d", tee, i+1), "%w", err)
		}
	}
	return nil
}

func (t Terms) validate() error {
	for _, s := range t.Statuses {
		if !s.Known() || s == TCBRevoked {
			return fmt.Errorf("status %q cannot be accepted", s)
		}
	}
	if t.MaxCollateralAge < 0 {
		return fmt.Errorf("a negative age of collateral")
	}
	for _, root := range t.Roots {
		if len(root) != 32 {
			return fmt.Errorf("a root is named by its SHA-256, which has 32 bytes, not %d", len(root))
		}
	}
	for _, id := range append(append([]Hex{}, t.AllowPlatforms...), t.DenyPlatforms...) {
		if !platformIDLen[len(id)] {
			return fmt.Errorf("platform %q is neither FMSPC (6 bytes), PPID (16) nor chip id (64; Turin 8)", id)
		}
	}
	return nil
}

var platformIDLen = map[int]bool{6: true, 8: true, 16: true, 64: true}

// sized is a field with the only length that it can have if it is stated.
type sized struct {
	name  string
	value Hex
	len   int
}

func checkSizes(fields ...sized) error {
	for _, f := range fields {
		if f.value != nil && len(f.value) != f.len {
			return fmt.Errorf("%s has %d bytes, not %d", f.name, len(f.value), f.len)
		}
	}
	return nil
}

func checkMask(name string, value, mask Hex) error {
	if (value == nil) != (mask == nil) {
		return fmt.Errorf("%s and its mask go together", name)
	}
	return nil
}

func (id SGXIdentity) validate() error {
	if id.MRENCLAVE == nil && (id.MRSIGNER == nil || id.ISVProdID == nil) {
		return fmt.Errorf("it must name mrenclave, or mrsigner and isv_prod_id")
	}
	return firstOf(
		checkSizes(sized{"mrenclave", id.MRENCLAVE, 32}, sized{"mrsigner", id.MRSIGNER, 32}, sized{"config_id", id.ConfigID, 64},
			sized{"attributes", id.Attributes, 16}, sized{"attributes_mask", id.AttributesMask, 16}),
		checkMask("attributes", id.Attributes, id.AttributesMask),
	)
}

func (id TDXIdentity) validate() error {
	if id.MRTD == nil || id.RTMR1 == nil || id.RTMR2 == nil {
		return fmt.Errorf("it must name mrtd, rtmr1 and rtmr2: the firmware alone runs any kernel")
	}
	return firstOf(
		checkSizes(sized{"mrtd", id.MRTD, 48}, sized{"rtmr0", id.RTMR0, 48}, sized{"rtmr1", id.RTMR1, 48}, sized{"rtmr2", id.RTMR2, 48},
			sized{"rtmr3", id.RTMR3, 48}, sized{"mrconfigid", id.MRConfigID, 48}, sized{"mrowner", id.MROwner, 48},
			sized{"mrownerconfig", id.MROwnerConfig, 48}, sized{"mrseam", id.MRSEAM, 48}, sized{"min_tee_tcb_svn", id.MinTEETCBSVN, 16},
			sized{"td_attributes", id.TDAttributes, 8}, sized{"td_attributes_mask", id.TDAttributesMask, 8},
			sized{"xfam", id.XFAM, 8}, sized{"xfam_mask", id.XFAMMask, 8}),
		checkMask("td_attributes", id.TDAttributes, id.TDAttributesMask),
		checkMask("xfam", id.XFAM, id.XFAMMask),
	)
}

func (id SNPIdentity) validate() error {
	if id.Measurement == nil && (id.IDKeyDigest == nil || id.ImageID == nil) {
		return fmt.Errorf("it must name measurement, or id_key_digest and image_id")
	}
	if id.IDKeyDigest != nil && isZero(id.IDKeyDigest) && id.Measurement == nil {
		return fmt.Errorf("an id_key_digest of zeros is what a machine without ID block shows")
	}
	if id.MaxVMPL > 3 {
		return fmt.Errorf("there is no vmpl %d", id.MaxVMPL)
	}
	return checkSizes(sized{"measurement", id.Measurement, 48}, sized{"id_key_digest", id.IDKeyDigest, 48},
		sized{"author_key_digest", id.AuthorKeyDigest, 48}, sized{"family_id", id.FamilyID, 16},
		sized{"image_id", id.ImageID, 16}, sized{"host_data", id.HostData, 32})
}
