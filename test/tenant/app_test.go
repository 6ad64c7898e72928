package tenant_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
)

// patience is how long a well-behaved client waits for an answer, on a machine
// that has other things to do.
const patience = 20 * time.Second

// An app is a tenant: its credentials, and a client with connections of its own.
type app struct {
	*arena
	ID     string
	APIKey string
	http   *http.Client
}

// client is one that trusts the node's domain and goes by the node's clock.
func (a *arena) client() *http.Client {
	tr := &http.Transport{TLSClientConfig: a.endpoint.TLS(), MaxIdleConnsPerHost: 64}
	a.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// enrol enrols an app as anybody can.
func (a *arena) enrol() *app {
	a.t.Helper()
	x := &app{arena: a, http: a.client()}
	x.register()
	return x
}

func (x *app) register() {
	x.t.Helper()
	got := x.get("/ehsm?Action=Enroll")
	x.ID, x.APIKey = got.field("appid"), got.field("apikey")
	if !got.ok() || len(x.APIKey) != 32 {
		x.t.Fatalf("enrolling: %+v", got)
	}
	x.plant([]byte(x.APIKey))
}

// again is the same app, where the node serves now.
func (x *app) again() *app {
	return &app{arena: x.arena, ID: x.ID, APIKey: x.APIKey, http: x.client()}
}

// quiet is the same app for so many requests that planting them would take all
// the time there is.
func (x *app) quiet(t testing.TB) *app {
	return &app{arena: &arena{t: t, node: x.node, endpoint: x.endpoint}, ID: x.ID, APIKey: x.APIKey, http: x.http}
}

// A reply is what came back. Of a page that is not JSON only Status is set.
type reply struct {
	Status  int
	Code    int
	Message string
	Result  string // JSON
}

// refusal is the reply that eHSM's manager gives, with result {}.
func refusal(code int, message string) reply { return reply{200, code, message, "{}"} }

// exception is the reply that eHSM's core gives, with result null.
func exception(code int, message string) reply { return reply{200, code, message, "null"} }

func page(status int) reply { return reply{Status: status} }

func (r reply) ok() bool { return r.Status == 200 && r.Code == 200 }

// field is a text among the results; "" where there is none.
func (r reply) field(name string) string {
	var fields map[string]any
	_ = json.Unmarshal([]byte(r.Result), &fields) // no object: no field
	text, _ := fields[name].(string)
	return text
}

// Answers that many tests expect.
var (
	signError      = refusal(400, "sign error")
	replayed       = refusal(400, "Timestamp can't be repeated in 20 minutes")
	timestampError = refusal(400, "Timestamp error")
	missing        = refusal(400, "Missing required parameters")
	invalidJSON    = refusal(400, "Invalid JSON")
	apiNotFound    = refusal(404, "API Not Found")
	serverFault    = exception(500, "Server exception.")
	undecryptable  = exception(400, "Decryption failed, Please confirm that your parameters are correct.")
	deleted        = refusal(200, "successful")
	keyNotFound    = refusal(400, "not find this keyid")
)

func foreign(member, action string) reply {
	return refusal(400, "Parameter invalid, The "+member+" is not a parameter of "+action+".")
}

func invalid(member, what string) reply {
	return refusal(400, "Parameter invalid, The "+member+" "+what+".")
}

// parse reads a response and checks what holds for all of them.
func parse(t testing.TB, resp *http.Response) reply {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("reading the answer: %v", err)
	}
	if resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("an answer that a cache or a browser may make something of: %v", resp.Header)
	}
	r := reply{Status: resp.StatusCode}
	if resp.Header.Get("Content-Type") != "application/json; charset=utf-8" {
		return r
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		t.Errorf("not JSON: %s", body)
		return r
	}
	if len(members) != 3 || members["code"] == nil || members["message"] == nil || members["result"] == nil {
		t.Errorf("not code, message and result: %s", body)
	}
	if json.Unmarshal(members["code"], &r.Code) != nil || json.Unmarshal(members["message"], &r.Message) != nil {
		t.Errorf("code or message of the wrong type: %s", body)
	}
	r.Result = string(members["result"])
	return r
}

func (x *app) get(target string) reply {
	x.t.Helper()
	r, err := http.NewRequest(http.MethodGet, x.endpoint.URL+target, nil)
	if err != nil {
		x.t.Fatal(err)
	}
	return x.do(r)
}

