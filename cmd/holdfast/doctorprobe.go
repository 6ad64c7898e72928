package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/holdfast-kms/holdfast/api"
)

// probeTime bounds the first contact.
const probeTime = 10 * time.Second

// A probed node is what the first contact shows: nothing of it is verified, no
// secret is sent, and only dates are read.
type probed struct {
	took  time.Duration
	clock time.Time // of the node's machine, to the second; zero: it does not say
	asked time.Time // in the middle of the question
	certs []*x509.Certificate
}

func probe(ctx context.Context, address string) (*probed, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("it is not the address of a node, https://HOST:PORT")
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // for its dates alone; what counts is asked over verified connections
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.JoinPath(api.AlivePath).String(), nil)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	answer, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	took := time.Since(start)
	_, _ = io.CopyN(io.Discard, answer.Body, 1<<10) // what it says is not looked at
	p := &probed{took: took, asked: start.Add(took / 2), certs: answer.TLS.PeerCertificates}
	if at, err := http.ParseTime(answer.Header.Get("Date")); err == nil {
		p.clock = at.Add(time.Second / 2) // it names the second that has begun
	}
	return p, nil
}

// Times before the end of something from which on it is worth a warning.
const (
	leafSoon   = 3 * time.Hour // it lives a day, and is renewed at half of that
	caSoon     = 90 * 24 * time.Hour
	policySoon = 14 * 24 * time.Hour
)

func (p *probed) examine(e *examination, ca []byte, now time.Time) {
	if !p.clock.IsZero() {
		examineSkew(e, "the node's machine", p.clock, p.asked)
	}
	if len(p.certs) > 0 {
		examineLife(e, "certificate", p.certs[0], leafSoon, now, "a node renews it by itself twice a day: see its log, and its machine's clock")
	}
	for _, c := range append(p.certs[min(1, len(p.certs)):], certificates(ca)...) {
		examineLife(e, "CA", c, caSoon, now, "every client has to get another CA before: attest the node anew, with `holdfast trust`; see docs/operate.md")
	}
}

func examineLife(e *examination, check string, c *x509.Certificate, soon time.Duration, now time.Time, do string) {
	end := timeText(c.NotAfter)
	switch {
	case now.After(c.NotAfter):
		e.fail(check, do, "ended %s", end)
	case now.Before(c.NotBefore):
		e.fail(check, "compare the clocks of the two machines", "begins %s only", timeText(c.NotBefore))
	case now.Add(soon).After(c.NotAfter):
		e.warn(check, do, "ends %s", end)
	default:
		e.ok(check, "ends %s", end)
	}
}

func certificates(text []byte) (all []*x509.Certificate) {
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			all = append(all, c)
		}
	}
}

// Differences of clocks. A signed request is refused from ten minutes on.
const (
	skewWarn = 10 * time.Second
	skewFail = 5 * time.Minute
)

func examineSkew(e *examination, whose string, clock, here time.Time) {
	const do = "have both machines follow a time service (chrony, systemd-timesyncd); requests with times that are far off are refused"
	skew := clock.Sub(here)
	says := "the clock of " + whose + " and this machine's differ by " + skew.Round(time.Second).String()
	switch off := skew.Abs(); {
	case off >= skewFail:
		e.fail("clock", do, "%s", says)
	case off >= skewWarn:
		e.warn("clock", do, "%s", says)
	default:
		e.ok("clock", "%s", says)
	}
}
