// Package inteltest mints SGX and TDX evidence for tests, in Intel's formats
// and under a root of its own, from a recipe of which every part may be
// spoiled. It shares no code with the verifier that it tests, nor with the
// simulated platform.
package inteltest

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
)

// Roles of certificates in a Recipe.
const (
	Root   = "root"
	CA     = "ca"     // of the PCK
	PCK    = "pck"    // the platform's key
	Signer = "signer" // of TCB info and QE identity
)

// FMSPC of the platform that a Recipe describes. Intel issues none such.
const FMSPC = "d0e1c0ffee00"

// Svn is the value of every component of the platform's CPUSVN and of
// TEE_TCB_SVN from index 2 on.
const Svn = 5

// A Certificate is a recipe for one.
type Certificate struct {
	Name        string
	Issuer      string // role
	KeyOf       string // role whose key it has; empty: its own
	CA          bool
	Serial      int64
	From, Until time.Time
	SGX         []byte // value of the SGX extension
	Critical    bool   // adds a critical extension that nobody knows
	P384        bool   // has a key of the wrong curve
	// Usage replaces the key usages of its kind, and IssuerName what it says of
	// its issuer.
	Usage      x509.KeyUsage
	IssuerName string
}

// A Statement is a recipe for TCB info or QE identity.
type Statement struct {
	Body  map[string]any
	Key   string   // role that signs
	Chain []string // roles in the issuer chain
}

// A List is a recipe for a revocation list.
type List struct {
	Issuer      string
	Revoked     []string // roles
	From, Until time.Time
	Critical    bool // adds a critical extension, as a partial list has
}

// A Recipe describes evidence. Mint makes it.
type Recipe struct {
	TEE     attest.TEE
	Version int
	Now     time.Time // the evidence verifies at this time

	Certificates map[string]*Certificate
	TCBInfo      Statement
	QEIdentity   Statement
	RootCRL      *List // nil: absent
	PCKCRL       *List
	PCKCRLChain  []string

	Body     []byte // report body of the quote
	BodyType uint16 // version 5 only
	QEReport []byte // but for its report data
	AuthData []byte
	CertType uint16
	Chain    []string // roles in the quote
}

// New is a recipe for evidence of a platform that is up to date.
func New(tee attest.TEE, version int) *Recipe {
	now := time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	r := &Recipe{
		TEE: tee, Version: version, Now: now,
		Certificates: certificates(now),
		TCBInfo:      Statement{Body: tcbInfo(tee, now), Key: Signer, Chain: []string{Signer, Root}},
		QEIdentity:   Statement{Body: qeIdentity(tee, now), Key: Signer, Chain: []string{Signer, Root}},
		RootCRL:      &List{Issuer: Root, From: now.AddDate(0, -6, 0), Until: now.AddDate(0, 6, 0)},
		PCKCRL:       &List{Issuer: CA, From: now.AddDate(0, 0, -10), Until: now.AddDate(0, 0, 20)},
		PCKCRLChain:  []string{CA, Root},
		QEReport:     qeReport(tee), AuthData: []byte("thirty-two bytes of auth data .."),
		CertType: 5, Chain: []string{PCK, CA, Root},
	}
	r.Body = sgxBody()
	if tee == attest.TDX {
		r.Body, r.BodyType = tdxBody(), 2
	}
	return r
}

// NewTDX15 is New for a quote of version 5 with a body of TDX 1.5.
func NewTDX15() *Recipe {
	r := New(attest.TDX, 5)
	r.BodyType = 3
	r.Body = append(r.Body, r.Body[:16]...)                          // TEE_TCB_SVN2
	r.Body = append(r.Body, pattern("service machine of it", 48)...) // MRSERVICETD
	return r
}

func certificates(now time.Time) map[string]*Certificate {
	from, until := now.AddDate(-3, 0, 0), now.AddDate(7, 0, 0)
	return map[string]*Certificate{
		Root:   {Name: "Intel SGX Root CA", Issuer: Root, CA: true, Serial: 1, From: from, Until: until},
		CA:     {Name: "Intel SGX PCK Platform CA", Issuer: Root, CA: true, Serial: 2, From: from, Until: until},
		PCK:    {Name: "Intel SGX PCK Certificate", Issuer: CA, Serial: 3, From: from, Until: until, SGX: SGXExtension(DefaultMembers())},
		Signer: {Name: "Intel SGX TCB Signing", Issuer: Root, Serial: 4, From: from, Until: until},
	}
}

// Level is one row of tcbLevels in TCB info: svn is demanded of every
// component and pcesvn of the PCE.
func Level(svn, pcesvn int, status string, advisories ...string) map[string]any {
	components := make([]map[string]any, 16)
	for i := range components {
		components[i] = map[string]any{"svn": svn}
	}
	level := map[string]any{
		"tcb":       map[string]any{"sgxtcbcomponents": components, "pcesvn": pcesvn, "tdxtcbcomponents": components},
		"tcbDate":   "2030-01-01T00:00:00Z",
		"tcbStatus": status,
	}
	return withAdvisories(level, advisories)
}

// EnclaveLevel is one row of tcbLevels in an identity.
func EnclaveLevel(svn int, status string, advisories ...string) map[string]any {
	return withAdvisories(map[string]any{"tcb": map[string]any{"isvsvn": svn}, "tcbDate": "2030-01-01T00:00:00Z", "tcbStatus": status}, advisories)
}

func withAdvisories(level map[string]any, advisories []string) map[string]any {
	if len(advisories) > 0 {
		level["advisoryIDs"] = advisories
	}
	return level
}

