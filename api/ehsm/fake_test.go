package ehsm_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	v2 "github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

const (
	testApp   = "11111111-2222-4333-8444-555555555555"
	testKey   = "0123456789ABCDEFGHJKLMNPQRSTUVWX" // its API key
	testKeyID = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	window    = 10 * time.Minute
)

// A core stands in for the real one: it authenticates as the real one must, and
// does nothing but note what it is asked.
type core struct {
	now   time.Time
	seen  map[string]bool // MACs that were accepted
	authd int             // calls of Authenticate
	creds []kms.Credential

	authErr error // what Authenticate returns instead
	callErr error // what every operation returns instead
	calls   []call
	keys    []kms.Key
	public  []byte // what PublicKey and ImportParameters return
	data    []byte // the secret that Decrypt, GenerateDataKey or ExportKey returned last
	held    []byte // the plaintext that Encrypt got, held on to against the rules

	verdict  kms.QuoteVerdict // what VerifyQuote returns
	policies map[kms.QuotePolicyID]kms.QuotePolicy
	signed   []byte // the last text that SignReply was given
	keyless  bool   // the caller has no API key
}

// A call is an operation and what it was given.
type call struct {
	Op  string
	Arg any
}

func newCore() *core {
	return &core{now: time.UnixMilli(1_700_000_000_000), seen: map[string]bool{}, public: publicDER,
		verdict: goodVerdict(), policies: map[kms.QuotePolicyID]kms.QuotePolicy{}}
}

func (c *core) Authenticate(_ context.Context, cred kms.Credential) (ehsm.Caller, error) {
	c.authd++
	if c.authErr != nil {
		return nil, c.authErr
	}
	kept := cred
	kept.Signed, kept.MAC = bytes.Clone(cred.Signed), bytes.Clone(cred.MAC)
	c.creds = append(c.creds, kept)
	mac := hmac.New(sha256.New, schemeKey(cred.Scheme))
	mac.Write(cred.Signed)
	if !cred.Known || cred.ID.String() != testApp || !hmac.Equal(mac.Sum(nil), cred.MAC) {
		return nil, kms.Unauthenticated
	}
	if age := c.now.Sub(cred.Time).Abs(); age >= window {
		return nil, kms.Stale
	}
	if c.seen[string(cred.MAC)] {
		return nil, kms.Replayed
	}
	c.seen[string(cred.MAC)] = true
	return c, nil
}

func schemeKey(s kms.Scheme) []byte {
	if s == kms.SchemeV2 {
		return v2.Key([]byte(testKey))
	}
	return []byte(testKey)
}

func (c *core) note(op string, arg any) error {
	c.calls = append(c.calls, call{op, arg})
	return c.callErr
}

func (c *core) CreateKey(_ context.Context, r kms.CreateKeyRequest) (kms.Key, error) {
	return kms.Key{ID: keyID(testKeyID), Spec: r.Spec}, c.note("CreateKey", r)
}

func (c *core) ListKeys(_ context.Context, r kms.ListKeysRequest) (kms.KeyPage, error) {
	return kms.KeyPage{Keys: c.keys}, c.note("ListKeys", r)
}

func (c *core) PublicKey(_ context.Context, r kms.KeyRef) (kms.PublicKey, error) {
	return kms.PublicKey{Key: r, DER: c.public}, c.note("PublicKey", r)
}

func (c *core) DeleteKey(_ context.Context, id kms.KeyID) error { return c.note("DeleteKey", id) }

func (c *core) DeleteAllKeys(context.Context) error { return c.note("DeleteAllKeys", nil) }

func (c *core) SetKeyEnabled(_ context.Context, id kms.KeyID, enabled bool) error {
	return c.note(fmt.Sprintf("SetKeyEnabled %v", enabled), id)
}

func (c *core) Encrypt(_ context.Context, r kms.EncryptRequest) (kms.Ciphertext, error) {
	c.held = r.Plaintext
	data := append([]byte("sealed "), r.Plaintext...)
	r.Plaintext, r.Binding = bytes.Clone(r.Plaintext), cloneBinding(r.Binding)
	return kms.Ciphertext{Key: r.Key, Data: data}, c.note("Encrypt", r)
}

func (c *core) Decrypt(_ context.Context, r kms.DecryptRequest) (kms.Plaintext, error) {
	c.data = append([]byte("opened "), r.Data...)
	r.Data, r.Binding = bytes.Clone(r.Data), cloneBinding(r.Binding)
	return kms.Plaintext{Key: r.Key, Data: c.data}, c.note("Decrypt", r)
}

func (c *core) GenerateDataKey(_ context.Context, r kms.DataKeyRequest) (kms.DataKey, error) {
	c.data = bytes.Repeat([]byte{'k'}, r.Length)
	r.Binding = cloneBinding(r.Binding)
	return kms.DataKey{Key: r.Key, Plaintext: c.data, Wrapped: []byte("wrapped")}, c.note("GenerateDataKey", r)
}

