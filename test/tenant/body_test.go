package tenant_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const limit = 100 << 10 // of a body, in bytes

// TestSizesOfBodies: a body of 100 kB is read, one byte more is not, however
// its length is told, and one that is only announced is not waited for.
func TestSizesOfBodies(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	sized := func(n int) []byte { // valid, with white space up to n bytes
		b := x.body("", nil)
		return append(b, bytes.Repeat([]byte{' '}, n-len(b))...)
	}
	tests := []struct {
		size int
		want reply
	}{
		{limit - 1, listed}, {limit, listed}, {limit + 1, page(413)}, {1 << 20, page(413)}, {5 << 20, page(413)},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, x.post("ListKey", sized(tt.size))); diff != "" {
			t.Errorf("%d bytes (-want +got):\n%s", tt.size, diff)
		}
		r := x.request("ListKey", nil)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(sized(tt.size))), -1
		if diff := cmp.Diff(tt.want, x.do(r)); diff != "" {
			t.Errorf("%d bytes in chunks (-want +got):\n%s", tt.size, diff)
		}
	}
	for _, announced := range []string{"102401", "1000000000", "9223372036854775807"} {
		text := strings.TrimSuffix(plainRequest("ListKey", nil, "Content-Length: "+announced, hangUp), "\r\n")
		if got := one(t, a.raw(t, text+"\r\n"), "POST"); got != page(413) {
			t.Errorf("%s bytes announced: %+v", announced, got)
		}
		text = plainRequest("ListKey", nil, "Content-Length: "+announced, "Expect: 100-continue", hangUp)
		if got := one(t, a.raw(t, text), "POST"); got != page(413) {
			t.Errorf("%s bytes announced, to be continued: %+v", announced, got)
		}
	}
	t.Run("far more than announced", func(t *testing.T) {
		body := x.body("", nil)
		answers := a.raw(t, plainRequest("ListKey", body)+strings.Repeat("x", 1<<20))
		if got := statuses(t, answers); len(got) == 0 || got[0] != 200 || len(got) > 2 {
			t.Errorf("statuses %v", got)
		}
	})
	t.Run("no end of chunks", func(t *testing.T) {
		c := a.dial(t)
		say(t, c, plainRequest("ListKey", nil, "Transfer-Encoding: chunked"))
		sent, chunk := 0, "4000\r\n"+strings.Repeat(" ", 0x4000)+"\r\n"
		for sent < 64<<20 {
			if _, err := io.WriteString(c, chunk); err != nil {
				break
			}
			sent += len(chunk)
		}
		if sent >= 64<<20 {
			t.Errorf("the server took %d bytes", sent)
		}
	})
}

