package api

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// Paths of the health pages.
const (
	AlivePath = "/healthz"
	ReadyPath = "/readyz"
)

// AlivePage answers as long as the process does: that it serves is not said.
var AlivePage = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
	Send(w, http.StatusOK, "application/json; charset=utf-8", []byte("{\"alive\":true}\n"))
})

// A ReadyPage answers 200 while the node serves, and 503 with the reasons while it
// does not: for load balancers. It is open to anyone: Ready must return nothing
// that only some may know.
type ReadyPage struct {
	Ready func() kms.Readiness
}

func (p ReadyPage) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	r := p.Ready()
	status := http.StatusOK
	if !r.Ready {
		status = http.StatusServiceUnavailable
	}
	body, err := json.Marshal(r)
	if err != nil {
		SendPage(w, http.StatusInternalServerError)
		return
	}
	Send(w, status, "application/json; charset=utf-8", append(body, '\n'))
}

// RetryAfter says in a header when it makes sense to ask again, in whole seconds
// (RFC 9110, section 10.2.3), where err knows.
func RetryAfter(h http.Header, err error) {
	if after := kms.RetryAfter(err); after > 0 {
		h.Set("Retry-After", RetrySeconds(after))
	}
}

// RetrySeconds is a time to wait as the header has it, rounded up.
func RetrySeconds(after time.Duration) string {
	return strconv.FormatInt(int64((after+time.Second-1)/time.Second), 10)
}
