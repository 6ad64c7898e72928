package govern_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

func replaceOnce(t *testing.T, s, old, new string) string {
	t.Helper()
	if strings.Count(s, old) != 1 {
		t.Fatalf("%q is in %q %d times", old, s, strings.Count(s, old))
	}
	return strings.Replace(s, old, new, 1)
}

func rule(ops kms.Usages, programs ...govern.Identity) govern.ConditionRule {
	return govern.ConditionRule{Operations: ops, Programs: programs}
}

func condition(rules ...govern.ConditionRule) *govern.Condition {
	return &govern.Condition{Rules: rules}
}

func TestConditionForm(t *testing.T) {
	c := condition(rule(kms.EncryptDecrypt, enclave(1)), rule(kms.Usages(kms.UseMAC), td(2), guest(3)))
	want := fmt.Sprintf(`{"rules":[{"operations":["encrypt","decrypt"],"programs":[{"sgx":{"mrenclave":"%s"}}]},`+
		`{"operations":["mac"],"programs":[{"tdx":{"mrtd":"%[2]s","rtmr1":"%[2]s","rtmr2":"%[2]s"}},{"snp":{"measurement":"%[3]s"}}]}]}`,
		strings.Repeat("01", 32), strings.Repeat("02", 48), strings.Repeat("03", 48))
	if got := string(c.Canonical()); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if again, err := govern.ParseCondition([]byte(want)); err != nil || string(again.Canonical()) != want {
		t.Errorf("%v", err)
	}
	many := make([]govern.ConditionRule, govern.MaxRules+1)
	for name, tt := range map[string]struct {
		doc   string
		field string
	}{
		"no rules member":      {`{}`, "rules"},
		"rules null":           {`{"rules":null}`, "rules"},
		"no operation":         {replaceOnce(t, want, `["mac"]`, `[]`), "rules/1/operations"},
		"unknown operation":    {replaceOnce(t, want, `["mac"]`, `["export"]`), "rules/1/operations"},
		"operation twice":      {replaceOnce(t, want, `["mac"]`, `["mac","mac"]`), "rules/1/operations"},
		"operations as text":   {replaceOnce(t, want, `["mac"]`, `"mac"`), "rules/1/operations"},
		"two names in one":     {replaceOnce(t, want, `["encrypt","decrypt"]`, `["encrypt,decrypt"]`), "rules/0/operations"},
		"no program":           {replaceOnce(t, want, `[{"sgx":{"mrenclave":"`+strings.Repeat("01", 32)+`"}}]`, `[]`), "rules/0/programs"},
		"program that is none": {replaceOnce(t, want, `{"sgx":{"mrenclave":"`+strings.Repeat("01", 32)+`"}}`, `{}`), "rules/0/programs/0"},
		"too many":             {string(condition(many...).Canonical()), "rules"},
	} {
		_, err := govern.ParseCondition([]byte(tt.doc))
		t.Run(name, func(t *testing.T) { checkInvalid(t, err, kms.Invalid, tt.field) })
	}
}

