package collateral

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

const (
	// maxAttempts is how often a service is asked before it counts as failing.
	maxAttempts = 4
	// Pauses between these attempts double from the first, up to the last.
	firstBackoff = 500 * time.Millisecond
	lastBackoff  = 8 * time.Second

	maxHeaders  = 64 << 10 // issuer chains have 3 KiB
	idleTimeout = 30 * time.Second
)

const hintForeign = "see whether the address is that of a PCS, PCCS or KDS, and whether a proxy answers in its place"

// web asks the services.
type web struct {
	client  *http.Client
	timeout time.Duration // of a request
}

func newWeb(cfg Config) (*web, error) {
	transport := cfg.Transport
	if transport == nil {
		t := &http.Transport{
			TLSClientConfig:        &tls.Config{RootCAs: cfg.Roots, MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: maxHeaders, IdleConnTimeout: idleTimeout, ForceAttemptHTTP2: true,
		}
		if cfg.ProxyURL != "" {
			proxy, err := url.Parse(cfg.ProxyURL)
			if err != nil {
				return nil, kms.Errorf(kms.Invalid, "not a URL").WithField("ProxyURL")
			}
			t.Proxy = http.ProxyURL(proxy)
		}
		transport = t
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &web{client: client, timeout: cfg.RequestTimeout}, nil
}

// A fault is an attempt that came to nothing.
type fault struct {
	kind  kms.Kind
	err   error
	hint  string
	final bool          // to ask again at once is of no use
	pause time.Duration // the service wants to be left alone
}

// failed makes a fault of the usual kind.
func failed(hint, format string, args ...any) *fault {
	return &fault{kind: kms.Unavailable, err: fmt.Errorf(format, args...), hint: hint}
}

// ask asks for i until it gets it, it is of no use, or ctx ends.
func (w *web) ask(ctx context.Context, i item, now func() time.Time) (*answer, *fault) {
	for attempt := 1; ; attempt++ {
		a, f := w.once(ctx, i, now)
		if f == nil || f.final || attempt == maxAttempts || !sleep(ctx, backoff(attempt, f.pause)) {
			return a, f
		}
	}
}

// backoff is how long to wait after an attempt: at random between half and all
// of a time that doubles, so that nodes that failed together do not come back
// together; but not less than the service wants.
func backoff(attempt int, pause time.Duration) time.Duration {
	d := min(firstBackoff<<(attempt-1), lastBackoff)
	return max(d/2+rand.N(d/2), pause)
}

// sleep waits for d, and reports at once if ctx ends before that.
func sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *web) once(ctx context.Context, i item, now func() time.Time) (*answer, *fault) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	s, f := w.get(ctx, i, now)
	if f != nil {
		return nil, f
	}
	a, err := i.read(s)
	if err != nil {
		// The reader's error may quote what it was given, which may be anything.
		return nil, failed(hintForeign, "%s answered with something else: %.300s", hostOf(i.url), err)
	}
	return a, nil
}

func (w *web) get(ctx context.Context, i item, now func() time.Time) (said, *fault) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, i.url, nil)
	if err != nil {
		return said{}, failed("", "%w", err)
	}
	request.Header.Set("User-Agent", "holdfast")
	response, err := w.client.Do(request)
	if err != nil {
		return said{}, unreachable(i, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return said{}, refused(i, response, now())
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, i.limit+1))
	if err != nil {
		return said{}, unreachable(i, err)
	}
	if int64(len(body)) > i.limit {
		return said{}, failed(hintForeign, "%s answered with more than %d bytes", hostOf(i.url), i.limit)
	}
	chain, err := issuerChain(response.Header, i.chainIn)
	if err != nil {
		return said{}, failed(hintForeign, "%s: %w", hostOf(i.url), err)
	}
	return said{body: body, chain: chain, at: now()}, nil
}

// unreachable is a request that got no answer.
func unreachable(i item, err error) *fault {
	hint := "see that " + hostOf(i.url) + " can be reached from here; a proxy has to be set, the environment is not asked"
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		err = certificate
		hint = "the certificate of " + hostOf(i.url) + " is not from a CA that this machine trusts; add its CA to the system's"
		if _, ok := errors.AsType[x509.HostnameError](err); ok {
			hint = "the certificate of " + hostOf(i.url) + " is for another name; use the name that it is for"
		}
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		hint = hostOf(i.url) + " took too long to answer; " + hint
	}
	return failed(hint, "%w", err)
}

// refused is an answer that is not what was asked for. Nothing of it is quoted:
// it may be anyone's.
func refused(i item, r *http.Response, now time.Time) *fault {
	code := r.StatusCode
	f := failed(hintForeign, "%s answered %d %s", hostOf(i.url), code, http.StatusText(code))
	f.final = true
	switch {
	case code == http.StatusNotFound:
		f.kind, f.hint = kms.NotFound, "the service does not know this platform; a caching service may have to be filled first"
	case code >= 300 && code < 400:
		f.hint = "redirects are not followed; set the address that it points to"
	case code == http.StatusUnauthorized || code == http.StatusForbidden || code == http.StatusProxyAuthRequired:
		f.hint = "the service or a proxy wants credentials; a caching service must let this machine read"
	case code == http.StatusTooManyRequests || code == http.StatusRequestTimeout || code >= 500:
		f.hint = "the service is overloaded or out of order; it is asked again by itself"
		f.final, f.pause = false, retryAfter(r.Header.Get("Retry-After"), now)
	}
	return f
}

// retryAfter reads seconds or an HTTP date (RFC 9110, 10.2.3). It is bounded,
// and zero if it makes no sense.
func retryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longPause)
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, min(at.Sub(now), longPause))
	}
	return 0
}

// issuerChain is the certificates in the first of these headers that is there.
func issuerChain(h http.Header, names []string) (string, error) {
	if names == nil {
		return "", nil
	}
	for _, name := range names {
		if text := h.Get(name); text != "" {
			return unescape(name, text)
		}
	}
	return "", fmt.Errorf("the answer lacks the header %s", names[0])
}

// unescape decodes certificates in a header. A plus sign is one, unless it
// stands for the space in "BEGIN CERTIFICATE".
func unescape(name, text string) (string, error) {
	decode := url.PathUnescape
	if strings.Contains(text, "BEGIN+CERTIFICATE") {
		decode = url.QueryUnescape
	}
	chain, err := decode(text)
	if err != nil || !strings.HasPrefix(strings.TrimSpace(chain), "-----BEGIN CERTIFICATE-----") {
		return "", fmt.Errorf("the header %s does not hold certificates", name)
	}
	return chain, nil
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the service"
	}
	return u.Host
}
