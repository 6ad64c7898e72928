package snp

import (
	"time"

	"github.com/google/go-sev-guest/abi"

	"github.com/holdfast-kms/holdfast/attest"
)

// claims says what was proven.
func (v *verification) claims() attest.Claims {
	r := v.report
	policy, _ := abi.ParseSnpPolicy(r.GetPolicy()) // parseReport has checked it
	root := fingerprint(v.chain.root)
	amd, known := RootFingerprint(v.product)
	from, until := v.window()
	return attest.Claims{
		TEE: attest.SNP, Version: int(r.GetVersion()),
		SNP: &attest.SNPClaims{
			Measurement: r.GetMeasurement(), HostData: r.GetHostData(), FamilyID: r.GetFamilyId(), ImageID: r.GetImageId(),
			IDKeyDigest: r.GetIdKeyDigest(), AuthorKeyDigest: r.GetAuthorKeyDigest(), ReportID: r.GetReportId(),
			GuestSVN: r.GetGuestSvn(), VMPL: r.GetVmpl(), Policy: r.GetPolicy(), PlatformInfo: r.GetPlatformInfo(),
			Product: v.product, SignedByVLEK: v.signer == abi.VlekReportSigner,
			CurrentTCB: v.tcb(r.GetCurrentTcb()), ReportedTCB: v.tcb(r.GetReportedTcb()),
			CommittedTCB: v.tcb(r.GetCommittedTcb()), LaunchTCB: v.tcb(r.GetLaunchTcb()),
		},
		ReportData: r.GetReportData(), Debug: policy.Debug,
		Simulated: !known || root != amd, Root: root[:], RevocationChecked: v.listed,
		Platform:  attest.Platform{ChipID: v.chipID(), CSPID: v.about.CspID},
		Issued:    v.chain.key.NotBefore.UTC(),
		ValidFrom: from, ValidUntil: until,
	}
}

// chipID is the chip's, as its certificate has it even where the host masks it
// in the report. Under the key of a cloud only the report has it.
func (v *verification) chipID() attest.Hex {
	if v.about.HWID != nil {
		return v.about.HWID
	}
	for _, b := range v.report.GetChipId() {
		if b != 0 {
			return v.report.GetChipId()
		}
	}
	return nil
}

// tcb takes a TCB_VERSION apart. Turin has another order of its parts.
func (v *verification) tcb(version uint64) attest.SNPTCB {
	part := func(i int) uint8 { return uint8(version >> (8 * i)) }
	if v.product == "Turin" {
		return attest.SNPTCB{FMC: part(0), Bootloader: part(1), TEE: part(2), SNP: part(3), Microcode: part(7)}
	}
	return attest.SNPTCB{Bootloader: part(0), TEE: part(1), SNP: part(6), Microcode: part(7)}
}

// window is the time in which everything that the claims rest on is in force.
func (v *verification) window() (from, until time.Time) {
	from, until = v.chain.key.NotBefore, v.chain.key.NotAfter
	narrow := func(start, end time.Time) {
		if start.After(from) {
			from = start
		}
		if end.Before(until) {
			until = end
		}
	}
	narrow(v.chain.signing.NotBefore, v.chain.signing.NotAfter)
	narrow(v.chain.root.NotBefore, v.chain.root.NotAfter)
	if v.list != nil {
		narrow(v.list.ThisUpdate, v.list.NextUpdate)
	}
	return from.UTC(), until.UTC()
}
