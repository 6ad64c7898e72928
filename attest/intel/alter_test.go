package intel_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	. "github.com/holdfast-kms/holdfast/attest/intel/inteltest"
)

// flipped is b with one bit of byte i altered; which one differs from byte to byte.
func flipped(b []byte, i int) []byte {
	out := bytes.Clone(b)
	out[i] ^= 1 << (i * 5 % 8)
	return out
}

// stride thins out the exhaustive tests: every byte of a few thousand, for a
// few kinds of evidence, takes minutes on a busy machine.
const stride = 5

// TestAlteredQuote alters bytes of a quote by one bit, others in each kind. No
// byte of it may be there without being looked at.
func TestAlteredQuote(t *testing.T) {
	forEachKind(t, func(t *testing.T, recipe func() *Recipe) {
		r := recipe()
		ev := r.Evidence(t)
		good := ev.Quote
		for i := len(good) % stride; i < len(good); i += stride {
			ev.Quote = flipped(good, i)
			if _, err := prove(ev, r.Now); err == nil {
				t.Fatalf("byte %d of %d altered, and accepted", i, len(good))
			}
		}
	})
}

// TestAlteredParts names the reason for the parts of a quote that are signed.
func TestAlteredParts(t *testing.T) {
	forEachKind(t, func(t *testing.T, recipe func() *Recipe) {
		r := recipe()
		ev := r.Evidence(t)
		signed := 48 + len(r.Body)
		inner := 4 + 64 + 64 // length, signature, key
		if r.Version == 5 {
			signed += 6
		}
		if r.Version > 3 {
			inner += 6
		}
		for _, part := range []struct {
			name string
			at   int
			want attest.Reason
		}{
			{"user data in the header", 30, attest.BadSignature},
			{"measurement", signed - 300, attest.BadSignature},
			{"report data", signed - 80, attest.BadSignature},
			{"last byte of the body", signed - 1, attest.BadSignature},
			{"signature", signed + 4 + 10, attest.BadSignature},
			{"attestation key", signed + 4 + 64 + 10, attest.BadKeyBinding},
			{"QE report", signed + inner + 70, attest.BadSignature},
			{"QE report data", signed + inner + AtReportData + 1, attest.BadSignature},
			{"signature of the QE report", signed + inner + 384 + 1, attest.BadSignature},
			{"auth data", signed + inner + 384 + 64 + 2, attest.BadKeyBinding},
		} {
			changed := ev
			changed.Quote = flipped(ev.Quote, part.at)
			if _, err := prove(changed, r.Now); attest.ReasonOf(err) != part.want {
				t.Errorf("%s: %v, want %q", part.name, err, part.want)
			}
		}
	})
}

// TestAlteredCollateral alters bytes of each member by one bit.
func TestAlteredCollateral(t *testing.T) {
	for _, kind := range kinds[:2] {
		r := kind.recipe()
		m := r.Mint(t)
		for name, good := range m.Collateral {
			decode, encode := text, text
			if slices.Contains([]string{"root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"}, name) {
				decode, encode = fromHex, toHex
			}
			raw := decode(good)
			for i := len(raw) % stride; i < len(raw); i += stride {
				m.Collateral[name] = string(encode(string(flipped(raw, i))))
				if _, err := prove(m.Evidence(t), r.Now); err == nil {
					t.Fatalf("%s: byte %d of %d altered, and accepted", name, i, len(raw))
				}
			}
			m.Collateral[name] = good
		}
	}
}

func text(s string) []byte  { return []byte(s) }
func toHex(s string) []byte { return []byte(hex.EncodeToString([]byte(s))) }
func fromHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err) // minted just now
	}
	return b
}

