package simtee

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
)

// What quotes are laid out by: Intel's "SGX ECDSA QuoteLibReference" (version 3)
// and "TDX Quote Generation Library" (versions 4 and 5).
const (
	quoteHeaderLen = 48
	sgxReportLen   = 384
	td10ReportLen  = 584
	td15ReportLen  = 648

	ecdsaP256KeyType = 2
	teeTypeTDX       = 0x81
	bodyTypeTD15     = 3 // of the descriptor that version 5 puts before the body

	certPCKChain = 5 // certification data: the PEM chain of the PCK
	certQEReport = 6 // certification data: a report of the quoting enclave, and then the above

	qeSVN            = 8
	tdxModuleVersion = 1
	tdxModuleSVN     = 5
)

// teeTCBSVN is the version of the TDX module and of what loads it.
var teeTCBSVN = [16]byte{tdxModuleSVN, tdxModuleVersion, 7}

// intelVendor is the id of Intel's quoting enclave, which verifiers compare.
var intelVendor = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// A quotingEnclave vouches for the key that signs quotes.
type quotingEnclave struct {
	id     string // in its identity
	prodID uint16
}

var quotingEnclaves = map[attest.TEE]quotingEnclave{
	attest.SGX: {"QE", 1},
	attest.TDX: {"TD_QE", 2},
}

func qeSigner() [32]byte {
	return sha256.Sum256([]byte("holdfast development quoting enclave, " + developmentOnly))
}

// intelMachine is an Intel processor with its quoting enclaves.
type intelMachine struct {
	vendor      *intelRoot
	chip        chip
	misfortune  Misfortune
	forge       *Forge
	measurement [32]byte
	program     Program
	tdxVersion  int

	pck       *authority
	attesting *ecdsa.PrivateKey
	qeID      [16]byte
	tails     map[attest.TEE][]byte // what follows a quote's own signature

	mu     sync.Mutex
	newest map[attest.TEE]*issue // by kind, the day's collateral that was asked for last
}

// An issue is one day's collateral.
type issue struct {
	day       time.Time
	published *Published
	bundle    []byte
}

