package client

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

// An envelope is what requests have around their payload. A signature of
// version 2 is in a header; what eHSM's own has is in members of its own.
type envelope struct {
	AppID     kms.CredentialID `json:"appid,omitzero"` // eHSM has one credential per app; a workload without an app has none
	Nonce     string           `json:"nonce,omitempty"`
	Timestamp string           `json:"timestamp,omitempty"`
	Payload   any              `json:"payload,omitempty"`
}

// body makes a request's body, or nil where none is needed.
func (c *Client) body(a action, payload any) ([]byte, error) {
	if a.unsigned {
		return nil, nil
	}
	if c.key.IsZero() && c.session == nil {
		return nil, misuse(a, kms.Unauthenticated, "give AppID and APIKey; Enroll hands out both", "the client has no credential")
	}
	e := envelope{AppID: c.cred, Payload: payload}
	if c.v1 {
		e.Nonce, e.Timestamp = rand.Text(), strconv.FormatInt(c.now().UnixMilli(), 10)
	}
	body, err := json.Marshal(e)
	if err != nil {
		return nil, misuse(a, kms.Invalid, "", "the request cannot be encoded")
	}
	if !c.v1 {
		return body, nil
	}
	signed, err := wire.StringToSign(body)
	if err != nil {
		return nil, misuse(a, kms.Invalid, "", "the request cannot be signed")
	}
	return appendSign(body, wire.MAC([]byte(c.key.Reveal()), signed)), nil
}

// appendSign puts eHSM's signature behind the last member of a JSON object.
func appendSign(object, mac []byte) []byte {
	b := append(object[:len(object)-1], `,"sign":"`...)
	b = base64.StdEncoding.AppendEncode(b, mac)
	return append(b, `"}`...)
}

// sign returns req with a signature of version 2, tied to the TLS connection
// that the request is sent on. Which one that is shows only when the transport
// has chosen it, just before it writes the header; and where the first choice
// was gone, it chooses again.
func (c *Client) sign(req *http.Request, body []byte) *http.Request {
	s := signer{c, req.Header, signature.Request{Method: req.Method, Host: hostHeader(req.Host), Target: req.URL.RequestURI(),
		BodyHash: sha256.Sum256(body)}}
	if !c.bound || c.foreign {
		// A transport that is not ours may not tell which connection it takes.
		s.sign(signature.BindNone, nil)
	}
	if !c.bound {
		return req
	}
	ctx := req.Context()
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		// Once a request was given up, the goroutine that sends it may still look
		// at the header of an earlier try.
		if ctx.Err() == nil {
			s.bind(info)
		}
	}}
	// The copy has the same header.
	return req.WithContext(httptrace.WithClientTrace(ctx, trace))
}

// A signer signs one request.
type signer struct {
	client *Client
	header http.Header
	what   signature.Request
}

// bind signs for a connection. Where that has no channel binding, the
// signature that is there stays.
func (s *signer) bind(info httptrace.GotConnInfo) {
	conn, ok := info.Conn.(interface{ ConnectionState() tls.ConnectionState })
	if !ok {
		return
	}
	state := conn.ConnectionState()
	if exporter, err := signature.Exporter(&state); err == nil {
		s.sign(signature.BindExporter, exporter)
	}
}

// sign sets the header, with a nonce of its own each time.
func (s *signer) sign(b signature.Binding, exporter []byte) {
	h := signature.Header{Credential: s.client.cred, TimeMillis: s.client.now().UnixMilli(), Binding: b}
	rand.Read(h.Nonce[:])
	s.what.Exporter = exporter
	key := []byte(s.client.key.Reveal())
	defer clear(key)
	signature.Sign(key, &h, &s.what)
	s.header.Set(signature.HeaderName, h.String())
}

// hostHeader is how net/http writes a host: without the zone of an IPv6
// address, which means something on this machine only (RFC 6874, section 4).
func hostHeader(host string) string {
	end := strings.LastIndexByte(host, ']')
	zone := strings.IndexByte(host, '%')
	if !strings.HasPrefix(host, "[") || zone < 0 || zone > end {
		return host
	}
	return host[:zone] + host[end:]
}
