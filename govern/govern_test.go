package govern_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// vector is the form of testdata/vectors.json. Its hashes come from a separate
// computation of the definitions in the package's comments.
type vector struct {
	Name            string `json:"name"`
	Charter         string `json:"charter"`
	CharterDigest   string `json:"charter_digest"`
	Bootstrap       string `json:"bootstrap"`
	BootstrapDomain string `json:"domain_id"`
}

func vectors(tb testing.TB) []vector {
	tb.Helper()
	var all []vector
	readJSON(tb, "vectors.json", &all)
	if len(all) < 3 {
		tb.Fatalf("%d vectors, want at least 3", len(all))
	}
	return all
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			charter, err := govern.ParseCharter([]byte(v.Charter))
			if err != nil {
				t.Fatal(err)
			}
			bootstrap, err := govern.ParseBootstrap([]byte(v.Bootstrap))
			if err != nil {
				t.Fatal(err)
			}
			got := vector{
				Name: v.Name, Charter: string(charter.Canonical()), CharterDigest: charter.Digest().String(),
				Bootstrap: string(bootstrap.Canonical()), BootstrapDomain: govern.DomainID(charter, bootstrap).String(),
			}
			if diff := cmp.Diff(v, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !bootstrap.Names(charter) {
				t.Error("the bootstrap does not name its charter")
			}
		})
	}
}

func TestPeopleMayWriteInTheirOwnOrder(t *testing.T) {
	want := &govern.Charter{
		Version: 1, Name: `My "dev" domain`, Owner: key(t, 1).Public(), Signers: publics(key(t, 2)), Threshold: 1, RestartMode: govern.Rejoin,
		Intervals: govern.Intervals{Tick: attest.Age(time.Second), Epoch: attest.Age(24 * time.Hour)},
	}
	got, err := govern.ParseCharter(fmt.Appendf(nil, "\n{ \"restart_mode\":\"rejoin\", \"intervals\":{\"epoch\":\"24h\",\"tick\":\"1000ms\"},\"recovery_keys\":[],\"recovery_threshold\":0,"+
		"\"threshold\":1, \"signers\": [ %q ],\n\t\"owner_key\": %q,\r\n \"name\": \"My \\u0022dev\\u0022 domain\", \"version\":1 }\n", want.Signers[0], want.Owner))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(govern.PublicKey{}), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if want.Digest() != got.Digest() {
		t.Error("the same charter has two digests")
	}
}

