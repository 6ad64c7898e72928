package simtee

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-kms/holdfast/attest"
)

// published is for how long after its issue a statement is valid, as at Intel.
const published = 30 * 24 * time.Hour

// Published is what the vendor's service answers about a platform, part by
// part, as version 4 of Intel's provisioning certification service (PCS) does.
type Published struct {
	TCBInfo         []byte // {"tcbInfo":{…},"signature":"…"}
	TCBInfoChain    string // PEM, the signer first
	QEIdentity      []byte // {"enclaveIdentity":{…},"signature":"…"}
	QEIdentityChain string
	PCKCRL          []byte // DER
	PCKCRLChain     string
	RootCRL         []byte // DER

	tcbInfo, tcbInfoSignature       string
	qeIdentity, qeIdentitySignature string
}

// clone is a Published that its owner may change.
func (p *Published) clone() Published {
	c := *p
	for _, b := range []*[]byte{&c.TCBInfo, &c.QEIdentity, &c.PCKCRL, &c.RootCRL} {
		*b = bytes.Clone(*b)
	}
	return c
}

// bundle prints the parts as one JSON object, the form in which tools keep
// them beside a quote.
func (p *Published) bundle() ([]byte, error) {
	return json.Marshal(struct {
		PCKCRLIssuerChain     string `json:"pck_crl_issuer_chain"`
		RootCACRL             string `json:"root_ca_crl"`
		PCKCRL                string `json:"pck_crl"`
		TCBInfoIssuerChain    string `json:"tcb_info_issuer_chain"`
		TCBInfo               string `json:"tcb_info"`
		TCBInfoSignature      string `json:"tcb_info_signature"`
		QEIdentityIssuerChain string `json:"qe_identity_issuer_chain"`
		QEIdentity            string `json:"qe_identity"`
		QEIdentitySignature   string `json:"qe_identity_signature"`
	}{
		p.PCKCRLChain, hex.EncodeToString(p.RootCRL), hex.EncodeToString(p.PCKCRL),
		p.TCBInfoChain, p.tcbInfo, p.tcbInfoSignature,
		p.QEIdentityChain, p.qeIdentity, p.qeIdentitySignature,
	})
}

// issueDates are when the statements that are in force at the time at were
// issued, and when the next ones are due. A new set comes out every day, unless
// there is none any more.
func (m Misfortune) issueDates(at time.Time) (issued, next time.Time) {
	issued = at.UTC().Truncate(24 * time.Hour)
	if !m.Ends.IsZero() {
		issued = m.Ends.UTC().Truncate(time.Second).Add(-published)
	}
	if m.Stale {
		issued = issued.Add(-published - 24*time.Hour)
	}
	return issued, issued.Add(published)
}

// publish makes everything that is needed to judge the quotes of a machine.
func (m *intelMachine) publish(tee attest.TEE, at time.Time) (*Published, error) {
	issued, next := m.misfortune.issueDates(at)
	p := &Published{}
	if err := m.publishLists(p, issued, next); err != nil {
		return nil, err
	}
	info, err := json.Marshal(m.tcbInfo(tee, issued, next))
	if err != nil {
		return nil, err
	}
	identity, err := json.Marshal(m.qeIdentity(tee, issued, next))
	if err != nil {
		return nil, err
	}
	info, identity = m.forge.tcbInfo(info), m.forge.qeIdentity(identity)
	signer, chain := m.statementSigner()
	p.TCBInfoChain, p.QEIdentityChain = chain, chain
	if p.TCBInfo, p.tcbInfoSignature, err = statement("tcbInfo", info, signer); err != nil {
		return nil, err
	}
	if p.QEIdentity, p.qeIdentitySignature, err = statement("enclaveIdentity", identity, signer); err != nil {
		return nil, err
	}
	p.tcbInfo, p.qeIdentity = string(info), string(identity)
	return p, nil
}

func (m *intelMachine) publishLists(p *Published, issued, next time.Time) (err error) {
	list := func(revoked ...x509.RevocationListEntry) *x509.RevocationList {
		return &x509.RevocationList{Number: big.NewInt(issued.Unix() / 86400), ThisUpdate: issued, NextUpdate: next, RevokedCertificateEntries: revoked}
	}
	pck := list()
	if m.misfortune.Revoked {
		pck = list(x509.RevocationListEntry{SerialNumber: m.pck.cert.SerialNumber, RevocationTime: notBefore})
	}
	if p.RootCRL, err = m.vendor.root.revoke(RoleIntelRoot, list(), m.forge); err != nil {
		return err
	}
	if p.PCKCRL, err = m.vendor.platformCA.revoke(RolePlatformCA, pck, m.forge); err != nil {
		return err
	}
	p.PCKCRLChain = string(chainPEM(m.vendor.platformCA.cert, m.vendor.root.cert))
	return nil
}

// statementSigner is who signs TCB info and QE identity, with the chain.
func (m *intelMachine) statementSigner() (*authority, string) {
	root := m.vendor.root.cert
	switch role := m.forge.statements(); role {
	case RolePCK:
		return m.pck, string(chainPEM(m.pck.cert, m.vendor.platformCA.cert, root))
	default:
		a := m.vendor.authority(role)
		return a, string(chainPEM(a.cert, root))
	}
}

// statement prints a signed answer of PCS: the signature is over the bytes of
// the object as they stand.
func statement(name string, object []byte, signer *authority) (answer []byte, signature string, err error) {
	digest := sha256.Sum256(object)
	raw, err := rawSignature(signer.key, digest[:], crypto.SHA256)
	if err != nil {
		return nil, "", fmt.Errorf("signing %s: %w", name, err)
	}
	signature = hex.EncodeToString(raw)
	answer = append(answer, `{"`+name+`":`...)
	answer = append(answer, object...)
	return append(answer, `,"signature":"`+signature+`"}`...), signature, nil
}

