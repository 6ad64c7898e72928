package govern_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"crypto/ed25519"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

func TestEnvelopeRefused(t *testing.T) {
	id := strings.Repeat("ab", 32)
	whole := fmt.Sprintf(`{"payload":"e30=","payloadType":%q,"signatures":[{"keyid":%q,"sig":"AAAA"}]}`, string(govern.PolicyType), id)
	if _, err := govern.ParseEnvelope([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("%q is not in the envelope", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	tests := []struct {
		name, doc string
		kind      kms.Kind
		field     string
	}{
		{"empty", ``, kms.Invalid, ""},
		{"null", `null`, kms.Invalid, ""},
		{"no members", `{}`, kms.Invalid, "payload"},
		{"trailing", whole + "{}", kms.Invalid, ""},
		{"unknown member", swap(`{`, `{"expires":1,`), kms.Invalid, "expires"},
		{"member twice", swap(`{`, `{"payload":"e30=",`), kms.Invalid, "payload"},
		{"payload null", swap(`"e30="`, `null`), kms.Invalid, "payload"},
		{"payload in URL alphabet", swap(`e30=`, `_w==`), kms.Invalid, "payload"},
		{"payload without padding", swap(`e30=`, `e30`), kms.Invalid, "payload"},
		{"payload with line break", swap(`e30=`, `e3\n0=`), kms.Invalid, "payload"},
		{"payload with padding bits", swap(`e30=`, `e31=`), kms.Invalid, "payload"},
		{"type missing", swap(fmt.Sprintf(`"payloadType":%q,`, string(govern.PolicyType)), ``), kms.Invalid, "payloadType"},
		{"type unknown", swap(`policy.v1`, `policy.v2`), kms.Invalid, "payloadType"},
		{"type in another case", swap(`policy.v1`, `Policy.v1`), kms.Invalid, "payloadType"},
		{"signatures missing", swap(fmt.Sprintf(`,"signatures":[{"keyid":%q,"sig":"AAAA"}]`, id), ``), kms.Invalid, "signatures"},
		{"signature null", swap(fmt.Sprintf(`{"keyid":%q,"sig":"AAAA"}`, id), `null`), kms.Invalid, "signatures/0"},
		{"keyid missing", swap(fmt.Sprintf(`"keyid":%q,`, id), ``), kms.Invalid, "signatures/0/keyid"},
		{"keyid short", swap(id, id[2:]), kms.Invalid, "signatures/0"},
		{"keyid in upper case", swap(id, strings.ToUpper(id)), kms.Invalid, "signatures/0"},
		{"sig missing", swap(`,"sig":"AAAA"`, ``), kms.Invalid, "signatures/0/sig"},
		{"sig not base64", swap(`AAAA`, `A`), kms.Invalid, "signatures/0"},
		{"too many signatures", swap(fmt.Sprintf(`{"keyid":%q,"sig":"AAAA"}`, id), strings.TrimSuffix(strings.Repeat(fmt.Sprintf(`{"keyid":%q,"sig":"AAAA"},`, id), govern.MaxSignatures+1), ",")), kms.TooLarge, "signatures"},
		{"too long", whole + strings.Repeat(" ", govern.MaxEnvelope), kms.TooLarge, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := govern.ParseEnvelope([]byte(tt.doc))
			if e != nil {
				t.Error("an envelope came back")
			}
			checkInvalid(t, err, tt.kind, tt.field)
		})
	}
}

// What is signed must be the canonical form, byte for byte, and short.
func TestPayloadRefused(t *testing.T) {
	r := newRealm(t)
	whole := string(r.after(r.founding.Policy).Canonical())
	for name, tt := range map[string]struct {
		payload string
		kind    kms.Kind
		field   string
		text    string
	}{
		"white space":       {whole + "\n", kms.Invalid, "payload", "not in canonical form"},
		"escaped":           {strings.Replace(whole, `"v1"`, `"v\u0031"`, 1), kms.Invalid, "payload", "not in canonical form"},
		"other duration":    {strings.Replace(whole, `"24h0m0s"`, `"24h"`, 1), kms.Invalid, "payload", "not in canonical form"},
		"measure in caps":   {strings.Replace(whole, strings.Repeat("70", 32), strings.Repeat("7F", 32), 1), kms.Invalid, "payload", "not in canonical form"},
		"optional, empty":   {strings.Replace(whole, `"attestation":{}`, `"attestation":{"sgx":{}}`, 1), kms.Invalid, "payload", "not in canonical form"},
		"other order":       {strings.Replace(whole, `{"version":1,`, `{`, 1)[:len(whole)-len(`"version":1,`)-1] + `,"version":1}`, kms.Invalid, "payload", "not in canonical form"},
		"member missing":    {strings.Replace(whole, `"halt":false,`, ``, 1), kms.Invalid, "halt", "missing"},
		"member null":       {strings.Replace(whole, `"halt":false,`, `"halt":null,`, 1), kms.Invalid, "halt", "null"},
		"not valid":         {strings.Replace(whole, `"serial":2`, `"serial":0`, 1), kms.Invalid, "serial", "serials go from 1"},
		"longer than taken": {whole + strings.Repeat(" ", govern.MaxDocument), kms.TooLarge, "", "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.payload == whole {
				t.Fatal("nothing was changed")
			}
			env := signed(t, govern.PolicyType, raw(tt.payload), r.signers[0], r.signers[1])
			_, err := r.founding.Standing.OpenPolicy(env)
			checkError(t, err, tt.kind, tt.field, tt.text)
		})
	}
}

