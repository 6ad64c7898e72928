package native

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"time"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

// A call is what a service knows of the request beside its message.
type call struct {
	caller    Caller        // nil: nobody
	clientKey []byte        // SubjectPublicKeyInfo of the client certificate; nil: there is none
	abort     func()        // ends a message of a stream that is under way; nil: nothing can
	patience  time.Duration // until then
	reached   bool          // a service was
	failed    error         // how the service ended, or why it was not reached
}

// callKey finds the call in a request's context. It does not leave this package.
type callKey struct{}

func callOf(ctx context.Context) *call {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c
	}
	return &call{}
}

// callerOf is who is calling. A service that is open to everybody must not use it.
func callerOf(ctx context.Context) (Caller, error) {
	if c := callOf(ctx).caller; c != nil {
		return c, nil
	}
	return nil, errUnauthenticated
}

var errUnauthenticated = kms.Errorf(kms.Unauthenticated, "no valid credential")

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := h.find(r.URL.Path)
	switch {
	case s == nil:
		api.SendPage(w, http.StatusNotFound)
		return
	case r.Method != http.MethodPost: // what a link or an image can cause is never served
		w.Header().Set("Allow", http.MethodPost)
		api.SendPage(w, http.StatusMethodNotAllowed)
		return
	case !h.errors.IsSupported(r) || encoded(r):
		api.SendPage(w, http.StatusUnsupportedMediaType)
		return
	}
	api.Secure(w.Header())
	body, err := api.ReadBody(r, s.maxBody)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	defer body.Release()
	c := &call{clientKey: api.ClientKey(r)}
	begun := h.Watch.Begin() // not before: how long a body takes is the client's affair
	defer func() { h.Watch.End(begun, c.served(r.URL.Path, s.stream)) }()
	if !s.stream {
		if c.failed = h.Watch.Enter(r.Context()); c.failed != nil {
			h.refuse(w, r, c.failed)
			return
		}
		defer h.Watch.Leave()
	}
	if !s.open || s.mayAuthenticate && signs(r) {
		if c.caller, c.failed = h.authenticate(r, body.B); c.failed != nil {
			h.refuse(w, r, c.failed)
			return
		}
	}
	if s.stream {
		c.long(w, h.SendTimeout)
	}
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body.B)), int64(len(body.B))
	s.handler.ServeHTTP(w, r)
}

// encoded reports whether the body is said to be compressed.
func encoded(r *http.Request) bool {
	for _, name := range []string{"Content-Encoding", "Grpc-Encoding", "Connect-Content-Encoding"} {
		for _, v := range r.Header.Values(name) {
			if v != "" && v != "identity" {
				return true
			}
		}
	}
	return false
}

// authenticate asks the core who sent the request. A signature that is missing,
// there twice or malformed is like a wrong one; a session may take its place.
func (h *handler) authenticate(r *http.Request, body []byte) (Caller, error) {
	cred, err := credentialOf(r, body)
	if err != nil {
		return nil, errUnauthenticated
	}
	caller, err := h.Authenticate(r.Context(), cred)
	if err != nil {
		return nil, authenticating(err)
	}
	if caller == nil {
		return nil, errUnauthenticated // nobody is nobody, even without an error
	}
	return caller, nil
}

// credentialOf collects what a request shows of its sender.
func credentialOf(r *http.Request, body []byte) (c kms.Credential, err error) {
	if c.Session, err = api.Session(r); err != nil {
		return c, err
	}
	if key := api.ClientKey(r); key != nil {
		c.Client = sha256.Sum256(key)
	}
	switch values := r.Header[signature.HeaderName]; {
	case len(values) == 0 && c.Session != "":
		c.Scheme = kms.SchemeSession
		return c, nil
	case len(values) == 1:
		signed, err := signature.Credential(values[0], r, body)
		signed.Session, signed.Client = c.Session, c.Client
		return signed, err
	}
	return c, errUnauthenticated
}
