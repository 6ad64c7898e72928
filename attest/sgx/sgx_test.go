package sgx_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	. "github.com/holdfast-kms/holdfast/attest/intel/inteltest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
)

func filled(v byte, n int) attest.Hex {
	b := make(attest.Hex, n)
	for i := range b {
		b[i] = v
	}
	return b
}

// TestClaims reads each field of the report body from its place.
func TestClaims(t *testing.T) {
	r := New(attest.SGX, 3)
	got, err := sgx.Verify(r.Evidence(t), r.Now)
	if err != nil {
		t.Fatal(err)
	}
	want := &attest.SGXClaims{
		MRENCLAVE: MRENCLAVE, MRSIGNER: MRSIGNER, ISVProdID: 7, ISVSVN: 3,
		Attributes: append(attest.Hex{5}, filled(0, 15)...), MiscSelect: filled(0, 4),
		ConfigID: r.Body[192:256], ConfigSVN: 9, CPUSVN: filled(Svn, 16), PCESVN: 11,
	}
	if diff := cmp.Diff(want, got.SGX); diff != "" {
		t.Error(diff)
	}
	if got.Debug || got.TDX != nil || got.SNP != nil {
		t.Errorf("debug %t, %v, %v", got.Debug, got.TDX, got.SNP)
	}
}

// TestDebug is a claim, for the policy to judge.
func TestDebug(t *testing.T) {
	r := New(attest.SGX, 3)
	r.Body[AtAttributes] |= 2
	ev := r.Evidence(t)
	claims, err := sgx.Verify(ev, r.Now)
	if err != nil || !claims.Debug {
		t.Fatalf("debug %t, %v", claims.Debug, err)
	}
	p := attest.Policy{SGX: attest.SGXPolicy{Terms: attest.Terms{Simulated: true}, Identities: []attest.SGXIdentity{{MRENCLAVE: MRENCLAVE}}}}
	verifiers := attest.Verifiers{SGX: sgx.Verify}
	if _, err := verifiers.Verify(ev, p, r.Now); attest.ReasonOf(err) != attest.DebugEnabled {
		t.Error(err)
	}
	p.SGX.Debug = true
	if _, err := verifiers.Verify(ev, p, r.Now); err != nil {
		t.Error(err)
	}
}

// TestClaimsAreKept shows that evidence altered after its verification alters
// no claim.
func TestClaimsAreKept(t *testing.T) {
	r := New(attest.SGX, 3)
	ev := r.Evidence(t)
	claims, err := sgx.Verify(ev, r.Now)
	if err != nil {
		t.Fatal(err)
	}
	clear(ev.Quote)
	clear(ev.Collateral)
	if !claims.SGX.MRENCLAVE.Equal(MRENCLAVE) || !claims.ReportData.Equal(ReportData) {
		t.Error("the claims share the memory of the evidence")
	}
}

// FuzzVerify looks for panics, and for quotes that verify and are not the one
// that was minted. What a quote says must be read back from it unchanged.
func FuzzVerify(f *testing.F) {
	r := New(attest.SGX, 3)
	ev := r.Evidence(f)
	genuine := string(ev.Quote)
	f.Add(ev.Quote)
	f.Add(ev.Quote[:1000])
	f.Fuzz(func(t *testing.T, quote []byte) {
		before := string(quote)
		q, err := sgx.Parse(quote)
		if err != nil && attest.ReasonOf(err) == "" {
			t.Error("an error without reason")
		}
		if q != nil && (len(q.Signed) != 432 || q.Report.ReportData == nil) {
			t.Errorf("parsed %d bytes", len(q.Signed))
		}
		_, err = sgx.Verify(attest.Evidence{Quote: quote, Collateral: ev.Collateral}, r.Now)
		if err == nil && before != genuine {
			t.Error("accepted a quote that was never minted")
		}
		if string(quote) != before {
			t.Error("changed its argument")
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	r := New(attest.SGX, 3)
	ev := r.Evidence(b)
	for b.Loop() {
		if _, err := sgx.Verify(ev, r.Now); err != nil {
			b.Fatal(err)
		}
	}
}
