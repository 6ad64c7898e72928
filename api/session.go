package api

import (
	"net/http"

	"github.com/holdfast-kms/holdfast/kms"
)

// SessionHeader is the request header that carries the ticket of an attested
// workload's session.
const SessionHeader = "Holdfast-Session"

// Session is the ticket that a request shows, "" for none. Two of them are like
// a wrong one. The error is Unauthenticated.
func Session(r *http.Request) (string, error) {
	switch values := r.Header[SessionHeader]; len(values) {
	case 0:
		return "", nil
	case 1:
		if values[0] != "" {
			return values[0], nil
		}
	}
	return "", kms.Errorf(kms.Unauthenticated, "malformed %s header", SessionHeader)
}

// ClientKey is the key of the connection's client certificate
// (SubjectPublicKeyInfo, DER), nil where it has none. The certificate proves
// nothing; that the client has its key TLS has shown.
func ClientKey(r *http.Request) []byte {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil
	}
	return r.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo
}
