package main

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/url"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/attest/tdx"
)

// recognizeEvidence finds out what b is: evidence in JSON, a quote or report, or
// one in base64 or hexadecimal. What is none of these counts as a quote, for the
// verdict to say what it is not.
func recognizeEvidence(b []byte) attest.Evidence {
	if attest.Recognize(b) != "" { // never text, for it has zeros
		return attest.Evidence{Quote: b}
	}
	var ev attest.Evidence
	if json.Unmarshal(b, &ev) == nil && len(ev.Quote) > 0 {
		return ev
	}
	text := bytes.TrimPrefix(bytes.Join(bytes.Fields(b), nil), []byte("0x"))
	for _, decode := range []func([]byte) ([]byte, error){
		func(t []byte) ([]byte, error) { return hex.AppendDecode(nil, t) }, // before base64, which such digits are as well
		func(t []byte) ([]byte, error) { return base64.StdEncoding.AppendDecode(nil, t) },
		func(t []byte) ([]byte, error) { return base64.RawURLEncoding.AppendDecode(nil, t) },
	} {
		if quote, err := decode(text); err == nil && attest.Recognize(quote) != "" {
			return attest.Evidence{Quote: quote}
		}
	}
	return attest.Evidence{Quote: b}
}

// teeOf is the kind that evidence says it is, or looks like.
func teeOf(ev attest.Evidence) attest.TEE {
	if ev.TEE != "" {
		return ev.TEE
	}
	return attest.Recognize(ev.Quote)
}

// given is the files of --cert and --collateral, in that order.
type given struct {
	certs, collateral [][]byte
}

func (f *attestFlags) readCollateral(s *session) (given, error) {
	var g given
	for _, list := range []struct {
		paths []string
		into  *[][]byte
	}{{f.Cert, &g.certs}, {f.Collateral, &g.collateral}} {
		for _, path := range list.paths {
			b, err := s.readLong(path)
			if err != nil {
				return given{}, err
			}
			*list.into = append(*list.into, b)
		}
	}
	return g, nil
}

// add puts what was given with the evidence. The error is one of the command
// line; collateral that is none is a verdict.
func (j *judgement) add(g given) error {
	switch teeOf(j.evidence) {
	case attest.SNP:
		j.addAMD(append(g.certs, g.collateral...))
	default:
		if len(g.certs) > 0 {
			return misusef("hand over collateral with --collateral", "--cert is for SNP reports, and this is none")
		}
		j.addIntel(g.collateral)
	}
	return nil
}

// addIntel adds files to the collateral that the evidence came with. Where both
// have something, the file counts.
func (j *judgement) addIntel(files [][]byte) {
	if len(files) == 0 {
		return
	}
	var parts [][]byte
	if len(j.evidence.Collateral) > 0 {
		parts = append(parts, j.evidence.Collateral)
	}
	for _, file := range files {
		parts = append(parts, unescapePEM(file))
	}
	j.evidence.Collateral, j.unfit = intel.Gather(parts...)
}

// unescapePEM undoes what the PCS does to issuer chains, which it hands out in
// headers of HTTP: each byte that is no letter or digit is a % and two digits.
func unescapePEM(b []byte) []byte {
	text := bytes.TrimSpace(b)
	if !bytes.HasPrefix(text, []byte("-----BEGIN%20")) {
		return b
	}
	plain, err := url.PathUnescape(string(text))
	if err != nil {
		return b
	}
	return []byte(plain)
}

// addAMD makes collateral of certificates and a revocation list, instead of what
// the evidence came with. Their order is that of the chain, and a list may stand
// anywhere.
func (j *judgement) addAMD(files [][]byte) {
	if len(files) == 0 {
		return
	}
	var certificates [][]byte
	var list []byte
	for _, file := range files {
		for _, der := range blocks(file) {
			_, notCertificate := x509.ParseCertificate(der)
			_, notList := x509.ParseRevocationList(der)
			switch {
			case notCertificate == nil:
				certificates = append(certificates, der)
			case notList == nil:
				list = der
			default:
				j.unfit = attest.Refuse(attest.Malformed, "collateral", "neither a certificate nor a revocation list, in PEM or DER")
				return
			}
		}
	}
	j.evidence.Collateral = snp.Bundle(certificates, list)
}

