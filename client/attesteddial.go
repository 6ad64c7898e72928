package client

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

const (
	// nonceSize is the length in bytes of a nonce that asks for evidence.
	nonceSize = 32
	// maxProof bounds what is read of a node that has proved nothing yet.
	maxProof = 4 << 20
)

// prove asks the node at the other end of conn for its proof, on conn itself,
// and verifies it. Where the connection can be used again, usable is true.
func (a *attested) prove(ctx context.Context, conn *tls.Conn, host string) (v *Verified, usable bool, err error) {
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	proof, usable, err := ask(ctx, conn, host, nonce)
	if err != nil {
		return nil, false, err
	}
	marks, err := a.memory.Recall(a.charter)
	if err != nil {
		return nil, false, kms.Errorf(kms.Denied, "looking up what was seen of the domain: %w", err).WithHint(kms.HintOf(err))
	}
	v, err = a.trust.Verify(proof, Inquiry{Nonce: nonce, Leaf: conn.ConnectionState().PeerCertificates[0], Marks: marks, At: a.now()})
	if err != nil {
		return nil, false, err
	}
	if !slices.Contains(marks, v.mark) {
		if err := a.memory.Remember(v.mark); err != nil {
			return nil, false, kms.Errorf(kms.Denied, "remembering what was seen of the domain: %w", err).WithHint(kms.HintOf(err))
		}
	}
	return v, usable, nil
}

// ask requests a proof on conn. Nothing else is under way there.
func ask(ctx context.Context, conn *tls.Conn, host string, nonce []byte) (p *kms.Proof, usable bool, err error) {
	lone := &loneConn{conn: conn}
	c := holdfastv1connect.NewAttestationServiceClient(lone, "https://"+host, connect.WithReadMaxBytes(maxProof), connect.WithAcceptCompression("gzip", nil, nil))
	resp, err := c.GetEvidence(ctx, connect.NewRequest(&holdfastv1.GetEvidenceRequest{Nonce: nonce}))
	if err != nil {
		return nil, false, noProof(err)
	}
	p, err = proofOf(resp.Msg)
	return p, lone.usable, err
}

// noProof makes the error of a node that shows nothing: Unavailable where it
// may do so later, else Denied.
func noProof(err error) error {
	kind, hint := kms.Denied, "is it a Holdfast node that listens there?"
	var network net.Error
	switch code := connect.CodeOf(err); {
	case errors.As(err, &network), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNRESET),
		code == connect.CodeDeadlineExceeded, code == connect.CodeCanceled, code == connect.CodeResourceExhausted,
		code == connect.CodeUnavailable && connect.IsWireError(err):
		kind, hint = kms.Unavailable, ""
	}
	return kms.Errorf(kind, "the node shows no proof of what it is: %w", cause{err}).WithHint(hint)
}

// A cause is an error whose text may be a stranger's.
type cause struct{ error }

func (c cause) Error() string { return printable(c.error.Error()) }

func (c cause) Unwrap() error { return c.error }

// proofOf takes over what the node said. It judges nothing but ids.
func proofOf(m *holdfastv1.GetEvidenceResponse) (*kms.Proof, error) {
	p := &kms.Proof{
		Evidence: kms.Evidence{TEE: m.GetEvidence().GetTee(), Quote: m.GetEvidence().GetQuote(), Collateral: m.GetEvidence().GetCollateral()},
		Charter:  []byte(m.GetCharter()), Bootstrap: []byte(m.GetBootstrap()), Policy: []byte(m.GetPolicy()), Authority: m.GetAuthority(),
	}
	for _, envelope := range m.GetAmendments() {
		p.Amendments = append(p.Amendments, []byte(envelope))
	}
	if !readID(p.Domain[:], m.GetDomainId()) || !readID(p.Node[:], m.GetNodeId()) {
		return nil, denyf("", "the node's proof names no domain, or no node")
	}
	return p, nil
}

