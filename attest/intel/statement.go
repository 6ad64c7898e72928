package intel

import (
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-kms/holdfast/attest"
)

// A statement is what TCB info and QE identity have in common.
type statement struct {
	ID               string    `json:"id"`
	Version          int       `json:"version"`
	IssueDate        time.Time `json:"issueDate"`
	NextUpdate       time.Time `json:"nextUpdate"`
	EvaluationNumber uint32    `json:"tcbEvaluationDataNumber"`
}

// TCBInfo is Intel's verdict on the firmware of one kind of platform, version 3.
type TCBInfo struct {
	statement
	FMSPC            attest.Hex       `json:"fmspc"`
	PCEID            attest.Hex       `json:"pceId"`
	TCBType          int              `json:"tcbType"`
	TDXModule        *moduleIdentity  `json:"tdxModule"`
	ModuleIdentities []moduleIdentity `json:"tdxModuleIdentities"`
	Levels           []platformLevel  `json:"tcbLevels"`
}

// platformLevel is one row of TCB info: what a platform must have, and the
// verdict on those that have it.
type platformLevel struct {
	TCB struct {
		SGX    []component `json:"sgxtcbcomponents"`
		PCESVN uint16      `json:"pcesvn"`
		TDX    []component `json:"tdxtcbcomponents"`
	} `json:"tcb"`
	verdict
}

type component struct {
	SVN uint8 `json:"svn"`
}

// verdict is the right-hand side of a row.
type verdict struct {
	Status     attest.TCBStatus `json:"tcbStatus"`
	Advisories []string         `json:"advisoryIDs"`
}

// moduleIdentity says how Intel's TDX module looks. The one without an id is
// that of the first version.
type moduleIdentity struct {
	ID             string         `json:"id"`
	MRSigner       attest.Hex     `json:"mrsigner"`
	Attributes     attest.Hex     `json:"attributes"`
	AttributesMask attest.Hex     `json:"attributesMask"`
	Levels         []enclaveLevel `json:"tcbLevels"`
}

// enclaveLevel is a row of an identity.
type enclaveLevel struct {
	TCB struct {
		ISVSVN uint16 `json:"isvsvn"`
	} `json:"tcb"`
	verdict
}

// QEIdentity says how Intel's quoting enclave looks, version 2.
type QEIdentity struct {
	statement
	MiscSelect     attest.Hex     `json:"miscselect"`
	MiscSelectMask attest.Hex     `json:"miscselectMask"`
	Attributes     attest.Hex     `json:"attributes"`
	AttributesMask attest.Hex     `json:"attributesMask"`
	MRSigner       attest.Hex     `json:"mrsigner"`
	ISVProdID      uint16         `json:"isvprodid"`
	Levels         []enclaveLevel `json:"tcbLevels"`
}

// Parts of collateral, for errors.
const (
	partTCBInfo    = "TCB info"
	partQEIdentity = "QE identity"
)

// tcbInfo verifies and reads the TCB info in c, and sees to it that it is
// about this platform and this kind of TEE.
func (v *verification) tcbInfo(tee attest.TEE, pck *PCK, c *Collateral) (*TCBInfo, error) {
	if err := v.signed(partTCBInfo, c.TCBInfo, c.TCBInfoSignature, c.TCBInfoChain); err != nil {
		return nil, err
	}
	info, err := ParseTCBInfo([]byte(c.TCBInfo))
	if err != nil {
		return nil, err
	}
	want := map[attest.TEE]string{attest.SGX: "SGX", attest.TDX: "TDX"}[tee]
	switch {
	case info.ID != want:
		return nil, attest.Refuse(attest.CollateralMismatch, partTCBInfo, "for %q, not %q", info.ID, want)
	case !info.FMSPC.Equal(pck.FMSPC[:]):
		return nil, attest.Refuse(attest.CollateralMismatch, partTCBInfo, "for FMSPC %s, and the platform's is %x", info.FMSPC, pck.FMSPC)
	case !info.PCEID.Equal(pck.PCEID[:]):
		return nil, attest.Refuse(attest.CollateralMismatch, partTCBInfo, "for PCE %s, and the platform's is %x", info.PCEID, pck.PCEID)
	}
	return info, v.inForce(partTCBInfo, info.IssueDate, info.NextUpdate)
}

