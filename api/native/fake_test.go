package native_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/api/native"
	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

const apiKey = "0123456789ABCDEFGHJKLMNPQRSTUVWX"

// A fake is a core that knows one credential and does nothing.
type fake struct {
	native.Caller // panics where a test calls what it must not

	id  kms.CredentialID
	err error // what every operation returns, where not nil

	mu    sync.Mutex
	asked kms.Credential // the last one that was shown
	calls []any          // requests that got through
}

func (f *fake) authenticate(_ context.Context, c kms.Credential) (native.Caller, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = c
	m := hmac.New(sha256.New, signature.Key([]byte(apiKey)))
	m.Write(c.Signed)
	switch {
	case c.Scheme == kms.SchemeSession:
		return nil, kms.Errorf(kms.Denied, "secret words")
	case c.ID != f.id || !hmac.Equal(m.Sum(nil), c.MAC):
		return nil, kms.Errorf(kms.Unauthenticated, "secret words")
	}
	return f, nil
}

func (f *fake) note(r any) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, r)
	return f.err
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

func (f *fake) ListCredentials(context.Context) ([]kms.CredentialInfo, error) {
	return []kms.CredentialInfo{{ID: f.id, Name: "first", Permissions: kms.PermAll, Created: time.Unix(1_700_000_000, 0)}}, f.note("list")
}

func (f *fake) CreateCredential(_ context.Context, r kms.CreateCredentialRequest) (kms.NewCredential, error) {
	return kms.NewCredential{CredentialInfo: kms.CredentialInfo{ID: kms.CredentialID{1}, Name: r.Name, Permissions: r.Permissions,
		Created: time.Unix(1_700_000_000, 0), Expires: r.Expires}, APIKey: apiKey}, f.note(r)
}

func (f *fake) RotateCredential(_ context.Context, r kms.RotateCredentialRequest) (kms.NewCredential, error) {
	return kms.NewCredential{CredentialInfo: kms.CredentialInfo{ID: kms.CredentialID{2}, Permissions: kms.PermUse}, APIKey: apiKey}, f.note(r)
}

func (f *fake) RevokeCredential(_ context.Context, id kms.CredentialID) error { return f.note(id) }

func (f *fake) Enrol(context.Context) (kms.Enrolment, error) {
	return kms.Enrolment{APIKey: apiKey}, f.note("open")
}

func (f *fake) EnrolByTicket(_ context.Context, code string) (kms.Enrolment, error) {
	return kms.Enrolment{APIKey: apiKey}, f.note(code)
}

func (f *fake) EnrolAttested(_ context.Context, r kms.AttestedEnrolment) (kms.Enrolment, error) {
	return kms.Enrolment{APIKey: apiKey}, f.note(r)
}

func newFake() *fake { return &fake{id: kms.CredentialID{0x11, 0x22}} }

func (f *fake) handler() http.Handler {
	return native.New(native.Config{Authenticate: f.authenticate, Enroller: f})
}

const service = "/holdfast.v1.CredentialService/"

// request is one for a procedure, signed if by is not nil.
func request(path, contentType, body string, by *fake) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, bytes.NewReader([]byte(body)))
	r.Header.Set("Content-Type", contentType)
	if by != nil {
		sign(r, body, by.id)
	}
	return r
}

func sign(r *http.Request, body string, id kms.CredentialID) {
	r.Header.Set(signature.HeaderName, signed(r, body, id, apiKey))
}

// signed is the header of a request's signature, tied to no connection.
func signed(r *http.Request, body string, id kms.CredentialID, key string) string {
	h := signature.Header{Credential: id, TimeMillis: time.Now().UnixMilli(), Binding: signature.BindNone}
	rand.Read(h.Nonce[:])
	host := r.Host
	if host == "" {
		host = r.URL.Host
	}
	signature.Sign([]byte(key), &h, &signature.Request{Method: r.Method, Host: host, Target: r.URL.RequestURI(), BodyHash: sha256.Sum256([]byte(body))})
	return h.String()
}

func do(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var errSecret = errors.New("secret words")

func mustNotLeak(t testing.TB, w *httptest.ResponseRecorder) {
	t.Helper()
	if bytes.Contains(w.Body.Bytes(), []byte("secret words")) {
		t.Errorf("internal words left: %s", w.Body)
	}
	if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("an answer that a cache or a browser may make something of: %v", w.Header())
	}
}