// TestAlteredLists names the reason for altered revocation lists.
func TestAlteredLists(t *testing.T) {
	r := New(attest.SGX, 3)
	for _, name := range []string{"root_ca_crl", "pck_crl"} {
		m := r.Mint(t)
		raw := fromHex(m.Collateral[name])
		m.Collateral[name] = hex.EncodeToString(flipped(raw, len(raw)-1))
		if _, err := prove(m.Evidence(t), r.Now); attest.ReasonOf(err) != attest.BrokenChain {
			t.Errorf("%s: %v", name, err)
		}
		m.Collateral[name] = hex.EncodeToString(append(raw, 0))
		if _, err := prove(m.Evidence(t), r.Now); attest.ReasonOf(err) != attest.Malformed {
			t.Errorf("%s, longer: %v", name, err)
		}
	}
}

// TestLengths truncates, extends and appends.
func TestLengths(t *testing.T) {
	forEachKind(t, func(t *testing.T, recipe func() *Recipe) {
		r := recipe()
		ev := r.Evidence(t)
		refuse := func(name string, quote []byte) {
			t.Helper()
			changed := ev
			changed.TEE, changed.Quote = r.TEE, quote
			if _, err := prove(changed, r.Now); attest.ReasonOf(err) != attest.Malformed {
				t.Errorf("%s: %v", name, err)
			}
		}
		for n := range ev.Quote {
			refuse("truncated", ev.Quote[:n])
		}
		refuse("a byte after it", append(bytes.Clone(ev.Quote), 0))
		refuse("twice", append(bytes.Clone(ev.Quote), ev.Quote...))
		refuse("huge", append(bytes.Clone(ev.Quote), make([]byte, 1<<20)...))
		signed := 48 + len(r.Body)
		if r.Version == 5 {
			signed += 6
		}
		refuse("a byte after the signature, counted", grow(ev.Quote, signed))
		if r.Version > 3 {
			refuse("a byte after the QE report, counted twice", grow(ev.Quote, signed, signed+4+128+2))
		}
		for _, length := range []uint32{0, 1, 0x7fffffff, 0x80000000, 0xffffffff} {
			quote := bytes.Clone(ev.Quote)
			binary.LittleEndian.PutUint32(quote[signed:], length)
			refuse("length of the signature", quote)
		}
	})
}

// TestTooLong is a quote that is longer than any platform makes one, and holds.
func TestTooLong(t *testing.T) {
	forEachKind(t, func(t *testing.T, recipe func() *Recipe) {
		for length, want := range map[int]attest.Reason{20_000: "", 60_000: attest.Malformed} {
			r := recipe()
			r.AuthData = make([]byte, length)
			if _, err := prove(r.Evidence(t), r.Now); attest.ReasonOf(err) != want {
				t.Errorf("%d bytes of auth data: %v, want %q", length, err, string(want))
			}
		}
	})
}

// grow appends a byte and counts it in the lengths at these places, each of
// which reaches to the end of the quote.
func grow(quote []byte, lengths ...int) []byte {
	out := append(bytes.Clone(quote), 0)
	for _, i := range lengths {
		binary.LittleEndian.PutUint32(out[i:], uint32(len(out)-i-4))
	}
	return out
}

