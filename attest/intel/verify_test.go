package intel_test

import (
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	. "github.com/holdfast-kms/holdfast/attest/intel/inteltest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/tdx"
)

// verifiers that there are recipes for.
var verifiers = attest.Verifiers{SGX: sgx.Verify, TDX: tdx.Verify}

// prove verifies without asking any policy.
func prove(ev attest.Evidence, at time.Time) (attest.Claims, error) {
	claims, err := verifiers.Verify(ev, attest.Policy{}, at)
	if errors.Is(err, attest.TEENotAdmitted) {
		err = nil
	}
	return claims, err
}

// kinds are the recipes that every test of the shared parts runs with.
var kinds = []struct {
	name   string
	recipe func() *Recipe
}{
	{"SGX v3", func() *Recipe { return New(attest.SGX, 3) }},
	{"TDX v4", func() *Recipe { return New(attest.TDX, 4) }},
	{"TDX v5, TDX 1.0", func() *Recipe { return New(attest.TDX, 5) }},
	{"TDX v5, TDX 1.5", NewTDX15},
}

func forEachKind(t *testing.T, test func(t *testing.T, recipe func() *Recipe)) {
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) { test(t, kind.recipe) })
	}
}

func TestCommonClaims(t *testing.T) {
	forEachKind(t, func(t *testing.T, recipe func() *Recipe) {
		r := recipe()
		got, err := prove(r.Evidence(t), r.Now)
		if err != nil {
			t.Fatal(err)
		}
		if len(got.Root) != 32 || got.Root.Equal(rootFingerprint()) {
			t.Errorf("root %s", got.Root)
		}
		if len(got.Platform.PPID) != 16 {
			t.Errorf("PPID %s", got.Platform.PPID)
		}
		got.SGX, got.TDX, got.SNP, got.Root, got.Platform.PPID = nil, nil, nil, nil, nil
		want := attest.Claims{
			TEE: r.TEE, Version: r.Version, ReportData: ReportData, Simulated: true, RevocationChecked: true,
			Platform: attest.Platform{FMSPC: attest.Hex{0xd0, 0xe1, 0xc0, 0xff, 0xee, 0x00}},
			Status:   attest.UpToDate, EvaluationNumber: 20, Issued: r.Now.AddDate(0, 0, -2),
			ValidFrom: r.Now.AddDate(0, 0, -1), ValidUntil: r.Now.AddDate(0, 0, 20),
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})
}

func rootFingerprint() []byte { f := intel.RootFingerprint(); return f[:] }

// TestWindow holds ValidFrom and ValidUntil to their word.
func TestWindow(t *testing.T) {
	r := New(attest.SGX, 3)
	ev := r.Evidence(t)
	claims, err := prove(ev, r.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		at time.Time
		ok bool
	}{
		{claims.ValidFrom, true}, {claims.ValidFrom.Add(-time.Second), false},
		{claims.ValidUntil, true}, {claims.ValidUntil.Add(time.Second), false},
	} {
		if _, err := prove(ev, step.at); (err == nil) != step.ok {
			t.Errorf("at %s: %v", step.at, err)
		}
	}
}

// TestWindowOfCertificates is narrower than that of the collateral.
func TestWindowOfCertificates(t *testing.T) {
	for _, role := range []string{PCK, CA, Root, Signer} {
		r := New(attest.TDX, 4)
		c := r.Certificates[role]
		c.From, c.Until = r.Now.Add(-time.Hour), r.Now.Add(time.Hour)
		claims, err := prove(r.Evidence(t), r.Now)
		if err != nil || !claims.ValidFrom.Equal(c.From) || !claims.ValidUntil.Equal(c.Until) {
			t.Errorf("%s: %s to %s, %v", role, claims.ValidFrom, claims.ValidUntil, err)
		}
	}
}

// TestForgeries spoils one thing of a recipe at a time. Everything is signed
// as the recipe says, so only the one check is left that can refuse it.
func TestForgeries(t *testing.T) {
	day := 24 * time.Hour
	for _, forgery := range []struct {
		name  string
		spoil func(r *Recipe)
		want  attest.Reason
	}{
		// Chains.
		{"PCK signs TCB info", func(r *Recipe) { r.TCBInfo.Key, r.TCBInfo.Chain = PCK, []string{PCK, CA, Root} }, attest.WrongSigner},
		{"PCK signs TCB info, short chain", func(r *Recipe) { r.TCBInfo.Key, r.TCBInfo.Chain = PCK, []string{PCK, Root} }, attest.WrongSigner},
		{"PCK signs TCB info, signer's chain", func(r *Recipe) { r.TCBInfo.Key = PCK }, attest.BadSignature},
		{"PCK signs QE identity", func(r *Recipe) { r.QEIdentity.Key, r.QEIdentity.Chain = PCK, []string{PCK, CA, Root} }, attest.WrongSigner},
		{"PCK CA signs TCB info", func(r *Recipe) { r.TCBInfo.Key, r.TCBInfo.Chain = CA, []string{CA, Root} }, attest.WrongSigner},
		{"root signs TCB info", func(r *Recipe) { r.TCBInfo.Key, r.TCBInfo.Chain = Root, []string{Root} }, attest.WrongSigner},
		{"a PCK called TCB signer", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX TCB Signing", Issuer: CA, Serial: 9, From: r.Now.Add(-day), Until: r.Now.Add(day)}
			r.TCBInfo.Key, r.TCBInfo.Chain = "x", []string{"x", CA, Root}
		}, attest.WrongSigner},
		{"a PCK called TCB signer, CA left out", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX TCB Signing", Issuer: CA, Serial: 9, From: r.Now.Add(-day), Until: r.Now.Add(day)}
			r.TCBInfo.Key, r.TCBInfo.Chain = "x", []string{"x", Root}
		}, attest.BrokenChain},
		{"TCB signer is a PCK", func(r *Recipe) { r.Chain = []string{Signer, CA, Root} }, attest.WrongSigner},
		{"PCK of the root", func(r *Recipe) { r.Certificates[PCK].Issuer = Root }, attest.BrokenChain},
		{"PCK of another CA", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX PCK Processor CA", Issuer: Root, CA: true, Serial: 9, From: r.Now.Add(-day), Until: r.Now.Add(day)}
			r.Chain = []string{PCK, "x", Root}
		}, attest.BrokenChain},
		{"CA of the right name, another key", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX PCK Platform CA", Issuer: Root, CA: true, Serial: 9, From: r.Now.Add(-day), Until: r.Now.Add(day)}
			r.Chain = []string{PCK, "x", Root}
		}, attest.BrokenChain},
		{"CA of another name", func(r *Recipe) { r.Certificates[CA].Name = "Intel SGX PCK CA" }, attest.WrongSigner},
		{"root of another name", func(r *Recipe) { r.Certificates[Root].Name = "Intel SGX Root" }, attest.WrongSigner},
		{"PCK of another name", func(r *Recipe) { r.Certificates[PCK].Name = "Intel SGX PCK Certificate 2" }, attest.WrongSigner},
		{"PCK is a CA", func(r *Recipe) { r.Certificates[PCK].CA = true }, attest.BadCertificate},
		{"CA is none", func(r *Recipe) { r.Certificates[CA].CA = false }, attest.BadCertificate},
		{"TCB signer is a CA", func(r *Recipe) { r.Certificates[Signer].CA = true }, attest.BadCertificate},
		{"PCK is a CA by one word", func(r *Recipe) { c := r.Certificates[PCK]; c.CA, c.Usage = true, x509.KeyUsageDigitalSignature }, attest.BadCertificate},
		{"PCK signs certificates by one word", func(r *Recipe) { r.Certificates[PCK].Usage = x509.KeyUsageCertSign }, attest.BadCertificate},
		{"TCB signer signs lists only", func(r *Recipe) { r.Certificates[Signer].Usage = x509.KeyUsageCRLSign }, attest.BadCertificate},
		{"CA may not sign certificates", func(r *Recipe) { r.Certificates[CA].Usage = x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign }, attest.BadCertificate},
		{"PCK names another issuer", func(r *Recipe) { r.Certificates[PCK].IssuerName = "Intel SGX PCK Processor CA" }, attest.BrokenChain},
		{"root is there twice", func(r *Recipe) { r.TCBInfo.Chain = []string{Signer, Root, Root} }, attest.BrokenChain},
		{"PCK has a key of another curve", func(r *Recipe) { r.Certificates[PCK].P384 = true }, attest.BadCertificate},
		{"unknown critical extension", func(r *Recipe) { r.Certificates[PCK].Critical = true }, attest.BadCertificate},
		{"key of another curve", func(r *Recipe) { r.Certificates[Root].P384 = true }, attest.BadCertificate},
		{"root left out", func(r *Recipe) { r.Chain = []string{PCK, CA} }, attest.BrokenChain},
		{"a certificate too many", func(r *Recipe) { r.Chain = []string{PCK, CA, Root, Root} }, attest.Malformed},
		{"chain in another order", func(r *Recipe) { r.Chain = []string{CA, PCK, Root} }, attest.WrongSigner},
		{"no chain", func(r *Recipe) { r.Chain = nil }, attest.Malformed},
		{"TCB signer of another root", func(r *Recipe) { otherRoot(r, "y", "x"); r.TCBInfo.Key, r.TCBInfo.Chain = "y", []string{"y", "x"} }, attest.BrokenChain},
		{"QE identity under another root", func(r *Recipe) {
			otherRoot(r, "y", "x")
			r.QEIdentity.Key, r.QEIdentity.Chain = "y", []string{"y", "x"}
		}, attest.BrokenChain},

		// Validity.
		{"PCK expired", func(r *Recipe) { r.Certificates[PCK].Until = r.Now.Add(-day) }, attest.CertificateExpired},
		{"PCK not yet valid", func(r *Recipe) { r.Certificates[PCK].From = r.Now.Add(day) }, attest.CertificateNotYet},
		{"CA expired", func(r *Recipe) { r.Certificates[CA].Until = r.Now.Add(-day) }, attest.CertificateExpired},
		{"CA not yet valid", func(r *Recipe) { r.Certificates[CA].From = r.Now.Add(day) }, attest.CertificateNotYet},
		{"root expired", func(r *Recipe) { r.Certificates[Root].Until = r.Now.Add(-day) }, attest.CertificateExpired},
		{"TCB signer expired", func(r *Recipe) { r.Certificates[Signer].Until = r.Now.Add(-day) }, attest.CertificateExpired},
		{"TCB signer not yet valid", func(r *Recipe) { r.Certificates[Signer].From = r.Now.Add(day) }, attest.CertificateNotYet},

		// Revocation.
		{"PCK revoked", func(r *Recipe) { r.PCKCRL.Revoked = []string{Root, PCK} }, attest.Revoked},
		{"CA revoked", func(r *Recipe) { r.RootCRL.Revoked = []string{CA} }, attest.Revoked},
		{"CA revoked, without its chain", func(r *Recipe) { r.RootCRL.Revoked, r.PCKCRLChain = []string{CA}, nil }, attest.Revoked},
		{"TCB signer revoked", func(r *Recipe) { r.RootCRL.Revoked = []string{Signer} }, attest.Revoked},
		{"PCK revoked, root's list absent", func(r *Recipe) { r.RootCRL, r.PCKCRL.Revoked = nil, []string{PCK} }, attest.Revoked},
		{"stale list of the CA", func(r *Recipe) { r.PCKCRL.Until = r.Now.Add(-day) }, attest.CollateralExpired},
		{"future list of the CA", func(r *Recipe) { r.PCKCRL.From = r.Now.Add(day) }, attest.CollateralNotYet},
		{"stale list of the root", func(r *Recipe) { r.RootCRL.Until = r.Now.Add(-day) }, attest.CollateralExpired},
		{"future list of the root", func(r *Recipe) { r.RootCRL.From = r.Now.Add(day) }, attest.CollateralNotYet},
		{"list of the root by another", func(r *Recipe) { r.RootCRL.Issuer = CA }, attest.CollateralMismatch},
		{"list of the CA by another", func(r *Recipe) { r.PCKCRL.Issuer = Root }, attest.CollateralMismatch},
		{"list of the CA by the PCK", func(r *Recipe) { r.PCKCRL.Issuer = PCK }, attest.CollateralMismatch},
		{"list of another CA", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX PCK Processor CA", Issuer: Root, CA: true, Serial: 9, From: r.Now.Add(-day), Until: r.Now.Add(day)}
			r.PCKCRL.Issuer, r.PCKCRLChain = "x", []string{"x", Root}
		}, attest.CollateralMismatch},
		{"list of a CA with the same name", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX PCK Platform CA", Issuer: Root, CA: true, Serial: 9, From: r.Now.Add(-day), Until: r.Now.Add(day)}
			r.PCKCRL.Issuer, r.PCKCRLChain = "x", []string{"x", Root}
		}, attest.CollateralMismatch},
		{"list of a CA with the same name, without its chain", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX PCK Platform CA", Issuer: Root, CA: true, Serial: 9, From: r.Now.Add(-day), Until: r.Now.Add(day)}
			r.PCKCRL.Issuer, r.PCKCRLChain = "x", nil
		}, attest.BrokenChain},
		{"list of a renewed CA that is revoked", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX PCK Platform CA", Issuer: Root, KeyOf: CA, CA: true, Serial: 9, From: r.Now.Add(-day), Until: r.Now.Add(day)}
			r.PCKCRLChain, r.RootCRL.Revoked = []string{"x", Root}, []string{"x"}
		}, attest.Revoked},
		{"partial list", func(r *Recipe) { r.PCKCRL.Critical = true }, attest.Unsupported},

		// Statements.
		{"stale TCB info", func(r *Recipe) { r.TCBInfo.Body["nextUpdate"] = r.Now.Add(-day) }, attest.CollateralExpired},
		{"future TCB info", func(r *Recipe) { r.TCBInfo.Body["issueDate"] = r.Now.Add(day) }, attest.CollateralNotYet},
		{"stale QE identity", func(r *Recipe) { r.QEIdentity.Body["nextUpdate"] = r.Now.Add(-day) }, attest.CollateralExpired},
		{"future QE identity", func(r *Recipe) { r.QEIdentity.Body["issueDate"] = r.Now.Add(day) }, attest.CollateralNotYet},
		{"TCB info without date", func(r *Recipe) { delete(r.TCBInfo.Body, "nextUpdate") }, attest.Malformed},
		{"QE identity without date", func(r *Recipe) { delete(r.QEIdentity.Body, "issueDate") }, attest.Malformed},
		{"TCB info of another platform", func(r *Recipe) { r.TCBInfo.Body["fmspc"] = "d0e1c0ffee01" }, attest.CollateralMismatch},
		{"TCB info of another PCE", func(r *Recipe) { r.TCBInfo.Body["pceId"] = "0001" }, attest.CollateralMismatch},
		{"TCB info of another TEE", func(r *Recipe) { r.TCBInfo.Body["id"] = "SEV" }, attest.CollateralMismatch},
		{"QE identity of another enclave", func(r *Recipe) { r.QEIdentity.Body["id"] = "QVE" }, attest.CollateralMismatch},
		{"TCB info of version 2", func(r *Recipe) { r.TCBInfo.Body["version"] = 2 }, attest.Unsupported},
		{"TCB info of another type", func(r *Recipe) { r.TCBInfo.Body["tcbType"] = 1 }, attest.Unsupported},
		{"QE identity of version 1", func(r *Recipe) { r.QEIdentity.Body["version"] = 1 }, attest.Unsupported},
		{"QE identity in place of TCB info", func(r *Recipe) { r.TCBInfo.Body = r.QEIdentity.Body }, attest.Unsupported},
		{"TCB info in place of QE identity", func(r *Recipe) { r.QEIdentity.Body = r.TCBInfo.Body }, attest.Unsupported},
		{"unknown status", func(r *Recipe) { r.TCBInfo.Body["tcbLevels"] = []any{Level(1, 1, "Fine")} }, attest.Malformed},
		{"no levels", func(r *Recipe) { r.TCBInfo.Body["tcbLevels"] = []any{} }, attest.TCBNotSupported},
		{"level without numbers", func(r *Recipe) { r.TCBInfo.Body["tcbLevels"] = []any{map[string]any{"tcbStatus": "UpToDate"}} }, attest.Malformed},
		{"number of a level out of range", func(r *Recipe) { r.TCBInfo.Body["tcbLevels"] = []any{Level(256, 1, "UpToDate")} }, attest.Malformed},
		{"below every level", func(r *Recipe) { r.TCBInfo.Body["tcbLevels"] = []any{Level(Svn+1, 1, "UpToDate")} }, attest.TCBNotSupported},
		{"PCE below every level", func(r *Recipe) { r.TCBInfo.Body["tcbLevels"] = []any{Level(1, 12, "UpToDate")} }, attest.TCBNotSupported},
		{"QE below every level", func(r *Recipe) { r.QEIdentity.Body["tcbLevels"] = []any{EnclaveLevel(7, "UpToDate")} }, attest.TCBNotSupported},
		{"mask of the wrong length", func(r *Recipe) { r.QEIdentity.Body["attributesMask"] = "FF" }, attest.Malformed},

		// The quoting enclave.
		{"QE of another signer", func(r *Recipe) { r.QEReport[AtMRSIGNER] ^= 1 }, attest.BadQuotingEnclave},
		{"QE of another product", func(r *Recipe) { r.QEReport[AtISVProdID] ^= 1 }, attest.BadQuotingEnclave},
		{"QE in debug", func(r *Recipe) { r.QEReport[AtAttributes] |= 2 }, attest.BadQuotingEnclave},
		{"QE that binds something else too", func(r *Recipe) { r.QEReport[AtReportData+40] = 1 }, attest.BadKeyBinding},
		{"QE with other MISCSELECT", func(r *Recipe) { r.QEReport[16] = 1 }, attest.BadQuotingEnclave},

		// What names the platform.
		{"PCK without description", func(r *Recipe) { r.Certificates[PCK].SGX = nil }, attest.BadCertificate},
		{"PCK with garbled description", func(r *Recipe) { r.Certificates[PCK].SGX = []byte{0x30, 0x03, 0x02, 0x01, 0x01} }, attest.Malformed},
		{"plain PPID", func(r *Recipe) { r.CertType = 1 }, attest.Unsupported},
		{"encrypted PPID", func(r *Recipe) { r.CertType = 3 }, attest.Unsupported},
		{"unknown certification data", func(r *Recipe) { r.CertType = 8 }, attest.Unsupported},
	} {
		t.Run(forgery.name, func(t *testing.T) {
			forEachKind(t, func(t *testing.T, recipe func() *Recipe) {
				r := recipe()
				forgery.spoil(r)
				claims, err := prove(r.Evidence(t), r.Now)
				if got := attest.ReasonOf(err); got != forgery.want {
					t.Errorf("%q (%v), want %q", got, err, forgery.want)
				}
				if diff := cmp.Diff(attest.Claims{}, claims); diff != "" {
					t.Errorf("claims of evidence that does not hold: %s", diff)
				}
			})
		})
	}
}

