package attest

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Unverified is what evidence says of itself. Anybody can make it say anything:
// it is for a person to look at, and to find the right collateral by. It is no
// Claims on purpose, so that nothing takes it for them.
type Unverified struct {
	TEE     TEE `json:"tee"`
	Version int `json:"version"` // of the quote or report
	// Measurement is an *SGXClaims, a *TDXClaims or an *SNPClaims, without what
	// only a certificate says.
	Measurement any      `json:"measurement"`
	ReportData  Hex      `json:"report_data"` // 64 bytes
	Debug       bool     `json:"debug"`
	Platform    Platform `json:"platform"`
}

// Explain prints u for a person, marked as what it is. The text ends with a
// newline.
func (u Unverified) Explain() string {
	var b strings.Builder
	b.WriteString("NOT VERIFIED: what the evidence says of itself\n\n")
	facts := []fact{{"evidence", fmt.Sprintf("%s version %d", u.TEE, u.Version)}}
	measurement := u.Measurement
	if m, ok := measurement.(*SNPClaims); ok && m.Product == "" {
		unnamed := *m
		unnamed.Product = "unnamed product"
		measurement = &unnamed
	}
	facts = append(facts, identityFacts(measurement)...)
	facts = append(facts, fact{"report data", u.ReportData.String()}, fact{"platform", u.Platform.String()})
	if u.Debug {
		facts = append(facts, fact{"DEBUG", "the host can read and change this program's memory"})
	}
	for _, f := range facts {
		fmt.Fprintf(&b, "  %-14s %s\n", f.name, f.value)
	}
	return b.String()
}

// Where the fields of an SNP report lie, in bytes (AMD 56860, ATTESTATION_REPORT).
const (
	snpGuestSVN     = 0x04
	snpPolicy       = 0x08
	snpFamilyID     = 0x10
	snpImageID      = 0x20
	snpVMPL         = 0x30
	snpCurrentTCB   = 0x38
	snpPlatformInfo = 0x40
	snpKeys         = 0x48
	snpReportData   = 0x50
	snpMeasurement  = 0x90
	snpHostData     = 0xc0
	snpIDKey        = 0xe0
	snpAuthorKey    = 0x110
	snpReportID     = 0x140
	snpReportedTCB  = 0x180
	snpFamily       = 0x188 // from version 3 on; the model follows
	snpChipID       = 0x1a0
	snpCommittedTCB = 0x1e0
	snpLaunchTCB    = 0x1f0

	snpPolicyDebug = 1 << 19
)

// UnverifiedSNP reads an SNP report of 1184 bytes as it stands. Before version 3
// a report does not say which product it is of, and the firmware's versions are
// read as those of Milan and Genoa. The error is an *Error.
func UnverifiedSNP(report []byte) (Unverified, error) {
	if len(report) != snpReportLen {
		return Unverified{}, Refuse(Malformed, "report", "%d bytes, want %d", len(report), snpReportLen)
	}
	field := func(at, n int) Hex { return append(Hex{}, report[at:at+n]...) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(report[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(report[at:]) }
	version, product := u32(0), ""
	if version >= 3 {
		product = snpProduct(report[snpFamily], report[snpFamily+1])
	}
	tcb := func(at int) SNPTCB { return unverifiedTCB(product, report[at:at+8]) }
	u := Unverified{TEE: SNP, Version: int(version), ReportData: field(snpReportData, 64), Debug: u64(snpPolicy)&snpPolicyDebug != 0,
		Measurement: &SNPClaims{
			Measurement: field(snpMeasurement, 48), HostData: field(snpHostData, 32), FamilyID: field(snpFamilyID, 16), ImageID: field(snpImageID, 16),
			IDKeyDigest: field(snpIDKey, 48), AuthorKeyDigest: field(snpAuthorKey, 48), ReportID: field(snpReportID, 32),
			GuestSVN: u32(snpGuestSVN), VMPL: u32(snpVMPL), Policy: u64(snpPolicy), PlatformInfo: u64(snpPlatformInfo),
			Product: product, SignedByVLEK: u32(snpKeys)>>2&7 == 1,
			CurrentTCB: tcb(snpCurrentTCB), ReportedTCB: tcb(snpReportedTCB), CommittedTCB: tcb(snpCommittedTCB), LaunchTCB: tcb(snpLaunchTCB),
		}}
	if chip := field(snpChipID, 64); !isZero(chip) {
		u.Platform.ChipID = chip
	}
	return u, nil
}

// snpProduct is the line of products of a processor by family and model, and
// "" for one that is not known.
func snpProduct(family, model byte) string {
	switch {
	case family == 0x19 && model < 0x10:
		return "Milan"
	case family == 0x19 && (model < 0x20 || model >= 0xa0 && model < 0xb0):
		return "Genoa"
	case family == 0x1a && model < 0x20:
		return "Turin"
	}
	return ""
}

func unverifiedTCB(product string, b []byte) SNPTCB {
	if product == "Turin" {
		return SNPTCB{FMC: b[0], Bootloader: b[1], TEE: b[2], SNP: b[3], Microcode: b[7]}
	}
	return SNPTCB{Bootloader: b[0], TEE: b[1], SNP: b[6], Microcode: b[7]}
}