func tcbInfo(tee attest.TEE, now time.Time) map[string]any {
	info := map[string]any{
		"id": "SGX", "version": 3, "issueDate": now.AddDate(0, 0, -2), "nextUpdate": now.AddDate(0, 0, 28),
		"fmspc": FMSPC, "pceId": "0000", "tcbType": 0, "tcbEvaluationDataNumber": 21,
		"tcbLevels": []any{Level(Svn, 11, "UpToDate"), Level(Svn-2, 9, "OutOfDate", "INTEL-SA-99901")},
	}
	if tee == attest.TDX {
		info["id"] = "TDX"
		info["tdxModule"] = Module("")
		info["tdxModuleIdentities"] = []any{Module("TDX_01", EnclaveLevel(3, "UpToDate"), EnclaveLevel(1, "OutOfDate", "INTEL-SA-99903"))}
	}
	return info
}

// Module is the identity of a TDX module.
func Module(id string, levels ...map[string]any) map[string]any {
	m := map[string]any{"mrsigner": zeros(48), "attributes": zeros(8), "attributesMask": "FFFFFFFFFFFFFFFF"}
	if id != "" {
		m["id"], m["tcbLevels"] = id, levels
	}
	return m
}

func zeros(n int) attest.Hex { return make(attest.Hex, n) }

func qeIdentity(tee attest.TEE, now time.Time) map[string]any {
	id := map[attest.TEE]string{attest.SGX: "QE", attest.TDX: "TD_QE"}[tee]
	return map[string]any{
		"id": id, "version": 2, "issueDate": now.AddDate(0, 0, -1), "nextUpdate": now.AddDate(0, 0, 29), "tcbEvaluationDataNumber": 20,
		"miscselect": "00000000", "miscselectMask": "FFFFFFFF",
		"attributes": "11000000000000000000000000000000", "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
		"mrsigner": attest.Hex(pattern("signer of quoting enclaves", 32)), "isvprodid": 2,
		"tcbLevels": []any{EnclaveLevel(6, "UpToDate"), EnclaveLevel(4, "OutOfDate", "INTEL-SA-99902")},
	}
}

// pattern is n bytes that differ from those of every other name.
func pattern(name string, n int) []byte {
	var out []byte
	for i := 0; len(out) < n; i++ {
		sum := sha256.Sum256(append([]byte{byte(i)}, name...))
		out = append(out, sum[:]...)
	}
	return out[:n]
}

// MRENCLAVE and MRSIGNER of the enclave in an SGX recipe, MRTD and RTMRs of
// the machine in a TDX recipe, report data of both.
var (
	MRENCLAVE  = pattern("mrenclave", 32)
	MRSIGNER   = pattern("mrsigner", 32)
	MRTD       = pattern("mrtd", 48)
	RTMR0      = pattern("rtmr0", 48)
	RTMR1      = pattern("rtmr1", 48)
	RTMR2      = pattern("rtmr2", 48)
	RTMR3      = pattern("rtmr3", 48)
	ReportData = pattern("report data", 64)
)

// Places in a report body of SGX, and in that of a quoting enclave.
const (
	AtAttributes = 48
	AtMRSIGNER   = 128
	AtISVProdID  = 256
	AtISVSVN     = 258
	AtReportData = 320
)

func sgxBody() []byte {
	b := make([]byte, 384)
	for i := range 16 {
		b[i] = Svn
	}
	b[AtAttributes] = 0x05 // INIT, MODE64BIT
	copy(b[64:], MRENCLAVE)
	copy(b[AtMRSIGNER:], MRSIGNER)
	copy(b[192:], pattern("config id", 64))
	binary.LittleEndian.PutUint16(b[AtISVProdID:], 7)
	binary.LittleEndian.PutUint16(b[AtISVSVN:], 3)
	binary.LittleEndian.PutUint16(b[260:], 9) // CONFIGSVN
	copy(b[AtReportData:], ReportData)
	return b
}

func qeReport(tee attest.TEE) []byte {
	b := make([]byte, 384)
	b[AtAttributes] = 0x15 // INIT, MODE64BIT, PROVISION_KEY
	copy(b[AtMRSIGNER:], pattern("signer of quoting enclaves", 32))
	binary.LittleEndian.PutUint16(b[AtISVProdID:], 2)
	binary.LittleEndian.PutUint16(b[AtISVSVN:], 6)
	return b
}

// Places in a report body of TDX.
const (
	AtTEETCBSVN      = 0
	AtMRSignerSEAM   = 64
	AtSEAMAttributes = 112
	AtTDAttributes   = 120
)

func tdxBody() []byte {
	var b []byte
	svn := [16]byte{3, 1, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn, Svn}
	b = append(b, svn[:]...)
	b = append(b, pattern("mrseam", 48)...)
	b = append(b, make([]byte, 48+8)...)     // MRSIGNERSEAM, SEAMATTRIBUTES
	b = append(b, 0, 0, 0, 0x10, 0, 0, 0, 0) // TDATTRIBUTES: SEPT_VE_DISABLE
	b = append(b, 0xe7, 0, 6, 0, 0, 0, 0, 0) // XFAM
	b = append(b, MRTD...)
	b = append(b, pattern("mrconfigid", 48)...)
	b = append(b, pattern("mrowner", 48)...)
	b = append(b, pattern("mrownerconfig", 48)...)
	for _, m := range [][]byte{RTMR0, RTMR1, RTMR2, RTMR3} {
		b = append(b, m...)
	}
	return append(b, ReportData...)
}
