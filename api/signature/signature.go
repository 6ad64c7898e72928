// Package signature is Holdfast's request signature, version 2: what is signed,
// and the header that carries it. Client and server share it; docs/signature.md
// specifies it, with the vectors that the tests of this package check.
//
// The text that is signed names every part of the request with its length in
// front, so that no two requests have the same text. What a server acts on is
// what was signed: a request that says the same thing twice is refused.
package signature

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// HeaderName is the request header that carries a signature.
const HeaderName = "Holdfast-Signature"

// NonceSize is the length of a nonce in bytes.
const NonceSize = 16

const (
	version = "2"
	label   = "holdfast request signature v2"

	maxHeader = 256 // characters; a header has some 190

	exporterLabel = "EXPORTER-Channel-Binding" // RFC 9266
	exporterSize  = 32
)

// A Binding says how a signature is tied to a connection.
type Binding string

// The bindings.
const (
	BindNone     Binding = "none"         // to none: the request may pass through a proxy that ends TLS
	BindExporter Binding = "tls-exporter" // to the TLS 1.3 connection it is sent on (RFC 9266)
)

// A Header is what a signature consists of on the wire.
type Header struct {
	Credential kms.CredentialID
	TimeMillis int64 // ms since 1970, not negative
	Nonce      [NonceSize]byte
	Binding    Binding
	MAC        [sha256.Size]byte
}

// A Request is the rest of what is signed.
type Request struct {
	Method   string
	Host     string // as in the Host header, or in :authority
	Target   string // path and query, as on the request line or in :path
	BodyHash [sha256.Size]byte
	Exporter []byte // with BindExporter
}

// Text is the text that is signed: a label, then each part with its length (8
// bytes, big-endian) in front. The host is compared in ASCII lower case.
func Text(h *Header, r *Request) []byte {
	b := make([]byte, 0, 320+len(r.Host)+len(r.Target))
	b = part(b, label)
	b = part(b, r.Method)
	b = part(b, lower(r.Host))
	b = part(b, r.Target)
	b = part(b, string(r.BodyHash[:]))
	b = part(b, string(h.Credential[:]))
	b = part(b, strconv.FormatInt(h.TimeMillis, 10))
	b = part(b, string(h.Nonce[:]))
	b = part(b, string(h.Binding))
	return part(b, string(r.Exporter))
}

func part(dst []byte, s string) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(len(s)))
	return append(dst, s...)
}

// lower is strings.ToLower without Unicode's: there the Kelvin sign is a k too,
// and two hosts would be one.
func lower(host string) string {
	if !strings.ContainsFunc(host, func(c rune) bool { return 'A' <= c && c <= 'Z' }) {
		return host
	}
	b := []byte(host)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + ('a' - 'A')
		}
	}
	return string(b)
}

// Key derives the key of this scheme from an API key, so that a MAC of one
// scheme means nothing in another: HMAC-SHA-256 under the API key of a label.
func Key(apiKey []byte) []byte {
	m := hmac.New(sha256.New, apiKey)
	m.Write([]byte(kms.SchemeV2.KeyLabel()))
	return m.Sum(nil)
}

// Sign computes the header's MAC.
func Sign(apiKey []byte, h *Header, r *Request) {
	key := Key(apiKey)
	defer clear(key)
	m := hmac.New(sha256.New, key)
	m.Write(Text(h, r))
	m.Sum(h.MAC[:0])
}

// String is the header's value.
func (h *Header) String() string { return string(h.appendTo(nil)) }

func (h *Header) appendTo(b []byte) []byte {
	b = append(b, "v="+version+", credential="...)
	b = append(b, h.Credential.String()...)
	b = strconv.AppendInt(append(b, ", time="...), h.TimeMillis, 10)
	b = base64.RawURLEncoding.AppendEncode(append(b, ", nonce="...), h.Nonce[:])
	b = append(append(b, ", binding="...), h.Binding...)
	return base64.RawURLEncoding.AppendEncode(append(b, ", mac="...), h.MAC[:])
}

var errMalformed = kms.Errorf(kms.Unauthenticated, "malformed %s header", HeaderName)

// Parse reads a header's value: its members in String's order, and nothing
// else. The error is Unauthenticated.
func Parse(s string) (*Header, error) {
	values, ok := members(s)
	if !ok || len(s) > maxHeader || values[0] != version {
		return nil, errMalformed
	}
	h := new(Header)
	var malformed [2]error
	h.Credential, malformed[0] = kms.ParseCredentialID(values[1])
	h.TimeMillis, malformed[1] = strconv.ParseInt(values[2], 10, 64)
	h.Binding = Binding(values[4])
	if malformed != [2]error{} || h.TimeMillis < 0 || (h.Binding != BindNone && h.Binding != BindExporter) ||
		!decode(h.Nonce[:], values[3]) || !decode(h.MAC[:], values[5]) {
		return nil, errMalformed
	}
	var b [maxHeader]byte
	if string(h.appendTo(b[:0])) != s {
		return nil, errMalformed // one signature has one spelling
	}
	return h, nil
}

