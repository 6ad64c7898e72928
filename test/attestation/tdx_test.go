package attestation_test

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-tdx-guest/pcs"
	"github.com/google/go-tdx-guest/verify"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
)

// A service answers go-tdx-guest as Intel's does.
type service struct{ said simtee.Published }

func (s service) Get(address string) (map[string][]string, []byte, error) {
	header := func(name, chain string) map[string][]string {
		return map[string][]string{name: {url.QueryEscape(chain)}}
	}
	switch {
	case strings.HasSuffix(address, fmt.Sprintf("/tdx/certification/v4/tcb?fmspc=%x", simtee.FMSPC)):
		return header(pcs.TcbInfoIssuerChainPhrase, s.said.TCBInfoChain), s.said.TCBInfo, nil
	case strings.HasSuffix(address, "/tdx/certification/v4/qe/identity"):
		return header(pcs.SgxQeIdentityIssuerChainPhrase, s.said.QEIdentityChain), s.said.QEIdentity, nil
	case strings.HasSuffix(address, "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"):
		return header(pcs.SgxPckCrlIssuerChainPhrase, s.said.PCKCRLChain), s.said.PCKCRL, nil
	case strings.HasSuffix(address, "/IntelSGXRootCA.crl"):
		return nil, s.said.RootCRL, nil
	}
	return nil, nil, fmt.Errorf("nothing is at %s", address)
}

func TestGoTDXGuest(t *testing.T) {
	pool := x509.NewCertPool()
	pool.AddCert(rootOf(t, attest.TDX))
	for _, row := range []struct {
		name   string
		cfg    simtee.Config
		roots  *x509.CertPool // nil: Intel's
		refuse string         // a part of what it says when it refuses
	}{
		{name: "good", roots: pool},
		{name: "Intel's root", refuse: "unknown authority"},
		{name: "TCB recovery applied", cfg: simtee.Config{Misfortune: simtee.Misfortune{Recovery: simtee.Applied}}, roots: pool},
		{name: "revoked", cfg: simtee.Config{Misfortune: simtee.Misfortune{Revoked: true}}, roots: pool, refuse: "revoked"},
		{name: "stale", cfg: simtee.Config{Misfortune: simtee.Misfortune{Stale: true}}, roots: pool, refuse: "expired"},
		{name: "foreign", cfg: simtee.Config{Misfortune: simtee.Misfortune{Foreign: true}}, roots: pool, refuse: "unknown authority"},
		{name: "altered", cfg: simtee.Config{Forge: &simtee.Forge{QEReport: func(r []byte) { r[320] ^= 1 }}}, roots: pool, refuse: "QE Report Data does not match"},
		{name: "TCB info signed by the PCK", cfg: simtee.Config{Forge: &simtee.Forge{Statements: simtee.RolePCK}}, roots: pool, refuse: "root certificate"},
		{name: "version 5, which it does not know", cfg: simtee.Config{TDXQuote: 5}, roots: pool, refuse: "not supported"},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := machine(t, row.cfg)
			said, err := p.Published(attest.TDX, at)
			if err != nil {
				t.Fatal(err)
			}
			err = verify.RawTdxQuote(evidence(t, p, attest.TDX).Quote, &verify.Options{
				CheckRevocations: true, GetCollateral: true, Getter: service{said}, TrustedRoots: row.roots,
				Now: &verify.TimeSet{PckCertChain: at, TcbInfo: at, QeIdentity: at, PckCrl: at, RootCaCrl: at},
			})
			check(t, err, row.refuse)
		})
	}
}

func check(t *testing.T, err error, refuse string) {
	t.Helper()
	switch {
	case refuse == "" && err != nil:
		t.Errorf("refused: %v", err)
	case refuse != "" && err == nil:
		t.Error("accepted")
	case refuse != "" && !strings.Contains(err.Error(), refuse):
		t.Errorf("refused for another reason: %v", err)
	}
}
