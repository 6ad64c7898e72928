package intel

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"math/big"

	"github.com/holdfast-kms/holdfast/attest"
)

// Sizes in a quote, in bytes.
const (
	HeaderLen        = 48
	EnclaveReportLen = 384
	rawSignatureLen  = 64
	rawKeyLen        = 64

	// MaxQuote bounds what is read. Genuine quotes have less than 6 KiB.
	MaxQuote = 32 << 10
)

// Kinds of certification data (DCAP library reference, "QE certification data").
const (
	certPPIDPlain     = 1
	certPPIDRSA2048   = 2
	certPPIDRSA3072   = 3
	certPCKChain      = 5
	certQEReport      = 6
	certPlatformInfo  = 7
	attestKeyECDSA256 = 2
)

// intelQE is the id of Intel's quoting enclave vendor in the header of a quote.
var intelQE = [16]byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// A Signature is the signed half of a quote: the quoting enclave's signature,
// and what makes it the quoting enclave's.
type Signature struct {
	Quote     []byte // by Key over header and body
	Key       []byte // the quoting enclave's attestation key, x‖y
	QEReport  []byte // the quoting enclave's own report, which binds Key
	QE        []byte // by the PCK over QEReport
	AuthData  []byte // bound with Key
	CertType  uint16
	CertBytes []byte
}

// A Header is the first 48 bytes of a quote.
type Header struct {
	Version int
	TEEType uint32 // 0 in version 3
}

// ParseHeader reads the header of a quote of any version that there is a
// verifier for.
func ParseHeader(b []byte) (Header, error) {
	r := reader{part: "quote header", rest: b}
	version, keyType, teeType := r.uint16(), r.uint16(), r.uint32()
	r.take(4) // two security versions, which the reports repeat
	vendor := r.take(len(intelQE))
	r.take(20) // user data: signed, and without meaning
	if err := r.end(); err != nil {
		return Header{}, err
	}
	switch {
	case version < 3 || version > 5:
		return Header{}, attest.Refuse(attest.Unsupported, r.part, "version %d", version)
	case keyType != attestKeyECDSA256:
		return Header{}, attest.Refuse(attest.Unsupported, r.part, "attestation key of type %d; only ECDSA P-256 (2) is taken", keyType)
	case [16]byte(vendor) != intelQE:
		return Header{}, attest.Refuse(attest.Unsupported, r.part, "quoting enclave of vendor %x", vendor)
	}
	return Header{Version: int(version), TEEType: teeType}, nil
}

// ParseSignatureV3 reads what follows the report body of a quote of version 3.
func ParseSignatureV3(b []byte) (Signature, error) {
	data, err := sizedTail(b)
	if err != nil {
		return Signature{}, err
	}
	r := reader{part: "quote signature", rest: data}
	s := Signature{Quote: r.take(rawSignatureLen), Key: r.take(rawKeyLen)}
	s.readQE(&r)
	return s, r.end()
}

// ParseSignatureV4 reads what follows the report body of a quote of version 4
// or 5. There the report of the quoting enclave lies one level deeper.
func ParseSignatureV4(b []byte) (Signature, error) {
	data, err := sizedTail(b)
	if err != nil {
		return Signature{}, err
	}
	r := reader{part: "quote signature", rest: data}
	s := Signature{Quote: r.take(rawSignatureLen), Key: r.take(rawKeyLen)}
	kind, length := r.uint16(), r.uint32()
	inner := reader{part: "quoting enclave's report", rest: r.sized(length)}
	if err := r.end(); err != nil {
		return Signature{}, err
	}
	if kind != certQEReport {
		return Signature{}, attest.Refuse(attest.Unsupported, r.part, "certification data of type %d outside; only 6 is taken", kind)
	}
	s.readQE(&inner)
	return s, inner.end()
}

func sizedTail(b []byte) ([]byte, error) {
	r := reader{part: "quote", rest: b}
	data := r.sized(r.uint32())
	return data, r.end()
}

