package attest

import "time"

// Claims is what is left of evidence after its signatures, chains and
// collateral were verified: facts about a platform and the program in it. One
// of SGX, TDX and SNP is set, as TEE says.
type Claims struct {
	TEE     TEE `json:"tee"`
	Version int `json:"version"` // of the quote or report

	SGX *SGXClaims `json:"sgx,omitzero"`
	TDX *TDXClaims `json:"tdx,omitzero"`
	SNP *SNPClaims `json:"snp,omitzero"`

	// ReportData is what the program had signed along, 64 bytes; see the
	// function ReportData.
	ReportData Hex `json:"report_data"`
	// Debug says that the host can read and change the program's memory, so
	// that nothing here means anything.
	Debug bool `json:"debug"`
	// Simulated says that the chain ends in a root that is no vendor's: anyone
	// may have made this evidence.
	Simulated bool `json:"simulated"`
	// Root is the SHA-256 of the root certificate that the chain ends in.
	Root Hex `json:"root"`
	// RevocationChecked says that every certificate of the chain below the root
	// was looked up in a current revocation list of its issuer.
	RevocationChecked bool `json:"revocation_checked"`

	Platform Platform `json:"platform"`

	// Status is the vendor's verdict on the platform's firmware; Advisories are
	// the vendor's numbers for what is known to be wrong with it, sorted, each
	// once. AMD publishes neither: they are empty for SNP.
	Status     TCBStatus `json:"tcb_status,omitzero"`
	Advisories []string  `json:"advisories,omitzero"`
	// EvaluationNumber is Intel's serial of the verdict, the lower one of TCB
	// info and QE identity. It only grows, so a floor on it holds where the
	// clock is the host's.
	EvaluationNumber uint32 `json:"tcb_evaluation_data_number,omitzero"`

	// Issued is when the oldest part of the vendor's collateral about this
	// platform was issued. AMD: when the certificate of the chip's key was.
	Issued time.Time `json:"issued"`
	// ValidFrom and ValidUntil, both inclusive, bound the times at which this
	// very evidence verifies: the window in which all certificates, lists and
	// statements that it rests on are in force.
	ValidFrom  time.Time `json:"valid_from"`
	ValidUntil time.Time `json:"valid_until"`
}

// SameProgram compares what never changes while a program runs. Claims of which
// one is of no TEE are not of the same program.
func (c Claims) SameProgram(other Claims) bool {
	switch {
	case c.TEE != other.TEE:
		return false
	case c.SGX != nil && other.SGX != nil:
		return c.SGX.MRENCLAVE.Equal(other.SGX.MRENCLAVE) && c.SGX.MRSIGNER.Equal(other.SGX.MRSIGNER)
	case c.TDX != nil && other.TDX != nil: // the run-time registers may grow
		return c.TDX.MRTD.Equal(other.TDX.MRTD)
	case c.SNP != nil && other.SNP != nil:
		return c.SNP.Measurement.Equal(other.SNP.Measurement) && c.SNP.HostData.Equal(other.SNP.HostData)
	}
	return false
}

// Platform names the machine.
type Platform struct {
	FMSPC  Hex    `json:"fmspc,omitzero"`   // Intel: family, model and stepping; 6 bytes
	PPID   Hex    `json:"ppid,omitzero"`    // Intel: the processor package; 16 bytes
	ChipID Hex    `json:"chip_id,omitzero"` // AMD: the chip; 64 bytes (8 on Turin); nil if the host masks it
	CSPID  string `json:"csp_id,omitzero"`  // AMD VLEK: the cloud that the key was issued to
}

// Machine names the one machine, not the model; empty where the platform hides it.
func (p Platform) Machine() Hex {
	if len(p.PPID) > 0 {
		return p.PPID
	}
	return p.ChipID
}

