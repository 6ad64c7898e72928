// Package sgx verifies evidence of Intel SGX enclaves: quotes of version 3,
// signed with ECDSA P-256, that carry the certificate chain of the platform's
// key (certification data of type 5). Quotes that name the platform by its
// encrypted id instead (types 1 to 3) parse and are refused.
//
// Source: Intel SGX DCAP Quote Library API, "Quote Format".
package sgx

import (
	"bytes"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
)

// signedLen is the length of header and report body, which the quoting enclave
// signs.
const signedLen = intel.HeaderLen + intel.EnclaveReportLen

// A Quote is a quote taken apart. The slices are not copies.
type Quote struct {
	Signed    []byte // header and report body
	Report    intel.EnclaveReport
	Signature intel.Signature
}

// Parse reads a quote of exactly its length. It verifies nothing. The error is
// an *attest.Error.
func Parse(b []byte) (*Quote, error) {
	if len(b) < signedLen || len(b) > intel.MaxQuote {
		return nil, attest.Refuse(attest.Malformed, "quote", "%d bytes", len(b))
	}
	header, err := intel.ParseHeader(b[:intel.HeaderLen])
	if err != nil {
		return nil, err
	}
	if header.Version != 3 || header.TEEType != 0 {
		return nil, attest.Refuse(attest.Unsupported, "quote header", "version %d, TEE type %#x; SGX is taken in version 3", header.Version, header.TEEType)
	}
	report, err := intel.ParseEnclaveReport(b[intel.HeaderLen:signedLen])
	if err != nil {
		return nil, err
	}
	signature, err := intel.ParseSignatureV3(b[signedLen:])
	if err != nil {
		return nil, err
	}
	return &Quote{Signed: b[:signedLen], Report: report, Signature: signature}, nil
}

// Verify is the attest.Verifier of SGX.
func Verify(ev attest.Evidence, at time.Time) (attest.Claims, error) {
	q, err := Parse(bytes.Clone(ev.Quote)) // the claims keep parts of it
	if err != nil {
		return attest.Claims{}, err
	}
	verified, err := intel.Verify(intel.Quote{TEE: attest.SGX, Version: 3, Signed: q.Signed, Signature: q.Signature}, ev.Collateral, at)
	if err != nil {
		return attest.Claims{}, err
	}
	claims, r := verified.Claims, q.Report
	claims.Debug = r.Debug()
	claims.ReportData = r.ReportData
	claims.SGX = &attest.SGXClaims{
		MRENCLAVE: r.MRENCLAVE, MRSIGNER: r.MRSIGNER, ISVProdID: r.ISVProdID, ISVSVN: r.ISVSVN,
		Attributes: r.Attributes, MiscSelect: r.MiscSelect, ConfigID: r.ConfigID, ConfigSVN: r.ConfigSVN,
		CPUSVN: verified.CPUSVN, PCESVN: verified.PCESVN,
	}
	return claims, nil
}