// TestHeaders are quotes that begin as nothing that is taken.
func TestHeaders(t *testing.T) {
	for _, c := range []struct {
		name string
		kind int
		at   int
		to   byte
		want attest.Reason
	}{
		{"version 2", 0, 0, 2, attest.Unsupported},
		{"version 6", 1, 0, 6, attest.Unsupported},
		{"version 259", 0, 1, 1, attest.Unsupported},
		{"SGX in version 4", 0, 0, 4, attest.Unsupported},
		{"TDX in version 3", 1, 0, 3, attest.Unsupported},
		{"ECDSA P-384", 0, 2, 3, attest.Unsupported},
		{"TEE type in version 3", 0, 4, 0x81, attest.Unsupported},
		{"another vendor's quoting enclave", 0, 12, 0, attest.Unsupported},
		{"SGX in a quote of TDX", 1, 4, 0, attest.Unsupported},
		{"body of SGX in version 5", 2, 48, 1, attest.Unsupported},
		{"body of TDX 1.5 with the length of 1.0", 2, 48, 3, attest.Malformed},
		{"length of the body", 3, 50, 0, attest.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := kinds[c.kind].recipe()
			ev := r.Evidence(t)
			ev.TEE = r.TEE
			ev.Quote[c.at] = c.to
			if _, err := prove(ev, r.Now); attest.ReasonOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestCollateralForm is about the JSON around the signed parts.
func TestCollateralForm(t *testing.T) {
	r := New(attest.SGX, 3)
	for _, c := range []struct {
		name  string
		spoil func(c map[string]string) any
		want  attest.Reason
	}{
		{"unknown member", func(c map[string]string) any { c["pck_crI"] = c["pck_crl"]; return c }, attest.Malformed},
		{"member in another case", func(c map[string]string) any { c["PCK_CRL"] = c["pck_crl"]; delete(c, "pck_crl"); return c }, attest.Malformed},
		{"list that is no hexadecimal", func(c map[string]string) any { c["pck_crl"] = "x"; return c }, attest.Malformed},
		{"list that is none", func(c map[string]string) any { c["pck_crl"] = "3000"; return c }, attest.Malformed},
		{"issuer chain without its list", func(c map[string]string) any { delete(c, "pck_crl"); return c }, attest.MissingCollateral},
		{"no TCB info", func(c map[string]string) any { delete(c, "tcb_info"); return c }, attest.MissingCollateral},
		{"no signature of the TCB info", func(c map[string]string) any { delete(c, "tcb_info_signature"); return c }, attest.MissingCollateral},
		{"no issuer chain of the TCB info", func(c map[string]string) any { delete(c, "tcb_info_issuer_chain"); return c }, attest.MissingCollateral},
		{"no QE identity", func(c map[string]string) any { delete(c, "qe_identity"); return c }, attest.MissingCollateral},
		{"short signature", func(c map[string]string) any { c["tcb_info_signature"] = "00"; return c }, attest.BadSignature},
		{"signature of zeros", func(c map[string]string) any {
			c["tcb_info_signature"] = string(toHex(string(make([]byte, 64))))
			return c
		}, attest.BadSignature},
		{"signatures swapped", func(c map[string]string) any {
			c["tcb_info_signature"], c["qe_identity_signature"] = c["qe_identity_signature"], c["tcb_info_signature"]
			return c
		}, attest.BadSignature},
		{"space in the TCB info", func(c map[string]string) any { c["tcb_info"] += " "; return c }, attest.BadSignature},
		{"text before a chain", func(c map[string]string) any {
			c["tcb_info_issuer_chain"] = "x\n" + c["tcb_info_issuer_chain"]
			return c
		}, attest.Malformed},
		{"text after a chain", func(c map[string]string) any { c["tcb_info_issuer_chain"] += "x"; return c }, attest.Malformed},
		{"not an object", func(c map[string]string) any { return []any{c} }, attest.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := r.Mint(t)
			ev := m.Evidence(t)
			spoilt, err := json.Marshal(c.spoil(m.Collateral))
			if err != nil {
				t.Fatal(err)
			}
			ev.Collateral = spoilt
			if _, err := prove(ev, r.Now); attest.ReasonOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
	ev := r.Evidence(t)
	for name, collateral := range map[string][]byte{
		"trailing bytes": append(bytes.Clone(ev.Collateral), "{}"...),
		"a member twice": append([]byte(`{"tcb_info":"",`), ev.Collateral[1:]...),
		"too long":       append(bytes.Repeat([]byte(" "), 5<<20), ev.Collateral...),
		"not text":       {0xff, 0xfe},
	} {
		ev.Collateral = collateral
		if _, err := prove(ev, r.Now); attest.ReasonOf(err) != attest.Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	ev.Collateral = nil
	if _, err := prove(ev, r.Now); attest.ReasonOf(err) != attest.MissingCollateral {
		t.Errorf("none: %v", err)
	}
}
