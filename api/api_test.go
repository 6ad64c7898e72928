package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/kms"
)

func TestTable(t *testing.T) {
	say := func(s string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, s) })
	}
	table := &api.Table{
		Routes: []api.Route{
			{Method: http.MethodGet, Path: "/status", Handler: say("status")},
			{Method: http.MethodPut, Path: "/both", Handler: say("put")},
			{Method: http.MethodPost, Path: "/both", Handler: say("post")},
			{Path: "/any", Handler: say("any")},
			{Path: "/many.", Prefix: true, Handler: say("many")},
		},
		Rest: say("rest"),
	}
	tests := []struct {
		method, path string
		status       int
		body         string // "" is not compared
	}{
		{"GET", "/status", 200, "status"},
		{"POST", "/status", 405, ""},
		{"PUT", "/both", 200, "put"},
		{"POST", "/both", 200, "post"},
		{"DELETE", "/any", 200, "any"},
		{"GET", "/many.A/b", 200, "many"},
		{"GET", "/many.", 200, "many"},
		{"GET", "/many", 200, "rest"},
		{"GET", "/x/../many.A", 200, "rest"},
		{"GET", "/", 200, "rest"},
		{"GET", "//status", 200, "rest"}, // neither cleaned nor redirected
		{"GET", "/status/", 200, "rest"},
		{"GET", "/x/../status", 200, "rest"},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			table.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
			if w.Code != tt.status || tt.body != "" && w.Body.String() != tt.body {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, tt.status, tt.body)
			}
		})
	}
	t.Run("nothing for the rest", func(t *testing.T) {
		w := httptest.NewRecorder()
		(&api.Table{}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != http.StatusNotFound {
			t.Errorf("status %d", w.Code)
		}
	})
	t.Run("Allow", func(t *testing.T) {
		w := httptest.NewRecorder()
		table.ServeHTTP(w, httptest.NewRequest("POST", "/status", nil))
		if got := w.Header().Get("Allow"); got != "GET" {
			t.Errorf("Allow: %q", got)
		}
	})
}

func TestReadBody(t *testing.T) {
	const limit = 40_000
	text := strings.Repeat("0123456789abcdef", 2500) // exactly limit
	tests := []struct {
		name   string
		body   io.Reader
		length int64 // as claimed
		want   string
		kind   kms.Kind // Internal: no error
	}{
		{"nothing", strings.NewReader(""), 0, "", kms.Internal},
		{"short", strings.NewReader("abc"), 3, "abc", kms.Internal},
		{"as much as allowed", strings.NewReader(text), limit, text, kms.Internal},
		{"of unknown length", strings.NewReader(text), -1, text, kms.Internal},
		{"byte by byte", iotest.OneByteReader(strings.NewReader(text)), limit, text, kms.Internal},
		{"the end with the last bytes", iotest.DataErrReader(strings.NewReader(text)), limit, text, kms.Internal},
		{"claims too much", strings.NewReader("abc"), limit + 1, "", kms.TooLarge},
		{"claims more than there can be", strings.NewReader("abc"), 1 << 62, "", kms.TooLarge},
		{"sends too much", strings.NewReader(text + "!"), -1, "", kms.TooLarge},
		{"breaks off", io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(io.ErrUnexpectedEOF)), 5, "", kms.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", tt.body)
			r.ContentLength = tt.length
			b, err := api.ReadBody(r, limit)
			if err != nil {
				if kms.KindOf(err) != tt.kind || tt.kind == kms.Internal {
					t.Fatalf("error %v, want kind %v", err, tt.kind)
				}
				return
			}
			if tt.kind != kms.Internal {
				t.Fatalf("read %d bytes, want error %v", len(b.B), tt.kind)
			}
			if string(b.B) != tt.want {
				t.Errorf("read %d bytes, want %d", len(b.B), len(tt.want))
			}
			b.Release()
		})
	}
}