func (x *app) do(r *http.Request) reply {
	x.t.Helper()
	resp, err := x.http.Do(r)
	if err != nil {
		x.t.Errorf("no answer: %v", err)
		return reply{}
	}
	return parse(x.t, resp)
}

// post sends a body as an action.
func (x *app) post(action string, body []byte) reply {
	x.t.Helper()
	return x.do(x.request(action, body))
}

func (x *app) request(action string, body []byte) *http.Request {
	x.t.Helper()
	r, err := http.NewRequest(http.MethodPost, x.endpoint.URL+"/ehsm?Action="+action, bytes.NewReader(body))
	if err != nil {
		x.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// call signs a payload ("" for none) and sends it as an action.
func (x *app) call(action, payload string) reply {
	x.t.Helper()
	return x.post(action, x.body(payload, nil))
}

// must is call where anything but success ends the test.
func (x *app) must(action, payload string) reply {
	x.t.Helper()
	got := x.call(action, payload)
	if !got.ok() {
		x.t.Fatalf("%s: %+v", action, got)
	}
	return got
}

// members are a request's top-level members in JSON; "" leaves one out.
type members map[string]string

// body makes a signed request. set replaces members before signing, all but
// "sign", which it replaces after.
func (x *app) body(payload string, set members) []byte {
	m := members{"appid": quote(x.ID), "nonce": quote(fmt.Sprint(x.count.Add(1))), "payload": payload,
		"timestamp": x.stamp(0)}
	for name, v := range set {
		m[name] = v
	}
	if _, given := set["sign"]; !given {
		m["sign"] = quote(x.sign(m.json()))
	}
	body := m.json()
	x.plant(body)
	return body
}

// stamp is a timestamp, some time from now.
func (a *arena) stamp(from time.Duration) string {
	return quote(fmt.Sprint(a.node.Clock.Now().Add(from).UnixMilli()))
}

// sign signs a request that has no signature yet.
func (x *app) sign(body []byte) string {
	text, err := wire.StringToSign(body)
	if err != nil {
		x.t.Fatalf("signing %s: %v", body, err)
	}
	x.plant(text)
	return x.signText(string(text))
}

func (x *app) signText(text string) string {
	sum := base64.StdEncoding.EncodeToString(wire.MAC([]byte(x.APIKey), []byte(text)))
	x.plant([]byte(sum))
	return sum
}

func (m members) json() []byte {
	var parts []string
	for name, v := range m {
		if v != "" {
			parts = append(parts, quote(name)+":"+v)
		}
	}
	slices.Sort(parts)
	return []byte("{" + strings.Join(parts, ",") + "}")
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// Keys.

const (
	newAES = `{"keyspec":"EH_AES_GCM_256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}`
	newEC  = `{"keyspec":"EH_EC_P256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_SIGN_VERIFY"}`
)

func (x *app) newKey(payload string) string {
	x.t.Helper()
	return x.must("CreateKey", payload).field("keyid")
}

func only(key string) string { return fmt.Sprintf(`{"keyid":%q}`, key) }

func encrypting(key, plain string) string {
	return fmt.Sprintf(`{"keyid":%q,"plaintext":%q}`, key, b64(plain))
}

func decrypting(key, ciphertext string) string {
	return fmt.Sprintf(`{"keyid":%q,"ciphertext":%q}`, key, ciphertext)
}

func signing(key, message string) string {
	return fmt.Sprintf(`{"keyid":%q,"message":%q,"message_type":"EH_RAW","padding_mode":"EH_PAD_NONE","digest_mode":"EH_SHA_256"}`, key, b64(message))
}

func verifying(key, message, signature string) string {
	return strings.TrimSuffix(signing(key, message), "}") + fmt.Sprintf(`,"signature":%q}`, signature)
}

func dataKey(key string) string { return fmt.Sprintf(`{"keyid":%q,"keylen":32}`, key) }

// encrypt encrypts what must never be logged.
func (x *app) encrypt(key, plain string) (ciphertext string) {
	x.t.Helper()
	x.plant([]byte(plain))
	return x.must("Encrypt", encrypting(key, plain)).field("ciphertext")
}

// opens fails the test unless the key opens the ciphertext: it is there,
// enabled and its owner's.
func (x *app) opens(key, ciphertext, plain string) {
	x.t.Helper()
	if got := x.call("Decrypt", decrypting(key, ciphertext)); got.field("plaintext") != b64(plain) {
		x.t.Errorf("the key is not what it was: %+v", got)
	}
}
