package signature_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

// A vector is a signed request. The file was written by another implementation.
type vector struct {
	Name, APIKey, Credential   string
	Method, Host, Target, Body string
	Time                       int64
	Nonce                      string // hexadecimal, as all below
	Binding, Exporter          string
	Key, Text, MAC, Header     string
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var v []vector
	if err := json.Unmarshal(data, &v); err != nil || len(v) == 0 {
		t.Fatalf("%d vectors, %v", len(v), err)
	}
	return v
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func credential(t testing.TB, s string) kms.CredentialID {
	t.Helper()
	id, err := kms.ParseCredentialID(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// request is what a vector signs.
func (v vector) request(t testing.TB) (*signature.Header, *signature.Request) {
	t.Helper()
	h := &signature.Header{Credential: credential(t, v.Credential), TimeMillis: v.Time, Binding: signature.Binding(v.Binding)}
	copy(h.Nonce[:], unhex(t, v.Nonce))
	return h, &signature.Request{Method: v.Method, Host: v.Host, Target: v.Target,
		BodyHash: sha256.Sum256([]byte(v.Body)), Exporter: unhex(t, v.Exporter)}
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			h, r := v.request(t)
			if got := hex.EncodeToString(signature.Text(h, r)); got != v.Text {
				t.Errorf("text\n%s, want\n%s", got, v.Text)
			}
			if got := hex.EncodeToString(signature.Key([]byte(v.APIKey))); got != v.Key {
				t.Errorf("key %s, want %s", got, v.Key)
			}
			signature.Sign([]byte(v.APIKey), h, r)
			if got := hex.EncodeToString(h.MAC[:]); got != v.MAC {
				t.Errorf("MAC %s, want %s", got, v.MAC)
			}
			if got := h.String(); got != v.Header {
				t.Errorf("header\n%s, want\n%s", got, v.Header)
			}
			parsed, err := signature.Parse(v.Header)
			if diff := cmp.Diff(h, parsed); diff != "" || err != nil {
				t.Errorf("%v, (-want +got):\n%s", err, diff)
			}
		})
	}
}

// TestSpecification: what is specified is what is tested.
func TestSpecification(t *testing.T) {
	doc, err := os.ReadFile("../../docs/signature.md")
	if err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(doc)), "") // long values are broken into lines
	for _, v := range vectors(t) {
		for _, s := range []string{v.APIKey, v.Credential, v.Host, v.Target, v.Body, v.Nonce, v.Exporter, v.Key, v.Text, v.MAC, v.Header} {
			if !strings.Contains(flat, strings.Join(strings.Fields(s), "")) {
				t.Errorf("%s: docs/signature.md lacks %s", v.Name, s)
			}
		}
	}
	for _, word := range []string{signature.HeaderName, kms.SchemeV2.KeyLabel(), "holdfast request signature v2", "EXPORTER-Channel-Binding"} {
		if !bytes.Contains(doc, []byte(word)) {
			t.Errorf("docs/signature.md lacks %q", word)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := vectors(t)[0].Header
	change := func(old, new string) string {
		s := strings.Replace(good, old, new, 1)
		if s == good {
			t.Fatalf("no %q in %q", old, good)
		}
		return s
	}
	tests := map[string]string{
		"nothing":                    "",
		"another version":            change("v=2", "v=1"),
		"no version":                 change("v=2, ", ""),
		"version in another form":    change("v=2", "v=02"),
		"a member missing":           change(", binding=none", ""),
		"a member twice":             change("binding=none", "binding=none, binding=none"),
		"another order":              change("v=2, credential=11111111-2222-4333-8444-555555555555", "credential=11111111-2222-4333-8444-555555555555, v=2"),
		"a member more":              good + ", x=y",
		"two headers in one":         good + ", " + good,
		"no spaces":                  strings.ReplaceAll(good, ", ", ","),
		"more spaces":                change(", time", ",  time"),
		"space in front":             " " + good,
		"space behind":               good + " ",
		"name in upper case":         change("time=", "Time="),
		"credential in upper case":   change("11111111-2222", "AAAAAAAA-2222"),
		"credential that is none":    change("11111111-2222", "nobody"),
		"time with a sign":           change("time=1", "time=+1"),
		"time before 1970":           change("time=1", "time=-1"),
		"time with a zero in front":  change("time=1", "time=01"),
		"time with a fraction":       change("1700000000000", "1700000000000.0"),
		"time beyond 64 bits":        change("1700000000000", "99999999999999999999"),
		"no time":                    change("1700000000000", ""),
		"nonce too short":            change("AAECAwQFBgcICQoLDA0ODw", "AAECAwQFBgcICQoLDA0O"),
		"nonce too long":             change("AAECAwQFBgcICQoLDA0ODw", "AAECAwQFBgcICQoLDA0ODxA"),
		"nonce with padding":         change("AAECAwQFBgcICQoLDA0ODw", "AAECAwQFBgcICQoLDA0ODw=="),
		"nonce with bits to spare":   change("AAECAwQFBgcICQoLDA0ODw", "AAECAwQFBgcICQoLDA0ODx"),
		"nonce with a line end":      change("AAECAwQFBgcICQoLDA0ODw", "AAECAwQFBgcI\nCQoLDA0ODw"),
		"unknown binding":            change("binding=none", "binding=tls-unique"),
		"no binding":                 change("binding=none", "binding="),
		"MAC too short":              strings.TrimSuffix(good, "s"),
		"MAC with bits to spare":     strings.TrimSuffix(good, "s") + "t",
		"MAC in the other alphabet":  change("gh-xJhs", "gh+xJhs"),
		"far too long":               good + strings.Repeat("x", 1<<20),
		"far too many members":       strings.Repeat("v=2, ", 1<<16),
		"time long with zeros":       change("time=", "time="+strings.Repeat("0", 300)),
		"of version 1 (base64 only)": "j4tMA4Ug/cdOr0bm4LdPj1taocu/MlTFa2CbspUDvlY=",
	}
	for name, s := range tests {
		t.Run(name, func(t *testing.T) {
			if h, err := signature.Parse(s); !errors.Is(err, kms.Unauthenticated) || h != nil {
				t.Errorf("%v, %v; want Unauthenticated", h, err)
			}
		})
	}
}

// TestKeySeparation: the key of this scheme is no MAC that the other scheme
// would ever make, since what that signs has a = in it.
func TestKeySeparation(t *testing.T) {
	if strings.Contains(kms.SchemeV2.KeyLabel(), "=") || kms.SchemeV2.KeyLabel() == "" {
		t.Errorf("%q could be eHSM's canonical string", kms.SchemeV2.KeyLabel())
	}
}

func TestHostCase(t *testing.T) {
	text := func(host string) string {
		return string(signature.Text(&signature.Header{}, &signature.Request{Host: host}))
	}
	if text("KMS.Example.COM:9000") != text("kms.example.com:9000") {
		t.Error("a host in upper case is another")
	}
	for a, b := range map[string]string{"kms": "\u212aMS", "kms.": "kms", "kms:443": "kms", "é": "É"} {
		if text(a) == text(b) {
			t.Errorf("%q and %q are one host", a, b)
		}
	}
}
