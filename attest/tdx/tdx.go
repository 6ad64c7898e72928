// Package tdx verifies evidence of Intel TDX virtual machines: quotes of
// version 4, and of version 5 with the report body of TDX 1.0 or 1.5, signed
// with ECDSA P-256, that carry the certificate chain of the platform's key.
//
// For TDX 1.5 the platform is judged by TEE_TCB_SVN, its numbers when the
// machine was started, and not by the newer TEE_TCB_SVN2: a machine that would
// be up to date if it were started again counts as out of date.
//
// Source: Intel TDX DCAP Quote Library API, "Quote Format".
package tdx

import (
	"bytes"
	"encoding/binary"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
)

const (
	teeType = 0x81

	report10Len = 584
	report15Len = 648

	// Kinds of body in a quote of version 5.
	body10 = 2
	body15 = 3
)

// A Quote is a quote taken apart. The slices are not copies.
type Quote struct {
	Version   int
	Signed    []byte // header and report body, with what says its kind
	Report    Report
	Signature intel.Signature
}

// A Report is a report body (Intel TDX module, TDREPORT). Registers have 48 bytes.
type Report struct {
	TEETCBSVN      []byte // 16 bytes
	MRSEAM         []byte
	MRSignerSEAM   []byte
	SEAMAttributes []byte // 8 bytes
	TDAttributes   []byte // 8 bytes
	XFAM           []byte // 8 bytes
	MRTD           []byte
	MRConfigID     []byte
	MROwner        []byte
	MROwnerConfig  []byte
	RTMR           [4][]byte
	ReportData     []byte // 64 bytes
	TEETCBSVN2     []byte // 16 bytes; nil before TDX 1.5
	MRServiceTD    []byte // nil before TDX 1.5
}

// Debug reports whether the host can read and change the machine's memory: any
// of the bits of the group "TD under debug".
func (r *Report) Debug() bool { return r.TDAttributes[0] != 0 }

// Parse reads a quote of exactly its length. It verifies nothing. The error is
// an *attest.Error.
func Parse(b []byte) (*Quote, error) {
	if len(b) < intel.HeaderLen || len(b) > intel.MaxQuote {
		return nil, attest.Refuse(attest.Malformed, "quote", "%d bytes", len(b))
	}
	header, err := intel.ParseHeader(b[:intel.HeaderLen])
	if err != nil {
		return nil, err
	}
	if header.Version < 4 || header.TEEType != teeType {
		return nil, attest.Refuse(attest.Unsupported, "quote header", "version %d, TEE type %#x; TDX is 0x81 in version 4 or 5", header.Version, header.TEEType)
	}
	start, end, err := bodyOf(header.Version, b)
	if err != nil {
		return nil, err
	}
	if len(b) < end {
		return nil, attest.Refuse(attest.Malformed, "quote", "too short")
	}
	signature, err := intel.ParseSignatureV4(b[end:])
	if err != nil {
		return nil, err
	}
	return &Quote{Version: header.Version, Signed: b[:end], Report: parseReport(b[start:end]), Signature: signature}, nil
}

// bodyOf says where the report body lies.
func bodyOf(version int, b []byte) (start, end int, err error) {
	const part = "quote"
	if version == 4 {
		return intel.HeaderLen, intel.HeaderLen + report10Len, nil
	}
	start = intel.HeaderLen + 6
	if len(b) < start {
		return 0, 0, attest.Refuse(attest.Malformed, part, "too short")
	}
	kind := binary.LittleEndian.Uint16(b[intel.HeaderLen:])
	size := binary.LittleEndian.Uint32(b[intel.HeaderLen+2:])
	want, known := map[uint16]int{body10: report10Len, body15: report15Len}[kind]
	switch {
	case !known:
		return 0, 0, attest.Refuse(attest.Unsupported, part, "body of type %d; TDX is 2 or 3", kind)
	case uint64(size) != uint64(want):
		return 0, 0, attest.Refuse(attest.Malformed, part, "body of type %d with %d bytes", kind, size)
	}
	return start, start + want, nil
}

// parseReport reads a body whose length is right.
func parseReport(b []byte) Report {
	take := func(n int) []byte {
		field := b[:n:n]
		b = b[n:]
		return field
	}
	r := Report{
		TEETCBSVN: take(16), MRSEAM: take(48), MRSignerSEAM: take(48), SEAMAttributes: take(8), TDAttributes: take(8), XFAM: take(8),
		MRTD: take(48), MRConfigID: take(48), MROwner: take(48), MROwnerConfig: take(48),
		RTMR: [4][]byte{take(48), take(48), take(48), take(48)}, ReportData: take(64),
	}
	if len(b) > 0 {
		r.TEETCBSVN2, r.MRServiceTD = take(16), take(48)
	}
	return r
}

// Verify is the attest.Verifier of TDX.
func Verify(ev attest.Evidence, at time.Time) (attest.Claims, error) {
	q, err := Parse(bytes.Clone(ev.Quote)) // the claims keep parts of it
	if err != nil {
		return attest.Claims{}, err
	}
	r := &q.Report
	module := &intel.Module{TEETCBSVN: [16]byte(r.TEETCBSVN), MRSigner: r.MRSignerSEAM, Attributes: r.SEAMAttributes}
	verified, err := intel.Verify(intel.Quote{TEE: attest.TDX, Version: q.Version, Signed: q.Signed, Signature: q.Signature, Module: module}, ev.Collateral, at)
	if err != nil {
		return attest.Claims{}, err
	}
	claims := verified.Claims
	claims.Debug = r.Debug()
	claims.ReportData = r.ReportData
	claims.TDX = &attest.TDXClaims{
		MRTD: r.MRTD, RTMR0: r.RTMR[0], RTMR1: r.RTMR[1], RTMR2: r.RTMR[2], RTMR3: r.RTMR[3],
		MRConfigID: r.MRConfigID, MROwner: r.MROwner, MROwnerConfig: r.MROwnerConfig,
		MRSEAM: r.MRSEAM, MRSignerSEAM: r.MRSignerSEAM, MRServiceTD: r.MRServiceTD,
		TDAttributes: r.TDAttributes, XFAM: r.XFAM, TEETCBSVN: r.TEETCBSVN, TEETCBSVN2: r.TEETCBSVN2,
		CPUSVN: verified.CPUSVN, PCESVN: verified.PCESVN,
	}
	return claims, nil
}
