package client

import (
	"context"
	"net"
	"net/http"
	"net/url"
)

// ParsePublicKey is tested with bytes that no node sends.
var ParsePublicKey = parsePublicKey

// SetProxy has an attested client dial through a proxy: that of the environment
// is never used for loopback.
func SetProxy(c *Client, proxy string) {
	c.http.Transport.(*attested).proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy) }
}

// DialAttested makes one more connection of an attested client.
func DialAttested(ctx context.Context, c *Client, address string) (net.Conn, error) {
	return c.http.Transport.(*attested).current.Load().dial(ctx, address)
}
