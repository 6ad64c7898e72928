// Package attest judges what a trusted execution environment says of the
// program inside it: Evidence + Policy + time → Claims, or an error with a
// Reason.
//
// It is pure. It opens no socket and reads no clock: whatever the verdict
// rests on comes in as an argument, so the same three arguments give the same
// verdict for ever, on a server, in a client and in a court. It fails closed:
// an unknown format, a missing signature, a date out of range and an empty
// policy all refuse.
//
// The work is done in two steps that stay apart. A Verifier (package sgx, tdx
// or snp) checks signatures, chains and collateral; it knows nothing of what
// anyone wants. Policy.Admit then says whether what was proven is wanted; it
// does no cryptography, so Claims that were kept can be judged again when the
// policy changes.
//
// The vendors' roots are compiled in by fingerprint, and no argument can add
// one. Evidence that hangs together under any other root is not refused by its
// verifier: its claims are Simulated, and a policy must name that to admit it.
package attest

import "time"

// A TEE is a kind of trusted execution environment.
type TEE string

// The kinds that there are verifiers for.
const (
	SGX TEE = "sgx" // Intel SGX: an enclave in a process; quote version 3
	TDX TEE = "tdx" // Intel TDX: a virtual machine; quote versions 4 and 5
	SNP TEE = "snp" // AMD SEV-SNP: a virtual machine; report versions 2 and up
)

// Evidence is what a TEE hands out, together with what the vendor published
// about the platform. Nothing of it is trusted before it is verified.
type Evidence struct {
	// TEE says which verifier to ask. Empty: recognised by the content of Quote.
	TEE TEE `json:"tee"`
	// Quote is the signed statement as the platform made it: an SGX or TDX
	// quote, or an SNP attestation report. Its length is exact.
	Quote []byte `json:"quote"`
	// Collateral is what is needed to judge the quote and is not in it. Intel:
	// the JSON object described at package intel. SNP: the certificates of the
	// chip's key, PEM, leaf first.
	Collateral []byte `json:"collateral"`
}

// A Verifier checks the signatures, chains and collateral of one kind of
// evidence as of the time at, and returns what they prove. It applies no
// policy: a debug enclave, an outdated platform and a root that is no vendor's
// are claims and not errors. The error is an *Error, and the Claims are then
// empty.
type Verifier func(ev Evidence, at time.Time) (Claims, error)

// Verifiers holds a verifier per TEE. Evidence for which the field is nil is
// refused as Unsupported, so a program links, and accepts, only what it names.
type Verifiers struct {
	SGX Verifier
	TDX Verifier
	SNP Verifier
}

// Verify checks ev as of the time at and then asks p. The error is an *Error.
// Where the policy is what refuses, the Claims say what was refused; where the
// evidence itself does not hold, they are empty.
func (v Verifiers) Verify(ev Evidence, p Policy, at time.Time) (Claims, error) {
	claims, err := v.Prove(ev, at)
	if err != nil {
		return Claims{}, err
	}
	return claims, p.Admit(claims, at)
}

// Prove is Verify without a policy: what ev proves, wanted or not. Policy.Admit
// is to be asked before anything rests on it.
func (v Verifiers) Prove(ev Evidence, at time.Time) (Claims, error) {
	if ev.TEE == "" {
		ev.TEE = Recognize(ev.Quote)
	}
	verify := v.of(ev.TEE)
	if verify == nil {
		return Claims{}, Refuse(Unsupported, "evidence", "no verifier for TEE %q", ev.TEE)
	}
	return verify(ev, at)
}

func (v Verifiers) of(tee TEE) Verifier {
	switch tee {
	case SGX:
		return v.SGX
	case TDX:
		return v.TDX
	case SNP:
		return v.SNP
	}
	return nil
}

// Lengths and numbers that tell the three formats apart.
const (
	snpReportLen = 1184
	teeTypeSGX   = 0x00
	teeTypeTDX   = 0x81
)

// Recognize says what quote looks like, and "" if it looks like nothing
// known. It is a guess to choose a verifier by and proves nothing.
func Recognize(quote []byte) TEE {
	if len(quote) < 8 {
		return ""
	}
	// Quotes begin with a version of two bytes and the kind of key; from
	// version 4 on the kind of TEE follows. Reports of SNP have one length and
	// begin with a version of four bytes.
	version := uint16(quote[0]) | uint16(quote[1])<<8
	switch {
	case len(quote) == snpReportLen && quote[2] == 0 && quote[3] == 0:
		return SNP
	case version == 3:
		return SGX
	case (version == 4 || version == 5) && quote[4] == teeTypeTDX:
		return TDX
	case (version == 4 || version == 5) && quote[4] == teeTypeSGX:
		return SGX
	}
	return ""
}
