package client

import (
	"crypto/tls"
	"testing"
	"time"
)

// TicketOf is the ticket that a client has.
func TicketOf(c *Client) string { return c.session.current.Load().Ticket }

// ForgetExpiry has a client believe that its session lasts.
func ForgetExpiry(c *Client) {
	s := *c.session.current.Load()
	s.Expires = s.Expires.Add(1000 * time.Hour)
	c.session.current.Store(&s)
}

// NewClientCertificate is one as a client makes for itself.
func NewClientCertificate(t testing.TB) tls.Certificate {
	cert, err := newClientCertificate()
	if err != nil {
		t.Fatal(err)
	}
	return *cert
}
