package ehsm

import (
	"crypto/sha256"
	"net/http"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// Answers to a session that does not hold. They are told to who holds the key
// that it was opened with; eHSM knows no sessions.
var (
	sessionEnded   = answer{code: 401, message: "The session has ended, please open another one."}
	sessionRefused = answer{code: 403, message: "The session's evidence is not accepted any more."}
)

// A shown session is the ticket of an attested workload, with the client key of
// the connection that it was shown on.
type shownSession struct {
	ticket string // "": none
	client [sha256.Size]byte
}

// sessionOf collects what a request shows of a session. The error is
// Unauthenticated.
func sessionOf(r *http.Request) (s shownSession, err error) {
	if s.ticket, err = api.Session(r); err != nil || s.ticket == "" {
		return s, err
	}
	if key := api.ClientKey(r); key != nil {
		s.client = sha256.Sum256(key)
	}
	return s, nil
}

// alone reports whether the session is all that a request shows of its sender.
func (s *shownSession) alone(r *wire.Request) bool {
	return s.ticket != "" && r.AppID.Kind() == wire.Absent && r.Sign.Kind() == wire.Absent
}

// refusal is the answer to a session that does not hold, nil where err says
// something else.
func (s *shownSession) refusal(err error) *answer {
	if s.ticket == "" {
		return nil
	}
	switch kms.KindOf(err) {
	case kms.Stale:
		return &sessionEnded
	case kms.Denied:
		return &sessionRefused
	}
	return nil
}
