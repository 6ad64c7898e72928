package attest_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

var purposes = []attest.Purpose{attest.ForSelf, attest.ForBootstrap, attest.ForNode, attest.ForService, attest.ForWorkload, attest.ForEnrolment, attest.ForRecovery, attest.ForBackup, attest.ForChallenge}

// TestReportDataVectors fixes what is signed, for other implementations too.
func TestReportDataVectors(t *testing.T) {
	bindings := []attest.Binding{
		{},
		{Keys: [][]byte{[]byte("key")}, Nonce: []byte("nonce")},
		{Keys: [][]byte{[]byte("TLS key"), []byte("CA key")}, Domain: [32]byte(filled(1, 32)), PolicySerial: 7, PolicyDigest: [32]byte(filled(2, 32)), Nonce: filled(3, 32)},
	}
	var text []byte
	for _, p := range purposes {
		for i, b := range bindings {
			rd := attest.ReportData(p, b)
			text = fmt.Appendf(text, "%s %d %s\n", p, i, hex.EncodeToString(rd[:]))
		}
	}
	golden(t, "report_data.txt", text)
}

// TestReportDataDiffers moves bytes between neighbours and changes each part.
func TestReportDataDiffers(t *testing.T) {
	seen := map[[64]byte]string{}
	add := func(name string, rd [64]byte) {
		if other, ok := seen[rd]; ok {
			t.Errorf("%s is bound as %s is", name, other)
		}
		seen[rd] = name
	}
	for _, p := range purposes {
		add(string(p), attest.ReportData(p, attest.Binding{}))
	}
	for name, b := range map[string]attest.Binding{
		"one key":            {Keys: [][]byte{[]byte("ab")}},
		"two keys":           {Keys: [][]byte{[]byte("a"), []byte("b")}},
		"two keys, shifted":  {Keys: [][]byte{[]byte("ab"), {}}},
		"two keys, other":    {Keys: [][]byte{{}, []byte("ab")}},
		"the other order":    {Keys: [][]byte{[]byte("b"), []byte("a")}},
		"key as nonce":       {Nonce: []byte("ab")},
		"an empty key":       {Keys: [][]byte{{}}},
		"domain":             {Domain: [32]byte{31: 1}},
		"policy":             {PolicyDigest: [32]byte{31: 1}},
		"serial":             {PolicySerial: 1},
		"domain for policy":  {Domain: [32]byte{0: 1}},
		"policy for domain":  {PolicyDigest: [32]byte{0: 1}},
		"nonce of one zero":  {Nonce: []byte{0}},
		"nonce of two zeros": {Nonce: []byte{0, 0}},
	} {
		add(name, attest.ReportData(attest.ForNode, b))
	}
}

// TestReasons holds every reason to having words of its own.
func TestReasons(t *testing.T) {
	known := map[attest.Reason]bool{}
	texts := map[string]attest.Reason{}
	for _, r := range attest.Reasons() {
		known[r] = true
		if other, ok := texts[r.Error()]; ok {
			t.Errorf("%s and %s say the same", string(r), string(other))
		}
		texts[r.Error()] = r
		if r.Error() == string(r) || r.Hint() == "" {
			t.Errorf("%s has no words", string(r))
		}
	}
	for name, value := range declaredReasons(t) {
		if !known[attest.Reason(value)] {
			t.Errorf("%s has no words", name)
		}
	}
}

// declaredReasons reads the constants of type Reason from the source.
func declaredReasons(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Reason" {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			found[spec.Names[0].Name] = value
		}
		return true
	})
	if len(found) < 30 {
		t.Fatalf("only %d reasons found", len(found))
	}
	return found
}

func TestErrors(t *testing.T) {
	particulars := errors.New("particulars")
	err := error(attest.Refuse(attest.Revoked, "PCK certificate", "serial 7: %w", particulars))
	if !errors.Is(err, attest.Revoked) || !errors.Is(err, particulars) || errors.Is(err, attest.BadSignature) {
		t.Errorf("%v is not what it was made of", err)
	}
	if got := attest.ReasonOf(fmt.Errorf("dialling: %w", err)); got != attest.Revoked {
		t.Errorf("reason %q", string(got))
	}
	if got := attest.ReasonOf(particulars); got != attest.Malformed {
		t.Errorf("reason %q", string(got))
	}
	if got := attest.ReasonOf(nil); got != "" {
		t.Errorf("reason %q", string(got))
	}
	if got := attest.Refuse(attest.DebugEnabled, "attributes", "").Error(); got != "attributes: a debug program: its host can look inside" {
		t.Error(got)
	}
}

// fixed verifies nothing and proves what it is told to.
func fixed(c attest.Claims, err error) attest.Verifier {
	return func(attest.Evidence, time.Time) (attest.Claims, error) { return c, err }
}

