// Package intel verifies what SGX and TDX quotes have in common: the chain of
// the platform's certification key (PCK), the signature of the quoting enclave
// (QE), and the collateral by which Intel judges the platform.
//
// Collateral is one JSON object with these members, as Intel's quote
// verification library and most caching services hand it out:
//
//	tcb_info, qe_identity                     the signed JSON objects, byte for byte, as strings
//	tcb_info_signature, qe_identity_signature ECDSA signatures r‖s over those bytes, hexadecimal
//	tcb_info_issuer_chain,
//	qe_identity_issuer_chain                  signing certificate and root, PEM
//	root_ca_crl, pck_crl                      revocation lists of the root CA and of the PCK CA, DER in hexadecimal
//	pck_crl_issuer_chain                      PCK CA and root, PEM
//
// The last three members may be absent; the claims then say that revocation
// was not checked, which a policy must name to admit it. Gather makes this
// object from the answers of Intel's provisioning certification service (PCS).
//
// What counts as a chain is narrow: certificates of version 3 with P-256 keys,
// in one of the three shapes that Intel issues, each with the names, usages and
// length of its role. A certificate that may sign one thing signs nothing else.
//
// Sources: Intel SGX PCK Certificate and CRL Profile; Intel SGX and TDX DCAP
// Quote Generation/Verification Library References; PCS API version 4.
package intel

import (
	"crypto/sha256"
	"crypto/x509"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
)

// rootFingerprint is the SHA-256 of the certificate "Intel SGX Root CA". It is
// what makes a platform Intel's: a chain that ends elsewhere is simulated.
var rootFingerprint = [sha256.Size]byte{
	0x44, 0xa0, 0x19, 0x6b, 0x2b, 0x99, 0xf8, 0x89, 0xb8, 0xe1, 0x49, 0xe9, 0x5b, 0x80, 0x7a, 0x35,
	0x0e, 0x74, 0x24, 0x96, 0x43, 0x99, 0xe8, 0x85, 0xa7, 0xcb, 0xb8, 0xcc, 0xfa, 0xb6, 0x74, 0xd3,
}

// RootFingerprint is the SHA-256 of Intel's root certificate.
func RootFingerprint() [sha256.Size]byte { return rootFingerprint }

// A Quote is what a quote of any version comes down to.
type Quote struct {
	TEE       attest.TEE // attest.SGX or attest.TDX
	Version   int
	Signed    []byte // header and report body
	Signature Signature
	Module    *Module // TDX only
}

// A Module is what a TDX quote says of the TDX module that runs the machine.
type Module struct {
	TEETCBSVN  [components]byte
	MRSigner   []byte // MRSIGNERSEAM, 48 bytes
	Attributes []byte // SEAMATTRIBUTES, 8 bytes
}

// Verified is what a quote and its collateral prove of a platform. Claims
// lacks the measurement, which lies in the part of the quote that only the
// caller can read.
type Verified struct {
	Claims attest.Claims
	CPUSVN []byte // 16 bytes
	PCESVN uint16
}

// Verify checks q and collateral as of the time at. The error is an *attest.Error.
func Verify(q Quote, collateral []byte, at time.Time) (*Verified, error) {
	c, err := ParseCollateral(collateral)
	if err != nil {
		return nil, err
	}
	v := verification{at: at}
	pck, err := v.platform(q)
	if err != nil {
		return nil, err
	}
	if err := v.revocation(c); err != nil {
		return nil, err
	}
	if err := q.Signature.verify(q.Signed, v.pck.PublicKey); err != nil {
		return nil, err
	}
	verdict, err := v.judge(q, pck, c)
	if err != nil {
		return nil, err
	}
	return &Verified{Claims: v.claims(q, pck, verdict), CPUSVN: pck.CPUSVN[:], PCESVN: pck.PCESVN}, nil
}

// A verification is one call of Verify under way.
type verification struct {
	at     time.Time
	window window
	links  map[link]bool // signatures between certificates that were checked

	pck, pckCA, root  *certificate
	rootCRL           *x509.RevocationList // nil: none was given
	revocationChecked bool
}

// platform verifies the chain in the quote and reads what the leaf says.
func (v *verification) platform(q Quote) (*PCK, error) {
	chain, err := q.Signature.chain()
	if err != nil {
		return nil, err
	}
	if err := v.checkChain(chain, pckRoles); err != nil {
		return nil, err
	}
	v.pck, v.pckCA, v.root = chain[0], chain[1], chain[2]
	return parsePCK(v.pck)
}

// judge verifies TCB info and QE identity, and says what they make of the platform.
func (v *verification) judge(q Quote, pck *PCK, c *Collateral) (level, error) {
	info, err := v.tcbInfo(q.TEE, pck, c)
	if err != nil {
		return level{}, err
	}
	identity, err := v.qeIdentity(q.TEE, c)
	if err != nil {
		return level{}, err
	}
	qe, err := identity.judge(q.Signature.QEReport)
	if err != nil {
		return level{}, err
	}
	platform, err := info.judge(pck, q.Module)
	if err != nil {
		return level{}, err
	}
	verdict := platform.with(qe)
	verdict.evaluation = min(info.EvaluationNumber, identity.EvaluationNumber)
	verdict.issued = earlier(info.IssueDate, identity.IssueDate)
	return verdict, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (v *verification) claims(q Quote, pck *PCK, verdict level) attest.Claims {
	return attest.Claims{
		TEE: q.TEE, Version: q.Version,
		Simulated: v.root.fingerprint != rootFingerprint, Root: v.root.fingerprint[:],
		RevocationChecked: v.revocationChecked,
		Platform:          attest.Platform{FMSPC: pck.FMSPC[:], PPID: pck.PPID[:]},
		Status:            verdict.Status, Advisories: verdict.Advisories,
		EvaluationNumber: verdict.evaluation,
		Issued:           verdict.issued, ValidFrom: v.window.from, ValidUntil: v.window.until,
	}
}
