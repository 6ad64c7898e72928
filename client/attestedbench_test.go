package client_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
)

// BenchmarkDial shows what a proof costs per connection that needs one, beside
// a plain dial, and that it costs nothing where the key is known. The node's part,
// which makes the quote, is in it.
func BenchmarkDial(b *testing.B) {
	n := newDomain(b, nil).serve(b)
	pool := x509.NewCertPool()
	pool.AddCert(n.ca.cert)
	address := n.http.Listener.Addr().String()
	known := n.client(b, n.trust())
	_, err := client.DialAttested(b.Context(), known, address)
	if err != nil {
		b.Fatal(err)
	}
	dials := []struct {
		name string
		dial func() (io.Closer, error)
	}{
		{"plain TLS", func() (io.Closer, error) {
			return tls.Dial("tcp", address, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13})
		}},
		{"attested", func() (io.Closer, error) { return client.DialAttested(b.Context(), n.client(b, n.trust()), address) }},
		{"attested, key known", func() (io.Closer, error) { return client.DialAttested(b.Context(), known, address) }},
	}
	var plain float64
	for _, d := range dials {
		b.Run(d.name, func(b *testing.B) {
			for b.Loop() {
				conn, err := d.dial()
				if err != nil {
					b.Fatal(err)
				}
				conn.Close()
			}
			took := float64(b.Elapsed()) / float64(b.N)
			if plain == 0 {
				plain = took
			}
			b.ReportMetric(took/plain, "×plain")
		})
	}
}

// BenchmarkRequest shows that an attested connection costs a request nothing.
func BenchmarkRequest(b *testing.B) {
	n := newDomain(b, nil).serve(b)
	attested := n.client(b, n.trust())
	v, err := attested.Attest(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	plain, err := client.New(client.Config{URL: n.http.URL, CA: v.CA()})
	if err != nil {
		b.Fatal(err)
	}
	defer plain.Close()
	for name, c := range map[string]*client.Client{"plain": plain, "attested": attested} {
		b.Run(name, func(b *testing.B) {
			before := n.proofs.Load()
			for b.Loop() {
				if _, err := c.Version(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n.proofs.Load()-before), "proofs")
		})
	}
}
