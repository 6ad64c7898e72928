package intel_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	. "github.com/holdfast-kms/holdfast/attest/intel/inteltest"
)

// TestLevels is how Intel's verdict on firmware, quoting enclave and TDX module
// become one.
func TestLevels(t *testing.T) {
	type outcome struct {
		Status     attest.TCBStatus
		Advisories []string
	}
	advisories := func(a ...string) []string { return a }
	// older is a quoting enclave, or a TDX module, for which there is an update.
	olderQE := func(r *Recipe) { r.QEReport[AtISVSVN] = 4 }
	olderModule := func(r *Recipe) { r.Body[AtTEETCBSVN] = 1 }
	platform := func(status string, a ...string) func(*Recipe) {
		return func(r *Recipe) { r.TCBInfo.Body["tcbLevels"] = []any{Level(Svn, 11, status, a...)} }
	}
	for _, c := range []struct {
		name string
		tee  attest.TEE
		make []func(*Recipe)
		want outcome
	}{
		{"up to date", attest.SGX, nil, outcome{attest.UpToDate, nil}},
		{"the first level that fits", attest.SGX, []func(*Recipe){func(r *Recipe) {
			r.TCBInfo.Body["tcbLevels"] = []any{Level(Svn+1, 11, "UpToDate"), Level(Svn, 11, "SWHardeningNeeded", "A"), Level(Svn-1, 11, "OutOfDate", "B")}
		}}, outcome{attest.SWHardeningNeeded, advisories("A")}},
		{"one component lower", attest.SGX, []func(*Recipe){func(r *Recipe) { r.Certificates[PCK].SGX = lowerComponent(t, 16) }}, outcome{attest.OutOfDate, advisories("INTEL-SA-99901")}},
		{"PCE lower", attest.SGX, []func(*Recipe){func(r *Recipe) {
			r.TCBInfo.Body["tcbLevels"] = []any{Level(Svn, 12, "UpToDate"), Level(Svn, 11, "OutOfDate", "A")}
		}}, outcome{attest.OutOfDate, advisories("A")}},
		{"revoked", attest.SGX, []func(*Recipe){platform("Revoked")}, outcome{attest.TCBRevoked, nil}},

		{"QE out of date", attest.SGX, []func(*Recipe){olderQE}, outcome{attest.OutOfDate, advisories("INTEL-SA-99902")}},
		{"QE out of date, hardening needed", attest.SGX, []func(*Recipe){olderQE, platform("SWHardeningNeeded", "A", "INTEL-SA-99902")}, outcome{attest.OutOfDate, advisories("A", "INTEL-SA-99902")}},
		{"QE out of date, configuration needed", attest.SGX, []func(*Recipe){olderQE, platform("ConfigurationNeeded", "Z")}, outcome{attest.OutOfDateConfigurationNeeded, advisories("INTEL-SA-99902", "Z")}},
		{"QE out of date, both needed", attest.SGX, []func(*Recipe){olderQE, platform("ConfigurationAndSWHardeningNeeded")}, outcome{attest.OutOfDateConfigurationNeeded, advisories("INTEL-SA-99902")}},
		{"QE out of date, platform revoked", attest.SGX, []func(*Recipe){olderQE, platform("Revoked")}, outcome{attest.TCBRevoked, advisories("INTEL-SA-99902")}},
		{"QE revoked", attest.SGX, []func(*Recipe){func(r *Recipe) { r.QEIdentity.Body["tcbLevels"] = []any{EnclaveLevel(1, "Revoked")} }}, outcome{attest.TCBRevoked, nil}},
		{"QE of a status without rule", attest.SGX, []func(*Recipe){func(r *Recipe) { r.QEIdentity.Body["tcbLevels"] = []any{EnclaveLevel(1, "SWHardeningNeeded")} }}, outcome{attest.OutOfDate, nil}},
		{"QE up to date, configuration needed", attest.SGX, []func(*Recipe){platform("ConfigurationNeeded")}, outcome{attest.ConfigurationNeeded, nil}},

		{"TDX up to date", attest.TDX, nil, outcome{attest.UpToDate, nil}},
		{"TDX component lower", attest.TDX, []func(*Recipe){func(r *Recipe) { r.Body[AtTEETCBSVN+15]-- }}, outcome{attest.OutOfDate, advisories("INTEL-SA-99901")}},
		{"module out of date", attest.TDX, []func(*Recipe){olderModule}, outcome{attest.OutOfDate, advisories("INTEL-SA-99903")}},
		{"module and QE out of date", attest.TDX, []func(*Recipe){olderModule, olderQE}, outcome{attest.OutOfDate, advisories("INTEL-SA-99902", "INTEL-SA-99903")}},
		{"module out of date, configuration needed", attest.TDX, []func(*Recipe){olderModule, platform("ConfigurationNeeded")}, outcome{attest.OutOfDateConfigurationNeeded, advisories("INTEL-SA-99903")}},
		{"first module, by the platform's numbers", attest.TDX, []func(*Recipe){firstModule(Svn)}, outcome{attest.OutOfDate, advisories("A")}},
		{"module's id in the other case", attest.TDX, []func(*Recipe){moduleVersion(0xab), func(r *Recipe) {
			r.TCBInfo.Body["tdxModuleIdentities"] = []any{Module("TDX_AB", EnclaveLevel(1, "UpToDate"))}
		}}, outcome{attest.UpToDate, nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			version := map[attest.TEE]int{attest.SGX: 3, attest.TDX: 4}[c.tee]
			r := New(c.tee, version)
			for _, change := range c.make {
				change(r)
			}
			claims, err := prove(r.Evidence(t), r.Now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, outcome{claims.Status, claims.Advisories}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// firstModule is a TDX module of version 0, at svn: the platform's levels
// count all its numbers, and here the second one wants one of its version.
func firstModule(svn byte) func(*Recipe) {
	return func(r *Recipe) {
		r.Body[AtTEETCBSVN], r.Body[AtTEETCBSVN+1] = svn, 0
		later, first := Level(Svn, 11, "UpToDate"), Level(Svn, 11, "OutOfDate", "A")
		later["tcb"].(map[string]any)["tdxtcbcomponents"] = tdxComponents(svn+1, 0)
		first["tcb"].(map[string]any)["tdxtcbcomponents"] = tdxComponents(svn, 0)
		r.TCBInfo.Body["tcbLevels"] = []any{later, first}
	}
}

func tdxComponents(first, second byte) []any {
	all := make([]any, 16)
	for i := range all {
		all[i] = map[string]any{"svn": Svn}
	}
	all[0], all[1] = map[string]any{"svn": first}, map[string]any{"svn": second}
	return all
}

func moduleVersion(v byte) func(*Recipe) {
	return func(r *Recipe) { r.Body[AtTEETCBSVN+1] = v }
}

func lowerComponent(t *testing.T, n int) []byte {
	t.Helper()
	members := DefaultMembers()
	members[1].Value.([]Member)[n-1].Value = Svn - 1
	return SGXExtension(members)
}

// TestModuleForgeries are TDX modules that are not Intel's.
func TestModuleForgeries(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*Recipe)
		want  attest.Reason
	}{
		{"another signer", func(r *Recipe) { r.Body[AtMRSignerSEAM] = 1 }, attest.BadTDXModule},
		{"other attributes", func(r *Recipe) { r.Body[AtSEAMAttributes] = 1 }, attest.BadTDXModule},
		{"a version that nobody knows", moduleVersion(9), attest.BadTDXModule},
		{"the first version, and no word of it", func(r *Recipe) {
			delete(r.TCBInfo.Body, "tdxModule")
			firstModule(Svn)(r)
		}, attest.BadTDXModule},
		{"the first version of another signer", func(r *Recipe) { firstModule(Svn)(r); r.Body[AtMRSignerSEAM+47] = 1 }, attest.BadTDXModule},
		{"below every level", func(r *Recipe) { r.Body[AtTEETCBSVN] = 0 }, attest.TCBNotSupported},
		{"level without numbers of TDX", func(r *Recipe) {
			l := Level(Svn, 11, "UpToDate")
			delete(l["tcb"].(map[string]any), "tdxtcbcomponents")
			r.TCBInfo.Body["tcbLevels"] = []any{l}
		}, attest.Malformed},
		{"first module's identity not complete", func(r *Recipe) {
			firstModule(Svn)(r)
			delete(r.TCBInfo.Body["tdxModule"].(map[string]any), "attributesMask")
		}, attest.Malformed},
		{"module's level of an unknown status", func(r *Recipe) {
			r.TCBInfo.Body["tdxModuleIdentities"] = []any{Module("TDX_01", EnclaveLevel(1, "Fine"))}
		}, attest.Malformed},
		{"identity of the wrong length", func(r *Recipe) {
			m := Module("TDX_01", EnclaveLevel(1, "UpToDate"))
			m["mrsigner"] = "00"
			r.TCBInfo.Body["tdxModuleIdentities"] = []any{m}
		}, attest.Malformed},
		{"TCB info of SGX", func(r *Recipe) { r.TCBInfo.Body = New(attest.SGX, 3).TCBInfo.Body }, attest.CollateralMismatch},
		{"identity of SGX's quoting enclave", func(r *Recipe) { r.QEIdentity.Body["id"] = "QE" }, attest.CollateralMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, recipe := range []func() *Recipe{kinds[1].recipe, kinds[2].recipe, kinds[3].recipe} {
				r := recipe()
				c.spoil(r)
				_, err := prove(r.Evidence(t), r.Now)
				if got := attest.ReasonOf(err); got != c.want {
					t.Errorf("version %d: %q (%v), want %q", r.Version, got, err, c.want)
				}
			}
		})
	}
}