// otherRoot adds a second, whole authority to a recipe.
func otherRoot(r *Recipe, signer, root string) {
	from, until := r.Now.AddDate(-1, 0, 0), r.Now.AddDate(1, 0, 0)
	r.Certificates[root] = &Certificate{Name: "Intel SGX Root CA", Issuer: root, CA: true, Serial: 10, From: from, Until: until}
	r.Certificates[signer] = &Certificate{Name: "Intel SGX TCB Signing", Issuer: root, Serial: 11, From: from, Until: until}
}

// TestTolerated is what must not be refused.
func TestTolerated(t *testing.T) {
	for _, tolerance := range []struct {
		name string
		make func(r *Recipe)
	}{
		{"FMSPC in upper case", func(r *Recipe) { r.TCBInfo.Body["fmspc"] = "D0E1C0FFEE00" }},
		{"unknown members in TCB info", func(r *Recipe) { r.TCBInfo.Body["tcbRecoveryEvent"] = map[string]any{"a": 1} }},
		{"no issuer chain beside the list", func(r *Recipe) { r.PCKCRLChain = nil }},
		{"list of a renewed CA", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX PCK Platform CA", Issuer: Root, KeyOf: CA, CA: true, Serial: 9, From: r.Now.AddDate(0, -1, 0), Until: r.Now.AddDate(1, 0, 0)}
			r.PCKCRLChain = []string{"x", Root}
		}},
		{"others revoked", func(r *Recipe) { r.PCKCRL.Revoked, r.RootCRL.Revoked = []string{Root}, []string{PCK} }},
		{"no auth data", func(r *Recipe) { r.AuthData = nil }},
		{"another signer for the QE identity", func(r *Recipe) {
			r.Certificates["x"] = &Certificate{Name: "Intel SGX TCB Signing", Issuer: Root, Serial: 9, From: r.Now.AddDate(0, -1, 0), Until: r.Now.AddDate(1, 0, 0)}
			r.QEIdentity.Key, r.QEIdentity.Chain = "x", []string{"x", Root}
		}},
		{"more in the PCK's description", func(r *Recipe) {
			r.Certificates[PCK].SGX = SGXExtension(append(DefaultMembers(), Member{ID: []int{7}, Value: []Member{{ID: []int{7, 1}, Value: true}}}))
		}},
	} {
		t.Run(tolerance.name, func(t *testing.T) {
			forEachKind(t, func(t *testing.T, recipe func() *Recipe) {
				r := recipe()
				tolerance.make(r)
				if claims, err := prove(r.Evidence(t), r.Now); err != nil || claims.Status != attest.UpToDate {
					t.Errorf("%q, %v", claims.Status, err)
				}
			})
		})
	}
}

// TestWithoutLists shows that lists may be missing, that the claims say so and
// that a policy then has to name it.
func TestWithoutLists(t *testing.T) {
	for _, absent := range []struct {
		name string
		make func(r *Recipe)
	}{
		{"both", func(r *Recipe) { r.RootCRL, r.PCKCRL = nil, nil }},
		{"the root's", func(r *Recipe) { r.RootCRL = nil }},
		{"the CA's", func(r *Recipe) { r.PCKCRL = nil }},
	} {
		t.Run(absent.name, func(t *testing.T) {
			r := New(attest.SGX, 3)
			absent.make(r)
			ev := r.Evidence(t)
			p := attest.Policy{SGX: attest.SGXPolicy{Terms: attest.Terms{Simulated: true}, Identities: []attest.SGXIdentity{{MRENCLAVE: MRENCLAVE}}}}
			claims, err := verifiers.Verify(ev, p, r.Now)
			if !errors.Is(err, attest.RevocationUnknown) || claims.RevocationChecked {
				t.Errorf("checked %t, %v", claims.RevocationChecked, err)
			}
			p.SGX.RevocationUnchecked = true
			if _, err := verifiers.Verify(ev, p, r.Now); err != nil {
				t.Error(err)
			}
		})
	}
}