func (c *core) Sign(_ context.Context, r kms.SignRequest) (kms.Signature, error) {
	r.Input.Message = bytes.Clone(r.Input.Message)
	return kms.Signature{Key: r.Key, Data: []byte("signature")}, c.note("Sign", r)
}

func (c *core) Verify(_ context.Context, r kms.VerifyRequest) (kms.Verification, error) {
	r.Input.Message, r.Signature = bytes.Clone(r.Input.Message), bytes.Clone(r.Signature)
	return kms.Verification{Key: r.Key, Valid: string(r.Signature) == "signature"}, c.note("Verify", r)
}

func (c *core) MAC(_ context.Context, r kms.MACRequest) (kms.MessageMAC, error) {
	r.Message = bytes.Clone(r.Message)
	return kms.MessageMAC{Key: r.Key, Data: []byte("mac")}, c.note("MAC", r)
}

func (c *core) VerifyMAC(_ context.Context, r kms.VerifyMACRequest) (kms.Verification, error) {
	r.Message, r.MAC = bytes.Clone(r.Message), bytes.Clone(r.MAC)
	return kms.Verification{Key: r.Key, Valid: string(r.MAC) == "mac"}, c.note("VerifyMAC", r)
}

func (c *core) Rewrap(_ context.Context, r kms.RewrapRequest) (kms.Ciphertext, error) {
	r.Data, r.Binding = bytes.Clone(r.Data), cloneBinding(r.Binding)
	return kms.Ciphertext{Key: r.Target, Data: []byte("rewrapped")}, c.note("Rewrap", r)
}

func (c *core) ImportParameters(_ context.Context, r kms.ImportParametersRequest) (kms.ImportParameters, error) {
	return kms.ImportParameters{Key: kms.KeyRef{ID: r.Key}, PublicKey: c.public, Token: []byte("token")}, c.note("ImportParameters", r)
}

func (c *core) ImportKey(_ context.Context, r kms.ImportRequest) (kms.Key, error) {
	c.held = r.Material
	r.Token, r.Material = bytes.Clone(r.Token), bytes.Clone(r.Material)
	return kms.Key{ID: r.Key}, c.note("ImportKey", r)
}

func (c *core) ExportKey(_ context.Context, r kms.KeyRef) (kms.ExportedKey, error) {
	c.data = []byte("key material")
	return kms.ExportedKey{Key: r, Material: c.data}, c.note("ExportKey", r)
}

func (c *core) GenerateQuote(_ context.Context, r kms.QuoteRequest) (kms.Quote, error) {
	r.Challenge = bytes.Clone(r.Challenge)
	return kms.Quote{TEE: "sgx", Quote: []byte("quote"), Collateral: []byte("collateral"), Domain: kms.DomainID{1}, PolicySerial: 7,
		PolicyDigest: [32]byte{2}}, c.note("GenerateQuote", r)
}

func (c *core) VerifyQuote(_ context.Context, r kms.VerifyQuoteRequest) (kms.QuoteVerdict, error) {
	r.Quote, r.Collateral = bytes.Clone(r.Quote), bytes.Clone(r.Collateral)
	if r.Policy != nil {
		id := *r.Policy
		r.Policy = &id
		if _, ok := c.policies[id]; !ok {
			return kms.QuoteVerdict{}, kms.NotFound
		}
	}
	return c.verdict, c.note("VerifyQuote", r)
}

func (c *core) SignReply(_ context.Context, text []byte) ([]byte, error) {
	if !kms.IsQuoteReply(text) {
		return nil, kms.Denied
	}
	if c.keyless {
		return nil, nil
	}
	c.signed = bytes.Clone(text)
	return wire.MAC([]byte(testKey), text), nil
}

func (c *core) PutQuotePolicy(_ context.Context, r kms.PutQuotePolicyRequest) (kms.QuotePolicy, error) {
	p := kms.QuotePolicy{ID: policyID(testPolicyID), MRENCLAVE: r.MRENCLAVE, MRSIGNER: r.MRSIGNER, Created: c.now}
	c.policies[p.ID] = p
	return p, c.note("PutQuotePolicy", r)
}

func (c *core) QuotePolicy(_ context.Context, id kms.QuotePolicyID) (kms.QuotePolicy, error) {
	p, ok := c.policies[id]
	if err := c.note("QuotePolicy", id); err != nil {
		return p, err
	}
	if !ok {
		return p, kms.NotFound
	}
	return p, nil
}

func policyID(s string) kms.QuotePolicyID {
	id, err := kms.ParseQuotePolicyID(s)
	if err != nil {
		panic(err)
	}
	return id
}

func cloneBinding(b kms.Binding) kms.Binding {
	raw, _ := b.Raw()
	return kms.RawBinding(bytes.Clone(raw))
}

