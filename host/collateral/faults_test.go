package collateral_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// faults are what befalls services.
var faults = []struct {
	name  string
	fault func(w http.ResponseWriter, r *http.Request) bool
	tries int // in a row
	hint  string
}{
	{"down", func(http.ResponseWriter, *http.Request) bool { panic(http.ErrAbortHandler) }, 4, "can be reached"},
	{"silent", func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, 3, "too long"},
	{"429", status(429, "Retry-After", "1"), 4, "overloaded"},
	{"429 for long", status(429, "Retry-After", "300"), 1, "overloaded"},
	{"500", status(500), 4, "overloaded"},
	{"503 until a date", status(503, "Retry-After", noon.Add(2*time.Second).Format(http.TimeFormat)), 4, "overloaded"},
	{"403", status(403), 1, "credentials"},
	{"400", status(400), 1, "PCCS"},
	{"redirect", status(302, "Location", "https://elsewhere.test/"), 1, "redirects are not followed"},
	{"redirect to a file", status(308, "Location", "file:///etc/passwd"), 1, "redirects are not followed"},
	{"garbage", body("<html>please log in</html>"), 4, "proxy"},
	{"empty", body(""), 4, "proxy"},
	{"other JSON", body(`{"error":"try again"}`), 4, "proxy"},
	{"huge", body(strings.Repeat("0", 1200000)), 4, "proxy"},
	{"truncated", truncated, 4, "proxy"},
}

func status(code int, header ...string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		if header != nil {
			w.Header().Set(header[0], header[1])
		}
		w.WriteHeader(code)
		return true
	}
}

func body(text string) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("SGX-TCB-Info-Issuer-Chain", "-----BEGIN%20CERTIFICATE-----")
		w.Write([]byte(text))
		return true
	}
}

// truncated is the right answer without its last bytes.
func truncated(w http.ResponseWriter, r *http.Request) bool {
	inner := httptest.NewRecorder()
	r.Context().Value(vendorKey{}).(*vendor).plain(inner, r)
	for k, v := range inner.Header() {
		w.Header()[k] = v
	}
	w.Write(inner.Body.Bytes()[:inner.Body.Len()-10])
	return true
}

type vendorKey struct{}

// plain answers whatever the fault.
func (v *vendor) plain(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	platform, at := v.platform, v.now()
	v.mu.Unlock()
	v.answer(w, r, platform, false, at)
}

// only lets a fault befall requests whose address has the text.
func only(text string, v *vendor, fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		return strings.Contains(r.URL.RequestURI(), text) && fault(w, r.WithContext(context.WithValue(r.Context(), vendorKey{}, v)))
	}
}