// TestHostileJSON sends what is not JSON, or hardly. Nothing of it reaches the
// core, except what is well-formed and signed.
func TestHostileJSON(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	key := x.newKey(newAES)
	good := string(x.body(encrypting(key, "x"), nil))
	twice := func(old, new string) string { return strings.Replace(good, old, new, 1) }
	nested := func(levels int, open, end string) string {
		return strings.Repeat(open, levels) + "1" + strings.Repeat(end, levels)
	}
	tests := []struct {
		name, body string
		want       reply
	}{
		{"nothing", "", invalidJSON},
		{"white space", " \r\n\t", invalidJSON},
		{"a string", `"x"`, page(400)},
		{"a number", `1`, page(400)},
		{"a great number", `1e400`, page(400)},
		{"null", `null`, page(400)},
		{"true", `true`, page(400)},
		{"an array", `[` + good + `]`, missing},
		{"an empty array", `[]`, missing},
		{"an empty object", `{}`, missing},
		{"a byte order mark", "\ufeff" + good, invalidJSON},
		{"UTF-16", "\xff\xfe{\x00}\x00", invalidJSON},
		{"something behind it", good + "x", invalidJSON},
		{"an object behind it", good + good, invalidJSON},
		{"a NUL behind it", good + "\x00", invalidJSON},
		{"a NUL before it", "\x00" + good, invalidJSON},
		{"cut", good[:len(good)-1], invalidJSON},
		{"a comma too many", good[:len(good)-1] + ",}", invalidJSON},
		{"a comment", good + "//", invalidJSON},
		{"single quotes", strings.ReplaceAll(good, `"`, `'`), invalidJSON},
		{"names without quotes", twice(`"appid"`, `appid`), invalidJSON},
		{"a form", "appid=a&sign=b", invalidJSON},
		{"XML", "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]><x>&y;</x>", invalidJSON},

		{"appid twice", twice(`{"appid"`, `{"appid":"x","appid"`), invalidJSON},
		{"sign twice", twice(`"sign"`, `"sign":"x","sign"`), invalidJSON},
		{"an unsigned member twice", twice(`{`, `{"x":1,"x":2,`), invalidJSON},
		{"appid twice, once escaped", twice(`{"appid"`, `{"app\u0069d":"x","appid"`), invalidJSON},
		{"a payload member twice", twice(`"keyid"`, `"keyid":"x","keyid"`), invalidJSON},
		{"a nested member twice", twice(`{`, `{"x":{"y":{"z":1,"z":2}},`), invalidJSON},
		{"a member twice in an array", twice(`{`, `{"x":[{"z":1,"z":2}],`), invalidJSON},

		{"not UTF-8 in a name", twice(`"appid"`, "\"appid\xff\":1,\"appid\""), invalidJSON},
		{"not UTF-8 in a value", twice(`{`, "{\"x\":\"\xc3\x28\","), invalidJSON},
		{"UTF-8 longer than need be", twice(`{`, "{\"x\":\"\xc0\xaf\","), invalidJSON},
		{"a surrogate in UTF-8", twice(`{`, "{\"x\":\"\xed\xa0\x80\","), invalidJSON},
		{"a lone high surrogate", twice(`{`, `{"x":"\ud800",`), invalidJSON},
		{"a lone low surrogate", twice(`{`, `{"x":"\udc00",`), invalidJSON},
		{"surrogates the wrong way round", twice(`{`, `{"x":"\udc00\ud800",`), invalidJSON},
		{"a NUL in a string", twice(`{`, "{\"x\":\"\x00\","), invalidJSON},
		{"a line end in a string", twice(`{`, "{\"x\":\"\n\","), invalidJSON},
		{"an escape there is not", twice(`{`, `{"x":"\x41",`), invalidJSON},
		{"NaN", twice(`{`, `{"x":NaN,`), invalidJSON},
		{"Infinity", twice(`{`, `{"x":Infinity,`), invalidJSON},
		{"a hexadecimal number", twice(`{`, `{"x":0x10,`), invalidJSON},
		{"a number with a zero before it", twice(`{`, `{"x":01,`), invalidJSON},
		{"a number with a plus", twice(`{`, `{"x":+1,`), invalidJSON},
		{"half a number", twice(`{`, `{"x":1e,`), invalidJSON},

		{"33 levels", nested(33, `{"a":`, `}`), invalidJSON},
		{"33 levels of arrays", nested(33, `[`, `]`), invalidJSON},
		{"10,000 levels", nested(10_000, `{"a":`, `}`), invalidJSON},
		{"10,000 levels of arrays", nested(10_000, `[`, `]`), invalidJSON},
		{"100,000 levels that do not end", strings.Repeat("[", 100_000), invalidJSON},
		{"1,025 values", "[" + strings.Repeat("1,", 1023) + "1]", invalidJSON},
		{"50,000 values", "[" + strings.Repeat("1,", 49_999) + "1]", invalidJSON},
		{"20,000 members", "{" + members20k() + "}", invalidJSON},
		{"a number of 100,000 digits", "[" + strings.Repeat("9", 100_000) + "]", missing},
		{"a string of 100,000 escapes", `["` + strings.Repeat(`\n`, 50_000) + `"]`, missing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a.plant([]byte(tt.body))
			if diff := cmp.Diff(tt.want, x.post("Encrypt", []byte(tt.body))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := x.post("Encrypt", []byte(good)); !got.ok() {
		t.Errorf("nothing of this was accepted, but now the request itself: %+v", got)
	}
}

func members20k() string {
	var b strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&b, `"%d":0,`, i)
	}
	return b.String() + `"x":0`
}

// TestOddJSON sends signed requests with what is JSON, and odd.
func TestOddJSON(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	key := x.newKey(newAES)
	long := func(n string) string { return fmt.Sprintf(`{"keyid":%q,"keylen":%s}`, key, n) }
	encrypted := func(extra string) string {
		return fmt.Sprintf(`{"keyid":%q,"plaintext":"AAAA"%s}`, key, extra)
	}
	levels := func(n int) string { // in the payload, which is the second level
		return `,"x":` + strings.Repeat(`{"a":`, n-2) + "1" + strings.Repeat("}", n-2)
	}
	tooGreat := invalid("keylen", "value must be less than or equal to 1024")
	tooSmall := invalid("keylen", "value must be greater than or equal to 1")
	noInteger := invalid("keylen", "must be of integer type")
	tests := []struct {
		name, action, payload string
		set                   members
		want                  reply // zero: success
	}{
		{"32 levels", "Encrypt", encrypted(levels(32)), nil, reply{}},
		{"1e400", "GenerateDataKey", long("1e400"), nil, noInteger},
		{"-1e400", "GenerateDataKey", long("-1e400"), nil, noInteger},
		{"1e-400", "GenerateDataKey", long("1e-400"), nil, tooSmall},
		{"-0", "GenerateDataKey", long("-0"), nil, tooSmall},
		{"-0.0", "GenerateDataKey", long("-0.0"), nil, tooSmall},
		{"0", "GenerateDataKey", long("0"), nil, tooSmall},
		{"-1", "GenerateDataKey", long("-1"), nil, tooSmall},
		{"1025", "GenerateDataKey", long("1025"), nil, tooGreat},
		{"2^53+1", "GenerateDataKey", long("9007199254740993"), nil, tooGreat},
		{"2^64+16", "GenerateDataKey", long("18446744073709551632"), nil, tooGreat},
		{"2^32+16", "GenerateDataKey", long("4294967312"), nil, tooGreat},
		{"1e21", "GenerateDataKey", long("1e21"), nil, noInteger},
		{"1000 digits", "GenerateDataKey", long("1" + strings.Repeat("0", 999)), nil, noInteger},
		{"16.000000000000000000001", "GenerateDataKey", long("16.000000000000000000001"), nil, reply{}}, // 16 in JavaScript
		{"16.5", "GenerateDataKey", long("16.5"), nil, noInteger},
		{"16.0", "GenerateDataKey", long("16.0"), nil, reply{}},
		{"1.6e1", "GenerateDataKey", long("1.6e1"), nil, reply{}},
		{"16 in quotes", "GenerateDataKey", long(`"16"`), nil, noInteger},
		{"16 in an array", "GenerateDataKey", long(`[16]`), nil, noInteger},
		{"1e400 elsewhere", "Encrypt", encrypted(`,"x":1e400,"y":-1e400,"z":-0`), nil, reply{}},
		{"NUL in a payload", "Encrypt", encrypted(`,"x":"a\u0000b","a\u0000":"c"`), nil, reply{}},
		{"NUL in a nonce", "Encrypt", encrypted(``), members{"nonce": `"a\u0000b"`}, reply{}},
		{"NUL in the appid", "Encrypt", encrypted(``), members{"appid": quote(x.ID + "\x00")}, signError},
		{"a space behind the appid", "Encrypt", encrypted(``), members{"appid": quote(x.ID + " ")}, signError},
		{"the appid in upper case", "Encrypt", encrypted(``), members{"appid": quote(strings.ToUpper(x.ID))}, signError},
		{"NUL in the timestamp", "Encrypt", encrypted(``), members{"timestamp": `"170000000000\u0000"`}, timestampError},
		{"NUL in the key id", "DeleteKey", `{"keyid":"` + key[:35] + `\u0000"}`, nil, invalid("keyid", "format wrong")},
		{"an emoji", "Encrypt", encrypted(`,"x":"😀","😀":"\ud83d\ude00"`), nil, reply{}},
		{"characters that sort apart in UTF-16", "Encrypt", encrypted(`,"\uffff":"1","😀":"2"`), nil, reply{}},
		{"line separators", "Encrypt", encrypted(`,"x":"\u2028\u2029"`), nil, reply{}},
		{"the name __proto__", "Encrypt", encrypted(`,"__proto__":{"x":1},"constructor":1`), nil, reply{}},
		{"an empty name", "Encrypt", encrypted(`,"":"x"`), nil, reply{}},
		{"separators in names and values", "Encrypt", encrypted(`,"a=b&c":"d&e=f"`), nil, reply{}},
		{"nested arrays", "Encrypt", encrypted(`,"x":[[[[[[1,[2]]]]]]]`), nil, reply{}},
		{"a payload that is an array", "Encrypt", `["` + key + `"]`, nil,
			refusal(400, "Missing required parameters, The keyid cannot be empty.")},
		{"base64 with line ends", "Encrypt", fmt.Sprintf(`{"keyid":%q,"plaintext":"AA\nAA"}`, key), nil, invalid("plaintext", "not a vailed base64 string")},
		{"1,000 values", "Encrypt", encrypted(`,"x":[` + strings.Repeat("1,", 999) + `1]`), nil, reply{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := x.post(tt.action, x.body(tt.payload, tt.set))
			if tt.want == (reply{}) {
				if !got.ok() {
					t.Errorf("%+v", got)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestTypesOfBodies: only JSON is parsed.
func TestTypesOfBodies(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	for contentType, want := range map[string]reply{
		"application/json":                       listed,
		"application/json; charset=utf-8":        listed,
		"":                                       missing,
		"text/plain":                             missing,
		"application/x-www-form-urlencoded":      missing,
		"multipart/form-data; boundary=x":        missing,
		"application/json, application/json":     missing,
		"application/json\x0b":                   missing,
		strings.Repeat("application/json;", 500): missing,
	} {
		r := x.request("ListKey", x.body("", nil))
		r.Header = http.Header{}
		if contentType != "" {
			text := plainRequest("ListKey", x.body("", nil), hangUp)
			text = strings.Replace(text, "Content-Type: application/json\r\n", "Content-Type: "+contentType+"\r\n", 1)
			answers := a.raw(t, text)
			if strings.HasPrefix(answers, "HTTP/1.1 400 ") { // the header is malformed
				continue
			}
			if got := one(t, answers, "POST"); got != want {
				t.Errorf("%.60q: %+v", contentType, got)
			}
			continue
		}
		if got := x.do(r); got != want {
			t.Errorf("no type: %+v", got)
		}
	}
	r := x.request("ListKey", x.body("", nil))
	r.Header.Set("Content-Encoding", "gzip") // nothing is ever unpacked
	if got := x.do(r); got != listed {
		t.Errorf("said to be packed: %+v", got)
	}
}