func TestCharterRefused(t *testing.T) {
	key, signer, recovery := key(t, 1).Public().String(), key(t, 2).Public().String(), key(t, 3).Public().String()
	whole := fmt.Sprintf(`{"version":1,"name":"dev","owner_key":%q,"signers":[%q],"threshold":1,"recovery_keys":[%q],"recovery_threshold":1,`+
		`"restart_mode":"sealed","intervals":{"tick":"1s","epoch":"1h0m0s"}}`, key, signer, recovery)
	if _, err := govern.ParseCharter([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string {
		if !strings.Contains(whole, old) {
			t.Fatalf("%q is not in the charter", old)
		}
		return strings.Replace(whole, old, new, 1)
	}
	owner := func(s string) string { return swap(key, s) }
	trailing, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	thirtyThree := strings.Repeat(fmt.Sprintf("%q,", signer), 33)
	tests := []struct {
		name, doc, field string
	}{
		{"empty", ``, ""},
		{"null", `null`, ""},
		{"array", `[]`, ""},
		{"no members", `{}`, "version"},
		{"trailing document", whole + whole, ""},
		{"trailing byte", whole + "x", ""},
		{"cut", whole[:len(whole)-1], ""},
		{"unknown member", swap(`{`, `{"policy":1,`), "policy"},
		{"member twice", swap(`{`, `{"name":"dev",`), "name"},
		{"member in another case", swap(`"name"`, `"Name"`), "Name"},
		{"version 0", swap(`1`, `0`), "version"},
		{"version 2", swap(`1`, `2`), "version"},
		{"version as text", swap(`1`, `"1"`), "version"},
		{"version as fraction", swap(`1`, `1.0`), "version"},
		{"version missing", swap(`"version":1,`, ``), "version"},
		{"name empty", swap(`dev`, ``), "name"},
		{"name null", swap(`"dev"`, `null`), "name"},
		{"name long", swap(`dev`, strings.Repeat("x", 65)), "name"},
		{"name with space before", swap(`dev`, ` dev`), "name"},
		{"name with space after", swap(`dev`, `dev `), "name"},
		{"name with control character", swap(`dev`, `d\u0007v`), "name"},
		{"name with delete character", swap(`dev`, "d\x7fv"), "name"},
		{"name beyond ASCII", swap(`dev`, `dév`), "name"},
		{"name not UTF-8", swap(`dev`, "d\xffv"), "name"},
		{"mode missing", swap(`,"restart_mode":"sealed"`, ``), "restart_mode"},
		{"mode empty", swap(`"sealed"`, `""`), "restart_mode"},
		{"mode unknown", swap(`sealed`, `rejoined`), "restart_mode"},
		{"mode in upper case", swap(`sealed`, `SEALED`), "restart_mode"},
		{"mode as number", swap(`"sealed"`, `1`), "restart_mode"},
		{"mode as printed for none", swap(`sealed`, `RestartMode(0)`), "restart_mode"},
		{"owner missing", swap(fmt.Sprintf(`"owner_key":%q,`, key), ``), "owner_key"},
		{"owner empty", owner(``), "owner_key"},
		{"owner with line break", owner(key[:8] + `\n` + key[8:]), "owner_key"},
		{"owner without padding", owner(strings.TrimRight(key, "=")), "owner_key"},
		{"owner in URL alphabet", owner("_" + key[1:]), "owner_key"},
		{"owner with trailing bytes", owner(base64.StdEncoding.EncodeToString(append(trailing, 0))), "owner_key"},
		{"owner all zeros", owner(spki(t, make(ed25519.PublicKey, 32))), "owner_key"},
		{"owner on P-384", owner(spki(t, point(elliptic.P384()))), "owner_key"},
		{"owner a signer too", swap(signer, key), "signers"},
		{"signers missing", swap(`"signers":["`+signer+`"],`, ``), "signers"},
		{"signers null", swap(`["`+signer+`"]`, `null`), "signers"},
		{"signers none", swap(`["`+signer+`"]`, `[]`), "signers"},
		{"signer null", swap(`"`+signer+`"`, `null`), "signers/0"},
		{"signer twice", swap(`"`+signer+`"`, `"`+signer+`","`+signer+`"`), "signers/1"},
		{"signers too many", swap(`["`+signer+`"]`, `[`+thirtyThree[:len(thirtyThree)-1]+`]`), "signers"},
		{"signer no key", swap(signer, `AAAA`), "signers/0"},
		{"threshold missing", swap(`"threshold":1,`, ``), "threshold"},
		{"threshold 0", swap(`"threshold":1`, `"threshold":0`), "threshold"},
		{"threshold negative", swap(`"threshold":1`, `"threshold":-1`), "threshold"},
		{"threshold 2 of 1", swap(`"threshold":1`, `"threshold":2`), "threshold"},
		{"threshold huge", swap(`"threshold":1`, `"threshold":18446744073709551617`), "threshold"},
		{"recovery threshold 0 of 1", swap(`"recovery_threshold":1`, `"recovery_threshold":0`), "recovery_threshold"},
		{"recovery threshold 2 of 1", swap(`"recovery_threshold":1`, `"recovery_threshold":2`), "recovery_threshold"},
		{"recovery threshold 1 of 0", swap(`["`+recovery+`"]`, `[]`), "recovery_threshold"},
		{"recovery key twice", swap(`"`+recovery+`"`, `"`+recovery+`","`+recovery+`"`), "recovery_keys/1"},
		{"intervals missing", swap(`,"intervals":{"tick":"1s","epoch":"1h0m0s"}`, ``), "intervals"},
		{"tick missing", swap(`"tick":"1s",`, ``), "intervals/tick"},
		{"tick zero", swap(`"1s"`, `"0s"`), "intervals/tick"},
		{"tick negative", swap(`"1s"`, `"-1s"`), "intervals/tick"},
		{"tick long", swap(`"1s"`, `"61s"`), "intervals/tick"},
		{"tick without unit", swap(`"1s"`, `"1"`), "intervals/tick"},
		{"tick as number", swap(`"1s"`, `1`), "intervals/tick"},
		{"epoch shorter than a tick", strings.Replace(swap(`"1s"`, `"30s"`), `"1h0m0s"`, `"29s"`, 1), "intervals/epoch"},
		{"epoch long", swap(`"1h0m0s"`, `"721h"`), "intervals/epoch"},
		{"unknown member within", swap(`"tick"`, `"tock":"1s","tick"`), "intervals/tock"},
		{"owner RSA", owner(spki(t, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537})), "owner_key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := govern.ParseCharter([]byte(tt.doc))
			if c != nil {
				t.Error("a charter came back")
			}
			checkInvalid(t, err, kms.Invalid, tt.field)
		})
	}
	t.Run("too long", func(t *testing.T) {
		_, err := govern.ParseCharter(append([]byte(whole), bytes.Repeat([]byte(" "), govern.MaxDocument)...))
		checkInvalid(t, err, kms.TooLarge, "")
	})
}

