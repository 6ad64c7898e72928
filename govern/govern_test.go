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
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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
	b, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		tb.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(b, &all); err != nil {
		tb.Fatal(err)
	}
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

func ed25519Key(t *testing.T) govern.PublicKey {
	t.Helper()
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	key, err := govern.NewPublicKey(ed25519.NewKeyFromSeed(seed).Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestPeopleMayWriteInTheirOwnOrder(t *testing.T) {
	want := &govern.Charter{Version: 1, Name: `My "dev" domain`, Owner: ed25519Key(t), RestartMode: govern.Rejoin}
	got, err := govern.ParseCharter(fmt.Appendf(nil, "\n{ \"restart_mode\":\"rejoin\",\n\t\"owner_key\": %q,\r\n \"name\": \"My \\u0022dev\\u0022 domain\", \"version\":1 }\n", want.Owner))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(govern.PublicKey{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if want.Digest() != got.Digest() {
		t.Error("the same charter has two digests")
	}
}

func TestCharterRefused(t *testing.T) {
	key := ed25519Key(t).String()
	whole := fmt.Sprintf(`{"version":1,"name":"dev","owner_key":%q,"restart_mode":"sealed"}`, key)
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
	tests := []struct {
		name, doc, field string
	}{
		{"empty", ``, ""},
		{"null", `null`, "owner_key"},
		{"array", `[]`, ""},
		{"no members", `{}`, "owner_key"},
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
		{"owner with trailing bytes", owner(base64.StdEncoding.EncodeToString(append(ed25519Key(t).DER(), 0))), "owner_key"},
		{"owner all zeros", owner(spki(t, make(ed25519.PublicKey, 32))), "owner_key"},
		{"owner on P-384", owner(spki(t, point(elliptic.P384()))), "owner_key"},
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
	digest, founder := strings.Repeat("c0", 32), strings.Repeat("f0", 32)
	whole := fmt.Sprintf(`{"version":1,"charter_digest":%q,"founder":%q}`, digest, founder)
	if _, err := govern.ParseBootstrap([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string { return strings.Replace(whole, old, new, 1) }
	tests := []struct {
		name, doc, field string
	}{
		{"empty", ``, ""},
		{"no members", `{}`, "charter_digest"},
		{"unknown member", swap(`{`, `{"policy":1,`), "policy"},
		{"member twice", swap(`{`, `{"version":1,`), "version"},
		{"trailing", whole + "{}", ""},
		{"version 0", swap(`1`, `0`), "version"},
		{"version 2", swap(`1`, `2`), "version"},
		{"digest zero", swap(digest, strings.Repeat("00", 32)), "charter_digest"},
		{"digest short", swap(digest, digest[2:]), "charter_digest"},
		{"digest long", swap(digest, digest+"00"), "charter_digest"},
		{"digest in upper case", swap(digest, strings.ToUpper(digest)), "charter_digest"},
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
	charter := govern.Charter{Version: 1, Name: "dev", Owner: ed25519Key(t), RestartMode: govern.Sealed}
	bootstrap := govern.Bootstrap{Version: 1, CharterDigest: charter.Digest(), Founder: kms.NodeID{1}}
	seen := map[kms.DomainID]string{govern.DomainID(&charter, &bootstrap): "the first"}
	edits := map[string]func(c *govern.Charter, b *govern.Bootstrap){
		"charter version": func(c *govern.Charter, _ *govern.Bootstrap) { c.Version++ },
		"name":            func(c *govern.Charter, _ *govern.Bootstrap) { c.Name += "2" },
		"owner":           func(c *govern.Charter, _ *govern.Bootstrap) { c.Owner = govern.PublicKey{} },
		"restart mode":    func(c *govern.Charter, _ *govern.Bootstrap) { c.RestartMode = govern.Rejoin },
		"version":         func(_ *govern.Charter, b *govern.Bootstrap) { b.Version++ },
		"charter digest":  func(_ *govern.Charter, b *govern.Bootstrap) { b.CharterDigest[31]++ },
		"founder":         func(_ *govern.Charter, b *govern.Bootstrap) { b.Founder[31]++ },
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
	checkInvalid(t, new(govern.Charter).Validate(), kms.Invalid, "version")
	checkInvalid(t, new(govern.Bootstrap).Validate(), kms.Invalid, "version")
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

func checkInvalid(t *testing.T, err error, kind kms.Kind, field string) {
	t.Helper()
	var e *kms.Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v (%T), want a *kms.Error", err, err)
	}
	if e.Kind != kind || e.Field != field {
		t.Errorf("kind %v, field %q of %v; want %v, %q", e.Kind, e.Field, err, kind, field)
	}
}
