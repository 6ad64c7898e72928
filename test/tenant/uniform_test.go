package tenant_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// date is all that may differ between answers that must look alike.
var date = regexp.MustCompile(`(?m)^Date: .*\r\n`)

// bytesOf sends a request on a connection of its own and returns every byte of
// the answer but the date.
func (x *app) bytesOf(t *testing.T, action string, body []byte) string {
	t.Helper()
	return date.ReplaceAllString(x.raw(t, plainRequest(action, body, hangUp)), "")
}

// TestStrangersAreAlike: whatever is wrong with who sends a request, every byte
// of the answer is the same, whatever the action and the payload.
func TestStrangersAreAlike(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p, other := newProperty(a), a.enrol()
	payloads := map[string]string{"good": encrypting(p.aes, "x"), "bad": `{"keyid":7}`, "of another's key": encrypting(noKey, "x"), "array": `["x"]`}
	faults := map[string]members{
		"a MAC of nothing":         {"sign": quote(p.signText(""))},
		"no MAC":                   {"sign": quote("no base64 at all")},
		"a short MAC":              {"sign": quote(b64("x"))},
		"a long MAC":               {"sign": quote(b64(strings.Repeat("x", 33)))},
		"a MAC of zeros":           {"sign": quote(b64(strings.Repeat("\x00", 32)))},
		"an app that there is not": {"appid": quote(noKey)},
		"an appid that is none":    {"appid": quote("nobody")},
		"an appid of an attack":    {"appid": quote("' OR 1=1 --")},
		"another's appid":          {"appid": quote(other.ID)},
		"out of time as well":      {"timestamp": `"1000000000000"`, "sign": quote(b64(strings.Repeat("x", 32)))},
		"far ahead as well":        {"timestamp": `"9999999999999"`, "sign": quote(b64(strings.Repeat("x", 32)))},
	}
	want := p.bytesOf(t, "Encrypt", p.body(payloads["good"], faults["a short MAC"]))
	if !strings.Contains(want, "sign error") {
		t.Fatalf("%s", want)
	}
	for fault, set := range faults {
		for _, action := range []string{"Encrypt", "DeleteKey", "MakeCoffee"} {
			for payload, text := range payloads {
				if got := p.bytesOf(t, action, p.body(text, set)); got != want {
					t.Errorf("%s, %s with %s payload:\n%s\nwant\n%s", fault, action, payload, got, want)
				}
			}
		}
	}
	spent := p.body(payloads["good"], nil)
	p.post("Encrypt", spent)
	m := split(t, spent)
	m["sign"] = quote(b64(strings.Repeat("x", 32)))
	if got := p.bytesOf(t, "Encrypt", m.json()); got != want {
		t.Errorf("a request that was accepted, with another signature:\n%s", got)
	}
	p.intact()
}

// TestUndecryptableAreAlike: whatever is wrong with a ciphertext, every byte of
// the answer is the same.
func TestUndecryptableAreAlike(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	other := p.newKey(newAES)
	bound := p.must("Encrypt", strings.TrimSuffix(encrypting(p.aes, p.plain), "}")+`,"aad":"`+b64("context")+`"}`).field("ciphertext")
	sealed, err := base64.StdEncoding.DecodeString(p.ciphertext)
	if err != nil {
		t.Fatal(err)
	}
	edited := func(edit func([]byte) []byte) string {
		return base64.StdEncoding.EncodeToString(edit(append([]byte(nil), sealed...)))
	}
	flip := func(i int) string { return edited(func(b []byte) []byte { b[i] ^= 1; return b }) }
	const overhead = 12 + 16 // nonce and tag stand last
	attacks := map[string]string{
		"the first bit":              decrypting(p.aes, flip(0)),
		"a bit of the nonce":         decrypting(p.aes, flip(len(sealed)-overhead)),
		"a bit of the tag":           decrypting(p.aes, flip(len(sealed)-1)),
		"cut at the end":             decrypting(p.aes, edited(func(b []byte) []byte { return b[:len(b)-1] })),
		"cut at the beginning":       decrypting(p.aes, edited(func(b []byte) []byte { return b[1:] })),
		"nonce and tag only":         decrypting(p.aes, edited(func(b []byte) []byte { return b[len(b)-overhead:] })),
		"shorter than nonce and tag": decrypting(p.aes, edited(func(b []byte) []byte { return b[:overhead-1] })),
		"one byte":                   decrypting(p.aes, "AA=="),
		"something behind it":        decrypting(p.aes, edited(func(b []byte) []byte { return append(b, 0) })),
		"twice":                      decrypting(p.aes, edited(func(b []byte) []byte { return append(b, b...) })),
		"as long as may be":          decrypting(p.aes, base64.StdEncoding.EncodeToString(make([]byte, 6172))),
		"another key's":              decrypting(other, p.ciphertext),
		"with data it has not":       strings.TrimSuffix(decrypting(p.aes, p.ciphertext), "}") + `,"aad":"AAAA"}`,
		"without data it has":        decrypting(p.aes, bound),
		"with other data":            strings.TrimSuffix(decrypting(p.aes, bound), "}") + `,"aad":"` + b64("Context") + `"}`,
		"with more data":             strings.TrimSuffix(decrypting(p.aes, bound), "}") + `,"aad":"` + b64("context ") + `"}`,
	}
	want := p.bytesOf(t, "Decrypt", p.body(attacks["one byte"], nil))
	if !strings.Contains(want, undecryptable.Message) {
		t.Fatalf("%s", want)
	}
	for name, payload := range attacks {
		if got := p.bytesOf(t, "Decrypt", p.body(payload, nil)); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
	p.intact()
}

// TestUnverifiableAreAlike: a signature that is not good is one answer, not an
// error, whatever is wrong with it.
func TestUnverifiableAreAlike(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	other := p.newKey(newEC)
	sig, err := base64.StdEncoding.DecodeString(p.sig)
	if err != nil {
		t.Fatal(err)
	}
	attacks := map[string]string{
		"another message": verifying(p.ec, p.message+"!", p.sig),
		"another key":     verifying(other, p.message, p.sig),
		"zeros":           verifying(p.ec, p.message, base64.StdEncoding.EncodeToString([]byte{0x30, 6, 2, 1, 0, 2, 1, 0})),
	}
	for i := 4; i < len(sig); i += 7 { // inside r and s
		b := append([]byte(nil), sig...)
		b[i] ^= 1
		attacks[fmt.Sprint("bit of byte ", i)] = verifying(p.ec, p.message, base64.StdEncoding.EncodeToString(b))
	}
	for name, payload := range attacks {
		got := p.call("Verify", payload)
		if got.Result != `{"result":false}` && got != serverFault { // eHSM's answer to what is no DER
			t.Errorf("%s: %+v", name, got)
		}
	}
	p.intact()
}
