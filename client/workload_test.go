package client_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// An enclave is a program on a simulated machine, as a Workload asks it.
type enclave struct {
	node  *trustedtest.Node
	fuses string
	cfg   simtee.Config
	asked atomic.Int64
}

func newEnclave(t *testing.T, node *trustedtest.Node, name string) *enclave {
	t.Helper()
	e := &enclave{node: node, fuses: t.TempDir() + "/fuses", cfg: simtee.Config{Measurement: sha256.Sum256([]byte(name))}}
	if _, err := e.cfg.Create(e.fuses); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *enclave) evidence(_ context.Context, reportData [64]byte) (attest.Evidence, error) {
	e.asked.Add(1)
	p, err := e.cfg.Open(e.fuses)
	if err != nil {
		return attest.Evidence{}, err
	}
	return p.Evidence(attest.SGX, reportData, e.node.Clock.Now())
}

func (e *enclave) identity() govern.Identity {
	m := e.cfg.Measurement
	return govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: m[:]}}
}

// workloadNode is a real node behind HTTPS.
func workloadNode(t *testing.T) (*trustedtest.Node, *trustedtest.Endpoint) {
	t.Helper()
	node := trustedtest.NewDomain(t, 1).Nodes[0]
	node.Edit = func(c *server.Config) { c.Mount = mount.Program{Version: "test"}.Handler }
	node.Restart()
	return node, node.Serve(listen.Config{}, nil)
}

// TestWorkload is the whole way over real connections: session, use of a
// conditioned key with an app and without, its end, and a theft.
func TestWorkload(t *testing.T) {
	ctx := t.Context()
	node, end := workloadNode(t)
	app, program := node.Enrol(), newEnclave(t, node, "program")
	open := func(edit func(*client.Config)) *client.Client {
		t.Helper()
		cfg := client.Config{URL: end.URL, AppID: app.ID, APIKey: client.NewAPIKey(app.APIKey), CA: node.Server().CA(), Now: node.Clock.Now}
		edit(&cfg)
		c, err := client.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	owner := open(func(*client.Config) {})
	both := open(func(c *client.Config) { c.Workload = &client.Workload{Evidence: program.evidence} })
	alone := open(func(c *client.Config) {
		c.AppID, c.APIKey, c.Workload = kms.AppID{}, client.APIKey{}, &client.Workload{Evidence: program.evidence}
	})
	stranger := open(func(c *client.Config) {
		c.Workload = &client.Workload{Evidence: newEnclave(t, node, "stranger").evidence}
	})
	key, err := owner.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	narrow := (&govern.Condition{Rules: []govern.ConditionRule{{Operations: kms.EncryptDecrypt, Programs: []govern.Identity{program.identity()}}}}).Canonical()
	if _, err := owner.SetCondition(ctx, kms.SetConditionRequest{Key: key, Condition: narrow}); err != nil {
		t.Fatal(err)
	}
	if got, err := owner.GetCondition(ctx, key); err != nil || string(got.Condition) != string(narrow) {
		t.Errorf("%s, %v", got.Condition, err)
	}
	if _, err := owner.Encrypt(ctx, key, []byte("hello"), nil); !errors.Is(err, kms.Denied) {
		t.Errorf("the owner without evidence: %v, want Denied", err)
	}
	if _, err := stranger.Encrypt(ctx, key, []byte("hello"), nil); !errors.Is(err, kms.Denied) {
		t.Errorf("another program: %v, want Denied", err)
	}
	sealed, err := both.Encrypt(ctx, key, []byte("hello"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if plain, err := alone.Decrypt(ctx, key, sealed, nil); err != nil || string(plain) != "hello" {
			t.Errorf("the program alone: %q, %v", plain, err)
		}
	}
	if n := program.asked.Load(); n != 2 {
		t.Errorf("the TEE was asked %d times by two clients", n)
	}
	if _, err := both.ExportKey(ctx, key); !errors.Is(err, kms.Denied) {
		t.Errorf("export: %v, want Denied", err)
	}
	if _, err := alone.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM}); !errors.Is(err, kms.Denied) {
		t.Errorf("create without an app: %v, want Denied", err)
	}
	if _, err := owner.SetCondition(ctx, kms.SetConditionRequest{Key: key}); !errors.Is(err, kms.Denied) {
		t.Errorf("removing it without evidence: %v, want Denied", err)
	}

	t.Run("a session that ends is opened again", func(t *testing.T) {
		fresh := program.asked.Load()
		client.ForgetExpiry(both) // as if the node had ended it sooner than it said
		node.Clock.Move(61 * time.Minute)
		for range 2 {
			if _, err := both.Encrypt(ctx, key, []byte("hello"), nil); err != nil {
				t.Errorf("%v", err)
			}
		}
		if n := program.asked.Load() - fresh; n != 1 {
			t.Errorf("the TEE was asked %d times", n)
		}
	})
	t.Run("a stolen ticket", func(t *testing.T) {
		ticket := client.TicketOf(both)
		thief := &http.Client{Transport: &http.Transport{TLSClientConfig: end.TLS()}}
		code := func(name string, c *http.Client) int {
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, end.URL+"/holdfast.v1.KeyService/GetCondition", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set(api.SessionHeader, ticket)
			req.Header.Set("Content-Type", "application/json")
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(name, err)
			}
			defer resp.Body.Close()
			return resp.StatusCode
		}
		if got := code("without a certificate", thief); got != http.StatusUnauthorized {
			t.Errorf("without a certificate: %d", got)
		}
		conf := end.TLS()
		conf.Certificates = []tls.Certificate{client.NewClientCertificate(t)}
		if got := code("with another certificate", &http.Client{Transport: &http.Transport{TLSClientConfig: conf}}); got != http.StatusUnauthorized {
			t.Errorf("with another certificate: %d", got)
		}
	})
	t.Run("the vendor's verdict", func(t *testing.T) {
		// Another session of the same machine brings the news.
		program.cfg.Misfortune.Recovery = simtee.Announced
		news := open(func(c *client.Config) { c.Workload = &client.Workload{Evidence: program.evidence} })
		if _, err := news.Encrypt(ctx, key, []byte("hello"), nil); !errors.Is(err, kms.Denied) {
			t.Errorf("the news: %v, want Denied", err)
		}
		if _, err := both.Encrypt(ctx, key, []byte("hello"), nil); !errors.Is(err, kms.Denied) {
			t.Errorf("at the next request: %v, want Denied", err)
		}
	})
}

func TestWorkloadConfig(t *testing.T) {
	evidence := func(context.Context, [64]byte) (attest.Evidence, error) { return attest.Evidence{}, nil }
	for name, cfg := range map[string]client.Config{
		"no evidence":          {URL: "https://x", Workload: &client.Workload{}},
		"with an HTTPClient":   {URL: "https://x", Workload: &client.Workload{Evidence: evidence}, HTTPClient: http.DefaultClient},
		"with SignatureV1":     {URL: "https://x", Workload: &client.Workload{Evidence: evidence}, SignatureV1: true},
		"an empty certificate": {URL: "https://x", Workload: &client.Workload{Evidence: evidence, Certificate: &tls.Certificate{}}},
		"a broken certificate": {URL: "https://x", Workload: &client.Workload{Evidence: evidence, Certificate: &tls.Certificate{Certificate: [][]byte{{1}}}}},
	} {
		if _, err := client.New(cfg); !errors.Is(err, kms.Invalid) {
			t.Errorf("%s: %v, want Invalid", name, err)
		}
	}
}
