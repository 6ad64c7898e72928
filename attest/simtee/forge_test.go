package simtee_test

import (
	"bytes"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
)

// certificate edits the certificate of one role.
func certificate(role simtee.Role, edit func(*x509.Certificate)) *simtee.Forge {
	return &simtee.Forge{Certificate: func(r simtee.Role, c *x509.Certificate) {
		if r == role {
			edit(c)
		}
	}}
}

// replace changes a text that must be there, everywhere.
func replace(t *testing.T, old, with string) func([]byte) []byte {
	return func(b []byte) []byte {
		t.Helper()
		if !bytes.Contains(b, []byte(old)) {
			t.Errorf("there is no %s in %s", old, b)
		}
		return bytes.ReplaceAll(b, []byte(old), []byte(with))
	}
}

func info(t *testing.T, old, with string) *simtee.Forge {
	return &simtee.Forge{TCBInfo: replace(t, old, with)}
}

func identity(t *testing.T, old, with string) *simtee.Forge {
	return &simtee.Forge{QEIdentity: replace(t, old, with)}
}

func body(edit func([]byte)) *simtee.Forge {
	return &simtee.Forge{Body: func(b []byte) []byte { edit(b); return b }}
}

func expired(c *x509.Certificate) { c.NotAfter = at.Add(-time.Second) }
func early(c *x509.Certificate)   { c.NotBefore = at.Add(time.Second) }

