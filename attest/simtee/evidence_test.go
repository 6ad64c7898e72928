package simtee_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/attest/tdx"
	"github.com/holdfast-kms/holdfast/kms"
)

var (
	verifiers  = map[attest.TEE]attest.Verifier{attest.SGX: sgx.Verify, attest.TDX: tdx.Verify, attest.SNP: snp.Verify}
	at         = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	reportData = [64]byte{1, 2, 3}

	// root certifies the machines of these tests. To find its keys takes a while.
	root = sync.OnceValue(simtee.NewRoot)
)

// kinds are the formats that are minted.
var kinds = []struct {
	name string
	tee  attest.TEE
	tdx  int // version of TDX quotes
	want int // version of the quote or report
}{
	{"SGX 3", attest.SGX, 0, 3},
	{"TDX 4", attest.TDX, 0, 4},
	{"TDX 5", attest.TDX, 5, 5},
	{"SNP 2", attest.SNP, 0, 2},
}

func machine(t testing.TB, cfg simtee.Config) *simtee.Platform {
	t.Helper()
	cfg.Root = root()
	p, err := cfg.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func evidence(t testing.TB, p *simtee.Platform, tee attest.TEE, at time.Time) attest.Evidence {
	t.Helper()
	ev, err := p.Evidence(tee, reportData, at)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func claims(t testing.TB, ev attest.Evidence) (attest.Claims, attest.Reason) {
	t.Helper()
	c, err := verifiers[ev.TEE](ev, at)
	if err != nil {
		t.Log(err)
	}
	return c, attest.ReasonOf(err)
}

func TestEvidence(t *testing.T) {
	register := func(b byte) [48]byte { return [48]byte(bytes.Repeat([]byte{b}, 48)) }
	program := simtee.Program{MRSIGNER: [32]byte{2}, ISVProdID: 3, ISVSVN: 4,
		MRTD: register(5), RTMR: [4][48]byte{register(6), register(7), register(8), register(9)}, SNPMeasurement: register(10), GuestSVN: 11}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			p := machine(t, simtee.Config{Measurement: [32]byte{1}, Program: program, TDXQuote: kind.tdx})
			ev := evidence(t, p, kind.tee, at)
			if got := attest.Recognize(ev.Quote); got != kind.tee {
				t.Errorf("recognised as %q", got)
			}
			c, reason := claims(t, ev)
			if reason != "" {
				t.Fatal(reason)
			}
			der, err := p.Root().Certificate(kind.tee)
			if err != nil {
				t.Fatal(err)
			}
			fingerprint := sha256.Sum256(der)
			if c.Version != kind.want || !c.Simulated || c.Debug || !c.RevocationChecked || !c.Root.Equal(fingerprint[:]) || !c.ReportData.Equal(reportData[:]) {
				t.Errorf("claims %+v", c)
			}
			day := at.Truncate(24 * time.Hour)
			if !c.ValidFrom.Equal(day) || !c.ValidUntil.Equal(day.Add(30*24*time.Hour)) {
				t.Errorf("valid from %v until %v", c.ValidFrom, c.ValidUntil)
			}
			if kind.tee != attest.SNP && (c.Status != attest.UpToDate || len(c.Advisories) > 0 ||
				c.EvaluationNumber != simtee.EvaluationNumber || !c.Platform.FMSPC.Equal(simtee.FMSPC[:])) {
				t.Errorf("status %q, advisories %q, evaluation %d, FMSPC %s", c.Status, c.Advisories, c.EvaluationNumber, c.Platform.FMSPC)
			}
			checkProgram(t, c, program)
		})
	}
}

// checkProgram compares what evidence says of the program with what it was
// told to say.
func checkProgram(t *testing.T, c attest.Claims, p simtee.Program) {
	t.Helper()
	type field struct{ got, want []byte }
	var fields []field
	switch c.TEE {
	case attest.SGX:
		measurement := [32]byte{1}
		fields = []field{{c.SGX.MRENCLAVE, measurement[:]}, {c.SGX.MRSIGNER, p.MRSIGNER[:]}}
		if c.SGX.ISVProdID != p.ISVProdID || c.SGX.ISVSVN != p.ISVSVN {
			t.Errorf("product id %d, SVN %d", c.SGX.ISVProdID, c.SGX.ISVSVN)
		}
	case attest.TDX:
		fields = []field{{c.TDX.MRTD, p.MRTD[:]}, {c.TDX.RTMR0, p.RTMR[0][:]}, {c.TDX.RTMR1, p.RTMR[1][:]}, {c.TDX.RTMR2, p.RTMR[2][:]}, {c.TDX.RTMR3, p.RTMR[3][:]}}
	case attest.SNP:
		fields = []field{{c.SNP.Measurement, p.SNPMeasurement[:]}, {c.SNP.HostData, p.HostData[:]}}
		if c.SNP.GuestSVN != p.GuestSVN {
			t.Errorf("guest SVN %d", c.SNP.GuestSVN)
		}
	}
	for i, f := range fields {
		if !bytes.Equal(f.got, f.want) {
			t.Errorf("register %d: %x, want %x", i, f.got, f.want)
		}
	}
}

