package native_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/api/native"
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
		return kms.Errorf(kms.Exhausted, "full").WithRetry(1500 * time.Millisecond)
	}
	w.in++
	return nil
}

func TestRequestsAreCounted(t *testing.T) {
	f, w := newFake(), &witness{}
	h := native.New(native.Config{Authenticate: f.authenticate, Enroller: f, Watch: api.Watch{Observer: w, Gate: w}})
	const enrol = "/holdfast.v1.EnrolmentService/Enrol"
	do(h, request(enrol, "application/json", "{}", nil))
	do(h, request(enrol, "application/json", `{"nothing":1}`, nil))
	do(h, request(service+"ListCredentials", "application/json", "{}", nil))
	do(h, request(service+"Invented9c87bdfe", "application/json", "{}", f))
	f.err = kms.Errorf(kms.Exhausted, "rate").WithRetry(200 * time.Millisecond)
	limited := do(h, request(enrol, "application/json", "{}", nil))
	w.shut = true
	shed := do(h, request(service+"ListCredentials", "application/json", "{}", nil))
	want := []kms.Served{
		{Facade: "native", Operation: "Enrolment.Enrol", OK: true},
		{Facade: "native", Operation: "Enrolment.Enrol", Kind: kms.Invalid},
		{Facade: "native", Operation: "Credential.ListCredentials", Kind: kms.Unauthenticated},
		{Facade: "native", Operation: "unknown", Kind: kms.Invalid},
		{Facade: "native", Operation: "Enrolment.Enrol", Kind: kms.Exhausted},
		{Facade: "native", Operation: "Credential.ListCredentials", Kind: kms.Exhausted},
	}
	if d := cmp.Diff(want, w.served); d != "" {
		t.Error(d)
	}
	if w.in != 0 {
		t.Errorf("%d have not left", w.in)
	}
	if limited.Code != http.StatusTooManyRequests || limited.Header().Get("Retry-After") != "1" {
		t.Errorf("over a rate: %d, Retry-After %q", limited.Code, limited.Header().Get("Retry-After"))
	}
	if shed.Code != http.StatusTooManyRequests || shed.Header().Get("Retry-After") != "2" {
		t.Errorf("shed: %d, Retry-After %q", shed.Code, shed.Header().Get("Retry-After"))
	}
}
