package intel_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	. "github.com/holdfast-kms/holdfast/attest/intel/inteltest"
)

// TestGather puts PCS's answers together, in any order and form.
func TestGather(t *testing.T) {
	r := New(attest.SGX, 3)
	m := r.Mint(t)
	want := m.Collateral
	answer := func(member, name string) []byte {
		return fmt.Appendf(nil, `{"%s":%s,"signature":"%s"}`, member, want[name], want[name+"_signature"])
	}
	rootCRL, pckCRL := fromHex(want["root_ca_crl"]), fromHex(want["pck_crl"])
	whole, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	for name, parts := range map[string][][]byte{
		"DER": {answer("tcbInfo", "tcb_info"), answer("enclaveIdentity", "qe_identity"), []byte(want["tcb_info_issuer_chain"]),
			[]byte(want["pck_crl_issuer_chain"]), rootCRL, pckCRL},
		"PEM and hexadecimal, another order": {pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: pckCRL}), []byte(hex.EncodeToString(rootCRL) + "\n"),
			[]byte(want["pck_crl_issuer_chain"] + "\n"), []byte(want["tcb_info_issuer_chain"]), answer("enclaveIdentity", "qe_identity"), answer("tcbInfo", "tcb_info")},
		"whole":               {whole},
		"whole, list renewed": {whole, pckCRL},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := intel.Gather(parts...)
			if err != nil {
				t.Fatal(err)
			}
			ev := attest.Evidence{Quote: m.Quote, Collateral: got}
			claims, err := prove(ev, r.Now)
			if err != nil || !claims.RevocationChecked {
				t.Errorf("revocation checked %t, %v", claims.RevocationChecked, err)
			}
		})
	}
}

func TestGatherRefuses(t *testing.T) {
	m := New(attest.SGX, 3).Mint(t)
	list := fromHex(m.Collateral["pck_crl"])
	for name, part := range map[string][]byte{
		"nothing":              {},
		"garbage":              []byte("garbage"),
		"list with more":       append(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list}), 'x'),
		"JSON of another kind": []byte(`{"tcb":1}`),
		"JSON with more":       []byte(`{} {}`),
		"torn chain":           []byte(m.Collateral["tcb_info_issuer_chain"][:200]),
		"key":                  []byte("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"),
		"too long":             bytes.Repeat([]byte(" "), 5<<20),
	} {
		if got, err := intel.Gather(part); attest.ReasonOf(err) != attest.Malformed {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// TestCollateralRoundTrip prints what it read.
func TestCollateralRoundTrip(t *testing.T) {
	ev := New(attest.TDX, 4).Evidence(t)
	first, err := intel.ParseCollateral(ev.Collateral)
	if err != nil {
		t.Fatal(err)
	}
	printed, err := first.Encode()
	if err != nil {
		t.Fatal(err)
	}
	second, err := intel.ParseCollateral(printed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error(diff)
	}
}