// TestForgedIntel: what the right key signed, and should not have, is found by
// the check that is for it and no other.
func TestForgedIntel(t *testing.T) {
	const today, next = "2026-03-14T00:00:00Z", "2026-04-13T00:00:00Z"
	for _, row := range []struct {
		name  string
		forge *simtee.Forge
		want  attest.Reason
	}{
		{"PCK expired", certificate(simtee.RolePCK, expired), attest.CertificateExpired},
		{"PCK CA expired", certificate(simtee.RolePlatformCA, expired), attest.CertificateExpired},
		{"TCB signing expired", certificate(simtee.RoleTCBSigning, expired), attest.CertificateExpired},
		{"root expired", certificate(simtee.RoleIntelRoot, expired), attest.CertificateExpired},
		{"PCK not yet valid", certificate(simtee.RolePCK, early), attest.CertificateNotYet},
		{"PCK CA not yet valid", certificate(simtee.RolePlatformCA, early), attest.CertificateNotYet},
		{"TCB signing not yet valid", certificate(simtee.RoleTCBSigning, early), attest.CertificateNotYet},
		{"root not yet valid", certificate(simtee.RoleIntelRoot, early), attest.CertificateNotYet},
		{"PCK without SGX extension", certificate(simtee.RolePCK, func(c *x509.Certificate) { c.ExtraExtensions = nil }), attest.BadCertificate},
		{"PCK with a damaged SGX extension", certificate(simtee.RolePCK, func(c *x509.Certificate) {
			c.ExtraExtensions[0].Value = c.ExtraExtensions[0].Value[:len(c.ExtraExtensions[0].Value)-1]
		}), attest.Malformed},
		{"PCK of another name", certificate(simtee.RolePCK, func(c *x509.Certificate) { c.Subject.CommonName = "Intel SGX TCB Signing" }), attest.WrongSigner},
		{"PCK CA that is no CA", certificate(simtee.RolePlatformCA, func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), attest.BadCertificate},
		{"PCK signs TCB info", &simtee.Forge{Statements: simtee.RolePCK}, attest.WrongSigner},
		{"PCK CA signs TCB info", &simtee.Forge{Statements: simtee.RolePlatformCA}, attest.WrongSigner},
		{"root signs TCB info", &simtee.Forge{Statements: simtee.RoleIntelRoot}, attest.WrongSigner},
		{"TCB signing issues the PCK", &simtee.Forge{PCKIssuer: simtee.RoleTCBSigning}, attest.WrongSigner},
		{"root issues the PCK", &simtee.Forge{PCKIssuer: simtee.RoleIntelRoot}, attest.WrongSigner},
		{"PCK CA revoked", &simtee.Forge{List: revokeAll(t, simtee.RoleIntelRoot)}, attest.Revoked},
		{"list of the PCK CA with the serial numbers of others", &simtee.Forge{List: revokeAll(t, simtee.RolePlatformCA)}, ""},
		{"list from the future", &simtee.Forge{List: func(_ simtee.Role, l *x509.RevocationList) { l.ThisUpdate = at.Add(time.Second) }}, attest.CollateralNotYet},
		{"list past its date", &simtee.Forge{List: func(_ simtee.Role, l *x509.RevocationList) { l.NextUpdate = at.Add(-time.Second) }}, attest.CollateralExpired},

		{"TCB info from the future", info(t, today, "2026-03-15T00:00:00Z"), attest.CollateralNotYet},
		{"TCB info past its date", info(t, next, "2026-03-14T12:00:00Z"), attest.CollateralExpired},
		{"TCB info of another processor", info(t, "53494D544545", "53494D544546"), attest.CollateralMismatch},
		{"TCB info in lower case", info(t, "53494D544545", "53494d544545"), ""},
		{"TCB info of another PCE", info(t, `"pceId":"0000"`, `"pceId":"0001"`), attest.CollateralMismatch},
		{"TCB info of version 2", info(t, `"version":3`, `"version":2`), attest.Unsupported},
		{"TCB info without levels", &simtee.Forge{TCBInfo: func(b []byte) []byte {
			return append(b[:bytes.LastIndex(b, []byte(`,"tcbLevels"`))], '}')
		}}, attest.TCBNotSupported},
		{"TCB info above the platform", info(t, `"pcesvn":13`, `"pcesvn":14`), attest.TCBNotSupported},
		{"TCB info with a new status", info(t, `"tcbStatus":"UpToDate"`, `"tcbStatus":"Splendid"`), attest.Malformed},

		{"QE identity from the future", identity(t, today, "2026-03-15T00:00:00Z"), attest.CollateralNotYet},
		{"QE identity past its date", identity(t, next, "2026-03-14T12:00:00Z"), attest.CollateralExpired},
		{"QE identity of another signer", identity(t, `"mrsigner":"`, `"mrsigner":"00`), attest.Malformed},
		{"QE identity of another product", identity(t, `"isvprodid":`, `"isvprodid":7`), attest.BadQuotingEnclave},
		{"QE identity with other attributes", identity(t, `"attributes":"11`, `"attributes":"13`), attest.BadQuotingEnclave},
		{"QE identity above the enclave", identity(t, `"isvsvn":8`, `"isvsvn":9`), attest.TCBNotSupported},

		{"QE of another signer", &simtee.Forge{QEReport: func(r []byte) { r[128] ^= 1 }}, attest.BadQuotingEnclave},
		{"QE of another product", &simtee.Forge{QEReport: func(r []byte) { r[256] ^= 1 }}, attest.BadQuotingEnclave},
		{"QE in debug mode", &simtee.Forge{QEReport: func(r []byte) { r[48] |= 2 }}, attest.BadQuotingEnclave},
		{"QE too old", &simtee.Forge{QEReport: func(r []byte) { r[258] = 1 }}, attest.TCBNotSupported},
		{"QE vouches for another key", &simtee.Forge{QEReport: func(r []byte) { r[320] ^= 1 }}, attest.BadKeyBinding},
		{"QE vouches for more", &simtee.Forge{QEReport: func(r []byte) { r[383] ^= 1 }}, attest.BadKeyBinding},

		{"another kind of key", body(func(b []byte) { b[2] = 3 }), attest.Unsupported},
		{"another maker of quoting enclaves", body(func(b []byte) { b[12] ^= 1 }), attest.Unsupported},
		{"version 2", body(func(b []byte) { b[0] = 2 }), attest.Unsupported},
		{"truncated body", &simtee.Forge{Body: func(b []byte) []byte { return b[:len(b)-1] }}, attest.Malformed},
		{"extended body", &simtee.Forge{Body: func(b []byte) []byte { return append(b, 0) }}, attest.Malformed},
		{"nothing", &simtee.Forge{}, ""},
	} {
		for _, kind := range kinds {
			if kind.tee == attest.SNP {
				continue
			}
			t.Run(row.name+", "+kind.name, func(t *testing.T) {
				p := machine(t, simtee.Config{TDXQuote: kind.tdx, Forge: row.forge})
				c, got := claims(t, evidence(t, p, kind.tee, at))
				if got != row.want {
					t.Errorf("reason %q, want %q", string(got), string(row.want))
				}
				if got != "" && c.TEE != "" {
					t.Error("refused, and yet there are claims")
				}
			})
		}
	}
}