// TestRegistersFollowTheMeasurement: unless told otherwise, another program has
// other registers on every kind of TEE.
func TestRegistersFollowTheMeasurement(t *testing.T) {
	one, other := machine(t, simtee.Config{}).Program(), machine(t, simtee.Config{Measurement: [32]byte{1}}).Program()
	seen := map[[48]byte]bool{}
	for _, p := range []simtee.Program{one, other} {
		for _, r := range append(p.RTMR[:], p.MRTD, p.SNPMeasurement) {
			seen[r] = true
		}
	}
	if len(seen) != 12 {
		t.Errorf("%d different registers, want 12", len(seen))
	}
	if one.MRSIGNER != simtee.DevSigner() || other.MRSIGNER != simtee.DevSigner() {
		t.Error("the signer changed with the program")
	}
}

func TestMisfortune(t *testing.T) {
	for _, row := range []struct {
		name       string
		misfortune simtee.Misfortune
		intel, amd attest.Reason    // "": accepted
		status     attest.TCBStatus // Intel
		evaluation uint32
	}{
		{name: "none", status: attest.UpToDate, evaluation: 20},
		{name: "revoked", misfortune: simtee.Misfortune{Revoked: true}, intel: attest.Revoked, amd: attest.Revoked},
		{name: "stale", misfortune: simtee.Misfortune{Stale: true}, intel: attest.CollateralExpired, amd: attest.CollateralExpired},
		{name: "announced", misfortune: simtee.Misfortune{Recovery: simtee.Announced}, status: attest.OutOfDate, evaluation: 21},
		{name: "partial", misfortune: simtee.Misfortune{Recovery: simtee.Partial}, status: attest.OutOfDate, evaluation: 21},
		{name: "applied", misfortune: simtee.Misfortune{Recovery: simtee.Applied}, status: attest.UpToDate, evaluation: 21},
		{name: "debug", misfortune: simtee.Misfortune{Debug: true}, status: attest.UpToDate, evaluation: 20},
		{name: "foreign", misfortune: simtee.Misfortune{Foreign: true}, status: attest.UpToDate, evaluation: 20},
	} {
		for _, kind := range kinds {
			t.Run(row.name+", "+kind.name, func(t *testing.T) {
				p := machine(t, simtee.Config{Misfortune: row.misfortune, TDXQuote: kind.tdx})
				c, reason := claims(t, evidence(t, p, kind.tee, at))
				want := row.intel
				if kind.tee == attest.SNP {
					want, row.status, row.evaluation = row.amd, "", 0
				}
				if reason != want {
					t.Fatalf("reason %q, want %q", reason, want)
				}
				if reason != "" {
					return
				}
				var advisories []string
				if row.status == attest.OutOfDate {
					advisories = []string{simtee.Advisory}
				}
				if c.Status != row.status || c.EvaluationNumber != row.evaluation || !slices.Equal(c.Advisories, advisories) || c.Debug != row.misfortune.Debug {
					t.Errorf("status %q, evaluation %d, advisories %q, debug %v", c.Status, c.EvaluationNumber, c.Advisories, c.Debug)
				}
				der, err := p.Root().Certificate(kind.tee)
				if err != nil {
					t.Fatal(err)
				}
				if sum := sha256.Sum256(der); c.Root.Equal(sum[:]) == row.misfortune.Foreign {
					t.Errorf("root %s, the platform's is %x", c.Root, sum)
				}
			})
		}
	}
}

// TestRecoveryAndSealing: what was sealed opens until the microcode changes.
func TestRecoveryAndSealing(t *testing.T) {
	dir := t.TempDir()
	create(t, dir)
	keys := map[simtee.Recovery]string{}
	for r := simtee.NoRecovery; r <= simtee.Applied; r++ {
		p, err := simtee.Config{Misfortune: simtee.Misfortune{Recovery: r}}.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		keys[r] = sealingKey(t, p)
	}
	if keys[simtee.NoRecovery] != keys[simtee.Announced] {
		t.Error("an announcement changed the sealing key")
	}
	if keys[simtee.Announced] == keys[simtee.Partial] || keys[simtee.Partial] == keys[simtee.Applied] || keys[simtee.Applied] == keys[simtee.Announced] {
		t.Error("new microcode has the sealing key of the old")
	}
}

