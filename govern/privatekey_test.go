package govern_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

var passphrase = []byte("correct")

func TestKeyFiles(t *testing.T) {
	for _, a := range []govern.Algorithm{govern.Ed25519, govern.ECDSAP256} {
		k, err := govern.NewPrivateKey(a)
		if err != nil {
			t.Fatal(err)
		}
		for name, pass := range map[string][]byte{"encrypted": passphrase, "open": nil} {
			file, err := k.EncodePEM(pass)
			if err != nil {
				t.Fatal(err)
			}
			again, err := govern.ParsePrivateKey(file, pass)
			if err != nil || again.Public() != k.Public() {
				t.Fatalf("%s %s: %v", a, name, err)
			}
			env, err := govern.Sign(govern.NewEnvelope(govern.TicketType, []byte("{}")), again)
			if err != nil {
				t.Fatal(err)
			}
			if e, err := govern.ParseEnvelope(env); err != nil || !e.SignedBy(k.Public()) {
				t.Errorf("%s %s: what it signs does not hold (%v)", a, name, err)
			}
		}
	}
	if _, err := govern.NewPrivateKey("rsa"); !errors.Is(err, kms.Invalid) {
		t.Errorf("a key of another kind: %v", err)
	}
	for _, k := range []*govern.PrivateKey{nil, {}} {
		if _, err := k.EncodePEM(nil); !errors.Is(err, kms.Invalid) || !k.Public().IsZero() {
			t.Errorf("no key is written: %v", err)
		}
	}
}

// The files in testdata were made by `openssl pkcs8 -topk8`.
func TestKeyFilesOfOpenSSL(t *testing.T) {
	for name, want := range map[string]string{
		"openssl-ed25519.pem": "MCowBQYDK2VwAyEAtAFF/FssTqg/GR5nY2/T4iKdOkbrhc8jY5aL35PdE2Y=",
		"openssl-p256.pem":    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEftQp705X/PEDW54QtyOH1uEfX67LxzssclY+GdwM45S97A+5nX0qlF7PEVEURb89i98fWMN+5MOP7MRqdukVkg==",
	} {
		file, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		k, err := govern.ParsePrivateKey(file, passphrase)
		if err != nil || k.Public().String() != want {
			t.Errorf("%s: %v, %v", name, k.Public(), err)
		}
	}
}

func TestKeyFilesRefused(t *testing.T) {
	sealed, err := os.ReadFile("testdata/openssl-ed25519.pem")
	if err != nil {
		t.Fatal(err)
	}
	open, err := key(t, 1).EncodePEM(nil)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(sealed)
	altered := func(at int, mask byte) []byte {
		der := bytes.Clone(block.Bytes)
		der[at] ^= mask
		return pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der})
	}
	find := func(what string) int {
		b, err := hex.DecodeString(what)
		if err != nil || bytes.Count(block.Bytes, b) != 1 {
			t.Fatalf("%s is not in the file once", what)
		}
		return bytes.Index(block.Bytes, b) + len(b) - 1
	}
	many := replaceBytes(t, block.Bytes, "02020800", "02027fff") // openssl's 2048 rounds
	other := func(key any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), nil)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		file []byte
		pass []byte
		kind kms.Kind
	}{
		{"wrong passphrase", sealed, []byte("wrong"), kms.Unauthenticated},
		{"no passphrase", sealed, nil, kms.Unauthenticated},
		{"needless passphrase", open, passphrase, kms.Invalid},
		{"empty", nil, nil, kms.Invalid},
		{"no PEM", []byte("key"), nil, kms.Invalid},
		{"two blocks", append(bytes.Clone(open), open...), nil, kms.Invalid},
		{"trailing text", append(bytes.Clone(open), 'x'), nil, kms.Invalid},
		{"headers", []byte(strings.Replace(string(open), "-----\n", "-----\nProc-Type: 4,ENCRYPTED\n\n", 1)), nil, kms.Invalid},
		{"public key", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: key(t, 1).Public().DER()}), nil, kms.Invalid},
		{"type of SEC 1", []byte(strings.ReplaceAll(string(open), "PRIVATE KEY", "EC PRIVATE KEY")), nil, kms.Invalid},
		{"open content said to be encrypted", []byte(strings.ReplaceAll(string(open), "PRIVATE", "ENCRYPTED PRIVATE")), passphrase, kms.Invalid},
		{"cut", pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes[:len(block.Bytes)-1]}), passphrase, kms.Invalid},
		{"trailing bytes", pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: append(bytes.Clone(block.Bytes), 0)}), passphrase, kms.Invalid},
		{"other scheme", altered(find("06092a864886f70d01050d"), 1), passphrase, kms.Invalid},
		{"other KDF", altered(find("06092a864886f70d01050c"), 1), passphrase, kms.Invalid},
		{"other PRF", altered(find("06082a864886f70d0209"), 2), passphrase, kms.Invalid},
		{"other cipher", altered(find("060960864801650304012a"), 1), passphrase, kms.Invalid},
		{"other number of rounds", pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: many}), passphrase, kms.Unauthenticated},
		{"no rounds", pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: replaceBytes(t, block.Bytes, "02020800", "0202ffff")}), passphrase, kms.Invalid},
		{"last block altered", altered(len(block.Bytes)-1, 1), passphrase, kms.Unauthenticated},
		{"P-384", other(p384), nil, kms.Invalid},
		{"RSA", other(testRSA(t)), nil, kms.Invalid},
		{"long", bytes.Repeat([]byte(" "), 1<<20), nil, kms.TooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			k, err := govern.ParsePrivateKey(tt.file, tt.pass)
			if k != nil {
				t.Error("a key came back")
			}
			checkInvalid(t, err, tt.kind, "")
		})
	}
}