// members takes a header apart into the values of its members.
func members(s string) (values [6]string, ok bool) {
	for i, name := range [...]string{"v=", "credential=", "time=", "nonce=", "binding=", "mac="} {
		member, rest, more := strings.Cut(s, ", ")
		value, named := strings.CutPrefix(member, name)
		if last := i == len(values)-1; !named || more == last {
			return values, false
		}
		values[i], s = value, rest
	}
	return values, true
}

// decode reads base64url that fills dst.
func decode(dst []byte, s string) bool {
	if base64.RawURLEncoding.DecodedLen(len(s)) != len(dst) {
		return false
	}
	n, err := base64.RawURLEncoding.Decode(dst, []byte(s))
	return err == nil && n == len(dst)
}

// Received describes a request that a server received, for checking h. The
// error is Unauthenticated where what the server would act on is not surely what
// the client signed, and where h is tied to a connection and this one has no
// exporter.
func Received(h *Header, r *http.Request, body []byte) (*Request, error) {
	if !wellAddressed(r) {
		return nil, kms.Errorf(kms.Unauthenticated, "the request does not say once where it goes")
	}
	req := &Request{Method: r.Method, Host: r.Host, Target: r.RequestURI, BodyHash: sha256.Sum256(body)}
	if h.Binding == BindExporter {
		var err error
		if req.Exporter, err = exporterOf(r); err != nil {
			return nil, err
		}
	}
	return req, nil
}

// Credential collects what a request whose header has this value shows of its
// sender. The error is Unauthenticated, as Parse's and Received's.
func Credential(value string, r *http.Request, body []byte) (kms.Credential, error) {
	h, err := Parse(value)
	if err != nil {
		return kms.Credential{}, err
	}
	req, err := Received(h, r, body)
	if err != nil {
		return kms.Credential{}, err
	}
	return kms.Credential{
		Scheme: kms.SchemeV2, ID: h.Credential, Known: true, Signed: Text(h, req), MAC: h.MAC[:],
		Time: time.UnixMilli(h.TimeMillis), Nonce: string(h.Nonce[:]),
	}, nil
}

// wellAddressed reports whether a request has one host and one target. A request
// line in absolute form has a host of its own, and HTTP/2 may have a Host header
// beside :authority, where net/http leaves it. And the URL, which handlers act
// on, may be another than was sent, if a handler in front of this one changed it.
func wellAddressed(r *http.Request) bool {
	hosts := r.Header["Host"]
	oneHost := r.Host != "" && (len(hosts) == 0 || len(hosts) == 1 && hosts[0] == r.Host)
	return oneHost && strings.HasPrefix(r.RequestURI, "/") && r.URL.RequestURI() == r.RequestURI
}

// Exporter is the channel binding of a TLS connection (RFC 9266). The error is
// Unauthenticated below TLS 1.3: there an exporter is sound only with the
// extended master secret, and implementations differ in what an empty context is
// (RFC 5705, section 4).
func Exporter(state *tls.ConnectionState) ([]byte, error) {
	if state == nil || !state.HandshakeComplete || state.Version < tls.VersionTLS13 {
		return nil, kms.Errorf(kms.Unauthenticated, "not a connection with TLS 1.3")
	}
	b, err := state.ExportKeyingMaterial(exporterLabel, nil, exporterSize)
	if err != nil {
		return nil, kms.Errorf(kms.Unauthenticated, "the connection has no channel binding")
	}
	return b, nil
}

// connKey finds a connection's memo in the context of its requests.
type connKey struct{}

// A memo computes a connection's channel binding once: it stays the same, and
// costs some microseconds.
type memo struct {
	once  sync.Once
	value []byte
	err   error
}

// ConnContext, as the ConnContext of an http.Server, lets Received compute the
// channel binding once for each connection instead of once for each request.
func ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, new(memo))
}

func exporterOf(r *http.Request) ([]byte, error) {
	m, ok := r.Context().Value(connKey{}).(*memo)
	if !ok {
		return Exporter(r.TLS)
	}
	m.once.Do(func() { m.value, m.err = Exporter(r.TLS) })
	return m.value, m.err
}