// readID reads 64 lower-case hexadecimal digits.
func readID(id []byte, s string) bool {
	b, err := hex.DecodeString(s)
	copy(id, b)
	return err == nil && len(b) == len(id) && hex.EncodeToString(b) == s
}

// A loneConn sends one request over a connection that it does not own.
type loneConn struct {
	conn   net.Conn
	usable bool // the answer was read, and nothing came after it
}

var errOverlong = errors.New("the answer does not end")

// Do implements connect.HTTPClient. It reads the whole answer.
func (l *loneConn) Do(r *http.Request) (*http.Response, error) {
	var resp *http.Response
	err := within(r.Context(), l.conn, func() (err error) { resp, err = l.do(r); return err })
	return resp, err
}

func (l *loneConn) do(r *http.Request) (*http.Response, error) {
	resp, from, err := exchange(l.conn, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if from.Buffered() > 0 {
		return nil, errors.New("more came than was asked for")
	}
	l.usable = !resp.Close
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// exchange writes a request and reads the header of its answer.
func exchange(conn net.Conn, r *http.Request) (*http.Response, *bufio.Reader, error) {
	if err := r.Write(conn); err != nil {
		return nil, nil, err
	}
	from := bufio.NewReader(&limited{from: conn, left: maxProof + 64<<10})
	resp, err := http.ReadResponse(from, r)
	return resp, from, err
}

// within does what waits for conn, and lets the end of ctx end the wait.
func within(ctx context.Context, conn net.Conn, do func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if !stop() {
		return ctx.Err() // the deadline in the past may come yet: conn is done with
	}
	return err
}

// limited is an io.LimitReader that says so.
type limited struct {
	from io.Reader
	left int
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, errOverlong
	}
	n, err := l.from.Read(b[:min(len(b), l.left)])
	l.left -= n
	return n, err
}

// handshake connects to address, through a proxy where the environment names
// one, and completes the TLS handshake.
func (a *attested) handshake(ctx context.Context, address string) (*tls.Conn, error) {
	raw, err := a.connect(ctx, address)
	if err != nil {
		return nil, err
	}
	conf := a.tls.Clone()
	if conf.ServerName, _, err = net.SplitHostPort(address); err != nil {
		raw.Close()
		return nil, err
	}
	conn := tls.Client(raw, conf)
	if err := conn.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// A proxyFunc is that of http.Transport.
type proxyFunc func(*http.Request) (*url.URL, error)

func (a *attested) connect(ctx context.Context, address string) (net.Conn, error) {
	var d net.Dialer
	proxy, err := a.proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: address}})
	if err != nil {
		return nil, err
	}
	if proxy == nil {
		return d.DialContext(ctx, "tcp", address)
	}
	if proxy.Scheme != "http" {
		return nil, kms.Errorf(kms.Invalid, "a proxy of the kind %q", proxy.Scheme).WithHint("name one for HTTP in HTTPS_PROXY, or the node in NO_PROXY")
	}
	port := proxy.Port()
	if port == "" {
		port = "80"
	}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, err
	}
	if err := tunnel(ctx, conn, proxy.User, address); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// tunnel has the proxy at the other end of conn connect it to address (RFC
// 9110, section 9.3.6).
func tunnel(ctx context.Context, conn net.Conn, user *url.Userinfo, address string) error {
	r := (&http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}).WithContext(ctx)
	if user != nil {
		password, _ := user.Password()
		r.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	return within(ctx, conn, func() error {
		// Behind this answer comes what the node sends, and that waits for us.
		resp, _, err := exchange(conn, r)
		if err != nil {
			return kms.Errorf(kms.Unavailable, "asking the proxy: %w", err)
		}
		if resp.StatusCode != http.StatusOK {
			return kms.Errorf(kms.Unavailable, "the proxy answers %q", printable(resp.Status))
		}
		return nil
	})
}
