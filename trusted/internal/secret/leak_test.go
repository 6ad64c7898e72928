package secret_test

import (
	"bytes"
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// planted is a key no byte run of which turns up by chance.
var planted = []byte{0xd3, 0x91, 0x5c, 0xe7, 0x28, 0xb6, 0x4f, 0xa1, 0x76, 0xcb, 0x39, 0xf2, 0x85, 0x1e, 0xda, 0x67,
	0x93, 0xac, 0x5e, 0xe1, 0x2c, 0xb8, 0x4d, 0xa7, 0x7b, 0xc5, 0x36, 0xf8, 0x8a, 0x1d, 0xd9, 0x64}

// leaks reports how out shows four or more bytes of the key in a row.
func leaks(out string, key []byte) string {
	low := strings.ToLower(out)
	for i := 0; i+4 <= len(key); i++ {
		run := key[i : i+4]
		dec, hx, spaced := []string{}, []string{}, []string{}
		for _, b := range run {
			dec = append(dec, fmt.Sprint(b))
			hx = append(hx, fmt.Sprintf("0x%x", b))
			spaced = append(spaced, fmt.Sprintf("%02x", b))
		}
		for how, needle := range map[string]string{
			"raw": string(run), "hex": hex.EncodeToString(run), "decimal": strings.Join(dec, " "), "decimal list": strings.Join(dec, ","),
			"Go syntax": strings.Join(hx, ", "), "spaced hex": strings.Join(spaced, " "), "quoted": strings.Trim(fmt.Sprintf("%+q", run), `"`),
		} {
			if strings.Contains(out, needle) || strings.Contains(low, strings.ToLower(needle)) {
				return how
			}
		}
	}
	for i := 0; i+6 <= len(key); i += 3 { // base64 keeps a picture of each aligned run
		if strings.Contains(out, base64.StdEncoding.EncodeToString(key[i:i+6])) {
			return "base64"
		}
	}
	return ""
}

type holder struct {
	Name     string
	Exported any
	hidden   any
}

// outlets is every way in which a value gets printed or encoded by accident.
func outlets(v any) map[string]string {
	out := map[string]string{}
	for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d %o %b %c %U %e %g %t %p %T %10v %-5s %08x %.3s % x %#x %#q") {
		out[verb] = fmt.Sprintf(verb, v)
	}
	out["Sprint"] = fmt.Sprint(v)
	out["error"] = fmt.Errorf("wrapped: %v", v).Error()
	if b, err := json.Marshal(v); err == nil {
		out["json"] = string(b)
	}
	var g bytes.Buffer
	if err := gob.NewEncoder(&g).Encode(v); err == nil {
		out["gob"] = g.String()
	}
	var text, js bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "v", v, slog.Group("g", "v", v))
	out["slog text"], out["slog json"] = text.String(), js.String()
	return out
}

// nests puts a value wherever values get put.
func nests(v any) map[string]any {
	return map[string]any{
		"itself": v, "pointer": &v, "struct": holder{"n", v, v}, "struct pointer": &holder{"n", v, v},
		"slice": []any{v, v}, "array": [1]any{v}, "map": map[string]any{"k": v}, "map key pointer": map[string]*any{"k": &v},
		"nested": holder{"n", []any{map[string]any{"k": &holder{"n", v, v}}}, nil}, "error value": []error{fmt.Errorf("%v", v)},
	}
}

// used is a key every operation of which was tried, so that every lazy field is
// filled.
func used(k alg.Key) alg.Key {
	body, _ := k.Encrypt(nil, []byte("x"), nil)
	_, _ = k.Decrypt(nil, body, nil)
	for _, p := range []kms.Padding{kms.PaddingPKCS1, kms.PaddingOAEP, kms.PaddingPSS} {
		for _, d := range []kms.Digest{0, kms.SHA256, kms.SM3} {
			in := kms.SigningInput{Message: []byte("x"), Digest: d, Padding: p}
			sig, _ := k.Sign(in)
			_, _ = k.Verify(in, sig)
		}
		to, _ := k.AsymmetricEncrypt([]byte("x"), p)
		_, _ = k.AsymmetricDecrypt(to, p)
	}
	_, _ = k.MAC([]byte("x"))
	_, _ = k.Public()
	return k
}

