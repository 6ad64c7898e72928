package simtee

import "crypto/x509"

// A Role is what a certificate is for.
type Role string

// The certificates that a platform has to do with.
const (
	RoleIntelRoot  Role = "Intel root"
	RolePlatformCA Role = "PCK Platform CA"
	RolePCK        Role = "PCK"
	RoleTCBSigning Role = "TCB signing"
	RoleARK        Role = "ARK"
	RoleASK        Role = "ASK"
	RoleVCEK       Role = "VCEK"
)

// A Forge is for tests of verifiers. It changes what is about to be signed,
// and then the key that belongs there signs it, so that nothing but the check
// in question can find the change. A nil field changes nothing.
type Forge struct {
	// Certificate edits a certificate before its issuer signs it.
	Certificate func(role Role, template *x509.Certificate)
	// List edits the revocation list of a CA before it signs it.
	List func(issuer Role, template *x509.RevocationList)
	// TCBInfo and QEIdentity return what is signed in place of the JSON object
	// that they are given.
	TCBInfo    func(object []byte) []byte
	QEIdentity func(object []byte) []byte
	// QEReport edits the report of the quoting enclave, 384 bytes, before the
	// PCK signs it. It has vouched for the attestation key by then.
	QEReport func(report []byte)
	// Body returns what the attestation key signs in place of header and body of
	// a quote; SNP: what the VCEK signs, the first 672 bytes of a report.
	Body func(signed []byte) []byte
	// Statements names whose key and chain sign TCB info and QE identity.
	// Empty: RoleTCBSigning. RolePCK and RolePlatformCA are the wrong ones.
	Statements Role
	// PCKIssuer names who issues the PCK certificate. Empty: RolePlatformCA.
	// RoleTCBSigning and RoleIntelRoot are the wrong ones.
	PCKIssuer Role
}

func (f *Forge) certificate(role Role, template *x509.Certificate) {
	if f != nil && f.Certificate != nil {
		f.Certificate(role, template)
	}
}

func (f *Forge) list(issuer Role, template *x509.RevocationList) {
	if f != nil && f.List != nil {
		f.List(issuer, template)
	}
}

func (f *Forge) tcbInfo(object []byte) []byte {
	if f == nil || f.TCBInfo == nil {
		return object
	}
	return f.TCBInfo(object)
}

func (f *Forge) qeIdentity(object []byte) []byte {
	if f == nil || f.QEIdentity == nil {
		return object
	}
	return f.QEIdentity(object)
}

func (f *Forge) qeReport(report []byte) {
	if f != nil && f.QEReport != nil {
		f.QEReport(report)
	}
}

func (f *Forge) body(signed []byte) []byte {
	if f == nil || f.Body == nil {
		return signed
	}
	return f.Body(signed)
}

func (f *Forge) statements() Role {
	if f == nil || f.Statements == "" {
		return RoleTCBSigning
	}
	return f.Statements
}

func (f *Forge) pckIssuer() Role {
	if f == nil || f.PCKIssuer == "" {
		return RolePlatformCA
	}
	return f.PCKIssuer
}
