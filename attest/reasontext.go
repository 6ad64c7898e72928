package attest

import (
	"maps"
	"slices"
)

// words is what a reason says, and what a person can do about it.
type words struct{ text, hint string }

var reasonWords = map[Reason]words{
	Malformed:          {"not in the exact format", "send the file as the platform made it: whole, raw and unconverted"},
	Unsupported:        {"a format that is not supported", "Intel: use DCAP with the PCK certificate chain in the quote (certification data type 5); AMD: a report of version 2 to 5 of a product that there is a verifier for"},
	MissingCollateral:  {"something needed to judge it is missing", "Intel: fetch TCB info, QE identity, their issuer chains and the revocation lists from the PCS or a PCCS; AMD: the certificate of the report's key (VCEK or VLEK) from the KDS or the host; hand over all of it"},
	BadCertificate:     {"a certificate is not what its place demands", "fetch the certificates again; if it stays so, do not trust this source"},
	BrokenChain:        {"not signed by the key that should have signed it", "fetch the certificates again; if it stays so, someone made this up"},
	WrongSigner:        {"signed by a key that is not for this", "do not trust this source: a genuine key was used to sign what it may not sign"},
	CertificateExpired: {"a certificate has expired", "check the time that was given; otherwise renew the certificates"},
	CertificateNotYet:  {"a certificate is not valid yet", "check the time that was given"},
	Revoked:            {"the vendor revoked a certificate", "Intel: take the machine out of service and ask its vendor, its keys may be known; AMD: the key that signed its certificate is revoked, so get a certificate under the new one"},
	BadSignature:       {"a signature does not fit", "the evidence was altered or damaged on its way: get it again from the platform"},
	BadKeyBinding:      {"the quoting enclave did not vouch for the signing key", "the evidence was put together from parts: do not trust this source"},
	CollateralExpired:  {"the collateral is past its date", "fetch it again, or restore the connection to the PCS, the PCCS or the KDS; check the time that was given"},
	CollateralNotYet:   {"the collateral is from the future", "check the time that was given, and the clock"},
	CollateralMismatch: {"the collateral is for another platform", "Intel: fetch it for the FMSPC and the TEE that the quote names; AMD: fetch the VCEK certificate for the chip id and the reported TCB that the report names"},
	BadQuotingEnclave:  {"the quoting enclave is not the vendor's", "install the vendor's quoting enclave, at a version its identity lists"},
	BadTDXModule:       {"the TDX module is not one that the vendor knows", "install the vendor's TDX module, or newer collateral if the module is new"},
	TCBNotSupported:    {"the firmware is older than everything the vendor judges", "update BIOS and microcode, then get a new certificate of the platform's key"},

	BadPolicy:           {"the policy contradicts itself, so it admits nobody", "correct the policy"},
	TEENotAdmitted:      {"the policy admits no program of this kind of TEE", "list an identity for this kind of TEE, if one is wanted"},
	NotHardware:         {"a simulated platform", "use real hardware; for development only, set simulated in the policy"},
	RootNotAdmitted:     {"the policy does not name this root", "add the root's fingerprint to the policy, if it is meant"},
	RevocationUnknown:   {"no revocation lists were given", "hand over with the collateral: Intel: the lists of the root CA and of the PCK CA; AMD: the list of the root (ARK)"},
	DebugEnabled:        {"a debug program: its host can look inside", "build and sign it for production"},
	IdentityNotAdmitted: {"not a program that the policy names", "compare the measurements; if this build is meant, have the policy's signers add it"},
	StatusNotAdmitted:   {"the platform's firmware is not of an accepted status", "update BIOS and microcode as the vendor says, or accept the status in the policy"},
	AdvisoryDenied:      {"a known weakness applies that the policy does not tolerate", "update as the advisory says, or tolerate it in the policy"},
	EvaluationTooLow:    {"the vendor's evaluation is older than the policy wants", "fetch newer collateral"},
	PlatformDenied:      {"the policy bars this machine", "use another machine, or change the platforms in the policy"},
	CollateralTooOld:    {"the collateral is older than the policy wants", "fetch it again"},
	WrongReportData:     {"made for another nonce, purpose, key, domain or policy", "ask for fresh evidence; if it stays so, someone relays evidence that is not theirs"},
}

// Reasons lists every reason in order of its value, for tables that must be
// exhaustive.
func Reasons() []Reason { return slices.Sorted(maps.Keys(reasonWords)) }

// Error is the reason in words.
func (r Reason) Error() string {
	if w, ok := reasonWords[r]; ok {
		return w.text
	}
	return string(r)
}

// Hint says what a person can do about it.
func (r Reason) Hint() string { return reasonWords[r].hint }
