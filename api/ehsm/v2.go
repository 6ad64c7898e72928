package ehsm

import (
	"net/http"

	v2 "github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

// signatureHeader returns the header of a version 2 signature. Two of them are
// one that does not parse.
func signatureHeader(r *http.Request) (string, bool) {
	switch values := r.Header[v2.HeaderName]; len(values) {
	case 0:
		return "", false
	case 1:
		return values[0], true
	}
	return "", true
}

// credentialV2 is what a request with such a header shows of its sender. Every
// fault of it is answered like a wrong signature.
func credentialV2(value string, r *http.Request, body []byte) (*kms.Credential, error) {
	c, err := v2.Credential(value, r, body)
	return &c, err
}
