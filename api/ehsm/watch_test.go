package ehsm_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/kms"
)

// A witness is an observer that keeps what it is told, and a gate that may be shut.
type witness struct {
	served []kms.Served
	shut   bool
	in     int
}

func (*witness) Begin() int64                { return 7 }
func (w *witness) End(_ int64, s kms.Served) { w.served = append(w.served, s) }
func (w *witness) Leave()                    { w.in-- }
func (w *witness) Enter(context.Context) error {
	if w.shut {
		return kms.Errorf(kms.Exhausted, "full").WithRetry(time.Second)
	}
	w.in++
	return nil
}

func TestRequestsAreCounted(t *testing.T) {
	w := &witness{}
	h := ehsm.New(ehsm.Config{Watch: api.Watch{Observer: w, Gate: w}, Authenticate: func(context.Context, kms.Credential) (ehsm.Caller, error) {
		return nil, kms.Errorf(kms.Exhausted, "rate").WithRetry(200 * time.Millisecond)
	}})
	const body = `{"appid":"00000000-0000-4000-8000-000000000001","timestamp":"1700000000000","sign":"c2ln","payload":{"keyid":"x"}}`
	send := func(method, action, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/ehsm?Action="+action, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		reply := httptest.NewRecorder()
		h.ServeHTTP(reply, r)
		return reply
	}
	send(http.MethodGet, "GetVersion", "")
	send(http.MethodPost, "Encrypt", "{")
	limited := send(http.MethodPost, "Encrypt", body)
	send(http.MethodPost, "Invented9c87bdfe", body)
	w.shut = true
	shed := send(http.MethodPost, "Encrypt", "{")
	want := []kms.Served{
		{Facade: "ehsm", Operation: "GetVersion", OK: true},
		{Facade: "ehsm", Operation: "Encrypt", Kind: kms.Invalid},
		{Facade: "ehsm", Operation: "Encrypt", Kind: kms.Exhausted},
		{Facade: "ehsm", Operation: "unknown", Kind: kms.Exhausted},
		{Facade: "ehsm", Operation: "Encrypt", Kind: kms.Exhausted},
	}
	if d := cmp.Diff(want, w.served); d != "" {
		t.Error(d)
	}
	if w.in != 0 {
		t.Errorf("%d have not left", w.in)
	}
	for name, reply := range map[string]*httptest.ResponseRecorder{"over a rate": limited, "shed": shed} {
		if reply.Code != http.StatusOK || reply.Header().Get("Retry-After") != "1" || !strings.HasPrefix(reply.Body.String(), `{"code":429,`) {
			t.Errorf("%s: %d, Retry-After %q, %s", name, reply.Code, reply.Header().Get("Retry-After"), reply.Body)
		}
	}
}
