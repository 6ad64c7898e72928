package attest

import (
	"errors"
	"fmt"
)

// A Reason says why evidence was refused. It is an error itself, so that
// errors.Is(err, attest.Revoked) asks for it. Its value is stable: programs
// may compare it and documents may name it.
type Reason string

// Reasons of verifiers: the evidence itself does not hold.
const (
	Malformed          Reason = "malformed"           // not the exact format: a length, a trailing byte, an impossible value
	Unsupported        Reason = "unsupported"         // a format that is known and not taken
	MissingCollateral  Reason = "missing_collateral"  // a part that is needed is not there
	BadCertificate     Reason = "bad_certificate"     // a certificate is not what its place in the chain demands
	BrokenChain        Reason = "broken_chain"        // a certificate or list is not signed by the next one
	WrongSigner        Reason = "wrong_signer"        // signed by a key that is not for signing this
	CertificateExpired Reason = "certificate_expired" // by the time given
	CertificateNotYet  Reason = "certificate_not_yet_valid"
	Revoked            Reason = "revoked"                  // a certificate is in its issuer's revocation list
	BadSignature       Reason = "bad_signature"            // a quote, report or statement was altered
	BadKeyBinding      Reason = "bad_key_binding"          // the quoting enclave did not vouch for the key that signed the quote
	CollateralExpired  Reason = "collateral_expired"       // past its next update
	CollateralNotYet   Reason = "collateral_not_yet_valid" // issued later than the time given
	CollateralMismatch Reason = "collateral_mismatch"      // collateral of another platform or TEE
	BadQuotingEnclave  Reason = "bad_quoting_enclave"      // the quoting enclave is not the vendor's
	BadTDXModule       Reason = "bad_tdx_module"           // the TDX module is not one the vendor knows
	TCBNotSupported    Reason = "tcb_level_not_supported"  // older than everything the vendor knows a verdict on
)

// Reasons of Policy.Admit: the evidence holds and is not wanted.
const (
	BadPolicy           Reason = "bad_policy"            // the policy contradicts itself; it admits nobody
	TEENotAdmitted      Reason = "tee_not_admitted"      // the policy has no identities for this kind of TEE
	NotHardware         Reason = "simulated"             // a simulated platform, and the policy does not name that
	RootNotAdmitted     Reason = "root_not_admitted"     // the policy names roots, and not this one
	RevocationUnknown   Reason = "revocation_unknown"    // no revocation lists were given
	DebugEnabled        Reason = "debug"                 // the host can look inside
	IdentityNotAdmitted Reason = "identity_not_admitted" // another program than the policy names
	StatusNotAdmitted   Reason = "tcb_status_not_admitted"
	AdvisoryDenied      Reason = "advisory_denied"
	EvaluationTooLow    Reason = "evaluation_number_too_low"
	PlatformDenied      Reason = "platform_denied"
	CollateralTooOld    Reason = "collateral_too_old"
	WrongReportData     Reason = "wrong_report_data" // made for another nonce, purpose, key, domain or policy
)

// An Error is a refusal.
type Error struct {
	Reason Reason
	Part   string // what of the evidence is at fault: "quote", "PCK certificate", "TCB info", …
	Err    error  // the particulars; may be nil
}

// Refuse makes an Error. It formats its particulars as fmt.Errorf does, %w
// included; an empty format has none.
func Refuse(r Reason, part, format string, args ...any) *Error {
	e := &Error{Reason: r, Part: part}
	if format != "" {
		e.Err = fmt.Errorf(format, args...)
	}
	return e
}

func (e *Error) Error() string {
	text := e.Part + ": " + e.Reason.Error()
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap lets errors.Is find the reason and errors.As the particulars.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}

// ReasonOf is the reason of err: "" for nil, and Malformed for an error that
// has none, so that nothing untyped reads as accepted.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Reason
	}
	return Malformed
}
