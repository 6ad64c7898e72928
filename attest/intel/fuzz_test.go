package intel_test

import (
	"encoding/json"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	. "github.com/holdfast-kms/holdfast/attest/intel/inteltest"
)

// FuzzCollateral verifies a good quote with collateral of the fuzzer's making.
func FuzzCollateral(f *testing.F) {
	r := New(attest.SGX, 3)
	m := r.Mint(f)
	f.Add(m.Evidence(f).Collateral)
	f.Add([]byte(`{"tcb_info":"{}","pck_crl":"3000"}`))
	f.Fuzz(func(t *testing.T, collateral []byte) {
		c, err := intel.ParseCollateral(collateral)
		if err != nil {
			return
		}
		printed, err := c.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := intel.ParseCollateral(printed); err != nil {
			t.Errorf("cannot read what it printed: %v", err)
		}
		// Claims may come out if only the form differs, but never other ones.
		if claims, err := prove(attest.Evidence{Quote: m.Quote, Collateral: collateral}, r.Now); err == nil && claims.Status != attest.UpToDate {
			t.Errorf("status %q", claims.Status)
		}
	})
}

// FuzzMembers puts the fuzzer's bytes into one member of good collateral.
func FuzzMembers(f *testing.F) {
	r := New(attest.SGX, 3)
	m := r.Mint(f)
	for name, value := range m.Collateral {
		f.Add(name, value)
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		good, known := m.Collateral[name]
		if !known {
			return
		}
		altered := map[string]string{}
		for k, v := range m.Collateral {
			altered[k] = v
		}
		altered[name] = value
		collateral, err := json.Marshal(altered)
		if err != nil {
			t.Skip()
		}
		claims, err := prove(attest.Evidence{Quote: m.Quote, Collateral: collateral}, r.Now)
		if err == nil && claims.RevocationChecked && value != good && !sameButForm(value, good) {
			t.Errorf("accepted another %s", name)
		}
	})
}

// sameButForm allows for what is not signed: the case of hexadecimal digits,
// line ends of PEM, and a chain that is left out.
func sameButForm(value, good string) bool {
	if value == "" {
		return true
	}
	strip := func(s string) (out string) {
		for _, c := range s {
			switch {
			case c == '\r' || c == '\n' || c == 0:
			case 'A' <= c && c <= 'F':
				out += string(c + 'a' - 'A')
			default:
				out += string(c)
			}
		}
		return out
	}
	return strip(value) == strip(good)
}

func FuzzSGXExtension(f *testing.F) {
	f.Add(SGXExtension(DefaultMembers()))
	f.Add([]byte{0x30, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		if p, err := intel.ParseSGXExtension(der); (p == nil) != (err != nil) {
			t.Errorf("%v, %v", p, err)
		}
	})
}

func FuzzStatements(f *testing.F) {
	for _, tee := range []attest.TEE{attest.SGX, attest.TDX} {
		m := New(tee, map[attest.TEE]int{attest.SGX: 3, attest.TDX: 4}[tee]).Mint(f)
		f.Add([]byte(m.Collateral["tcb_info"]))
		f.Add([]byte(m.Collateral["qe_identity"]))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if info, err := intel.ParseTCBInfo(text); err == nil {
			for _, l := range info.Levels {
				if len(l.TCB.SGX) != 16 || !l.Status.Known() {
					t.Errorf("level %+v", l)
				}
			}
		}
		if id, err := intel.ParseQEIdentity(text); err == nil && (len(id.MRSigner) != 32 || len(id.Attributes) != len(id.AttributesMask)) {
			t.Errorf("identity %+v", id)
		}
	})
}

func FuzzGather(f *testing.F) {
	m := New(attest.TDX, 4).Mint(f)
	f.Add([]byte(`{"tcbInfo":`+m.Collateral["tcb_info"]+`,"signature":"`+m.Collateral["tcb_info_signature"]+`"}`), fromHex(m.Collateral["pck_crl"]))
	f.Add([]byte(m.Collateral["pck_crl_issuer_chain"]), []byte(m.Collateral["root_ca_crl"]))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got, err := intel.Gather(a, b)
		if err != nil {
			return
		}
		if _, err := intel.ParseCollateral(got); err != nil {
			t.Errorf("gathered what cannot be read: %v", err)
		}
	})
}