// blocks are the contents of a file in PEM, or the file itself. What is between
// blocks is not looked at.
func blocks(file []byte) [][]byte {
	var all [][]byte
	for rest := file; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		all = append(all, block.Bytes)
	}
	if all == nil {
		return [][]byte{file}
	}
	return all
}

// unverified is what evidence says of itself. The error is that of evidence
// that is in no format that is known.
func unverified(ev attest.Evidence) (*attest.Unverified, error) {
	switch tee := teeOf(ev); tee {
	case attest.SGX:
		q, err := sgx.Parse(ev.Quote)
		if err != nil {
			return nil, err
		}
		return unverifiedSGX(q), nil
	case attest.TDX:
		q, err := tdx.Parse(ev.Quote)
		if err != nil {
			return nil, err
		}
		return unverifiedTDX(q), nil
	case attest.SNP:
		u, err := attest.UnverifiedSNP(ev.Quote)
		if err != nil {
			return nil, err
		}
		return &u, nil
	default:
		return nil, attest.Refuse(attest.Unsupported, "evidence", "no verifier for TEE %q", tee)
	}
}

func unverifiedSGX(q *sgx.Quote) *attest.Unverified {
	r := &q.Report
	return &attest.Unverified{TEE: attest.SGX, Version: 3, ReportData: r.ReportData, Debug: r.Debug(), Platform: certifiedPlatform(&q.Signature),
		Measurement: &attest.SGXClaims{
			MRENCLAVE: r.MRENCLAVE, MRSIGNER: r.MRSIGNER, ISVProdID: r.ISVProdID, ISVSVN: r.ISVSVN,
			Attributes: r.Attributes, MiscSelect: r.MiscSelect, ConfigID: r.ConfigID, ConfigSVN: r.ConfigSVN,
		}}
}

func unverifiedTDX(q *tdx.Quote) *attest.Unverified {
	r := &q.Report
	return &attest.Unverified{TEE: attest.TDX, Version: q.Version, ReportData: r.ReportData, Debug: r.Debug(), Platform: certifiedPlatform(&q.Signature),
		Measurement: &attest.TDXClaims{
			MRTD: r.MRTD, RTMR0: r.RTMR[0], RTMR1: r.RTMR[1], RTMR2: r.RTMR[2], RTMR3: r.RTMR[3],
			MRConfigID: r.MRConfigID, MROwner: r.MROwner, MROwnerConfig: r.MROwnerConfig,
			MRSEAM: r.MRSEAM, MRSignerSEAM: r.MRSignerSEAM, MRServiceTD: r.MRServiceTD,
			TDAttributes: r.TDAttributes, XFAM: r.XFAM, TEETCBSVN: r.TEETCBSVN, TEETCBSVN2: r.TEETCBSVN2,
		}}
}

// oidPlatform is the extension of a PCK certificate that describes the platform.
var oidPlatform = asn1.ObjectIdentifier{1, 2, 840, 113741, 1, 13, 1}

// certifiedPlatform is what the certificate in a quote says of the platform: the
// FMSPC is what collateral is asked for by. It is empty where there is none.
func certifiedPlatform(s *intel.Signature) (p attest.Platform) {
	block, _ := pem.Decode(s.CertBytes)
	if block == nil {
		return p
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return p
	}
	for _, x := range leaf.Extensions {
		if !x.Id.Equal(oidPlatform) {
			continue
		}
		if pck, err := intel.ParseSGXExtension(x.Value); err == nil {
			p.FMSPC, p.PPID = pck.FMSPC[:], pck.PPID[:]
		}
	}
	return p
}
