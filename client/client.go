package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// A Client calls one node as one app. It is safe for concurrent use.
type Client struct {
	base    *url.URL
	app     kms.AppID
	cred    kms.CredentialID
	key     APIKey
	http    *http.Client
	foreign bool // http is not ours
	v1      bool // sign as eHSM does
	bound   bool // tie signatures to connections
	now     func() time.Time
	timeout time.Duration
	tries   int
	session *attendance // of an attested workload; nil: none
}

// New makes a client. It does not dial. The error is Invalid and has a hint.
func New(cfg Config) (*Client, error) {
	base, err := cfg.base()
	if err != nil {
		return nil, err
	}
	if err := cfg.checkCredential(); err != nil {
		return nil, err
	}
	session, err := newAttendance(&cfg)
	if err != nil {
		return nil, err
	}
	hc, err := cfg.httpClient(session)
	if err != nil {
		return nil, err
	}
	c := &Client{base: base, app: cfg.AppID, cred: cfg.credential(), key: cfg.APIKey, http: hc, foreign: cfg.HTTPClient != nil,
		v1: cfg.SignatureV1, bound: !cfg.Unbound, now: cfg.Now, timeout: cfg.Timeout, tries: 1 + cfg.Retries, session: session}
	if c.now == nil {
		c.now = time.Now
	}
	if c.timeout <= 0 {
		c.timeout = defaultTimeout
	}
	if cfg.Retries == 0 {
		c.tries = 1 + defaultRetries
	}
	return c, nil
}

// Close closes idle connections. The client can be used again.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// An action is one call of the protocol.
type action struct {
	name       string
	unsigned   bool // GET, without credential
	repeatable bool // changes nothing, so that it may be sent again
}

// The actions. Enroll is not repeatable: it makes an app each time.
var (
	actEnroll  = action{name: "Enroll", unsigned: true}
	actVersion = action{name: "GetVersion", unsigned: true, repeatable: true}
	actStatus  = action{name: "Status", unsigned: true, repeatable: true}

	actAuditCheckpoint = action{name: "AuditCheckpoint", unsigned: true, repeatable: true}

	actCreateKey   = action{name: "CreateKey"}
	actListKey     = action{name: "ListKey", repeatable: true}
	actEnableKey   = action{name: "EnableKey"}
	actDisableKey  = action{name: "DisableKey"}
	actDeleteKey   = action{name: "DeleteKey"}
	actDeleteAll   = action{name: "DeleteAllKey"}
	actPublicKey   = action{name: "GetPublicKey", repeatable: true}
	actEncrypt     = action{name: "Encrypt", repeatable: true}
	actDecrypt     = action{name: "Decrypt", repeatable: true}
	actDataKey     = action{name: "GenerateDataKey", repeatable: true}
	actWrappedOnly = action{name: "GenerateDataKeyWithoutPlaintext", repeatable: true}
	actSign        = action{name: "Sign", repeatable: true}
	actVerify      = action{name: "Verify", repeatable: true}
	actMAC         = action{name: "GenerateMac", repeatable: true}
	actVerifyMAC   = action{name: "VerifyMac", repeatable: true}
	actAsymEncrypt = action{name: "AsymmetricEncrypt", repeatable: true}
	actAsymDecrypt = action{name: "AsymmetricDecrypt", repeatable: true}
	actRewrap      = action{name: "ExportDataKey", repeatable: true}
	actParameters  = action{name: "GetParametersForImport"}
	actImport      = action{name: "ImportKeyMaterial"}
	actExport      = action{name: "ExportKey", repeatable: true}
	actQuote       = action{name: "GenerateQuote", repeatable: true}
	actVerifyQuote = action{name: "VerifyQuote", repeatable: true}
	actPutPolicy   = action{name: "UploadQuotePolicy"}
	actGetPolicy   = action{name: "GetQuotePolicy", repeatable: true}
)

// call sends a and reads the result into R. A nil payload sends none.
func call[R any](ctx context.Context, c *Client, a action, payload any) (R, error) {
	var result R
	err := c.roundTrip(ctx, a, payload, func(r reply) error {
		raw, err := openEnvelope(a, r)
		if err != nil {
			return err
		}
		if json.Unmarshal(raw, &result) != nil {
			return garbled(a, http.StatusOK, errors.New("the result has another shape"))
		}
		return nil
	})
	return result, err
}

// openEnvelope returns the result of a success.
func openEnvelope(a action, r reply) (json.RawMessage, error) {
	var env struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Result  json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(r.body, &env); err != nil || env.Code == 0 {
		return nil, notEnvelope(a, r, err)
	}
	if env.Code != http.StatusOK {
		return nil, refusal(a, env.Code, env.Message)
	}
	return env.Result, nil
}

// notEnvelope tells a refusal below the protocol, which has only an HTTP
// status, from an answer that makes no sense.
func notEnvelope(a action, r reply, err error) error {
	if r.status != http.StatusOK {
		return refusal(a, r.status, http.StatusText(r.status))
	}
	return garbled(a, r.status, err)
}

// A reply is an HTTP answer, read to its end.
type reply struct {
	status int
	body   []byte
}

// roundTrip sends a, again where that is safe, until read finds a success.
func (c *Client) roundTrip(ctx context.Context, a action, payload any, read func(reply) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	renewed := false
	for try := 1; ; try++ {
		if err := c.attend(ctx, a); err != nil {
			return err
		}
		// Signed anew each time, here or in send: a node takes each signature once.
		body, err := c.body(a, payload)
		if err != nil {
			return err
		}
		r, err := c.send(ctx, a, body)
		if err == nil {
			err = read(r)
		}
		if !renewed && c.session.ended(err) {
			renewed = true
			continue
		}
		if !a.repeatable || try >= c.tries || !worthRepeating(err) || !pause(ctx, try) {
			return err
		}
	}
}

// worthRepeating reports whether another try may go better: there was no
// answer, or that of a node that is not ready or not sure to be current.
func worthRepeating(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == kms.Unavailable || e.Code == http.StatusServiceUnavailable)
}

// pause waits 50 ms, 100 ms, 200 ms …; it reports false if ctx ended first.
func pause(ctx context.Context, try int) bool {
	t := time.NewTimer(50 * time.Millisecond << min(try-1, 6))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// maxReply bounds an answer: 10,000 listed keys of some 200 bytes, with room.
const maxReply = 8 << 20

func (c *Client) send(ctx context.Context, a action, body []byte) (reply, error) {
	req, err := c.request(ctx, a, body)
	if err != nil {
		return reply{}, unreachable(a, err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return reply{}, unreachable(a, unURL(err))
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err != nil {
		return reply{}, unreachable(a, err)
	}
	if len(b) > maxReply {
		return reply{}, garbled(a, resp.StatusCode, fmt.Errorf("over %d bytes", maxReply))
	}
	return reply{status: resp.StatusCode, body: b}, nil
}

// unURL takes off net/http's wrapper, which repeats method and address.
func unURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

func (c *Client) request(ctx context.Context, a action, body []byte) (*http.Request, error) {
	u := *c.base
	u.Path, u.RawQuery = "/ehsm", "Action="+a.name
	switch a {
	case actStatus:
		u.Path, u.RawQuery = "/status", ""
	case actAuditCheckpoint:
		u.Path, u.RawQuery = "/audit/checkpoint", ""
	}
	if a.unsigned {
		return http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	c.session.show(req.Header)
	if !c.v1 && !c.key.IsZero() {
		req = c.sign(req, body)
	}
	return req, nil
}