// A file that asks for more rounds than are done is refused before the first.
func TestKeyFileWithEndlessRounds(t *testing.T) {
	file, err := key(t, 1).EncodePEM(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(file)
	block.Bytes = replaceBytes(t, block.Bytes, "02030927c0", "02037fffff") // 600,000 to 8,388,607
	_, err = govern.ParsePrivateKey(pem.EncodeToMemory(block), passphrase)
	checkError(t, err, kms.Invalid, "", "8388607 rounds")
}

func replaceBytes(t *testing.T, b []byte, old, new string) []byte {
	t.Helper()
	o, err := hex.DecodeString(old)
	if err != nil {
		t.Fatal(err)
	}
	n, err := hex.DecodeString(new)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Count(b, o) != 1 {
		t.Fatalf("%s is not there once", old)
	}
	return bytes.Replace(b, o, n, 1)
}

// planted is a key no byte run of which turns up by chance.
var planted = []byte{0xd3, 0x91, 0x5c, 0xe7, 0x28, 0xb6, 0x4f, 0xa1, 0x76, 0xcb, 0x39, 0xf2, 0x85, 0x1e, 0xda, 0x67,
	0x93, 0xac, 0x5e, 0xe1, 0x2c, 0xb8, 0x4d, 0xa7, 0x7b, 0xc5, 0x36, 0xf8, 0x8a, 0x1d, 0xd9, 0x64}

func TestNothingPrintsAPrivateKey(t *testing.T) {
	ec, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), planted)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string]any{"ed25519": ed25519.NewKeyFromSeed(planted), "P-256": ec} {
		der, err := x509.MarshalPKCS8PrivateKey(raw)
		if err != nil {
			t.Fatal(err)
		}
		k, err := govern.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := govern.Sign(govern.NewEnvelope(govern.TicketType, nil), k); err != nil { // fills what is lazy
			t.Fatal(err)
		}
		for nest, value := range nests(k) {
			for outlet, text := range outlets(value) {
				if how := leaks(text); how != "" {
					t.Errorf("%s in %s leaks through %s as %s", name, nest, outlet, how)
				}
			}
		}
		for nest, value := range nests(*k) {
			for outlet, text := range outlets(value) {
				if how := leaks(text); how != "" {
					t.Errorf("%s by value in %s leaks through %s as %s", name, nest, outlet, how)
				}
			}
		}
		if _, err := json.Marshal(k); err == nil {
			t.Errorf("%s: JSON takes it", name)
		}
		if gob.NewEncoder(&bytes.Buffer{}).Encode(k) == nil {
			t.Errorf("%s: gob takes it", name)
		}
	}
	if leaks(fmt.Sprintf("%v", planted)) == "" || leaks(fmt.Sprintf("%#v", holder{Exported: planted})) == "" || leaks(fmt.Sprintf("%v", ed25519.NewKeyFromSeed(planted))) == "" {
		t.Error("the detector sees nothing")
	}
}

type holder struct {
	Name     string
	Exported any
	hidden   any
}

// nests puts a value wherever values get put.
func nests(v any) map[string]any {
	return map[string]any{
		"itself": v, "pointer": &v, "struct": holder{"n", v, v}, "struct pointer": &holder{"n", v, v},
		"slice": []any{v, v}, "map": map[string]any{"k": v}, "nested": holder{"n", []any{map[string]any{"k": &holder{"n", v, v}}}, nil},
		"error": fmt.Errorf("%v", v),
	}
}

// outlets is every way in which a value gets printed or encoded by accident.
func outlets(v any) map[string]string {
	out := map[string]string{"Sprint": fmt.Sprint(v)}
	for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d %o %b %c %U %e %g %t %p %T %10v %-5s %08x %.3s %#x %#q") {
		out[verb] = fmt.Sprintf(verb, v)
	}
	if b, err := json.Marshal(v); err == nil {
		out["json"] = string(b)
	}
	var g, text, js bytes.Buffer
	if gob.NewEncoder(&g).Encode(v) == nil {
		out["gob"] = g.String()
	}
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	out["slog text"], out["slog json"] = text.String(), js.String()
	return out
}

// leaks reports how out shows four or more bytes of the planted key in a row.
func leaks(out string) string {
	if strings.Contains(out, new(big.Int).SetBytes(planted).String()) {
		return "decimal number"
	}
	low := strings.ToLower(out)
	for i := 0; i+4 <= len(planted); i++ {
		run := planted[i : i+4]
		dec, hx := []string{}, []string{}
		for _, b := range run {
			dec, hx = append(dec, fmt.Sprint(b)), append(hx, fmt.Sprintf("0x%x", b))
		}
		for how, needle := range map[string]string{
			"raw": string(run), "hex": hex.EncodeToString(run), "decimal": strings.Join(dec, " "), "decimal list": strings.Join(dec, ","),
			"Go syntax": strings.Join(hx, ", "), "quoted": strings.Trim(fmt.Sprintf("%+q", run), `"`),
		} {
			if strings.Contains(out, needle) || strings.Contains(low, strings.ToLower(needle)) {
				return how
			}
		}
	}
	for i := 0; i+6 <= len(planted); i += 3 {
		if strings.Contains(out, base64.StdEncoding.EncodeToString(planted[i:i+6])) {
			return "base64"
		}
	}
	return ""
}

func testRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(nil, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