// IDs lists the names that a policy may allow or deny a platform by.
func (p Platform) IDs() []Hex {
	var ids []Hex
	for _, id := range []Hex{p.FMSPC, p.PPID, p.ChipID} {
		if len(id) > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// A TCBStatus is Intel's verdict on a platform's firmware, in Intel's words.
type TCBStatus string

// The verdicts. Revoked is never admitted, whatever a policy says.
const (
	UpToDate                          TCBStatus = "UpToDate"
	SWHardeningNeeded                 TCBStatus = "SWHardeningNeeded"
	ConfigurationNeeded               TCBStatus = "ConfigurationNeeded"
	ConfigurationAndSWHardeningNeeded TCBStatus = "ConfigurationAndSWHardeningNeeded"
	OutOfDate                         TCBStatus = "OutOfDate"
	OutOfDateConfigurationNeeded      TCBStatus = "OutOfDateConfigurationNeeded"
	TCBRevoked                        TCBStatus = "Revoked"
)

// Known reports whether s is one of the verdicts above.
func (s TCBStatus) Known() bool {
	switch s {
	case UpToDate, SWHardeningNeeded, ConfigurationNeeded, ConfigurationAndSWHardeningNeeded,
		OutOfDate, OutOfDateConfigurationNeeded, TCBRevoked:
		return true
	}
	return false
}

// SGXClaims is the report body of an SGX quote (Intel SDM, volume 3D, REPORT).
type SGXClaims struct {
	MRENCLAVE  Hex    `json:"mrenclave"` // 32 bytes: what was loaded
	MRSIGNER   Hex    `json:"mrsigner"`  // 32 bytes: digest of the key that signed it
	ISVProdID  uint16 `json:"isv_prod_id"`
	ISVSVN     uint16 `json:"isv_svn"`
	Attributes Hex    `json:"attributes"`  // 16 bytes: flags, then XFRM
	MiscSelect Hex    `json:"misc_select"` // 4 bytes
	ConfigID   Hex    `json:"config_id"`   // 64 bytes
	ConfigSVN  uint16 `json:"config_svn"`
	CPUSVN     Hex    `json:"cpu_svn"` // 16 bytes, of the certificate of the platform's key
	PCESVN     uint16 `json:"pce_svn"`
}

// TDXClaims is the report body of a TDX quote (Intel TDX module, TDREPORT).
// The registers are 48 bytes each.
type TDXClaims struct {
	MRTD          Hex    `json:"mrtd"`  // firmware
	RTMR0         Hex    `json:"rtmr0"` // virtual hardware
	RTMR1         Hex    `json:"rtmr1"` // kernel
	RTMR2         Hex    `json:"rtmr2"` // command line and initrd
	RTMR3         Hex    `json:"rtmr3"` // what the running system extended it by
	MRConfigID    Hex    `json:"mrconfigid"`
	MROwner       Hex    `json:"mrowner"`
	MROwnerConfig Hex    `json:"mrownerconfig"`
	MRSEAM        Hex    `json:"mrseam"`
	MRSignerSEAM  Hex    `json:"mrsignerseam"`
	MRServiceTD   Hex    `json:"mrservicetd,omitzero"`  // TDX 1.5 only
	TDAttributes  Hex    `json:"td_attributes"`         // 8 bytes
	XFAM          Hex    `json:"xfam"`                  // 8 bytes
	TEETCBSVN     Hex    `json:"tee_tcb_svn"`           // 16 bytes
	TEETCBSVN2    Hex    `json:"tee_tcb_svn2,omitzero"` // TDX 1.5 only
	CPUSVN        Hex    `json:"cpu_svn"`               // 16 bytes, of the certificate of the platform's key
	PCESVN        uint16 `json:"pce_svn"`
}

// SNPClaims is an SNP attestation report (AMD 56860, ATTESTATION_REPORT).
type SNPClaims struct {
	Measurement     Hex    `json:"measurement"`       // 48 bytes: the launch digest
	HostData        Hex    `json:"host_data"`         // 32 bytes
	FamilyID        Hex    `json:"family_id"`         // 16 bytes
	ImageID         Hex    `json:"image_id"`          // 16 bytes
	IDKeyDigest     Hex    `json:"id_key_digest"`     // 48 bytes; zeros: no ID block
	AuthorKeyDigest Hex    `json:"author_key_digest"` // 48 bytes; zeros: none
	ReportID        Hex    `json:"report_id"`         // 32 bytes
	GuestSVN        uint32 `json:"guest_svn"`
	VMPL            uint32 `json:"vmpl"`
	Policy          uint64 `json:"policy"`        // as in the report: ABI, SMT, migration, debug, …
	PlatformInfo    uint64 `json:"platform_info"` // as in the report
	Product         string `json:"product"`       // "Milan", "Genoa", "Turin"
	SignedByVLEK    bool   `json:"signed_by_vlek"`

	CurrentTCB   SNPTCB `json:"current_tcb"`
	ReportedTCB  SNPTCB `json:"reported_tcb"`
	CommittedTCB SNPTCB `json:"committed_tcb"`
	LaunchTCB    SNPTCB `json:"launch_tcb"`
}

// SNPTCB is the version of each part of an SNP platform's firmware.
type SNPTCB struct {
	FMC        uint8 `json:"fmc,omitzero"` // Turin and later
	Bootloader uint8 `json:"bootloader"`
	TEE        uint8 `json:"tee"`
	SNP        uint8 `json:"snp"`
	Microcode  uint8 `json:"microcode"`
}

// AtLeast reports whether no part of t is below that of floor.
func (t SNPTCB) AtLeast(floor SNPTCB) bool {
	return t.FMC >= floor.FMC && t.Bootloader >= floor.Bootloader && t.TEE >= floor.TEE &&
		t.SNP >= floor.SNP && t.Microcode >= floor.Microcode
}
