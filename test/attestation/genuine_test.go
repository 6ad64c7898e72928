package attestation_test

import (
	"bytes"
	"net/url"
	"testing"
	"time"

	sevdata "github.com/google/go-sev-guest/verify/testdata"
	"github.com/google/go-sev-guest/verify/trust"
	"github.com/google/go-tdx-guest/pcs"
	tdxtest "github.com/google/go-tdx-guest/testing"
	tdxdata "github.com/google/go-tdx-guest/testing/testdata"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/attest/tdx"
)

// sampleTime is within the dates of the collateral that go-tdx-guest carries.
var sampleTime = time.Date(2023, 6, 18, 12, 36, 16, 0, time.UTC)

// tdxCollateral is what Intel's service once said about one kind of platform.
func tdxCollateral(t *testing.T, with ...[]byte) []byte {
	t.Helper()
	chain, err := url.QueryUnescape(tdxtest.TcbInfoHeader[pcs.TcbInfoIssuerChainPhrase][0])
	if err != nil {
		t.Fatal(err)
	}
	collateral, err := intel.Gather(append([][]byte{tdxdata.TcbInfoBody, []byte(chain), tdxdata.QeIdentityBody}, with...)...)
	if err != nil {
		t.Fatal(err)
	}
	return collateral
}

// pckChain is who issued the revocation list of PCKs.
func pckChain(t *testing.T) []byte {
	t.Helper()
	chain, err := url.QueryUnescape(tdxtest.PckCrlHeader[pcs.SgxPckCrlIssuerChainPhrase][0])
	if err != nil {
		t.Fatal(err)
	}
	return []byte(chain)
}

// TestGenuineTDX judges a platform that is older than everything that Intel had
// a verdict on, by the collateral of its day: all signatures hold, and it is
// refused for its firmware and nothing else.
func TestGenuineTDX(t *testing.T) {
	quote, extra, found := bytes.Cut(tdxdata.RawQuote, []byte("\nextra byte"))
	if !found || len(extra) == 0 {
		t.Fatal("the sample no longer ends in extra bytes")
	}
	listed := tdxCollateral(t, pckChain(t), tdxdata.PckCrlBody, tdxdata.RootCrlBody)
	altered := bytes.Clone(quote)
	altered[100] ^= 1
	for _, row := range []struct {
		name       string
		quote      []byte
		collateral []byte
		at         time.Time
		want       attest.Reason
	}{
		{"with revocation lists", quote, listed, sampleTime, attest.TCBNotSupported},
		{"without", quote, tdxCollateral(t), sampleTime, attest.TCBNotSupported},
		{"one bit altered", altered, listed, sampleTime, attest.BadSignature},
		{"extra bytes, as the sample has them", tdxdata.RawQuote, listed, sampleTime, attest.Malformed},
		{"a month later", quote, listed, sampleTime.AddDate(0, 1, 0), attest.CollateralExpired},
		{"a day earlier", quote, listed, sampleTime.AddDate(0, 0, -1), attest.CollateralNotYet},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := tdx.Verify(attest.Evidence{Quote: row.quote, Collateral: row.collateral}, row.at)
			if got := attest.ReasonOf(err); got != row.want {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}

func TestGenuineSNP(t *testing.T) {
	when := time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)
	for name, collateral := range map[string][]byte{
		"the chip's key":     snp.Bundle([][]byte{sevdata.VcekBytes}, nil),
		"with AMD's answers": append(snp.Bundle([][]byte{sevdata.VcekBytes}, nil), trust.AskArkMilanVcekBytes...),
	} {
		c, err := snp.Verify(attest.Evidence{Quote: sevdata.AttestationBytes, Collateral: collateral}, when)
		if err != nil || c.Simulated || c.SNP.Product != "Milan" {
			t.Errorf("%s: simulated %v, %v", name, c.Simulated, err)
		}
	}
}