// The JSON of TCB info version 3 and QE identity version 2, in Intel's order
// of members.
type (
	tcbInfoJSON struct {
		ID               string       `json:"id"`
		Version          int          `json:"version"`
		IssueDate        string       `json:"issueDate"`
		NextUpdate       string       `json:"nextUpdate"`
		FMSPC            string       `json:"fmspc"`
		PCEID            string       `json:"pceId"`
		TCBType          int          `json:"tcbType"`
		EvaluationNumber int          `json:"tcbEvaluationDataNumber"`
		Module           *moduleJSON  `json:"tdxModule,omitzero"`
		Modules          []moduleJSON `json:"tdxModuleIdentities,omitempty"`
		Levels           []levelJSON  `json:"tcbLevels"`
	}
	moduleJSON struct {
		ID             string      `json:"id,omitzero"`
		MRSigner       string      `json:"mrsigner"`
		Attributes     string      `json:"attributes"`
		AttributesMask string      `json:"attributesMask"`
		Levels         []levelJSON `json:"tcbLevels,omitempty"`
	}
	qeIdentityJSON struct {
		ID               string      `json:"id"`
		Version          int         `json:"version"`
		IssueDate        string      `json:"issueDate"`
		NextUpdate       string      `json:"nextUpdate"`
		EvaluationNumber int         `json:"tcbEvaluationDataNumber"`
		MiscSelect       string      `json:"miscselect"`
		MiscSelectMask   string      `json:"miscselectMask"`
		Attributes       string      `json:"attributes"`
		AttributesMask   string      `json:"attributesMask"`
		MRSigner         string      `json:"mrsigner"`
		ISVProdID        uint16      `json:"isvprodid"`
		Levels           []levelJSON `json:"tcbLevels"`
	}
	levelJSON struct {
		TCB        any      `json:"tcb"`
		Date       string   `json:"tcbDate"`
		Status     string   `json:"tcbStatus"`
		Advisories []string `json:"advisoryIDs,omitempty"`
	}
	isvSVNJSON struct {
		ISVSVN uint16 `json:"isvsvn"`
	}
	platformTCBJSON struct {
		SGX    []componentJSON `json:"sgxtcbcomponents"`
		PCESVN int             `json:"pcesvn"`
		TDX    []componentJSON `json:"tdxtcbcomponents,omitempty"`
	}
	componentJSON struct {
		SVN uint8 `json:"svn"`
	}
)

const tcbDate = "2024-03-13T00:00:00Z"

func date(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func upperHex(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) }

// tcbInfo is the vendor's verdict on machines of this kind.
func (m *intelMachine) tcbInfo(tee attest.TEE, issued, next time.Time) tcbInfoJSON {
	recovery := m.misfortune.Recovery
	info := tcbInfoJSON{
		ID: "SGX", Version: 3, IssueDate: date(issued), NextUpdate: date(next),
		FMSPC: upperHex(m.chip.fmspc[:]), PCEID: "0000", EvaluationNumber: recovery.evaluationNumber(),
	}
	if tee == attest.TDX {
		module := moduleJSON{MRSigner: strings.Repeat("0", 96), Attributes: strings.Repeat("0", 16), AttributesMask: strings.Repeat("F", 16)}
		info.ID, info.Module = "TDX", &module
		current := module
		current.ID = fmt.Sprintf("TDX_%02X", tdxModuleVersion)
		current.Levels = []levelJSON{{TCB: isvSVNJSON{tdxModuleSVN}, Date: tcbDate, Status: "UpToDate"}}
		info.Modules = []moduleJSON{current}
	}
	info.Levels = []levelJSON{{TCB: platformTCB(tee, recovery.required()), Date: tcbDate, Status: "UpToDate"}}
	if recovery != NoRecovery {
		info.Levels = append(info.Levels, levelJSON{TCB: platformTCB(tee, tcbLevel{firstMicrocode}), Date: tcbDate,
			Status: "OutOfDate", Advisories: []string{Advisory}})
	}
	return info
}

func platformTCB(tee attest.TEE, l tcbLevel) platformTCBJSON {
	t := platformTCBJSON{PCESVN: pceSVN}
	for _, svn := range l.components() {
		t.SGX = append(t.SGX, componentJSON{svn})
	}
	if tee == attest.TDX {
		for _, svn := range teeTCBSVN {
			t.TDX = append(t.TDX, componentJSON{svn})
		}
	}
	return t
}

// qeIdentity says what the quoting enclave of the kind is.
func (m *intelMachine) qeIdentity(tee attest.TEE, issued, next time.Time) qeIdentityJSON {
	qe := quotingEnclaves[tee]
	signer := qeSigner()
	return qeIdentityJSON{
		ID: qe.id, Version: 2, IssueDate: date(issued), NextUpdate: date(next),
		EvaluationNumber: m.misfortune.Recovery.evaluationNumber(),
		MiscSelect:       "00000000", MiscSelectMask: "FFFFFFFF",
		Attributes: "11000000000000000000000000000000", AttributesMask: "FBFFFFFFFFFFFFFF0000000000000000",
		MRSigner: upperHex(signer[:]), ISVProdID: qe.prodID,
		Levels: []levelJSON{{TCB: isvSVNJSON{qeSVN}, Date: tcbDate, Status: "UpToDate"}},
	}
}