func (s *Signature) readQE(r *reader) {
	s.QEReport = r.take(EnclaveReportLen)
	s.QE = r.take(rawSignatureLen)
	s.AuthData = r.sized(uint32(r.uint16()))
	s.CertType = r.uint16()
	s.CertBytes = r.sized(r.uint32())
}

// chain is the certificates in the quote. Other ways to name the PCK need an
// answer of Intel's for each platform; their quotes parse and are refused.
func (s *Signature) chain() ([]*certificate, error) {
	switch s.CertType {
	case certPCKChain:
		return parseChain("PCK chain", s.CertBytes)
	case certPPIDPlain, certPPIDRSA2048, certPPIDRSA3072:
		return nil, attest.Refuse(attest.Unsupported, "quote signature", "certification data of type %d, the platform's id (PPID) without a certificate", s.CertType)
	}
	return nil, attest.Refuse(attest.Unsupported, "quote signature", "certification data of type %d; only 5 is taken", s.CertType)
}

// verify follows the signatures from the PCK down to the signed bytes.
func (s *Signature) verify(signed []byte, pck *ecdsa.PublicKey) error {
	if !verifyRaw(pck, s.QEReport, s.QE) {
		return attest.Refuse(attest.BadSignature, "quoting enclave's report", "not by the PCK")
	}
	qe, err := ParseEnclaveReport(s.QEReport)
	if err != nil {
		return err
	}
	bound := sha256.Sum256(append(append([]byte{}, s.Key...), s.AuthData...))
	if [32]byte(qe.ReportData[:32]) != bound || [32]byte(qe.ReportData[32:]) != [32]byte{} {
		return attest.Refuse(attest.BadKeyBinding, "quoting enclave's report", "")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append([]byte{4}, s.Key...))
	if err != nil {
		return attest.Refuse(attest.Malformed, "attestation key", "%w", err)
	}
	if !verifyRaw(key, signed, s.Quote) {
		return attest.Refuse(attest.BadSignature, "quote", "not by the attestation key")
	}
	return nil
}

// verifyRaw checks a signature r‖s over the SHA-256 of message.
func verifyRaw(key *ecdsa.PublicKey, message, signature []byte) bool {
	if len(signature) != rawSignatureLen {
		return false
	}
	digest := sha256.Sum256(message)
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(key, digest[:], r, s)
}

// An EnclaveReport is the body of an enclave's report (Intel SDM, volume 3D,
// REPORT): that of an SGX quote, and that of every quoting enclave.
type EnclaveReport struct {
	CPUSVN     []byte // 16 bytes
	MiscSelect []byte // 4 bytes
	Attributes []byte // 16 bytes
	MRENCLAVE  []byte // 32 bytes
	MRSIGNER   []byte // 32 bytes
	ConfigID   []byte // 64 bytes
	ISVProdID  uint16
	ISVSVN     uint16
	ConfigSVN  uint16
	ReportData []byte // 64 bytes
}

// ParseEnclaveReport reads 384 bytes. The fields are not copied.
func ParseEnclaveReport(b []byte) (EnclaveReport, error) {
	r := reader{part: "enclave report", rest: b}
	var e EnclaveReport
	e.CPUSVN, e.MiscSelect = r.take(16), r.take(4)
	r.take(12 + 16) // reserved; ISV extended product id
	e.Attributes, e.MRENCLAVE = r.take(16), r.take(32)
	r.take(32)
	e.MRSIGNER = r.take(32)
	r.take(32)
	e.ConfigID, e.ISVProdID, e.ISVSVN, e.ConfigSVN = r.take(64), r.uint16(), r.uint16(), r.uint16()
	r.take(42 + 16) // reserved; ISV family id
	e.ReportData = r.take(64)
	return e, r.end()
}

// debugFlag is the bit of an enclave's attributes that lets its host look inside.
const debugFlag = 0x02

// Debug reports whether the host can read and change the enclave's memory.
func (e EnclaveReport) Debug() bool { return e.Attributes[0]&debugFlag != 0 }