type raw string

func (r raw) Canonical() []byte { return []byte(r) }

// Parsing a draft takes what signing does not.
func TestDraftOfAPolicy(t *testing.T) {
	want := newRealm(t).policy(1)
	draft := strings.NewReplacer(`"24h0m0s"`, ` "24h" `, strings.Repeat("70", 32), strings.Repeat("70", 32), `"attestation":{}`, `"attestation": {"sgx": {}}`).
		Replace(string(want.Canonical()))
	got, err := govern.ParsePolicy([]byte(draft))
	if err != nil || got.Digest() != want.Digest() {
		t.Errorf("%v; want the same policy", err)
	}
}

func TestSignReplacesOnesOwn(t *testing.T) {
	a, b := key(t, 1), p256Key(t)
	env := govern.NewEnvelope(govern.PolicyType, []byte("{}"))
	for _, k := range []*govern.PrivateKey{a, b, a, b, a} {
		var err error
		if env, err = govern.Sign(env, k); err != nil {
			t.Fatal(err)
		}
	}
	e, err := govern.ParseEnvelope(env)
	if err != nil || len(e.Signatures) != 2 || !e.SignedBy(a.Public()) || !e.SignedBy(b.Public()) || e.SignedBy(key(t, 2).Public()) {
		t.Errorf("%s, %v", env, err)
	}
	e.Type = govern.TicketType
	if e.SignedBy(a.Public()) || e.SignedBy(b.Public()) {
		t.Error("a signature holds for another type")
	}
	for name, k := range map[string]*govern.PrivateKey{"nil": nil, "zero": {}} {
		_, err := govern.Sign(env, k)
		checkError(t, err, kms.Invalid, "", name[:0]+"private key: none")
	}
	if _, err := govern.Sign([]byte("{}"), a); !errors.Is(err, kms.Invalid) {
		t.Errorf("an envelope that is none was signed: %v", err)
	}
}

func TestSignStopsAtTheLimit(t *testing.T) {
	e := &govern.Envelope{Type: govern.PolicyType, Payload: []byte("{}")}
	for i := range govern.MaxSignatures {
		e.Signatures = append(e.Signatures, govern.Signature{KeyID: fmt.Sprintf("%064x", i), Sig: []byte{1}})
	}
	_, err := govern.Sign(e.Encode(), key(t, 1))
	checkError(t, err, kms.TooLarge, "signatures", "")
}

// Under a key of small order anyone signs: R the neutral point, S zero holds for
// one message in eight or more. Each entry of the list is shown to be such a key.
func TestKeysOfSmallOrderAreRefused(t *testing.T) {
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1
	for _, text := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000",
		"0100000000000000000000000000000000000000000000000000000000000000",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	} {
		for _, sign := range []byte{0, 0x80} {
			weak, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			weak[31] |= sign
			if k, err := govern.NewPublicKey(ed25519.PublicKey(weak)); !errors.Is(err, kms.Invalid) {
				t.Errorf("%x is taken as %s", weak, k)
			}
			holds := false
			for i := range 200 {
				holds = holds || ed25519.Verify(weak, fmt.Append(nil, i), forged)
			}
			// With the other sign some of these are no points at all.
			if !holds && sign == 0 {
				t.Errorf("%x is no key of small order", weak)
			}
		}
	}
	strong := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{1}, 32)).Public()
	if _, err := govern.NewPublicKey(strong); err != nil {
		t.Error(err)
	}
}

func TestCode(t *testing.T) {
	_, env := readLife(t)
	code := govern.EncodeCode(env["ticket"])
	if b, err := govern.DecodeCode(code); err != nil || !bytes.Equal(b, env["ticket"]) {
		t.Errorf("%s, %v", b, err)
	}
	if strings.ContainsAny(code, "+/= \n") || len(code) > 1200 {
		t.Errorf("a code of %d characters: %s", len(code), code)
	}
	for name, bad := range map[string]string{"padding": code + "=", "line break": code[:8] + "\n" + code[8:], "standard alphabet": "ab+/", "bits left": "AB"} {
		if _, err := govern.DecodeCode(bad); !errors.Is(err, kms.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := govern.DecodeCode(base64.RawURLEncoding.EncodeToString(make([]byte, govern.MaxEnvelope+1)))
	checkError(t, err, kms.TooLarge, "", "")
}