// qeIdentity does the same for the QE identity.
func (v *verification) qeIdentity(tee attest.TEE, c *Collateral) (*QEIdentity, error) {
	if err := v.signed(partQEIdentity, c.QEIdentity, c.QEIdentitySignature, c.QEIdentityChain); err != nil {
		return nil, err
	}
	identity, err := ParseQEIdentity([]byte(c.QEIdentity))
	if err != nil {
		return nil, err
	}
	if want := map[attest.TEE]string{attest.SGX: "QE", attest.TDX: "TD_QE"}[tee]; identity.ID != want {
		return nil, attest.Refuse(attest.CollateralMismatch, partQEIdentity, "of %q, not %q", identity.ID, want)
	}
	return identity, v.inForce(partQEIdentity, identity.IssueDate, identity.NextUpdate)
}

// signed verifies a statement's signer and signature, before anything of it is
// read.
func (v *verification) signed(part, text, signature, chainText string) error {
	if text == "" || signature == "" || chainText == "" {
		return attest.Refuse(attest.MissingCollateral, part, "the statement, its signature or its issuer chain is missing")
	}
	chain, err := parseChain("issuer chain of the "+part, []byte(chainText))
	if err != nil {
		return err
	}
	if err := v.checkChain(chain, signerRoles); err != nil {
		return err
	}
	if err := v.checkRevoked(chain[0]); err != nil {
		return err
	}
	raw, err := hex.DecodeString(signature)
	if err != nil || !verifyRaw(chain[0].PublicKey, []byte(text), raw) {
		return attest.Refuse(attest.BadSignature, part, "not by its signing certificate")
	}
	return nil
}

// ParseTCBInfo reads the signed part of PCS's answer. It verifies nothing.
func ParseTCBInfo(text []byte) (*TCBInfo, error) {
	var info TCBInfo
	if err := parseStatement(partTCBInfo, text, &info); err != nil {
		return nil, err
	}
	switch {
	case info.Version != 3:
		return nil, attest.Refuse(attest.Unsupported, partTCBInfo, "version %d; only 3 is taken", info.Version)
	case info.TCBType != 0:
		return nil, attest.Refuse(attest.Unsupported, partTCBInfo, "TCB type %d; only 0 is taken", info.TCBType)
	}
	for _, l := range info.Levels {
		if len(l.TCB.SGX) != components || info.ID == "TDX" && len(l.TCB.TDX) != components || !l.Status.Known() {
			return nil, attest.Refuse(attest.Malformed, partTCBInfo, "a level is not complete")
		}
	}
	if info.TDXModule != nil && !info.TDXModule.complete() {
		return nil, attest.Refuse(attest.Malformed, partTCBInfo, "the TDX module's identity is not complete")
	}
	for _, m := range info.ModuleIdentities {
		if !m.complete() || !completeLevels(m.Levels) {
			return nil, attest.Refuse(attest.Malformed, partTCBInfo, "the identity of TDX module %q is not complete", m.ID)
		}
	}
	return &info, nil
}

func (m *moduleIdentity) complete() bool {
	return len(m.MRSigner) == 48 && len(m.Attributes) == 8 && len(m.AttributesMask) == 8
}

func completeLevels(levels []enclaveLevel) bool {
	for _, l := range levels {
		if !l.Status.Known() {
			return false
		}
	}
	return true
}

// ParseQEIdentity reads the signed part of PCS's answer. It verifies nothing.
func ParseQEIdentity(text []byte) (*QEIdentity, error) {
	var id QEIdentity
	if err := parseStatement(partQEIdentity, text, &id); err != nil {
		return nil, err
	}
	if id.Version != 2 {
		return nil, attest.Refuse(attest.Unsupported, partQEIdentity, "version %d; only 2 is taken", id.Version)
	}
	if len(id.MiscSelect) != 4 || len(id.MiscSelectMask) != 4 || len(id.Attributes) != 16 || len(id.AttributesMask) != 16 ||
		len(id.MRSigner) != 32 || !completeLevels(id.Levels) {
		return nil, attest.Refuse(attest.Malformed, partQEIdentity, "it is not complete")
	}
	return &id, nil
}

// parseStatement reads JSON. Members that are not known are passed over, for
// Intel adds some; one that is there twice is refused.
func parseStatement(part string, text []byte, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return attest.Refuse(attest.Malformed, part, "%w", err)
	}
	return nil
}
