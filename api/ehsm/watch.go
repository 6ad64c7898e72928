package ehsm

import (
	"net/http"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/kms"
)

// facade is what this API is called where requests are counted.
const facade = "ehsm"

// shed refuses a request that the node has no place for. Nothing was parsed.
func (h *handler) shed(w http.ResponseWriter, rt *route, begun int64, err error) {
	h.Watch.End(begun, kms.Served{Facade: facade, Operation: rt.operation(), Kind: kms.KindOf(err)})
	api.RetryAfter(w.Header(), err)
	send(w, &exhausted)
}

// operation is the action's name, or one for all that there are not.
func (rt *route) operation() string {
	if rt.action == "" {
		return api.UnknownOperation
	}
	return rt.action
}

// served says what became of the request. A refusal that is no error of the core's
// is one of what was sent.
func (x *exchange) served(rt *route, refused *answer) kms.Served {
	s := kms.Served{Facade: facade, Operation: rt.operation(), OK: refused == nil, Kind: kms.Invalid}
	switch {
	case s.OK:
		s.Kind = 0
	case x.failed != nil:
		s.Kind = kms.KindOf(x.failed)
	case refused == &signError:
		s.Kind = kms.Unauthenticated
	}
	return s
}
