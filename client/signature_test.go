package client_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/client/clienttest"
	"github.com/holdfast-kms/holdfast/kms"
)

// A sighting is a request as a server saw it.
type sighting struct {
	body             []byte
	target, kind     string
	host             string
	header, exporter string
}

// see lets s note the next requests.
func see(t *testing.T, s *clienttest.Server, last *sighting) {
	s.Fault(func(_ http.ResponseWriter, r *http.Request) bool {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		exporter, err := r.TLS.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			t.Error(err)
		}
		*last = sighting{body, r.RequestURI, r.Header.Get("Content-Type"), r.Host, r.Header.Get("Holdfast-Signature"), string(exporter)}
		return false
	})
}

// TestSignatureV1 computes the signature of a request by eHSM's description, not
// by the package that client and server share.
func TestSignatureV1(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := s.Enroll()
	cfg.SignatureV1 = true
	cfg.Now = func() time.Time { return time.UnixMilli(1700000000123) }
	var got sighting
	see(t, s, &got)
	newClient(t, cfg).CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM})

	var req map[string]any
	ok(t, json.Unmarshal(got.body, &req))
	signed := fmt.Sprintf("appid=%s&nonce=%s&payload=keyspec=EH_AES_GCM_256&keyusage=EH_KEYUSAGE_ENCRYPT_DECRYPT"+
		"&origin=EH_INTERNAL_KEY&timestamp=1700000000123", cfg.AppID, req["nonce"])
	h := hmac.New(sha256.New, []byte(cfg.APIKey.Reveal()))
	h.Write([]byte(signed))
	if want := base64.StdEncoding.EncodeToString(h.Sum(nil)); req["sign"] != want {
		t.Errorf("signature %v, want %v", req["sign"], want)
	}
	if n := len(req["nonce"].(string)); n < 22 || n > 64 {
		t.Errorf("nonce of %d characters", n)
	}
	if got.target != "/ehsm?Action=CreateKey" || got.kind != "application/json" || got.header != "" {
		t.Errorf("sent to %s as %s, with header %q", got.target, got.kind, got.header)
	}
}

var headerV2 = regexp.MustCompile(`^v=2, credential=([0-9a-f-]{36}), time=(\d+), nonce=([\w-]{22}), binding=([a-z-]+), mac=([\w-]{43})$`)

// TestSignatureV2 computes the signature of a request by its specification, not
// by the package that client and server share.
func TestSignatureV2(t *testing.T) {
	for _, bound := range []bool{true, false} {
		t.Run(fmt.Sprintf("bound %t", bound), func(t *testing.T) {
			s := clienttest.NewServer(t)
			cfg := s.Enroll()
			cfg.Unbound = !bound
			cfg.Now = func() time.Time { return time.UnixMilli(1700000000123) }
			var got sighting
			see(t, s, &got)
			newClient(t, cfg).CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM})

			want := fmt.Sprintf(`{"appid":"%s","payload":{"keyspec":"EH_AES_GCM_256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}}`, cfg.AppID)
			if string(got.body) != want {
				t.Errorf("body %s, want %s", got.body, want)
			}
			m := headerV2.FindStringSubmatch(got.header)
			if m == nil {
				t.Fatalf("header %q", got.header)
			}
			binding := "none"
			if bound {
				binding = "tls-exporter"
			} else {
				got.exporter = ""
			}
			if m[1] != cfg.AppID.String() || m[2] != "1700000000123" || m[4] != binding {
				t.Errorf("header %q", got.header)
			}
			if mac := macV2(t, cfg, got, m); mac != m[5] {
				t.Errorf("MAC %s, want %s", m[5], mac)
			}
		})
	}
}

// macV2 is the MAC that a request must have.
func macV2(t *testing.T, cfg client.Config, got sighting, m []string) string {
	t.Helper()
	derive := hmac.New(sha256.New, []byte(cfg.APIKey.Reveal()))
	derive.Write([]byte("holdfast request signature v2 key"))
	nonce, err := base64.RawURLEncoding.DecodeString(m[3])
	ok(t, err)
	hash := sha256.Sum256(got.body)
	var text []byte
	for _, part := range []string{"holdfast request signature v2", "POST", got.host, got.target, string(hash[:]),
		string(cfg.AppID[:]), m[2], string(nonce), m[4], got.exporter} {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	h := hmac.New(sha256.New, derive.Sum(nil))
	h.Write(text)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// A wire is an HTTP client whose connections a test can break, and which counts
// how often the transport chose one.
type wire struct {
	inner  *http.Transport
	chosen atomic.Int64
	failed atomic.Int64 // writes to a broken connection
	mu     sync.Mutex
	broken *atomic.Bool // of the connections that are open now
}

func newWire(s *clienttest.Server, http2 bool) *wire {
	w := &wire{broken: new(atomic.Bool)}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CA())
	w.inner = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: http2, MaxIdleConnsPerHost: 64,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			w.mu.Lock()
			defer w.mu.Unlock()
			return &fragile{Conn: conn, wire: w, broken: w.broken}, err
		}}
	return w
}