func keyID(s string) kms.KeyID {
	id, err := kms.ParseKeyID(s)
	if err != nil {
		panic(err)
	}
	return id
}

func appID(s string) kms.AppID {
	id, err := kms.ParseAppID(s)
	if err != nil {
		panic(err)
	}
	return id
}

// A rig is the facade over a fake core, and a client of it.
type rig struct {
	*core
	handler http.Handler
	app     string // who calls
	apiKey  string
	log     bytes.Buffer
	millis  int64 // of the last request's timestamp, so that no two are alike
}

func newRig(t testing.TB) *rig {
	t.Helper()
	g := &rig{core: newCore(), app: testApp, apiKey: testKey}
	g.handler = ehsm.New(ehsm.Config{
		Authenticate: g.Authenticate,
		Enroll: func(context.Context) (kms.Enrolment, error) {
			return kms.Enrolment{App: appID(testApp), APIKey: testKey}, g.callErr
		},
		Version: "1.2.3", GitSHA: "abcdef0",
		Logger: slog.New(slog.NewTextHandler(&g.log, nil)),
	})
	g.millis = g.now.UnixMilli()
	return g
}

// members are a request's top-level members in JSON; "" leaves one out.
type members map[string]string

// body is a signed request with a payload ("" for none). set replaces members
// before signing.
func (g *rig) body(payload string, set members) []byte {
	g.millis++
	m := members{"appid": quote(g.app), "timestamp": quote(fmt.Sprint(g.millis)), "payload": payload}
	for name, v := range set {
		m[name] = v
	}
	if _, given := set["sign"]; !given {
		signed, err := wire.StringToSign(m.json())
		if err != nil {
			panic(err)
		}
		m["sign"] = quote(base64.StdEncoding.EncodeToString(wire.MAC([]byte(g.apiKey), signed)))
	}
	return m.json()
}

func (m members) json() []byte {
	var parts []string
	for _, name := range []string{"sign", "appid", "nonce", "timestamp", "payload", "extra"} {
		if v := m[name]; v != "" {
			parts = append(parts, quote(name)+":"+v)
		}
	}
	return []byte("{" + strings.Join(parts, ",") + "}")
}

func sign(signed []byte) string {
	return base64.StdEncoding.EncodeToString(wire.MAC([]byte(testKey), signed))
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// A reply is what came back. Null says that result was null, not {}.
type reply struct {
	Status  int
	Code    int
	Message string
	Result  map[string]any
	Null    bool
}

// refusal is the reply that eHSM's manager gives, with result {}.
func refusal(code int, message string) reply {
	return reply{Status: 200, Code: code, Message: message, Result: map[string]any{}}
}

// exception is the reply that eHSM's core gives, with result null.
func exception(code int, message string) reply {
	return reply{Status: 200, Code: code, Message: message, Null: true}
}

func succeeded(message string, result map[string]any) reply {
	return reply{Status: 200, Code: 200, Message: message, Result: result}
}

// page is a reply that is not JSON.
func page(status int) reply { return reply{Status: status} }

// call sends a signed request to an action.
func (g *rig) call(t testing.TB, action, payload string) reply {
	t.Helper()
	return g.post(t, action, g.body(payload, nil))
}

func (g *rig) post(t testing.TB, action string, body []byte) reply {
	t.Helper()
	return g.do(t, post("/ehsm?Action="+action, body))
}

func post(target string, body []byte) *http.Request {
	r := httptest.NewRequest("POST", target, bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

func (g *rig) do(t testing.TB, r *http.Request) reply {
	t.Helper()
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	return parseReply(t, w.Result())
}

// parseReply checks what every response has in common.
func parseReply(t testing.TB, resp *http.Response) reply {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Length"); got != fmt.Sprint(len(body)) {
		t.Errorf("Content-Length %q, %d bytes", got, len(body))
	}
	if resp.Header.Get("Cache-Control") != "no-store" {
		t.Error("the response may be cached")
	}
	contentType := resp.Header.Get("Content-Type")
	if resp.StatusCode != 200 {
		if contentType != "text/html; charset=utf-8" {
			t.Errorf("status %d with content type %q", resp.StatusCode, contentType)
		}
		return page(resp.StatusCode)
	}
	if contentType != "application/json; charset=utf-8" {
		t.Errorf("content type %q", contentType)
	}
	return parseJSON(t, body)
}

func parseJSON(t testing.TB, body []byte) reply {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, body)
	}
	if len(m) != 3 || m["code"] == nil || m["message"] == nil || m["result"] == nil {
		t.Fatalf("not code, message and result: %s", body)
	}
	r := reply{Status: 200, Null: string(m["result"]) == "null"}
	for name, into := range map[string]any{"code": &r.Code, "message": &r.Message, "result": &r.Result} {
		if err := json.Unmarshal(m[name], into); err != nil {
			t.Fatalf("%s: %v\n%s", name, err, body)
		}
	}
	return r
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