func TestBootstrapRefused(t *testing.T) {
	digest, founder, policy := strings.Repeat("c0", 32), strings.Repeat("f0", 32), strings.Repeat("d0", 32)
	whole := fmt.Sprintf(`{"version":1,"charter_digest":%q,"founder":%q,"policy_digest":%q}`, digest, founder, policy)
	if _, err := govern.ParseBootstrap([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string { return strings.Replace(whole, old, new, 1) }
	tests := []struct {
		name, doc, field string
	}{
		{"empty", ``, ""},
		{"no members", `{}`, "version"},
		{"unknown member", swap(`{`, `{"policy":1,`), "policy"},
		{"member twice", swap(`{`, `{"version":1,`), "version"},
		{"trailing", whole + "{}", ""},
		{"version 0", swap(`1`, `0`), "version"},
		{"version 2", swap(`1`, `2`), "version"},
		{"digest zero", swap(digest, strings.Repeat("00", 32)), "charter_digest"},
		{"digest short", swap(digest, digest[2:]), "charter_digest"},
		{"digest long", swap(digest, digest+"00"), "charter_digest"},
		{"digest in upper case", swap(digest, strings.ToUpper(digest)), "charter_digest"},
		{"charter missing", swap(`"charter_digest":"`+digest+`",`, ``), "charter_digest"},
		{"policy missing", swap(`,"policy_digest":"`+policy+`"`, ``), "policy_digest"},
		{"policy zero", swap(policy, strings.Repeat("00", 32)), "policy_digest"},
		{"policy null", swap(`"`+policy+`"`, `null`), "policy_digest"},
		{"founder zero", swap(founder, strings.Repeat("00", 32)), "founder"},
		{"founder null", swap(`"`+founder+`"`, `null`), "founder"},
		{"founder not hexadecimal", swap(founder, strings.Repeat("g0", 32)), "founder"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := govern.ParseBootstrap([]byte(tt.doc))
			if d != nil {
				t.Error("a bootstrap came back")
			}
			checkInvalid(t, err, kms.Invalid, tt.field)
		})
	}
}

func TestDomainIDMovesWithEveryMember(t *testing.T) {
	charter := *newRealm(t).charter
	bootstrap := govern.Bootstrap{Version: 1, CharterDigest: charter.Digest(), Founder: kms.NodeID{1}, PolicyDigest: govern.Digest{2}}
	seen := map[kms.DomainID]string{govern.DomainID(&charter, &bootstrap): "the first"}
	edits := map[string]func(c *govern.Charter, b *govern.Bootstrap){
		"charter version": func(c *govern.Charter, _ *govern.Bootstrap) { c.Version++ },
		"name":            func(c *govern.Charter, _ *govern.Bootstrap) { c.Name += "2" },
		"owner":           func(c *govern.Charter, _ *govern.Bootstrap) { c.Owner = govern.PublicKey{} },
		"signers":         func(c *govern.Charter, _ *govern.Bootstrap) { c.Signers = c.Signers[:2] },
		"order of signers": func(c *govern.Charter, _ *govern.Bootstrap) {
			c.Signers = []govern.PublicKey{c.Signers[1], c.Signers[0], c.Signers[2]}
		},
		"threshold":          func(c *govern.Charter, _ *govern.Bootstrap) { c.Threshold++ },
		"recovery keys":      func(c *govern.Charter, _ *govern.Bootstrap) { c.RecoveryKeys = nil },
		"recovery threshold": func(c *govern.Charter, _ *govern.Bootstrap) { c.RecoveryThreshold++ },
		"restart mode":       func(c *govern.Charter, _ *govern.Bootstrap) { c.RestartMode = govern.Rejoin },
		"tick":               func(c *govern.Charter, _ *govern.Bootstrap) { c.Intervals.Tick++ },
		"epoch":              func(c *govern.Charter, _ *govern.Bootstrap) { c.Intervals.Epoch++ },
		"version":            func(_ *govern.Charter, b *govern.Bootstrap) { b.Version++ },
		"charter digest":     func(_ *govern.Charter, b *govern.Bootstrap) { b.CharterDigest[31]++ },
		"founder":            func(_ *govern.Charter, b *govern.Bootstrap) { b.Founder[31]++ },
		"policy digest":      func(_ *govern.Charter, b *govern.Bootstrap) { b.PolicyDigest[31]++ },
	}
	for name, edit := range edits {
		c, b := charter, bootstrap
		edit(&c, &b)
		id := govern.DomainID(&c, &b)
		if other, ok := seen[id]; ok {
			t.Errorf("%s edited: same domain as %s", name, other)
		}
		seen[id] = name
	}
	renamed := charter
	renamed.Name = "other"
	if !bootstrap.Names(&charter) || bootstrap.Names(&renamed) {
		t.Error("Names does not tell the charters apart")
	}
}

func TestZeroValuesAreRefused(t *testing.T) {
	for _, d := range []interface{ Validate() error }{
		new(govern.Charter), new(govern.Bootstrap), new(govern.Policy), new(govern.Amendment), new(govern.Recovery),
		new(govern.Ticket), new(govern.Approval), new(govern.ConditionChange),
	} {
		checkInvalid(t, d.Validate(), kms.Invalid, "version")
	}
	if govern.RestartMode(0).Valid() || govern.RestartMode(3).Valid() {
		t.Error("a restart mode that is none is valid")
	}
	var none govern.PublicKey
	if !none.IsZero() || none.DER() != nil || none.Key() != nil {
		t.Error("the zero key is a key")
	}
}

func TestPublicKey(t *testing.T) {
	for name, key := range map[string]any{
		"ed25519": ed25519.NewKeyFromSeed(make([]byte, 32)).Public(), "P-256": point(elliptic.P256()),
	} {
		k, err := govern.NewPublicKey(key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := govern.ParsePublicKey(k.DER())
		if err != nil || again != k {
			t.Errorf("%s: read back as %v (%v)", name, again, err)
		}
		if !key.(interface {
			Equal(crypto.PublicKey) bool
		}).Equal(k.Key()) {
			t.Errorf("%s: Key gives another key", name)
		}
	}
	for name, key := range map[string]any{
		"nil": nil, "nil pointer": (*ecdsa.PublicKey)(nil), "P-224": point(elliptic.P224()), "short ed25519": ed25519.PublicKey{1},
		"off the curve": &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, "text": "key",
	} {
		if k, err := govern.NewPublicKey(key); !errors.Is(err, kms.Invalid) || !k.IsZero() {
			t.Errorf("%s: %v, %v; want Invalid", name, k, err)
		}
	}
}

func point(curve elliptic.Curve) *ecdsa.PublicKey {
	return &ecdsa.PublicKey{Curve: curve, X: curve.Params().Gx, Y: curve.Params().Gy}
}

func spki(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}
