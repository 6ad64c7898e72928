package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

func repeat(s string, n int) string { return strings.Repeat(s, n) }

func TestParseRefuses(t *testing.T) {
	nested := func(n int) string { return repeat(`{"a":`, n) + "1" + repeat("}", n) }
	values := func(n int) string { return `{"a":[1` + repeat(",1", n-3) + `]}` } // object, array and elements
	tests := []struct {
		name, body string
		want       error
	}{
		{"nothing", "", wire.ErrSyntax},
		{"only space", " \n", wire.ErrSyntax},
		{"not JSON", "appid=a", wire.ErrSyntax},
		{"cut short", `{"appid":"a"`, wire.ErrSyntax},
		{"trailing comma", `{"appid":"a",}`, wire.ErrSyntax},
		{"something after", `{"appid":"a"} x`, wire.ErrSyntax},
		{"a second object", `{"appid":"a"}{}`, wire.ErrSyntax},
		{"a closing brace more", `{}}`, wire.ErrSyntax},
		{"only a closing brace", `}`, wire.ErrSyntax},
		{"wrong brace", `{"a":[}`, wire.ErrSyntax},
		{"comment", `{/* */}`, wire.ErrSyntax},
		{"single quotes", `{'a':1}`, wire.ErrSyntax},
		{"name without quotes", `{a:1}`, wire.ErrSyntax},
		{"leading zero", `{"a":01}`, wire.ErrSyntax},
		{"NaN", `{"a":NaN}`, wire.ErrSyntax},
		{"a line end in a string", "{\"a\":\"\n\"}", wire.ErrSyntax},
		{"byte order mark", "\xEF\xBB\xBF{}", wire.ErrSyntax},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", wire.ErrSyntax},
		{"invalid UTF-8 in a name", "{\"\xc3\x28\":1}", wire.ErrSyntax},
		{"overlong UTF-8", "{\"a\":\"\xc0\xaf\"}", wire.ErrSyntax},
		{"half a surrogate pair", `{"a":"\ud83d"}`, wire.ErrSyntax},
		{"half a surrogate pair as UTF-8", "{\"a\":\"\xed\xa0\xbd\"}", wire.ErrSyntax},
		{"a name twice", `{"appid":"a","appid":"b"}`, wire.ErrSyntax},
		{"a name twice, spelled differently", `{"appid":"a","\u0061ppid":"b"}`, wire.ErrSyntax},
		{"a name twice, further in", `{"payload":{"keyid":"a","x":[{"y":1,"y":2}]}}`, wire.ErrSyntax},

		{"deeper than allowed", nested(wire.MaxDepth + 1), wire.ErrLimits},
		{"arrays deeper than allowed", repeat("[", 50000), wire.ErrLimits},
		{"more values than allowed", values(wire.MaxValues + 1), wire.ErrLimits},

		{"string", `"{}"`, wire.ErrScalar},
		{"number", `1`, wire.ErrScalar},
		{"null", `null`, wire.ErrScalar},
		{"true", ` true `, wire.ErrScalar},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.Parse([]byte(tt.body))
			if !errors.Is(err, tt.want) || !errors.Is(err, kms.Invalid) {
				t.Errorf("Parse: %v, want %v", err, tt.want)
			}
		})
	}
	t.Run("as much as allowed", func(t *testing.T) {
		for _, body := range []string{nested(wire.MaxDepth), values(wire.MaxValues)} {
			if _, err := wire.StringToSign([]byte(body)); err != nil {
				t.Errorf("StringToSign(%.20s…): %v", body, err)
			}
		}
	})
	t.Run("an array has nothing to sign", func(t *testing.T) {
		if _, err := wire.StringToSign([]byte(`[]`)); !errors.Is(err, wire.ErrNotObject) {
			t.Errorf("StringToSign: %v", err)
		}
		if _, err := wire.Canonical([]byte(`[1]`)); !errors.Is(err, wire.ErrNotObject) {
			t.Errorf("Canonical: %v", err)
		}
		if _, err := wire.Canonical([]byte(`{`)); !errors.Is(err, wire.ErrSyntax) {
			t.Errorf("Canonical: %v", err)
		}
	})
}