func TestConditionAdmits(t *testing.T) {
	c := condition(rule(kms.EncryptDecrypt, enclave(1), ofSigner(0x83, 0, 3)), rule(kms.Usages(kms.UseSign), enclave(2)))
	fits, bySigner, signs := claims(1, 0), claims(9, 0x83), claims(2, 0)
	outdated := fits
	outdated.Status = attest.OutOfDate
	for _, tt := range []struct {
		name string
		op   kms.Usage
		c    attest.Claims
		want bool
	}{
		{"listed", kms.UseDecrypt, fits, true},
		{"by signer", kms.UseEncrypt, bySigner, true},
		{"other rule's program", kms.UseEncrypt, signs, false},
		{"other rule's operation", kms.UseSign, fits, false},
		{"its own", kms.UseSign, signs, true},
		{"operation of no rule", kms.UseMAC, fits, false},
		{"no operation", 0, fits, false},
		{"two operations of which one is named", kms.UseSign | kms.UseVerify, signs, false},
		{"platform out of date", kms.UseDecrypt, outdated, false},
		{"no claims", kms.UseDecrypt, attest.Claims{}, false},
	} {
		err := c.Admits(tt.op, tt.c, govern.Requirements{}, now)
		if (err == nil) != tt.want || err != nil && !errors.Is(err, kms.Denied) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	tolerant := govern.Requirements{SGX: attest.Terms{Statuses: []attest.TCBStatus{attest.OutOfDate}}}
	if err := c.Admits(kms.UseDecrypt, outdated, tolerant, now); err != nil {
		t.Error(err)
	}
	if err := c.Admits(kms.UseDecrypt, fits, govern.Requirements{}, fits.ValidUntil.Add(1)); !errors.Is(err, kms.Denied) {
		t.Errorf("past the evidence's end: %v", err)
	}
	for name, nobody := range map[string]*govern.Condition{"nil": nil, "zero": {}} {
		if err := nobody.Admits(kms.UseDecrypt, fits, govern.Requirements{}, now); !errors.Is(err, kms.Denied) || kms.HintOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNarrows(t *testing.T) {
	base := condition(rule(kms.EncryptDecrypt, enclave(1), ofSigner(0x83, 0, 3)), rule(kms.Usages(kms.UseSign), enclave(2)))
	for name, tt := range map[string]struct {
		c, old *govern.Condition
		want   bool
	}{
		"itself":                     {base, base, true},
		"nobody":                     {condition(), base, true},
		"from nobody":                {base, condition(), false},
		"nobody from nobody":         {condition(), condition(), true},
		"to none":                    {nil, base, false},
		"from none":                  {base, nil, true},
		"none from none":             {nil, nil, true},
		"fewer programs":             {condition(rule(kms.EncryptDecrypt, enclave(1))), base, true},
		"fewer operations":           {condition(rule(kms.Usages(kms.UseDecrypt), enclave(1))), base, true},
		"split over rules":           {condition(rule(kms.Usages(kms.UseDecrypt), enclave(1)), rule(kms.Usages(kms.UseEncrypt), enclave(1))), base, true},
		"higher SVN":                 {condition(rule(kms.EncryptDecrypt, ofSigner(0x83, 0, 4))), base, true},
		"lower SVN":                  {condition(rule(kms.EncryptDecrypt, ofSigner(0x83, 0, 2))), base, false},
		"more programs":              {condition(rule(kms.EncryptDecrypt, enclave(1), enclave(3))), base, false},
		"more operations":            {condition(rule(kms.EncryptDecrypt|kms.Usages(kms.UseSign), enclave(1))), base, false},
		"program of another rule":    {condition(rule(kms.EncryptDecrypt, enclave(2))), base, false},
		"other TEE":                  {condition(rule(kms.EncryptDecrypt, td(1))), base, false},
		"MRENCLAVE said to be of it": {condition(rule(kms.EncryptDecrypt, enclave(9))), base, false},
	} {
		if got := tt.c.Narrows(tt.old); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Every field of an identity makes a difference to Narrows, so a field that is
// new in package attest cannot be forgotten here.
func TestNarrowsKnowsEveryField(t *testing.T) {
	product := uint16(1)
	hx := func(n int) attest.Hex { return bytes.Repeat([]byte{0xff}, n) }
	for _, full := range []govern.Identity{
		{SGX: &attest.SGXIdentity{MRENCLAVE: hx(32), MRSIGNER: hx(32), ISVProdID: &product, MinISVSVN: 2, ConfigID: hx(64), MinConfigSVN: 2, Attributes: hx(16), AttributesMask: hx(16)}},
		{TDX: &attest.TDXIdentity{MRTD: hx(48), RTMR0: hx(48), RTMR1: hx(48), RTMR2: hx(48), RTMR3: hx(48), MRConfigID: hx(48), MROwner: hx(48), MROwnerConfig: hx(48),
			MRSEAM: hx(48), MinTEETCBSVN: hx(16), TDAttributes: hx(8), TDAttributesMask: hx(8), XFAM: hx(8), XFAMMask: hx(8)}},
		{SNP: &attest.SNPIdentity{Measurement: hx(48), IDKeyDigest: hx(48), AuthorKeyDigest: hx(48), FamilyID: hx(16), ImageID: hx(16), HostData: hx(32), MinGuestSVN: 2,
			MaxVMPL: 1, MinTCB: attest.SNPTCB{SNP: 2}, MinABI: 2, Products: []string{"Milan"}, MigrationAgent: true, NoSMT: true, VLEK: true}},
	} {
		narrows := func(narrow, wide govern.Identity) bool {
			return condition(rule(1, narrow)).Narrows(condition(rule(1, wide)))
		}
		if err := full.Validate(); err != nil || !narrows(full, full) {
			t.Fatalf("%s: %v", full, err)
		}
		for i := range inner(full).NumField() {
			name := inner(full).Type().Field(i).Name
			if reflect.ValueOf(inner(full).Field(i).Interface()).IsZero() {
				t.Errorf("%s: give %s a value", full.TEE(), name)
			}
			without := clone(full)
			inner(without).Field(i).SetZero()
			widens := name != "MaxVMPL" && name != "MigrationAgent" && name != "VLEK" // these admit more when set
			seen := narrows(without, full) != widens
			if without.Validate() == nil {
				seen = seen && narrows(full, without) == widens
			}
			if !seen {
				t.Errorf("%s: %s goes unseen, or the wrong way", full.TEE(), name)
			}
			other := clone(full)
			if h, ok := inner(other).Field(i).Interface().(attest.Hex); ok {
				changed := append(attest.Hex{}, h...)
				changed[len(changed)-1] = 0
				inner(other).Field(i).Set(reflect.ValueOf(changed))
				if narrows(other, full) {
					t.Errorf("%s: another %s goes unseen", full.TEE(), name)
				}
			}
		}
	}
}

func inner(id govern.Identity) reflect.Value {
	switch id.TEE() {
	case attest.SGX:
		return reflect.ValueOf(id.SGX).Elem()
	case attest.TDX:
		return reflect.ValueOf(id.TDX).Elem()
	}
	return reflect.ValueOf(id.SNP).Elem()
}

func clone(id govern.Identity) govern.Identity {
	switch id.TEE() {
	case attest.SGX:
		c := *id.SGX
		return govern.Identity{SGX: &c}
	case attest.TDX:
		c := *id.TDX
		return govern.Identity{TDX: &c}
	}
	c := *id.SNP
	return govern.Identity{SNP: &c}
}