// revokeAll has a CA list the serial numbers of all certificates of another
// machine under the same root: the CAs are the same for both, the PCKs not.
func revokeAll(t *testing.T, issuer simtee.Role) func(simtee.Role, *x509.RevocationList) {
	t.Helper()
	var serials []x509.RevocationListEntry
	note := &simtee.Forge{Certificate: func(_ simtee.Role, c *x509.Certificate) {
		serials = append(serials, x509.RevocationListEntry{SerialNumber: c.SerialNumber, RevocationTime: at})
	}}
	evidence(t, machine(t, simtee.Config{Forge: note}), attest.SGX, at)
	return func(role simtee.Role, l *x509.RevocationList) {
		if role == issuer {
			l.RevokedCertificateEntries = serials
		}
	}
}

// TestForgedTDX: what only TDX has.
func TestForgedTDX(t *testing.T) {
	const zeros48 = "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000"
	// The body begins behind the header, and in version 5 behind a descriptor.
	report := func(offset int, edit func(b []byte)) *simtee.Forge {
		return body(func(b []byte) {
			start := 48
			if b[0] == 5 {
				start += 6
			}
			edit(b[start+offset:])
		})
	}
	for _, row := range []struct {
		name  string
		forge *simtee.Forge
		want  attest.Reason
	}{
		{"module of another signer", report(64, func(b []byte) { b[0] = 1 }), attest.BadTDXModule},
		{"module with other attributes", report(112, func(b []byte) { b[0] = 1 }), attest.BadTDXModule},
		{"module that nobody knows", report(0, func(b []byte) { b[1] = 9 }), attest.BadTDXModule},
		{"module too old", report(0, func(b []byte) { b[0] = 1 }), attest.TCBNotSupported},
		{"loader too old", report(0, func(b []byte) { b[2] = 1 }), attest.TCBNotSupported},
		{"TCB info for SGX", info(t, `"id":"TDX"`, `"id":"SGX"`), attest.CollateralMismatch},
		{"TCB info with another module", info(t, `"mrsigner":"`+zeros48[:2], `"mrsigner":"01`), attest.BadTDXModule},
		{"QE identity for SGX", identity(t, `"TD_QE"`, `"QE"`), attest.CollateralMismatch},
		{"quote for SGX", body(func(b []byte) { b[4] = 0 }), attest.Unsupported},
	} {
		for _, kind := range kinds {
			if kind.tee != attest.TDX {
				continue
			}
			t.Run(row.name+", "+kind.name, func(t *testing.T) {
				p := machine(t, simtee.Config{TDXQuote: kind.tdx, Forge: row.forge})
				if _, got := claims(t, evidence(t, p, kind.tee, at)); got != row.want {
					t.Errorf("reason %q, want %q", string(got), string(row.want))
				}
			})
		}
	}
}

// TestForgeReachesPolicies: what a verifier leaves to a policy can be forged
// for tests of policies too.
func TestForgeReachesPolicies(t *testing.T) {
	p := machine(t, simtee.Config{Forge: info(t, `"tcbEvaluationDataNumber":20`, `"tcbEvaluationDataNumber":19`)})
	c, reason := claims(t, evidence(t, p, attest.SGX, at))
	if reason != "" || c.EvaluationNumber != 19 {
		t.Errorf("evaluation number %d, reason %q", c.EvaluationNumber, string(reason))
	}
	p = machine(t, simtee.Config{Forge: info(t, `"tcbStatus":"UpToDate"`, `"tcbStatus":"SWHardeningNeeded","advisoryIDs":["INTEL-SA-00002","INTEL-SA-00001"]`)})
	c, reason = claims(t, evidence(t, p, attest.SGX, at))
	if reason != "" || c.Status != attest.SWHardeningNeeded || !slices.Equal(c.Advisories, []string{"INTEL-SA-00001", "INTEL-SA-00002"}) {
		t.Errorf("status %q, advisories %s, reason %q", c.Status, strings.Join(c.Advisories, " "), string(reason))
	}
}
