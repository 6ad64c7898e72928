package attestation_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/kds"
	"github.com/google/go-sev-guest/proto/sevsnp"
	sevtest "github.com/google/go-sev-guest/testing"
	"github.com/google/go-sev-guest/validate"
	"github.com/google/go-sev-guest/verify"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/attest/snp"
)

// under is the root, as go-sev-guest wants it, with the signing key and the
// revocation list that came with the evidence.
func under(t *testing.T, root *x509.Certificate, collateral []byte) (key []byte, roots map[string][]*trust.AMDRootCerts) {
	t.Helper()
	var blocks [][]byte
	for block, rest := pem.Decode(collateral); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block.Bytes)
	}
	if len(blocks) != 4 {
		t.Fatalf("%d blocks of collateral, want 4", len(blocks))
	}
	ask, err := x509.ParseCertificate(blocks[1])
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(blocks[3])
	if err != nil {
		t.Fatal(err)
	}
	return blocks[0], map[string][]*trust.AMDRootCerts{"Milan": {{ProductLine: "Milan", CRL: list,
		ProductCerts: &trust.ProductCerts{Ark: root, Ask: ask}}}}
}

// none stands where the network would be.
type none struct{}

func (none) Get(string) ([]byte, error) { return nil, errNoNetwork }

func TestGoSEVGuest(t *testing.T) {
	own := rootOf(t, attest.SNP)
	vendor := trust.DefaultRootCerts["Milan"].ProductCerts.Ark
	for _, row := range []struct {
		name   string
		cfg    simtee.Config
		root   *x509.Certificate
		refuse string
	}{
		{name: "good", root: own},
		{name: "AMD's root", root: vendor, refuse: "certificate signed by unknown authority"},
		{name: "TCB recovery applied", cfg: simtee.Config{Misfortune: simtee.Misfortune{Recovery: simtee.Applied}}, root: own},
		{name: "revoked", cfg: simtee.Config{Misfortune: simtee.Misfortune{Revoked: true}}, root: own, refuse: "revoked"},
		{name: "stale", cfg: simtee.Config{Misfortune: simtee.Misfortune{Stale: true}}, root: own, refuse: errNoNetwork.Error()}, // it wants a new list
		{name: "foreign", cfg: simtee.Config{Misfortune: simtee.Misfortune{Foreign: true}}, root: own, refuse: "unknown authority"},
		{name: "debug", cfg: simtee.Config{Misfortune: simtee.Misfortune{Debug: true}}, root: own, refuse: "debug"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := machine(t, row.cfg)
			ev := evidence(t, p, attest.SNP)
			report, err := abi.ReportToProto(ev.Quote)
			if err != nil {
				t.Fatal(err)
			}
			key, roots := under(t, row.root, ev.Collateral)
			attestation := &sevsnp.Attestation{Report: report, CertificateChain: &sevsnp.CertificateChain{VcekCert: key}}
			err = verify.SnpAttestation(attestation, &verify.Options{CheckRevocations: true, DisableCertFetching: true, Getter: none{}, Now: at, TrustedRoots: roots})
			if err == nil {
				measurement := p.Program().SNPMeasurement
				err = validate.SnpAttestation(attestation, &validate.Options{GuestPolicy: abi.SnpPolicy{SMT: true}, ReportData: reportData[:], Measurement: measurement[:]})
			}
			check(t, err, row.refuse)
		})
	}
}

// TestVendorRootsByDefault: without roots the library takes AMD's, and the
// minted chain is refused.
func TestVendorRootsByDefault(t *testing.T) {
	ev := evidence(t, machine(t, simtee.Config{}), attest.SNP)
	report, err := abi.ReportToProto(ev.Quote)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := under(t, rootOf(t, attest.SNP), ev.Collateral)
	err = verify.SnpAttestation(&sevsnp.Attestation{Report: report, CertificateChain: &sevsnp.CertificateChain{VcekCert: key}},
		&verify.Options{DisableCertFetching: true, Getter: none{}, Now: at})
	check(t, err, "unknown authority")
}

// TestSelfMadeChain offers a chain that anyone can make, for each product.
// go-sev-guest v0.14.0 accepts it with its default roots; should the library
// ever fall back below v0.15.0, this shows it.
func TestSelfMadeChain(t *testing.T) {
	for _, product := range []string{"Milan-B1", "Genoa-B1", "Turin-B1"} {
		t.Run(product, func(t *testing.T) {
			builder := &sevtest.AmdSignerBuilder{Keys: sevtest.DefaultAmdKeys(), ProductName: product,
				ArkCreationTime: at, AskCreationTime: at, AsvkCreationTime: at, VcekCreationTime: at, VlekCreationTime: at}
			signer, err := builder.TestOnlyCertChain()
			if err != nil {
				t.Fatal(err)
			}
			raw := report(t, signer)
			parsed, err := abi.ReportToProto(raw)
			if err != nil {
				t.Fatal(err)
			}
			err = verify.SnpAttestation(&sevsnp.Attestation{Report: parsed, CertificateChain: &sevsnp.CertificateChain{
				VcekCert: signer.Vcek.Raw, AskCert: signer.Ask.Raw, ArkCert: signer.Ark.Raw}},
				&verify.Options{DisableCertFetching: true, Getter: none{}, Now: at})
			check(t, err, "unknown authority")

			// Ours sees the same chain and says what it is.
			whole := attest.Evidence{Quote: raw, Collateral: snp.Bundle([][]byte{signer.Vcek.Raw, signer.Ask.Raw, signer.Ark.Raw}, nil)}
			claims, err := snp.Verify(whole, at)
			if err != nil || !claims.Simulated || claims.SNP.Product != kds.ProductLineOfProductName(product) {
				t.Errorf("simulated %v, %v", claims.Simulated, err)
			}
			policy := attest.Policy{SNP: attest.SNPPolicy{Identities: []attest.SNPIdentity{{Measurement: make([]byte, 48)}}, Terms: attest.Terms{RevocationUnchecked: true}}}
			if _, err := (attest.Verifiers{SNP: snp.Verify}).Verify(whole, policy, at); attest.ReasonOf(err) != attest.NotHardware {
				t.Errorf("%v, want %s", err, attest.NotHardware)
			}
			part := attest.Evidence{Quote: raw, Collateral: snp.Bundle([][]byte{signer.Vcek.Raw}, nil)}
			if _, err := snp.Verify(part, at); attest.ReasonOf(err) != attest.BrokenChain {
				t.Errorf("%v, want %s", err, attest.BrokenChain)
			}
		})
	}
}

// report is a report of version 2 that the signer's chip signed.
func report(t *testing.T, signer *sevtest.AmdSigner) []byte {
	t.Helper()
	raw := make([]byte, abi.ReportSize)
	raw[0], raw[0x0a], raw[0x34] = 2, 2, 1 // version, the bit that is always one, ECDSA P-384
	r, s, err := signer.Sign(abi.SignedComponent(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := abi.SetSignature(r, s, raw); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(raw[0x2a0:], make([]byte, len(raw)-0x2a0)) {
		t.Fatal("not signed")
	}
	return raw
}
