package client

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// Config says which node to talk to, as whom, and whom to trust.
type Config struct {
	// URL is the node's address, "https://host:port". A path of "/ehsm", which
	// eHSM's own SDKs want there, is accepted and ignored.
	URL string

	// AppID and APIKey are the app's credential. Both zero: only Enroll,
	// Version and Status can be called.
	AppID  kms.AppID
	APIKey APIKey

	// CredentialID is which credential of the app APIKey belongs to. Zero: the
	// app's first one, whose id is the AppID.
	CredentialID kms.CredentialID

	// CA holds the certificates, in PEM, that the node's certificate must
	// descend from. Empty: the system's roots.
	CA []byte

	// Trust, where given, has each node prove what it is before anything is sent to
	// it. It takes the place of CA, and of names: any node of the domain is as good
	// as another. CA, HTTPClient and InsecureTrustAnyServer must then be zero.
	Trust *Trust

	// Workload, where given, has the client prove that it is a program in a TEE,
	// and call as that; with AppID and APIKey, or without them. HTTPClient and
	// SignatureV1 must then be zero.
	Workload *Workload

	// Timeout bounds each call, with everything that is repeated in it.
	// Zero: 30 s.
	Timeout time.Duration

	// Retries is how often a call that changes nothing is sent again after a
	// fault of the network or a node that is not ready. Zero: twice. Negative:
	// never. Calls that change state are always sent once.
	Retries int

	// HTTPClient, where given, carries the requests instead of one of our own;
	// CA and InsecureTrustAnyServer must then be zero. It must not follow
	// redirects to other hosts. Requests are tied to their connection where its
	// transport serves net/http/httptrace, as http.Transport does.
	HTTPClient *http.Client

	// Unbound: requests are not tied to the TLS connection that they are sent on.
	// It is needed where a proxy in between ends TLS. Who ends it could then send
	// on a request, once, but neither alter nor repeat it.
	Unbound bool

	// SignatureV1 signs as eHSM's own SDKs do, to speak to an eHSM server. Such a
	// signature covers neither what is called nor where; ExportKey is refused.
	SignatureV1 bool

	// Now is the clock that requests are dated by. Nil: time.Now.
	Now func() time.Time

	// InsecureTrustAnyServer switches off every check of who answers. Whoever
	// sits on the network then reads every plaintext. For experiments only.
	InsecureTrustAnyServer bool
}

const (
	defaultTimeout = 30 * time.Second
	defaultRetries = 2

	// idleConns are kept open per client: enough for a busy service to never
	// pay a TLS handshake, far below what a node accepts.
	idleConns = 64
)

// base returns the node's address without a path.
func (c *Config) base() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" {
		return nil, configError("URL", "%q is not an address", "write it as https://host:port", c.URL)
	}
	if u.Scheme != "https" {
		return nil, configError("URL", "%q is not an https address", "a node speaks HTTPS only: write https://host:port", c.URL)
	}
	if p := strings.TrimSuffix(u.Path, "/"); p != "" && !strings.EqualFold(p, "/ehsm") {
		return nil, configError("URL", "%q has a path", "write it as https://host:port", c.URL)
	}
	for _, r := range u.Host {
		if r > '~' {
			return nil, configError("URL", "%q has letters that are not ASCII", "write the host's name in its xn-- form", c.URL)
		}
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, configError("URL", "only a host and a port may be given", "write it as https://host:port")
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host}, nil
}

// checkCredential refuses half a credential, and an API key with characters
// that none has: usually a line feed from the file it was read from.
func (c *Config) checkCredential() error {
	if (c.AppID == kms.AppID{}) != c.APIKey.IsZero() {
		return configError("APIKey", "AppID and APIKey must be given together", "Enroll hands out both")
	}
	for _, r := range c.APIKey.Reveal() {
		if r <= ' ' || r > '~' {
			return configError("APIKey", "a character that no API key has", "look for a space or a line feed around it")
		}
	}
	return nil
}

// credential is the id that requests are signed for.
func (c *Config) credential() kms.CredentialID {
	if c.CredentialID == (kms.CredentialID{}) {
		return kms.CredentialID(c.AppID)
	}
	return c.CredentialID
}

// httpClient returns the client that carries requests.
func (c *Config) httpClient(session *attendance) (*http.Client, error) {
	if c.Trust != nil {
		return c.attestedClient(session)
	}
	if c.HTTPClient != nil {
		if len(c.CA) > 0 || c.InsecureTrustAnyServer {
			return nil, configError("HTTPClient", "given together with CA or InsecureTrustAnyServer", "set up trust in the HTTPClient")
		}
		return c.HTTPClient, nil
	}
	conf, err := c.tlsConfig()
	if err != nil {
		return nil, err
	}
	session.certify(conf)
	return &http.Client{
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     conf,
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConns:        idleConns,
			MaxIdleConnsPerHost: idleConns,
			IdleConnTimeout:     90 * time.Second,
		},
		CheckRedirect: noRedirect,
	}, nil
}

// attestedClient returns a client whose connections are attested.
func (c *Config) attestedClient(session *attendance) (*http.Client, error) {
	if c.HTTPClient != nil || len(c.CA) > 0 || c.InsecureTrustAnyServer {
		return nil, configError("Trust", "given together with CA, HTTPClient or InsecureTrustAnyServer", "leave those out: a proof takes their place")
	}
	transport, err := newAttested(c)
	if err != nil {
		return nil, err
	}
	session.certify(transport.tls)
	return &http.Client{Transport: transport, CheckRedirect: noRedirect}, nil
}

// noRedirect keeps a signed request from going where it was not meant for.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c *Config) tlsConfig() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: c.InsecureTrustAnyServer}
	if len(c.CA) == 0 {
		return conf, nil
	}
	conf.RootCAs = x509.NewCertPool()
	if !conf.RootCAs.AppendCertsFromPEM(c.CA) {
		return nil, configError("CA", "no certificate in PEM in it", "give the file that the node calls its CA")
	}
	return conf, nil
}

// TLSConfig returns the settings that a Client made of c would dial with. A
// Trust is more than settings: Attest first, and give CA what it returns.
func (c Config) TLSConfig() (*tls.Config, error) {
	if c.Trust != nil {
		return nil, configError("Trust", "it cannot be had as settings of TLS", "attest the node, and set CA to what that returns")
	}
	return c.tlsConfig()
}

func configError(field, format, hint string, args ...any) error {
	return kms.Errorf(kms.Invalid, format, args...).WithField(field).WithHint(hint)
}