func (p *Platform) newIntelMachine() (*intelMachine, error) {
	vendor, err := p.vendor.intel()
	if err != nil {
		return nil, err
	}
	m := &intelMachine{vendor: vendor, misfortune: p.cfg.Misfortune, forge: p.cfg.Forge,
		measurement: p.cfg.Measurement, program: p.cfg.Program, tdxVersion: p.cfg.TDXQuote,
		attesting: ecdsaKey(elliptic.P256(), p.burnt("attestation key")),
		tails:     map[attest.TEE][]byte{}, newest: map[attest.TEE]*issue{}}
	fill(m.qeID[:], p.burnt("quoting enclave id"))
	fill(m.chip.ppid[:], p.burnt("PPID"))
	fill(m.chip.instance[:], p.burnt("platform instance id"))
	m.chip.fmspc, m.chip.level = FMSPC, m.misfortune.Recovery.level()
	key := ecdsaKey(elliptic.P256(), p.burnt(fmt.Sprintf("PCK %d", m.chip.level.microcode))) // the platform's key follows its microcode
	if m.pck, err = vendor.newPCK(key, m.chip, m.forge); err != nil {
		return nil, err
	}
	for _, tee := range []attest.TEE{attest.SGX, attest.TDX} {
		if m.tails[tee], err = m.certify(tee); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// collateral is what the vendor's service says at the time at.
func (m *intelMachine) collateral(tee attest.TEE, at time.Time) (*issue, error) {
	day, _ := m.misfortune.issueDates(at)
	m.mu.Lock()
	defer m.mu.Unlock()
	if kept := m.newest[tee]; kept != nil && kept.day.Equal(day) {
		return kept, nil
	}
	published, err := m.publish(tee, at)
	if err != nil {
		return nil, err
	}
	bundle, err := published.bundle()
	if err != nil {
		return nil, err
	}
	m.newest[tee] = &issue{day, published, bundle}
	return m.newest[tee], nil
}

// attestationKey is the public key as quotes carry it: x and y.
func (m *intelMachine) attestationKey() ([]byte, error) {
	point, err := m.attesting.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	return point[1:], nil // without the byte that says "uncompressed"
}

// certify has the quoting enclave vouch for the attestation key, and returns
// everything that comes after the signature of the quote itself.
func (m *intelMachine) certify(tee attest.TEE) ([]byte, error) {
	key, err := m.attestationKey()
	if err != nil {
		return nil, err
	}
	auth := make([]byte, 32) // Intel's quoting enclave puts a count there
	for i := range auth {
		auth[i] = byte(i)
	}
	report := m.qeReport(tee, sha256.Sum256(append(key, auth...)))
	m.forge.qeReport(report)
	digest := sha256.Sum256(report)
	signature, err := rawSignature(m.pck.key, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing the report of the quoting enclave: %w", err)
	}
	issuer := m.vendor.authority(m.forge.pckIssuer()).cert
	chain := append(chainPEM(m.pck.cert, issuer, m.vendor.root.cert), 0) // Intel ends it like a C string

	le := binary.LittleEndian
	vouched := append(report, signature...)
	vouched = append(le.AppendUint16(vouched, uint16(len(auth))), auth...)
	vouched = le.AppendUint16(vouched, certPCKChain)
	vouched = append(le.AppendUint32(vouched, uint32(len(chain))), chain...)
	if tee == attest.SGX {
		return append(key, vouched...), nil
	}
	tail := le.AppendUint16(key, certQEReport)
	return append(le.AppendUint32(tail, uint32(len(vouched))), vouched...), nil
}

// qeReport is the report of the quoting enclave about itself.
func (m *intelMachine) qeReport(tee attest.TEE, bound [32]byte) []byte {
	qe, signer := quotingEnclaves[tee], qeSigner()
	enclave := sha256.Sum256([]byte(qe.id + " " + developmentOnly))
	var data [64]byte
	copy(data[:], bound[:])
	const provisioning = 0x10 // may have the provisioning key, as quoting enclaves may
	return sgxReport{cpuSVN: m.chip.level.components(), flags: sgxInit | provisioning, mrenclave: enclave, mrsigner: signer,
		prodID: qe.prodID, svn: qeSVN, data: data}.print()
}

// The flags of an enclave (Intel SDM, volume 3D, ATTRIBUTES).
const (
	sgxInit   = 1 << 0
	sgxDebug  = 1 << 1
	sgx64Bit  = 1 << 2
	sgxXFRM   = 0xe7 // the parts of the processor's state that the enclave uses
	tdDebug   = 1 << 0
	tdSEPTVE  = 1 << 28 // the host cannot take pages away unnoticed
	tdxXFAM   = 0x602e7
	teeOffset = 4 // of the TEE type in the header
)

// sgxReport is the body of a report or a quote (Intel SDM, volume 3D, REPORT).
type sgxReport struct {
	cpuSVN              [16]byte
	flags               uint64
	mrenclave, mrsigner [32]byte
	prodID, svn         uint16
	data                [64]byte
}

func (r sgxReport) print() []byte {
	b, le := make([]byte, sgxReportLen), binary.LittleEndian
	copy(b[0:], r.cpuSVN[:])
	le.PutUint64(b[48:], r.flags)
	le.PutUint64(b[56:], sgxXFRM)
	copy(b[64:], r.mrenclave[:])
	copy(b[128:], r.mrsigner[:])
	le.PutUint16(b[256:], r.prodID)
	le.PutUint16(b[258:], r.svn)
	copy(b[320:], r.data[:])
	return b
}

// header begins every quote.
func (m *intelMachine) header(version uint16, teeType uint32) []byte {
	b, le := make([]byte, quoteHeaderLen), binary.LittleEndian
	le.PutUint16(b[0:], version)
	le.PutUint16(b[2:], ecdsaP256KeyType)
	le.PutUint32(b[teeOffset:], teeType)
	if version == 3 { // later versions leave it out
		le.PutUint16(b[8:], qeSVN)
		le.PutUint16(b[10:], pceSVN)
	}
	copy(b[12:], intelVendor[:])
	copy(b[28:], m.qeID[:])
	return b
}

// quote mints a quote of the kind.
func (m *intelMachine) quote(tee attest.TEE, reportData [64]byte) ([]byte, error) {
	signed := m.sgxBody(reportData)
	if tee == attest.TDX {
		signed = m.tdxBody(reportData)
	}
	signed = m.forge.body(signed)
	digest := sha256.Sum256(signed)
	signature, err := rawSignature(m.attesting, digest[:], crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("signing the quote: %w", err)
	}
	tail := m.tails[tee]
	b := binary.LittleEndian.AppendUint32(signed, uint32(len(signature)+len(tail)))
	return append(append(b, signature...), tail...), nil
}

// sgxBody is header and body of an SGX quote of version 3.
func (m *intelMachine) sgxBody(reportData [64]byte) []byte {
	r := sgxReport{cpuSVN: m.chip.level.components(), flags: sgxInit | sgx64Bit,
		mrenclave: m.measurement, mrsigner: m.program.MRSIGNER,
		prodID: m.program.ISVProdID, svn: m.program.ISVSVN, data: reportData}
	if m.misfortune.Debug {
		r.flags |= sgxDebug
	}
	return append(m.header(3, 0), r.print()...)
}

// tdxBody is header and body of a TDX quote. Version 5 says before the body
// which it is; ours is that of TDX 1.5.
func (m *intelMachine) tdxBody(reportData [64]byte) []byte {
	b, le := m.header(4, teeTypeTDX), binary.LittleEndian
	if m.tdxVersion != 5 {
		return append(b, m.tdReport(reportData)...)
	}
	b = m.header(5, teeTypeTDX)
	b = le.AppendUint32(le.AppendUint16(b, bodyTypeTD15), td15ReportLen)
	b = append(b, m.tdReport(reportData)...)
	b = append(b, teeTCBSVN[:]...)        // of the module that is loaded now: the same
	return append(b, make([]byte, 48)...) // no service TD is bound
}

// tdReport is the body of TDX 1.0 (Intel TDX module, TDREPORT, TDINFO).
func (m *intelMachine) tdReport(reportData [64]byte) []byte {
	b, le := make([]byte, 0, td10ReportLen), binary.LittleEndian
	attributes := uint64(tdSEPTVE)
	if m.misfortune.Debug {
		attributes |= tdDebug
	}
	zeros := make([]byte, 48)
	b = append(b, teeTCBSVN[:]...)
	b = append(b, tdxModule()...) // MRSEAM
	b = append(b, zeros...)       // MRSIGNERSEAM: zeros stand for Intel
	b = append(b, zeros[:8]...)   // SEAMATTRIBUTES
	b = le.AppendUint64(b, attributes)
	b = le.AppendUint64(b, tdxXFAM)
	b = append(b, m.program.MRTD[:]...)
	b = append(b, zeros...) // MRCONFIGID
	b = append(b, zeros...) // MROWNER
	b = append(b, zeros...) // MROWNERCONFIG
	for _, rtmr := range m.program.RTMR {
		b = append(b, rtmr[:]...)
	}
	return append(b, reportData[:]...)
}