// breakAll breaks every connection that is open now.
func (w *wire) breakAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.broken.Store(true)
	w.broken = new(atomic.Bool)
}

// RoundTrip counts, with a trace beside the client's own.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { w.chosen.Add(1) }})
	return w.inner.RoundTrip(r.WithContext(ctx))
}

// A fragile is a connection whose writes fail once it is broken, while what it
// reads does not show it: as one whose other end is gone.
type fragile struct {
	net.Conn
	wire   *wire
	broken *atomic.Bool
}

func (f *fragile) Write(b []byte) (int, error) {
	if f.broken.Load() {
		f.wire.failed.Add(1)
		return 0, errors.New("broken on purpose")
	}
	return f.Conn.Write(b)
}

// TestSignatureFollowsTheConnection loses connections all the time: whichever
// one a transport takes in the end, the signature must be for that one, or the
// server refuses it.
func TestSignatureFollowsTheConnection(t *testing.T) {
	const callers, calls = 8, 40
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP2 %t", http2), func(t *testing.T) {
			s := clienttest.NewServer(t)
			cfg := s.Enroll()
			w := newWire(s, http2)
			cfg.CA, cfg.HTTPClient, cfg.Retries = nil, &http.Client{Transport: w}, -1 // no second try but the transport's own
			c := newClient(t, cfg)
			id := createKey(t, c, kms.AES256GCM)
			var protocols [3]atomic.Int64
			s.Fault(func(rw http.ResponseWriter, r *http.Request) bool {
				protocols[r.ProtoMajor].Add(1)
				if rand.IntN(20) == 0 {
					rw.Header().Set("Connection", "close") // over HTTP/2 it is a GOAWAY
				}
				return false
			})
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					for i := range calls {
						if !http2 && caller == 0 && i%10 == 9 {
							w.breakAll()
						}
						if _, err := c.Encrypt(t.Context(), id, []byte("x"), nil); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			requests := int64(callers*calls) + 1
			if got := s.Bindings(signature.BindExporter); int64(got) != requests || s.Bindings(signature.BindNone) != 0 {
				t.Errorf("%d of %d requests were tied to their connection", got, requests)
			}
			if w.chosen.Load() <= requests {
				t.Errorf("%d connections were chosen for %d requests: nothing was tried again", w.chosen.Load(), requests)
			}
			if !http2 && w.failed.Load() == 0 {
				t.Error("no connection broke")
			}
			if used := protocols[1].Load() > 0; used == http2 {
				t.Errorf("HTTP/1.1 was used: %t", used)
			}
		})
	}
}

// strangeTransport does not say which connection it takes.
type strangeTransport struct{ inner http.RoundTripper }

func (s strangeTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	untraced := r.Clone(context.Background())
	return s.inner.RoundTrip(untraced)
}

func TestUnboundSignatures(t *testing.T) {
	s := clienttest.NewServer(t)
	tests := map[string]func(*client.Config){
		"asked for": func(c *client.Config) { c.Unbound = true },
		"strange transport": func(c *client.Config) {
			c.CA, c.HTTPClient = nil, &http.Client{Transport: strangeTransport{newWire(s, false)}}
		},
		"asked for with a client of one's own": func(c *client.Config) {
			c.CA, c.HTTPClient, c.Unbound = nil, &http.Client{Transport: newWire(s, false)}, true
		},
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := s.Enroll()
			edit(&cfg)
			before := s.Bindings(signature.BindNone)
			createKey(t, newClient(t, cfg), kms.AES256GCM)
			if n := s.Bindings(signature.BindNone) - before; n != 1 || s.Bindings(signature.BindExporter) != 0 {
				t.Errorf("%d requests without a binding", n)
			}
		})
	}
}

// TestProxyThatEndsTLS has somebody in between whose certificate the client
// trusts: what it passes on is refused, unless the client agreed.
func TestProxyThatEndsTLS(t *testing.T) {
	s := clienttest.NewServer(t)
	to, err := url.Parse(s.URL())
	ok(t, err)
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{
		Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(to); p.Out.Host = p.In.Host },
		Transport: newWire(s, false),
	})
	t.Cleanup(proxy.Close)
	cfg := s.Enroll()
	cfg.URL = proxy.URL // httptest's servers have one certificate
	_, err = newClient(t, cfg).ListKeys(t.Context())
	if !errors.Is(err, kms.Unauthenticated) || !strings.Contains(err.(*client.Error).Hint, "proxy") {
		t.Errorf("tied to the other connection: %v", err)
	}
	cfg.Unbound = true
	_, err = newClient(t, cfg).ListKeys(t.Context())
	ok(t, err)
}

