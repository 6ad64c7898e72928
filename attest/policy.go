package attest

import "time"

// A Policy says which programs on which platforms are admitted. The zero
// Policy admits nobody: a TEE is admitted only through an identity that is
// listed for it.
type Policy struct {
	SGX SGXPolicy `json:"sgx,omitzero"`
	TDX TDXPolicy `json:"tdx,omitzero"`
	SNP SNPPolicy `json:"snp,omitzero"`

	// reportData is set by BoundTo. It belongs to one conversation, so no
	// document carries it.
	reportData *[64]byte
}

// BoundTo is p for one conversation: it admits only evidence whose report data
// is exactly want. A policy that is not bound admits evidence made for anyone.
func (p Policy) BoundTo(want [64]byte) Policy {
	p.reportData = &want
	return p
}

// Terms are what a policy demands of a platform, whatever runs on it. The zero
// Terms are the strictest: genuine hardware, not debuggable, up to date, not
// revoked.
type Terms struct {
	// Statuses are the vendor's verdicts to accept. Empty: UpToDate alone.
	// Without meaning for SNP.
	Statuses []TCBStatus `json:"tcb_statuses,omitzero"`
	// DenyAdvisories refuses platforms to which one of these applies, even if
	// their status is accepted.
	DenyAdvisories []string `json:"deny_advisories,omitzero"`
	// TolerateAdvisories, if not nil, refuses platforms to which any other
	// advisory applies; empty and not nil tolerates none.
	TolerateAdvisories []string `json:"tolerate_advisories,omitzero"`
	// MinEvaluationNumber is a floor on Claims.EvaluationNumber. Without
	// meaning for SNP.
	MinEvaluationNumber uint32 `json:"min_tcb_evaluation_data_number,omitzero"`

	// AllowPlatforms, if not empty, lists the only platforms to admit, and
	// DenyPlatforms those to refuse: by FMSPC, PPID or chip id. A platform that
	// hides the id in question is refused by either list.
	AllowPlatforms []Hex `json:"allow_platforms,omitzero"`
	DenyPlatforms  []Hex `json:"deny_platforms,omitzero"`

	// MaxCollateralAge is how old Claims.Issued may be. Zero: until it expires.
	MaxCollateralAge Age `json:"max_collateral_age,omitzero"`

	// Debug admits programs whose memory the host can read.
	Debug bool `json:"debug,omitzero"`
	// Simulated admits evidence under a root that is no vendor's.
	Simulated bool `json:"simulated,omitzero"`
	// Roots, if not empty, are the SHA-256 of the only root certificates to
	// admit. It narrows: a root that is no vendor's needs Simulated as well.
	Roots []Hex `json:"roots,omitzero"`
	// RevocationUnchecked admits evidence that came without revocation lists.
	RevocationUnchecked bool `json:"revocation_unchecked,omitzero"`
}

// An Age is a duration whose text is as time.ParseDuration reads it: "720h".
type Age time.Duration

// MarshalText writes a as time.Duration prints it.
func (a Age) MarshalText() ([]byte, error) { return []byte(time.Duration(a).String()), nil }

// UnmarshalText reads a duration with its unit.
func (a *Age) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*a = Age(d)
	return err
}

// SGXPolicy admits enclaves that match one of the identities.
type SGXPolicy struct {
	Terms
	Identities []SGXIdentity `json:"identities,omitzero"`
}

// An SGXIdentity names enclaves: one by MRENCLAVE, or all of a signer by
// MRSIGNER, ISVProdID and MinISVSVN. Every field that is set must match, and
// one of the two must be there in full.
type SGXIdentity struct {
	MRENCLAVE Hex     `json:"mrenclave,omitzero"`
	MRSIGNER  Hex     `json:"mrsigner,omitzero"`
	ISVProdID *uint16 `json:"isv_prod_id,omitzero"`
	MinISVSVN uint16  `json:"min_isv_svn,omitzero"`

	ConfigID     Hex    `json:"config_id,omitzero"`
	MinConfigSVN uint16 `json:"min_config_svn,omitzero"`
	// Attributes, if set, must equal the enclave's where AttributesMask has ones.
	Attributes     Hex `json:"attributes,omitzero"`
	AttributesMask Hex `json:"attributes_mask,omitzero"`
}

// TDXPolicy admits virtual machines that match one of the identities.
type TDXPolicy struct {
	Terms
	Identities []TDXIdentity `json:"identities,omitzero"`
}

// A TDXIdentity names virtual machines. MRTD is the firmware and nothing else,
// and any host can start the right firmware with a kernel of its own: so MRTD,
// RTMR1 and RTMR2 must be stated. Every field that is set must match.
type TDXIdentity struct {
	MRTD          Hex `json:"mrtd"`
	RTMR0         Hex `json:"rtmr0,omitzero"`
	RTMR1         Hex `json:"rtmr1"`
	RTMR2         Hex `json:"rtmr2"`
	RTMR3         Hex `json:"rtmr3,omitzero"`
	MRConfigID    Hex `json:"mrconfigid,omitzero"`
	MROwner       Hex `json:"mrowner,omitzero"`
	MROwnerConfig Hex `json:"mrownerconfig,omitzero"`
	MRSEAM        Hex `json:"mrseam,omitzero"`
	// MinTEETCBSVN, if set, is a floor on each of the 16 bytes of TEE_TCB_SVN.
	MinTEETCBSVN Hex `json:"min_tee_tcb_svn,omitzero"`
	// TDAttributes and XFAM, if set, must equal the machine's where their masks
	// have ones.
	TDAttributes     Hex `json:"td_attributes,omitzero"`
	TDAttributesMask Hex `json:"td_attributes_mask,omitzero"`
	XFAM             Hex `json:"xfam,omitzero"`
	XFAMMask         Hex `json:"xfam_mask,omitzero"`
}

// SNPPolicy admits virtual machines that match one of the identities.
type SNPPolicy struct {
	Terms
	Identities []SNPIdentity `json:"identities,omitzero"`
}

// An SNPIdentity names virtual machines: one by Measurement, or all that carry
// an ID block of a key by IDKeyDigest and ImageID. Every field that is set must match.
type SNPIdentity struct {
	Measurement     Hex    `json:"measurement,omitzero"`
	IDKeyDigest     Hex    `json:"id_key_digest,omitzero"`
	AuthorKeyDigest Hex    `json:"author_key_digest,omitzero"`
	FamilyID        Hex    `json:"family_id,omitzero"`
	ImageID         Hex    `json:"image_id,omitzero"`
	HostData        Hex    `json:"host_data,omitzero"`
	MinGuestSVN     uint32 `json:"min_guest_svn,omitzero"`
	// MaxVMPL is the least privileged level to admit. Zero: VMPL 0 alone.
	MaxVMPL uint32 `json:"max_vmpl,omitzero"`
	// MinTCB is a floor on the reported, committed and launch TCB.
	MinTCB SNPTCB `json:"min_tcb,omitzero"`
	// MinABI is a floor on the ABI in the guest policy: major<<8 | minor.
	MinABI uint16 `json:"min_abi,omitzero"`
	// Products, if not empty, are the only ones to admit.
	Products []string `json:"products,omitzero"`
	// MigrationAgent admits machines that a migration agent may copy.
	MigrationAgent bool `json:"migration_agent,omitzero"`
	// NoSMT refuses machines that may run on a core shared by two threads.
	NoSMT bool `json:"no_smt,omitzero"`
	// VLEK admits reports signed by a key that a cloud holds for all its chips.
	VLEK bool `json:"vlek,omitzero"`
}
