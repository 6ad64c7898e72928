package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
)

func addBodies(f *testing.F) {
	for _, body := range []string{
		`{"appid":"a","nonce":"n","timestamp":"1700000000000","sign":"s","payload":{"keyid":"k","aad":""}}`,
		`{"secretName":"s","secretData":"p&q=%20+é","description":"","B":"upper","a":{"z":1,"b":true,"c":false,"d":0,"e":null},"l":["x","y"],"m":[],"o":{},"f":1.5,"zero":"0"}`,
		`{"payload":[[""],[[null]],[0,-0,1e21,1e-7,1e999,-1e999,1e-999,123456789012345678901234567890]]}`,
		`{"\ud83d\ude00":"\u0000","\uE000":"\"\\\/\b","":{"":[{}]}}`,
		`{"a":1,"a":2}`, `[]`, `"x"`, `{"a":"` + "\xff" + `"}`, ` { } `,
		strings.Repeat("[", 40),
	} {
		f.Add([]byte(body))
	}
}

// FuzzParse: a request parses or is refused, whatever it is; what parses has the
// same canonical string however it is spelled.
func FuzzParse(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		r, err := wire.Parse(body)
		if err != nil {
			return
		}
		signed := string(r.Signed)
		for name, v := range r.Payload.Members {
			_, _, _ = name, v.Skipped(), v.Unset()
		}
		r.Release()
		if !bytes.Equal(before, body) {
			t.Fatal("the body was changed")
		}
		if !json.Valid(body) {
			t.Fatalf("accepted what is not JSON: %q", body)
		}
		for _, other := range respell(t, body) {
			again, err := wire.Parse(other)
			if err != nil {
				t.Fatalf("%q parses, but not as %q: %v", body, other, err)
			}
			if string(again.Signed) != signed {
				t.Fatalf("%q signs %q\n%q signs %q", body, signed, other, again.Signed)
			}
			again.Release()
		}
	})
}

// respell writes the same JSON with members in order of their names, with
// white space, and in reverse order with everything escaped.
func respell(t *testing.T, body []byte) [][]byte {
	tree := decode(t, body)
	sorted, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var spaced bytes.Buffer
	if err := json.Indent(&spaced, body, " ", "\t"); err != nil {
		t.Fatal(err)
	}
	return [][]byte{sorted, spaced.Bytes(), appendReversed(nil, tree)}
}

func decode(t *testing.T, body []byte) any {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		t.Fatal(err)
	}
	return tree
}

func appendReversed(dst []byte, v any) []byte {
	switch v := v.(type) {
	case map[string]any:
		names := sortedNames(v)
		slices.Reverse(names)
		sep := byte('{')
		for _, n := range names {
			dst = appendEscaped(append(dst, sep), n)
			dst = appendReversed(append(dst, ':'), v[n])
			sep = ','
		}
		if sep == '{' {
			dst = append(dst, '{')
		}
		return append(dst, '}')
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendReversed(dst, e)
		}
		return append(dst, ']')
	case string:
		return appendEscaped(dst, v)
	}
	return fmt.Append(dst, printable(v))
}

func printable(v any) any {
	if v == nil {
		return "null"
	}
	return v
}

func appendEscaped(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, u := range utf16.Encode([]rune(s)) {
		dst = fmt.Appendf(dst, `\u%04X`, u)
	}
	return append(dst, '"')
}

// FuzzCanonical compares with a second implementation, written from the rules
// and for nothing but to be read.
func FuzzCanonical(f *testing.F) {
	addBodies(f)
	f.Fuzz(func(t *testing.T, object []byte) {
		got, err := wire.Canonical(object)
		if err != nil {
			return
		}
		want := slowCanonical(decode(t, object).(map[string]any))
		if string(got) != want {
			t.Fatalf("Canonical(%q)\n got %q\nwant %q", object, got, want)
		}
	})
}

// slowCanonical is eHSM's canonical form over decoded JSON.
func slowCanonical(object map[string]any) string {
	var parts []string
	for _, name := range sortedNames(object) {
		v := object[name]
		if v == nil || equalsEmptyString(v) {
			continue
		}
		parts = append(parts, name+"="+slowValue(v))
	}
	return strings.Join(parts, "&")
}

func sortedNames(object map[string]any) []string {
	var names []string
	for name := range object {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b)))
	})
	return names
}

func slowValue(v any) string {
	switch v := v.(type) {
	case map[string]any:
		return slowCanonical(v)
	case []any:
		return slowCanonical(indexed(v))
	case json.Number:
		return toString(parseFloat(v))
	}
	return fmt.Sprint(v)
}

func indexed(array []any) map[string]any {
	object := map[string]any{}
	for i, v := range array {
		object[strconv.Itoa(i)] = v
	}
	return object
}

// equalsEmptyString is JavaScript's v == ”.
func equalsEmptyString(v any) bool {
	switch v := v.(type) {
	case string:
		return v == ""
	case bool:
		return !v
	case json.Number:
		return parseFloat(v) == 0
	case []any:
		return joined(v) == ""
	}
	return false
}

// joined is JavaScript's String(array), as far as being empty goes.
func joined(array []any) string {
	var parts []string
	for _, v := range array {
		switch v := v.(type) {
		case nil:
			parts = append(parts, "")
		case string:
			parts = append(parts, v)
		case []any:
			parts = append(parts, joined(v))
		default:
			parts = append(parts, "something")
		}
	}
	return strings.Join(parts, ",")
}

func parseFloat(n json.Number) float64 {
	f, _ := strconv.ParseFloat(string(n), 64)
	return f
}

// toString is ECMA-262's Number::toString (section 6.1.6.1.20), step by step.
func toString(m float64) string {
	switch {
	case m == 0:
		return "0"
	case m < 0:
		return "-" + toString(-m)
	case math.IsInf(m, 1):
		return "Infinity"
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(m, 'e', -1, 64), "e")
	digits := strings.Replace(mantissa, ".", "", 1)
	e, _ := strconv.Atoi(exponent)
	n, k := e+1, len(digits)
	switch {
	case k <= n && n <= 21:
		return digits + strings.Repeat("0", n-k)
	case 0 < n && n <= 21:
		return digits[:n] + "." + digits[n:]
	case -6 < n && n <= 0:
		return "0." + strings.Repeat("0", -n) + digits
	}
	if k > 1 {
		digits = digits[:1] + "." + digits[1:]
	}
	return fmt.Sprintf("%se%+d", digits, n-1)
}