// TestProxyThatTunnels has somebody in between who sees TLS from outside, as
// every proxy for HTTPS does: requests are tied to the connection inside.
func TestProxyThatTunnels(t *testing.T) {
	s := clienttest.NewServer(t)
	var tunnels atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		node, err := net.Dial("tcp", r.Host)
		if err != nil || r.Method != http.MethodConnect {
			t.Errorf("%s %s: %v", r.Method, r.Host, err)
			return
		}
		defer node.Close()
		tunnels.Add(1)
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(node, client)
		io.Copy(client, node)
	}))
	t.Cleanup(proxy.Close)
	via, err := url.Parse(proxy.URL)
	ok(t, err)
	for _, http2 := range []bool{false, true} {
		cfg := s.Enroll()
		w := newWire(s, http2)
		w.inner.Proxy = http.ProxyURL(via)
		t.Cleanup(w.inner.CloseIdleConnections)
		cfg.CA, cfg.HTTPClient = nil, &http.Client{Transport: w}
		createKey(t, newClient(t, cfg), kms.AES256GCM)
	}
	if n := s.Bindings(signature.BindExporter); n != 2 || tunnels.Load() != 2 {
		t.Errorf("%d requests were tied to their connection, through %d tunnels", n, tunnels.Load())
	}
}

// TestCapturedRequest sends a request again, to another action, host and body.
func TestCapturedRequest(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := s.Enroll()
	cfg.Unbound = true
	c := newClient(t, cfg)
	id := createKey(t, c, kms.AES256GCM)
	var got sighting
	see(t, s, &got)
	_, err := c.PublicKey(t.Context(), id)
	if !errors.Is(err, kms.Misused) {
		t.Fatal(err)
	}
	captured := got
	tests := map[string]struct {
		target, host, body, want string
	}{
		"again":          {captured.target, captured.host, string(captured.body), "Timestamp can't be repeated in 20 minutes"},
		"another action": {"/ehsm?Action=DeleteKey", captured.host, string(captured.body), "sign error"},
		"another path":   {"/ehsm/?Action=GetPublicKey", captured.host, string(captured.body), "sign error"},
		"another host":   {captured.target, "elsewhere:9000", string(captured.body), "sign error"},
		"another body":   {captured.target, captured.host, string(captured.body) + " ", "sign error"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL()+tt.target, strings.NewReader(tt.body))
			ok(t, err)
			req.Host = tt.host
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Holdfast-Signature", captured.header)
			resp, err := newWire(s, false).RoundTrip(req)
			ok(t, err)
			defer resp.Body.Close()
			var env struct{ Message string }
			ok(t, json.NewDecoder(resp.Body).Decode(&env))
			if env.Message != tt.want {
				t.Errorf("answered %q, want %q", env.Message, tt.want)
			}
		})
	}
	keys, err := c.ListKeys(t.Context())
	if len(must(t, keys, err)) != 1 {
		t.Error("the key is gone")
	}
}

// TestHostOfZonedAddress has an address that names an interface of this
// machine: net/http leaves that out of the Host header.
func TestHostOfZonedAddress(t *testing.T) {
	s := clienttest.NewServer(t)
	cfg := s.Enroll()
	u, err := url.Parse(cfg.URL)
	ok(t, err)
	port := u.Port()
	w := newWire(s, false)
	w.inner.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:"+port)
	}
	w.inner.TLSClientConfig.ServerName = "example.com" // httptest's certificate
	for _, host := range []string{"[fe80::1%25eth0]:" + port, "[fe80::1%25eth0]", "EXAMPLE.com", "example.com:"} {
		t.Run(strconv.Quote(host), func(t *testing.T) {
			cfg := cfg
			cfg.URL, cfg.CA, cfg.HTTPClient = "https://"+host, nil, &http.Client{Transport: w}
			_, err := newClient(t, cfg).ListKeys(t.Context())
			ok(t, err)
		})
	}
	cfg.URL = "https://bücher.example"
	if _, err := client.New(cfg); !errors.Is(err, kms.Invalid) || !strings.Contains(kms.HintOf(err), "xn--") {
		t.Errorf("letters that are not ASCII: %v", err)
	}
}