// TestSameMachineSameEvidence: a machine that is opened again says the same,
// under the same root.
func TestSameMachineSameEvidence(t *testing.T) {
	dir := t.TempDir()
	made, err := simtee.Config{Root: root()}.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := simtee.Open(dir) // without the root: it is in the folder
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds {
		if diff := cmp.Diff(evidence(t, made, kind.tee, at).Quote, evidence(t, opened, kind.tee, at).Quote); diff != "" {
			t.Errorf("%s: %s", kind.name, diff)
		}
		a, err := made.Root().Certificate(kind.tee)
		if err != nil {
			t.Fatal(err)
		}
		b, err := opened.Root().Certificate(kind.tee)
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s: another root after opening (%v)", kind.name, err)
		}
	}
}

// TestRootVector pins the root that follows from a secret: policies name roots
// by fingerprint, so a change of it would part every folder from its policy.
func TestRootVector(t *testing.T) {
	p, err := simtee.Open("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for tee, want := range map[attest.TEE]string{
		attest.SGX: "a61ed0c30607c52fd5aec732c45331aa9eddb9b5853352486247d9548e0d4570",
		attest.TDX: "a61ed0c30607c52fd5aec732c45331aa9eddb9b5853352486247d9548e0d4570",
		attest.SNP: "7424604a7832d3b4af97e52dc3b4edc4bbae794793197638d59f072412050dd3",
	} {
		der, err := p.Root().Certificate(tee)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", sha256.Sum256(der)); got != want {
			t.Errorf("%s: root %s, want %s", tee, got, want)
		}
	}
}

func TestMachinesUnderOneRoot(t *testing.T) {
	a, b := machine(t, simtee.Config{}), machine(t, simtee.Config{})
	for _, kind := range kinds {
		one, _ := claims(t, evidence(t, a, kind.tee, at))
		other, _ := claims(t, evidence(t, b, kind.tee, at))
		if !one.Root.Equal(other.Root) {
			t.Errorf("%s: roots %s and %s", kind.name, one.Root, other.Root)
		}
		if one.Platform.PPID.Equal(other.Platform.PPID) && one.Platform.ChipID.Equal(other.Platform.ChipID) {
			t.Errorf("%s: two machines are the same: %+v", kind.name, one.Platform)
		}
	}
	if sealingKey(t, a) == sealingKey(t, b) {
		t.Error("machines under one root have one sealing key")
	}
	lone, err := simtee.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, _ := claims(t, evidence(t, lone, attest.SGX, at))
	if shared, _ := claims(t, evidence(t, a, attest.SGX, at)); c.Root.Equal(shared.Root) {
		t.Error("a machine made without a root has that of another")
	}
}

