package clienttest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

// window is how far a request's time may be from the server's.
const window = 10 * time.Minute

var (
	signError      = &refusal{400, "sign error"}
	timestampError = &refusal{400, "Timestamp error"}
	replayed       = &refusal{400, "Timestamp can't be repeated in 20 minutes"}
)

// A request is what is asked, and by whom.
type request struct {
	app     *tenant
	v2      bool
	payload payload
}

// authenticate finds out who sent body, by either version of the signature.
func (s *Server) authenticate(r *http.Request, body []byte) (request, *refusal) {
	if r.Header.Get(signature.HeaderName) != "" {
		return s.authenticateV2(r, body)
	}
	var req struct {
		AppID     string  `json:"appid"`
		Timestamp string  `json:"timestamp"`
		Sign      string  `json:"sign"`
		Payload   payload `json:"payload"`
	}
	if json.Unmarshal(body, &req) != nil {
		return request{}, &refusal{400, "Invalid JSON"}
	}
	ms, err := strconv.ParseInt(req.Timestamp, 10, 64)
	if err != nil || len(req.Timestamp) != 13 || !current(ms) {
		return request{}, timestampError
	}
	id, _ := kms.ParseAppID(req.AppID)
	a, ok := s.apps[id]
	if !ok || !validSign(body, req.Sign, a.apiKey.Reveal()) {
		return request{}, signError
	}
	return request{a, false, req.Payload}, s.unseen(req.Sign)
}

func (s *Server) authenticateV2(r *http.Request, body []byte) (request, *refusal) {
	h, err := signature.Parse(r.Header.Get(signature.HeaderName))
	if err != nil || len(r.Header.Values(signature.HeaderName)) != 1 {
		return request{}, signError
	}
	what, err := signature.Received(h, r, body)
	a, ok := s.apps[kms.AppID(h.Credential)]
	if err != nil || !ok {
		return request{}, signError
	}
	mac := hmac.New(sha256.New, signature.Key([]byte(a.apiKey.Reveal())))
	mac.Write(signature.Text(h, what))
	if !hmac.Equal(mac.Sum(nil), h.MAC[:]) {
		return request{}, signError
	}
	if !current(h.TimeMillis) {
		return request{}, timestampError
	}
	s.bindings[h.Binding]++
	var req struct {
		Payload payload `json:"payload"`
	}
	if json.Unmarshal(body, &req) != nil {
		return request{}, &refusal{400, "Invalid JSON"}
	}
	return request{a, true, req.Payload}, s.unseen(string(h.MAC[:]))
}

// unseen refuses a signature that was accepted before.
func (s *Server) unseen(sign string) *refusal {
	if s.seen[sign] {
		return replayed
	}
	s.seen[sign] = true
	return nil
}

func current(ms int64) bool { return time.Since(time.UnixMilli(ms)).Abs() < window }

func validSign(body []byte, sign, apiKey string) bool {
	signed, err := wire.StringToSign(body)
	if err != nil {
		return false
	}
	got, err := base64.StdEncoding.DecodeString(sign)
	return err == nil && hmac.Equal(got, wire.MAC([]byte(apiKey), signed))
}
