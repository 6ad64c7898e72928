package api

import (
	"crypto/tls"
	"crypto/x509"
)

var (
	_ = tls.Config{}         // the rule is for trusted/
	_ = x509.VerifyOptions{} // want `crypto/x509.VerifyOptions without CurrentTime`
)