// material is stored material of a spec, and the bytes of it that must not be
// seen: planted ones, but for RSA, whose private exponent cannot be chosen.
func material(t *testing.T, row kms.Capability) (stored secret.Bytes, hidden []byte) {
	t.Helper()
	if row.Slow {
		stored, err := alg.Generate(row.Spec)
		if err != nil {
			t.Fatal(err)
		}
		if err := stored.Use(func(b []byte) error {
			priv, err := x509.ParsePKCS1PrivateKey(b)
			hidden = priv.D.Bytes()
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return stored, hidden
	}
	size := (row.Bits + 7) / 8
	switch row.Spec { // whose private form is a seed
	case kms.MLKEM768, kms.MLKEM1024:
		size = 64
	case kms.MLDSA44, kms.MLDSA65, kms.MLDSA87:
		size = 32
	}
	hidden = bytes.Repeat(planted, 3)[:size]
	if row.Spec == kms.ECP521 {
		hidden[0] = 1 // below the order
	}
	return secret.Copy(hidden), hidden
}

func TestNothingPrintsASecret(t *testing.T) {
	s := secret.Copy(planted)
	type suspect struct {
		value  any
		hidden []byte
	}
	suspects := map[string]suspect{
		"secret": {s, planted}, "secret pointer": {&s, planted},
		"typed struct": {struct{ S, t secret.Bytes }{s, s}, planted},
	}
	for _, row := range kms.Capabilities() {
		if row.Bits > 2048 {
			continue // RSA of another size is RSA, and slow to make
		}
		stored, hidden := material(t, row)
		k, err := alg.Parse(row.Spec, stored)
		if err != nil {
			t.Fatalf("%s: %v", row.Name, err)
		}
		suspects[row.Name] = suspect{used(k), hidden}
		suspects[row.Name+" in a cache"] = suspect{map[string]alg.Key{"k": used(k)}, hidden}
	}
	for name, v := range suspects {
		for nest, value := range nests(v.value) {
			for outlet, text := range outlets(value) {
				how := leaks(text, v.hidden)
				if strings.Contains(text, new(big.Int).SetBytes(v.hidden).String()) {
					how = "decimal number"
				}
				if how != "" {
					t.Errorf("%s in %s leaks through %s as %s", name, nest, outlet, how)
				}
			}
		}
	}
}

// The detector must see what a careless type shows: plain bytes, a cached
// cipher's key schedule, the standard library's private keys.
func TestTheLeakDetectorDetects(t *testing.T) {
	block, err := aes.NewCipher(planted)
	if err != nil {
		t.Fatal(err)
	}
	priv, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), planted)
	if err != nil {
		t.Fatal(err)
	}
	schedule := []byte{} // its words hold the key in the machine's order
	for i := 0; i < 8; i++ {
		schedule = append(schedule, planted[i*4], planted[i*4+1], planted[i*4+2], planted[i*4+3])
	}
	for name, c := range map[string]struct{ text string }{
		"%v of bytes":     {fmt.Sprintf("%v", planted)},
		"%x of bytes":     {fmt.Sprintf("%x", planted)},
		"%#v of a struct": {fmt.Sprintf("%#v", holder{Exported: planted})},
		"json of bytes":   {func() string { b, _ := json.Marshal(planted); return string(b) }()},
	} {
		if leaks(c.text, schedule) == "" {
			t.Errorf("%s: the detector sees nothing in %q", name, c.text)
		}
	}
	// These two are why alg.Key has func fields only.
	if !strings.Contains(fmt.Sprintf("%v", block), fmt.Sprint(0xd3915ce7)) && !strings.Contains(fmt.Sprintf("%v", block), fmt.Sprint(0xe75c91d3)) {
		t.Logf("this Go version no longer prints AES key schedules: %T", block)
	}
	//lint:ignore SA1019 D is what leaks
	if !strings.Contains(fmt.Sprintf("%v", priv), priv.D.String()) {
		t.Log("this Go version no longer prints ECDSA private numbers")
	}
}

func TestSecretCannotBeMarshalled(t *testing.T) {
	s := secret.Copy(planted)
	if _, err := json.Marshal(s); err == nil {
		t.Error("JSON takes a secret")
	}
	if _, err := json.Marshal(map[string]any{"a": []any{s}}); err == nil {
		t.Error("JSON takes a nested secret")
	}
	if err := gob.NewEncoder(&bytes.Buffer{}).Encode(s); err == nil {
		t.Error("gob takes a secret")
	}
}

func TestWipe(t *testing.T) {
	b := bytes.Clone(planted)
	s := secret.New(b)
	if !bytes.Equal(b, make([]byte, len(b))) {
		t.Error("New leaves the caller's bytes")
	}
	var kept []byte
	if err := s.Use(func(b []byte) error { kept = b; return nil }); err != nil || !bytes.Equal(kept, planted) {
		t.Fatalf("Use: %v", err)
	}
	other := s
	other.Wipe()
	if !bytes.Equal(kept, make([]byte, len(kept))) {
		t.Error("Wipe leaves the bytes")
	}
	if err := s.Use(func([]byte) error { t.Error("a wiped secret was lent"); return nil }); err != secret.ErrWiped {
		t.Errorf("got %v, want ErrWiped", err)
	}
	if s.Equal(make([]byte, 32)) || s.Len() != 0 {
		t.Error("a wiped secret equals its cleared bytes")
	}
	var zero secret.Bytes
	zero.Wipe()
	if zero.Use(func([]byte) error { return nil }) != secret.ErrWiped || !zero.IsZero() {
		t.Error("the zero secret can be used")
	}
}