func TestConfig(t *testing.T) {
	dir := t.TempDir()
	create(t, dir)
	_, err := simtee.Config{Root: simtee.NewRoot()}.Open(dir)
	checkError(t, err, kms.Conflict)
	for name, cfg := range map[string]simtee.Config{
		"TDX quote 3": {TDXQuote: 3}, "TDX quote 6": {TDXQuote: 6},
		"recovery -1": {Misfortune: simtee.Misfortune{Recovery: -1}}, "recovery 4": {Misfortune: simtee.Misfortune{Recovery: simtee.Applied + 1}},
	} {
		if _, err := cfg.Create(t.TempDir()); kms.KindOf(err) != kms.Invalid {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := cfg.Open(dir); kms.KindOf(err) != kms.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := machine(t, simtee.Config{})
	if _, err := p.Evidence("sev", reportData, at); kms.KindOf(err) != kms.Invalid {
		t.Errorf("evidence of a TEE that is not: %v", err)
	}
	if _, err := p.Published(attest.SNP, at); kms.KindOf(err) != kms.Invalid {
		t.Errorf("published about SNP: %v", err)
	}
	if _, err := p.Root().Certificate("sev"); err == nil {
		t.Error("a root for a TEE that is not")
	}
}

// TestTimes: evidence verifies at the time that it was made for, whenever that
// is, and collateral changes once a day.
func TestTimes(t *testing.T) {
	p := machine(t, simtee.Config{})
	for _, text := range []string{"2018-06-01T00:00:00Z", "2026-03-14T00:00:00Z", "2026-03-14T23:59:59.999Z", "2038-01-19T03:14:08Z", "2049-11-30T12:00:00+14:00"} {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		for _, tee := range []attest.TEE{attest.SGX, attest.TDX, attest.SNP} {
			if _, err := verifiers[tee](evidence(t, p, tee, when), when); err != nil {
				t.Errorf("%s at %s: %v", tee, text, err)
			}
		}
	}
	today := evidence(t, p, attest.SGX, at)
	for _, row := range []struct {
		later time.Duration
		same  bool
	}{{time.Hour, true}, {24 * time.Hour, false}} {
		if got := bytes.Equal(today.Collateral, evidence(t, p, attest.SGX, at.Add(row.later)).Collateral); got != row.same {
			t.Errorf("collateral %v later: the same %v, want %v", row.later, got, row.same)
		}
	}
}

// TestDevelopmentOnly: whoever looks at a certificate sees what it is.
func TestDevelopmentOnly(t *testing.T) {
	p := machine(t, simtee.Config{})
	sgx, snp := evidence(t, p, attest.SGX, at), evidence(t, p, attest.SNP, at)
	published, err := p.Published(attest.SGX, at)
	if err != nil {
		t.Fatal(err)
	}
	texts := [][]byte{sgx.Quote[bytes.Index(sgx.Quote, []byte("-----BEGIN")):], snp.Collateral,
		[]byte(published.TCBInfoChain), []byte(published.QEIdentityChain), []byte(published.PCKCRLChain)}
	var names []string
	for _, text := range texts {
		for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
			if block.Type != "CERTIFICATE" {
				continue
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, cert.Subject.CommonName)
			for _, name := range []string{fmt.Sprint(cert.Subject.Names), fmt.Sprint(cert.Issuer.Names)} {
				if !strings.Contains(name, "DEVELOPMENT ONLY") {
					t.Errorf("%s: %s", cert.Subject.CommonName, name)
				}
			}
			if cert.Subject.CommonName == "Intel SGX PCK Certificate" && len(cert.Extensions) != 6 {
				t.Errorf("the PCK certificate has %d extensions, want 6, which is what verifiers count", len(cert.Extensions))
			}
		}
	}
	want := []string{"Intel SGX PCK Certificate", "Intel SGX PCK Platform CA", "Intel SGX Root CA", "SEV-VCEK", "SEV-Milan", "ARK-Milan",
		"Intel SGX TCB Signing", "Intel SGX Root CA", "Intel SGX TCB Signing", "Intel SGX Root CA", "Intel SGX PCK Platform CA", "Intel SGX Root CA"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
}

// TestPublished: what the service answers is what comes with the evidence.
func TestPublished(t *testing.T) {
	p := machine(t, simtee.Config{})
	for _, tee := range []attest.TEE{attest.SGX, attest.TDX} {
		said, err := p.Published(tee, at)
		if err != nil {
			t.Fatal(err)
		}
		var bundle map[string]string
		if err := json.Unmarshal(evidence(t, p, tee, at).Collateral, &bundle); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			"tcb_info_issuer_chain": said.TCBInfoChain, "qe_identity_issuer_chain": said.QEIdentityChain, "pck_crl_issuer_chain": said.PCKCRLChain,
			"root_ca_crl": hex.EncodeToString(said.RootCRL), "pck_crl": hex.EncodeToString(said.PCKCRL),
		}
		for _, answer := range []struct {
			prefix, member string
			b              []byte
		}{{"tcb_info", "tcbInfo", said.TCBInfo}, {"qe_identity", "enclaveIdentity", said.QEIdentity}} {
			var signed map[string]json.RawMessage
			if err := json.Unmarshal(answer.b, &signed); err != nil {
				t.Fatal(err)
			}
			want[answer.prefix] = string(signed[answer.member])
			want[answer.prefix+"_signature"] = strings.Trim(string(signed["signature"]), `"`)
		}
		if diff := cmp.Diff(want, bundle); diff != "" {
			t.Errorf("%s: %s", tee, diff)
		}
		clear(said.TCBInfo)
		if again, err := p.Published(tee, at); err != nil || bytes.Equal(again.TCBInfo, said.TCBInfo) {
			t.Errorf("what was handed out is not the caller's own (%v)", err)
		}
	}
}

func TestConcurrentEvidence(t *testing.T) {
	p := machine(t, simtee.Config{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			tee := kinds[i%len(kinds)].tee
			ev, err := p.Evidence(tee, reportData, at.Add(time.Duration(i)*24*time.Hour))
			if err != nil {
				t.Error(err)
				return
			}
			clear(ev.Quote) // they are the caller's own
			clear(ev.Collateral)
		})
	}
	all.Wait()
	for _, kind := range kinds {
		if _, reason := claims(t, evidence(t, p, kind.tee, at)); reason != "" {
			t.Errorf("%s: %s", kind.name, reason)
		}
	}
}

func BenchmarkEvidence(b *testing.B) {
	p := machine(b, simtee.Config{})
	for _, kind := range kinds {
		b.Run(kind.name, func(b *testing.B) {
			evidence(b, p, kind.tee, at)
			for b.Loop() {
				if _, err := p.Evidence(kind.tee, reportData, at); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
