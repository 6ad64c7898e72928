package signature_test

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/signature"
)

// FuzzParse: what is read prints as the same bytes, so that one signature has
// one spelling.
func FuzzParse(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Header)
		f.Add(strings.ReplaceAll(v.Header, ", ", ","))
	}
	f.Add("")
	f.Add("v=2, credential=, time=, nonce=, binding=, mac=")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := signature.Parse(s)
		if err != nil {
			return
		}
		if got := h.String(); got != s {
			t.Fatalf("%q prints as %q", s, got)
		}
	})
}

// FuzzText: the text gives back everything that went into it, so that no two
// requests have the same one.
func FuzzText(f *testing.F) {
	for _, v := range vectors(f) {
		h, r := v.request(f)
		f.Add(r.Method, r.Host, r.Target, r.BodyHash[:], h.Credential[:], h.TimeMillis, h.Nonce[:], string(h.Binding), r.Exporter)
	}
	f.Add("", "", "", []byte{}, []byte{}, int64(-1), []byte{}, "", []byte{})
	f.Fuzz(func(t *testing.T, method, host, target string, body, credential []byte, millis int64, nonce []byte, binding string, exporter []byte) {
		h := &signature.Header{TimeMillis: millis, Binding: signature.Binding(binding)}
		r := &signature.Request{Method: method, Host: asciiLower(host), Target: target, Exporter: exporter}
		copy(h.Credential[:], credential)
		copy(h.Nonce[:], nonce)
		copy(r.BodyHash[:], body)
		text := signature.Text(h, &signature.Request{Method: method, Host: host, Target: target, BodyHash: r.BodyHash, Exporter: exporter})
		againH, againR := read(t, text)
		if diff := cmp.Diff(h, againH) + cmp.Diff(r, againR, cmp.Comparer(bytes.Equal)); diff != "" {
			t.Fatalf("another request has the same text (-this +other):\n%s", diff)
		}
	})
}

func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if bytes.IndexByte([]byte("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), c) >= 0 {
			b[i] = c | 0x20
		}
	}
	return string(b)
}

// read takes a text apart. It knows the specification, not the code.
func read(t *testing.T, text []byte) (*signature.Header, *signature.Request) {
	t.Helper()
	next := func() []byte {
		if len(text) < 8 {
			t.Fatal("the text ends early")
		}
		n := binary.BigEndian.Uint64(text)
		text = text[8:]
		if n > uint64(len(text)) {
			t.Fatalf("a part of %d bytes, %d are left", n, len(text))
		}
		part := text[:n]
		text = text[n:]
		return part
	}
	if label := string(next()); label != "holdfast request signature v2" {
		t.Fatalf("label %q", label)
	}
	h, r := new(signature.Header), new(signature.Request)
	r.Method, r.Host, r.Target = string(next()), string(next()), string(next())
	sized := func(dst []byte) {
		if part := next(); copy(dst, part) != len(dst) || len(part) != len(dst) {
			t.Fatalf("a part of %d bytes, want %d", len(part), len(dst))
		}
	}
	sized(r.BodyHash[:])
	sized(h.Credential[:])
	millis, err := strconv.ParseInt(string(next()), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	h.TimeMillis = millis
	sized(h.Nonce[:])
	h.Binding, r.Exporter = signature.Binding(next()), next()
	if len(text) > 0 {
		t.Fatalf("%d bytes are left", len(text))
	}
	return h, r
}