// TestBufferWipes holds on to memory that it gave back, against the rules.
func TestBufferWipes(t *testing.T) {
	b := api.NewBuffer(8)
	b.B = append(b.B, "a secret"...)
	before := b.B
	b.Reserve(cap(b.B) + 1)
	if !bytes.Equal(before, make([]byte, len(before))) {
		t.Errorf("growing left %q behind", before)
	}
	if string(b.B) != "a secret" {
		t.Errorf("growing lost the content: %q", b.B)
	}
	after := b.B
	b.Release()
	if !bytes.Equal(after, make([]byte, len(after))) {
		t.Errorf("Release left %q behind", after)
	}
}

func TestReserveKeepsRoom(t *testing.T) {
	b := api.NewBuffer(0)
	defer b.Release()
	for i := range 200 {
		b.Reserve(i * i)
		if room := cap(b.B) - len(b.B); room < i*i {
			t.Fatalf("room for %d bytes, want %d", room, i*i)
		}
		b.B = append(b.B, make([]byte, i*i)...)
	}
}

func TestIsJSON(t *testing.T) {
	tests := map[string]bool{
		"application/json":                   true,
		"application/json; charset=utf-8":    true,
		"Application/JSON;charset=UTF-8":     true,
		"":                                   false,
		"text/plain":                         false,
		"application/jsonx":                  false,
		"application/x-www-form-urlencoded":  false,
		"application/json, text/plain":       false,
		"text/plain; x=\"application/json\"": false,
	}
	for contentType, want := range tests {
		if got := api.IsJSON(contentType); got != want {
			t.Errorf("IsJSON(%q) = %v", contentType, got)
		}
	}
}

func TestSend(t *testing.T) {
	for range 2 { // the second would show what the first did to shared headers
		w := httptest.NewRecorder()
		api.Send(w, http.StatusTeapot, "text/x", []byte("abc"))
		want := http.Header{
			"Cache-Control": {"no-store"}, "X-Content-Type-Options": {"nosniff"}, "Content-Security-Policy": {"default-src 'none'"},
			"Content-Type": {"text/x"}, "Content-Length": {"3"},
		}
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("headers (-want +got):\n%s", diff)
		}
		if w.Code != http.StatusTeapot || w.Body.String() != "abc" {
			t.Errorf("%d %q", w.Code, w.Body)
		}
		for name := range w.Header() {
			w.Header().Add(name, "more")
		}
	}
}

func TestErrorTable(t *testing.T) {
	table := api.ErrorTable[string]{kms.Internal: "internal", kms.NotFound: "not found"}
	tests := []struct {
		err  error
		kind kms.Kind
		want string
	}{
		{kms.NotFound, kms.NotFound, "not found"},
		{fmt.Errorf("looking: %w", kms.Errorf(kms.NotFound, "gone")), kms.NotFound, "not found"},
		{errors.New("anything"), kms.Internal, "internal"},
		{kms.Stale, kms.Internal, "internal"}, // no row
	}
	for _, tt := range tests {
		if kind, got := table.For(tt.err); kind != tt.kind || got != tt.want {
			t.Errorf("For(%v) = %v, %s", tt.err, kind, got)
		}
	}
	if got, want := len(table.Missing()), len(kms.Kinds())-2; got != want {
		t.Errorf("%d kinds are missing, want %d", got, want)
	}
}

func TestStatusPage(t *testing.T) {
	want := kms.Status{Domain: "test", Ready: true, Attestation: "none", Keys: 7, Warnings: []string{"only one node"}}
	w := httptest.NewRecorder()
	page := api.StatusPage{Status: func(context.Context) kms.Status { return want }}
	page.ServeHTTP(w, httptest.NewRequest("GET", "/status", nil))
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if w.Code != 200 || got["domain"] != "test" || got["ready"] != true || got["keys"] != 7.0 || len(got["domain_id"].(string)) != 64 {
		t.Errorf("%d %v", w.Code, got)
	}
}
