package literals

import (
	"crypto/tls"
	"crypto/x509"
	"time"
)

type alias = tls.Config // want `otherwise than by a literal with Time`

type holder struct {
	whole   tls.Config // want `otherwise than by a literal with Time`
	pointer *tls.Config
}

func literals(now func() time.Time) {
	_ = tls.Config{Time: now}
	_ = &tls.Config{MinVersion: tls.VersionTLS13, Time: now}
	_ = tls.Config{}                     // want `crypto/tls.Config without Time`
	_ = &tls.Config{ServerName: "node"}  // want `crypto/tls.Config without Time`
	_ = []*tls.Config{{}, {Time: now}}   // want `crypto/tls.Config without Time`
	_ = []tls.Config{{Time: now}}        // want `otherwise than by a literal with Time`
	_ = new(tls.Config)                  // want `otherwise than by a literal with Time`
	var zero tls.Config                  // want `otherwise than by a literal with Time`
	_ = x509.VerifyOptions{}             // want `crypto/x509.VerifyOptions without CurrentTime`
	_ = x509.VerifyOptions{DNSName: "n"} // want `crypto/x509.VerifyOptions without CurrentTime`
	_ = x509.VerifyOptions{CurrentTime: now()}
	var options x509.VerifyOptions // want `otherwise than by a literal with CurrentTime`
	_, _ = &zero, options
}