func TestVerifiers(t *testing.T) {
	v := attest.Verifiers{SGX: fixed(sgxClaims(), nil), SNP: fixed(attest.Claims{}, attest.Refuse(attest.BadSignature, "report", ""))}
	quote := func(b ...byte) attest.Evidence { return attest.Evidence{Quote: append(b, make([]byte, 1000)...)} }
	for _, c := range []struct {
		name string
		ev   attest.Evidence
		want attest.Reason
	}{
		{"SGX by content", quote(3, 0, 2, 0, 0, 0, 0, 0), ""},
		{"SGX by name", attest.Evidence{TEE: attest.SGX}, ""},
		{"TDX by content", quote(4, 0, 2, 0, 0x81, 0, 0, 0), attest.Unsupported},
		{"TDX by content, version 5", quote(5, 0, 2, 0, 0x81, 0, 0, 0), attest.Unsupported},
		{"SNP by content", attest.Evidence{Quote: append([]byte{5, 0, 0, 0}, make([]byte, 1180)...)}, attest.BadSignature},
		{"SNP by name", attest.Evidence{TEE: attest.SNP}, attest.BadSignature},
		{"nothing", attest.Evidence{}, attest.Unsupported},
		{"unknown name", attest.Evidence{TEE: "nitro"}, attest.Unsupported},
		{"unknown version", quote(9, 0, 2, 0, 0, 0, 0, 0), attest.Unsupported},
		{"name in another case", attest.Evidence{TEE: "SGX"}, attest.Unsupported},
	} {
		t.Run(c.name, func(t *testing.T) {
			claims, err := v.Verify(c.ev, sgxPolicy(), now)
			if attest.ReasonOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
			if got, want := claims.TEE != "", c.want == ""; got != want {
				t.Errorf("claims %+v", claims)
			}
		})
	}
}

// TestVerdicts shows what a person and a script get to see.
func TestVerdicts(t *testing.T) {
	outdated := tdxClaims()
	outdated.Status, outdated.Advisories, outdated.Debug = attest.OutOfDate, []string{"INTEL-SA-00001"}, true
	simulated := sgxClaims()
	simulated.Simulated = true
	unchecked := sgxClaims()
	unchecked.RevocationChecked = false
	chip := snpClaims()
	chip.RevocationChecked = false
	tdxPolicy := &attest.Policy{TDX: attest.TDXPolicy{Identities: []attest.TDXIdentity{tdxIdentity()}}}
	sgxOnly := sgxPolicy()
	for _, c := range []struct {
		name   string
		claims attest.Claims
		err    error
		policy *attest.Policy
	}{
		{"accepted", sgxClaims(), nil, &sgxOnly},
		{"without_policy", chip, nil, nil},
		{"outdated", outdated, nil, tdxPolicy},
		{"simulated", simulated, nil, nil},
		{"unchecked", unchecked, nil, nil},
		{"forged", attest.Claims{}, attest.Refuse(attest.BadSignature, "quote", "not by the attestation key"), &sgxOnly},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := attest.Verifiers{SGX: fixed(c.claims, c.err)}.Verdict(attest.Evidence{TEE: attest.SGX}, c.policy, now)
			text := attest.Explain(v)
			script, err := json.MarshalIndent(v, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, "verdict_"+c.name+".txt", fmt.Appendf(nil, "%s\n%s\n", text, script))
		})
	}
}

func TestSameProgram(t *testing.T) {
	sgx := func(change func(*attest.SGXClaims)) attest.Claims {
		c := attest.SGXClaims{MRENCLAVE: filled(1, 32), MRSIGNER: filled(2, 32), ISVSVN: 3}
		change(&c)
		return attest.Claims{TEE: attest.SGX, SGX: &c}
	}
	tdx := func(change func(*attest.TDXClaims)) attest.Claims {
		c := attest.TDXClaims{MRTD: filled(1, 48), RTMR3: filled(2, 48)}
		change(&c)
		return attest.Claims{TEE: attest.TDX, TDX: &c}
	}
	snp := func(change func(*attest.SNPClaims)) attest.Claims {
		c := attest.SNPClaims{Measurement: filled(1, 48), HostData: filled(2, 32)}
		change(&c)
		return attest.Claims{TEE: attest.SNP, SNP: &c}
	}
	enclave, guest, machine := sgx(func(*attest.SGXClaims) {}), tdx(func(*attest.TDXClaims) {}), snp(func(*attest.SNPClaims) {})
	for name, tt := range map[string]struct {
		a, b attest.Claims
		want bool
	}{
		"enclave":            {enclave, sgx(func(*attest.SGXClaims) {}), true},
		"enclave, MRENCLAVE": {enclave, sgx(func(c *attest.SGXClaims) { c.MRENCLAVE = filled(9, 32) }), false},
		"enclave, MRSIGNER":  {enclave, sgx(func(c *attest.SGXClaims) { c.MRSIGNER = filled(9, 32) }), false},
		"guest":              {guest, tdx(func(c *attest.TDXClaims) { c.RTMR3 = filled(9, 48) }), true},
		"guest, MRTD":        {guest, tdx(func(c *attest.TDXClaims) { c.MRTD = filled(9, 48) }), false},
		"machine":            {machine, snp(func(*attest.SNPClaims) {}), true},
		"machine, launch":    {machine, snp(func(c *attest.SNPClaims) { c.Measurement = filled(9, 48) }), false},
		"machine, host data": {machine, snp(func(c *attest.SNPClaims) { c.HostData = filled(9, 32) }), false},
		"another TEE":        {enclave, guest, false},
		"none":               {attest.Claims{}, attest.Claims{}, false},
		"without claims":     {enclave, attest.Claims{TEE: attest.SGX}, false},
	} {
		if tt.a.SameProgram(tt.b) != tt.want || tt.b.SameProgram(tt.a) != tt.want {
			t.Errorf("%s: not %t", name, tt.want)
		}
	}
}
