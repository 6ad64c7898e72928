package load

import (
	"crypto/tls"
	"io"
	"testing"
)

// ReadFloorHello reads what a floor says of itself.
func ReadFloorHello(t *testing.T, r io.Reader) (addr string, conf *tls.Config) {
	t.Helper()
	var f Floor
	if err := f.greet(r); err != nil {
		t.Fatal(err)
	}
	return f.Addr, f.TLS
}
