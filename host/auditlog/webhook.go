package auditlog

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// WebhookConfig says where a Webhook sends lines.
type WebhookConfig struct {
	URL    string       // https, or http on loopback
	Client *http.Client // nil: one of its own, which follows no redirect
	// Header is sent along, such as Authorization.
	Header http.Header
}

// A Webhook posts each batch of lines, as application/x-ndjson. Status 200 to 299
// says that the service has them. It may get a batch a second time, and knows it by
// the numbers of its entries.
type Webhook struct{ cfg WebhookConfig }

// tokenVariable holds what a web service wants to be shown; not the command line,
// which others can read.
const tokenVariable = "HOLDFAST_AUDIT_TOKEN"

// webTimeout is longer than any node waits.
const webTimeout = 30 * time.Second

// NewWebhook makes a Webhook. HOLDFAST_AUDIT_TOKEN, where it is set, is sent as
// bearer token. The error says what is wrong with the address.
func NewWebhook(cfg WebhookConfig) (*Webhook, error) {
	if _, err := checkURL(cfg.URL); err != nil {
		return nil, err
	}
	cfg.Header = cfg.Header.Clone()
	if cfg.Header == nil {
		cfg.Header = http.Header{}
	}
	if token := strings.TrimSpace(os.Getenv(tokenVariable)); token != "" && cfg.Header.Get("Authorization") == "" {
		cfg.Header.Set("Authorization", "Bearer "+token)
	}
	if cfg.Client == nil {
		cfg.Client = &http.Client{Timeout: webTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Webhook{cfg}, nil
}

// Append posts the lines.
func (w *Webhook) Append(ctx context.Context, lines []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.cfg.URL, bytes.NewReader(bytes.Clone(lines))) // a transport may read on after it has answered
	if err != nil {
		return err
	}
	req.Header = w.cfg.Header.Clone()
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := w.cfg.Client.Do(req)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "the audit service does not answer")
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is used again
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("the audit service answers with status %d", resp.StatusCode)
	}
	return nil
}