func TestParseMembers(t *testing.T) {
	body := []byte(`{"appid":"a\u0041","sign":"s","x":1,"timestamp":17,"payload":{"n":12.0,"s":"é😀","z":null,"l":[1,"two"],"e":{}}}`)
	r, err := wire.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	kinds := []wire.Kind{r.AppID.Kind(), r.Nonce.Kind(), r.Sign.Kind(), r.Timestamp.Kind(), r.Payload.Kind()}
	if diff := cmp.Diff([]wire.Kind{wire.String, wire.Absent, wire.String, wire.Number, wire.Object}, kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if got := string(r.AppID.Text()); got != "aA" {
		t.Errorf("appid %q", got)
	}
	if n, ok := r.Payload.Get("n").Integer(); n != 12 || !ok {
		t.Errorf("n = %v, %v", n, ok)
	}
	if got := wire.UTF16Len(r.Payload.Get("s").Text()); got != 3 {
		t.Errorf("length of é and 😀 is %d UTF-16 units, want 3", got)
	}
	if v := r.Payload.Get("absent"); v.Kind() != wire.Absent || v.Text() != nil || !v.Unset() || v.Len() != 0 || v.Get("x").Kind() != wire.Absent {
		t.Errorf("an absent member is something: %v", v.Kind())
	}
	if v := r.Payload.Get("l").Get("0"); v.Kind() != wire.Absent {
		t.Errorf("an element was found by name: %v", v.Kind())
	}
	var names []string
	for name := range r.Payload.Members {
		names = append(names, string(name))
	}
	for name, v := range r.Payload.Get("l").Members {
		names = append(names, fmt.Sprintf("l.%s:%t", name, v.Kind() == wire.Number))
	}
	if diff := cmp.Diff([]string{"n", "s", "z", "l", "e", "l.0:true", "l.1:false"}, names); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

func TestValue(t *testing.T) {
	type facts struct{ Falsy, Unset, Skipped, Integer bool }
	tests := []struct {
		json string
		want facts
	}{
		{`null`, facts{Falsy: true, Unset: true, Skipped: true}},
		{`false`, facts{Falsy: true, Skipped: true}},
		{`true`, facts{}},
		{`0`, facts{Falsy: true, Skipped: true, Integer: true}},
		{`-0.0`, facts{Falsy: true, Skipped: true, Integer: true}},
		{`16`, facts{Integer: true}},
		{`16.0`, facts{Integer: true}},
		{`1.5`, facts{}},
		{`1e20`, facts{Integer: true}},
		{`1e21`, facts{}},
		{`1e999`, facts{}},
		{`""`, facts{Falsy: true, Unset: true, Skipped: true}},
		{`"0"`, facts{}},
		{`[]`, facts{Skipped: true}},
		{`[null]`, facts{Skipped: true}},
		{`[0]`, facts{}},
		{`{}`, facts{}},
	}
	for _, tt := range tests {
		t.Run(tt.json, func(t *testing.T) {
			r, err := wire.Parse([]byte(`{"payload":` + tt.json + `}`))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Release()
			_, integer := r.Payload.Integer()
			got := facts{r.Payload.Falsy(), r.Payload.Unset(), r.Payload.Skipped(), integer}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestReleaseWipes holds on to slices of a request, against the rules, to see
// that Release leaves nothing in them, and that the body is not ours to touch.
func TestReleaseWipes(t *testing.T) {
	const secret = "attack\nat dawn"
	body := []byte(`{"appid":"a","payload":{"secret":"attack\nat dawn"}}`)
	before := bytes.Clone(body)
	r, err := wire.Parse(body)
	if err != nil {
		t.Fatal(err)
	}
	signed, text := r.Signed, r.Payload.Get("secret").Text()
	if !strings.Contains(string(signed), secret) || string(text) != secret {
		t.Fatalf("parsed %q, signed %q", text, signed)
	}
	r.Release()
	if !bytes.Equal(signed, make([]byte, len(signed))) {
		t.Errorf("the canonical string is still there: %q", signed)
	}
	if !bytes.Equal(text, make([]byte, len(text))) {
		t.Errorf("the unescaped string is still there: %q", text)
	}
	if !bytes.Equal(body, before) {
		t.Error("the body was changed")
	}
}

// TestManyEscapes needs more memory than a pooled block has.
func TestManyEscapes(t *testing.T) {
	long := repeat("\\u00e9", 3000)
	body := `{"appid":"` + long + `","nonce":"` + long + `","payload":{"x":"` + long + `","y":"a\tb"}}`
	want := "appid=" + repeat("é", 3000) + "&nonce=" + repeat("é", 3000) + "&payload=x=" + repeat("é", 3000) + "&y=a\tb"
	for range 3 {
		got, err := wire.StringToSign([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Fatalf("got %d bytes, want %d", len(got), len(want))
		}
	}
}

// TestPooling has many goroutines parse different bodies at once: memory that
// returned to the pool too early would show up in another's request.
func TestPooling(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 300 {
				id := fmt.Sprintf("%d-%d", g, i)
				body := `{"appid":"\u0061` + id + `","payload":{"l":["` + repeat(id, i) + `"]},"timestamp":"` + id + `"}`
				r, err := wire.Parse([]byte(body))
				if err != nil {
					t.Error(err)
					return
				}
				want := "appid=a" + id + "&payload=l=0=" + repeat(id, i) + "&timestamp=" + id
				if i == 0 {
					want = "appid=a" + id + "&payload=&timestamp=" + id // [""] is skipped
				}
				if string(r.Signed) != want || string(r.AppID.Text()) != "a"+id {
					t.Errorf("signed %q, want %q", r.Signed, want)
				}
				r.Release()
			}
		})
	}
	wg.Wait()
}

// TestAllocations keeps the hot path from allocating once the pool is warm.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes pools drop what they are given")
	}
	body := encryptBody(1024)
	got := testing.AllocsPerRun(200, func() {
		r, err := wire.Parse(body)
		if err != nil {
			t.Fatal(err)
		}
		r.Release()
	})
	if got > 0 {
		t.Errorf("%v allocations for a request", got)
	}
}

func encryptBody(size int) []byte {
	return []byte(`{"appid":"` + vectorApp + `","timestamp":"` + vectorTime + `","sign":"j4tMA4Ug/cdOr0bm4LdPj1taocu/MlTFa2CbspUDvlY=",` +
		`"payload":{"keyid":"aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee","plaintext":"` + repeat("QUFB", (size+2)/3) + `","aad":"YWFk"}}`)
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{16, 1024, 6144} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			body := encryptBody(size)
			b.ReportAllocs()
			for b.Loop() {
				r, err := wire.Parse(body)
				if err != nil {
					b.Fatal(err)
				}
				r.Release()
			}
		})
	}
}
