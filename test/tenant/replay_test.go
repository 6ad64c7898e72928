package tenant_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// TestReplayedRequest sends an accepted request again, as it was and in every
// disguise that leaves its signature good.
func TestReplayedRequest(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	body := p.body(encrypting(p.aes, "once"), nil)
	if got := p.post("Encrypt", body); !got.ok() {
		t.Fatalf("the first time: %+v", got)
	}
	disguises := map[string]struct {
		action string
		body   []byte
		want   reply
	}{
		"as it was":                   {"Encrypt", body, replayed},
		"with white space":            {"Encrypt", indent(t, body), replayed},
		"members in another order":    {"Encrypt", reversed(t, body), replayed},
		"a member that is not signed": {"Encrypt", append([]byte(`{"x":1,`), body[1:]...), replayed},
		"a signed member written \\u": {"Encrypt", bytes.Replace(body, []byte(`"appid"`), []byte(`"\u0061ppid"`), 1), replayed},
		"a signed value written \\u":  {"Encrypt", escapeValue(t, body), replayed},
		"as a decryption":             {"Decrypt", body, replayed},
		"as nothing there is":         {"MakeCoffee", body, replayed},
		"as GetVersion":               {"GetVersion", body, apiNotFound},
		"the signature spelled anew":  {"Encrypt", respelled(t, body), signError},
		"the signature in upper case": {"Encrypt", upperSign(t, body), signError},
		"an empty member beside":      {"Encrypt", bytes.Replace(body, []byte(`"keyid"`), []byte(`"zz":"","keyid"`), 1), replayed},
		"a null member beside":        {"Encrypt", bytes.Replace(body, []byte(`"keyid"`), []byte(`"zz":null,"keyid"`), 1), replayed},
		"the nonce as a number":       {"Encrypt", unquoteMember(t, body, "nonce"), replayed},
		"the timestamp as a number":   {"Encrypt", unquoteMember(t, body, "timestamp"), refusal(400, "param type error")},
		"the nonce as an array":       {"Encrypt", wrapMember(t, body, "nonce"), signError},
		"cut":                         {"Encrypt", body[:len(body)-1], invalidJSON},
	}
	for name, d := range disguises {
		if diff := cmp.Diff(d.want, p.post(d.action, d.body)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	for _, target := range []string{"/ehsm/?Action=Encrypt", "/EHSM?Action=Encrypt", "/ehsm?x=y&Action=Encrypt", "/ehsm?Action=%45ncrypt"} {
		r := p.request("Encrypt", body)
		r.URL.Path, r.URL.RawQuery, _ = strings.Cut(target, "?")
		_, query, _ := strings.Cut(target, "?")
		r.URL.RawQuery = query
		if diff := cmp.Diff(replayed, p.do(r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", target, diff)
		}
	}
	if diff := cmp.Diff(replayed, a.enrol().post("Encrypt", body)); diff != "" {
		t.Errorf("over another's connection (-want +got):\n%s", diff)
	}
	http2 := &app{arena: a, ID: p.ID, APIKey: p.APIKey, http: a.client2()}
	if diff := cmp.Diff(replayed, http2.post("Encrypt", body)); diff != "" {
		t.Errorf("over HTTP/2 (-want +got):\n%s", diff)
	}
}

// client2 is one that speaks HTTP/2 only.
func (a *arena) client2() *http.Client {
	c := a.client()
	c.Transport.(*http.Transport).Protocols = new(http.Protocols)
	c.Transport.(*http.Transport).Protocols.SetHTTP2(true)
	return c
}

func indent(t *testing.T, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, body, "\r\n", "\t"); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func reversed(t *testing.T, body []byte) []byte {
	t.Helper()
	m := split(t, body)
	var out []string
	for _, name := range []string{"timestamp", "sign", "payload", "nonce", "appid"} {
		out = append(out, quote(name)+":"+m[name])
	}
	return []byte("{" + strings.Join(out, ",") + "}")
}

// split takes a body apart, so that a test can put it together differently.
func split(t *testing.T, body []byte) members {
	t.Helper()
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		t.Fatal(err)
	}
	m := members{}
	for name, v := range raw {
		m[name] = string(v)
	}
	return m
}

// respelled gives the signature another base64 that decodes alike: the last
// character of 32 bytes has two bits to spare.
func respelled(t *testing.T, body []byte) []byte {
	t.Helper()
	m := split(t, body)
	s := []byte(m["sign"])
	s[len(s)-3]++ // before the padding and the quote
	m["sign"] = string(s)
	return m.json()
}

func upperSign(t *testing.T, body []byte) []byte {
	t.Helper()
	m := split(t, body)
	m["sign"] = strings.ToUpper(m["sign"])
	return m.json()
}

// escapeValue writes the first character of a signed value as \u and four digits.
func escapeValue(t *testing.T, body []byte) []byte {
	t.Helper()
	m := split(t, body)
	m["timestamp"] = fmt.Sprintf(`"\u%04x%s`, m["timestamp"][1], m["timestamp"][2:])
	return m.json()
}

func unquoteMember(t *testing.T, body []byte, name string) []byte {
	t.Helper()
	m := split(t, body)
	m[name] = strings.Trim(m[name], `"`)
	return m.json()
}

func wrapMember(t *testing.T, body []byte, name string) []byte {
	t.Helper()
	m := split(t, body)
	m[name] = "[" + m[name] + "]"
	return m.json()
}

// TestReplayedAtOnce sends one request many times at the same moment: it is
// done once, whether it changes anything or not.
func TestReplayedAtOnce(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	key := x.newKey(newAES)
	for action, payload := range map[string]string{"Encrypt": encrypting(key, "once"), "CreateKey": newAES} {
		body := x.body(payload, nil)
		answers := make([]reply, 32)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = x.post(action, body) })
		}
		wg.Wait()
		done := 0
		for _, r := range answers {
			if r.ok() {
				done++
			} else if r != replayed {
				t.Errorf("%s: %+v", action, r)
			}
		}
		if done != 1 {
			t.Errorf("%s: done %d times", action, done)
		}
	}
	if got := x.must("ListKey", ""); strings.Count(got.Result, "keyid") != 2 {
		t.Errorf("keys: %s", got.Result)
	}
}

// TestReplayAfterRestart sends requests again to a node that was restarted, by
// a host that may have set its clock back meanwhile.
func TestReplayAfterRestart(t *testing.T) {
	t.Parallel()
	for name, back := range map[string]time.Duration{"soon": 0, "clock set back a little": time.Second, "clock set back far": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			a := newArena(t, setup{})
			stop := a.watch()
			p := newProperty(a)
			disable := p.body(only(p.aes), nil)
			create := p.body(newAES, nil)
			if got := p.post("CreateKey", create); !got.ok() {
				t.Fatalf("%+v", got)
			}
			if got := p.post("DisableKey", disable); !got.ok() {
				t.Fatalf("%+v", got)
			}
			decrypt := p.body(decrypting(p.aes, p.ciphertext), nil)
			if got := p.post("Decrypt", decrypt); got.Message != "keyid is disabled" {
				t.Fatalf("%+v", got)
			}
			p.must("EnableKey", only(p.aes)) // the last change, at the newest domain time
			stop()
			a.node.Clock.Move(-back)
			a.restart()
			q := p.again()
			for action, body := range map[string][]byte{"DisableKey": disable, "CreateKey": create, "Decrypt": decrypt} {
				if got := q.post(action, body); got != timestampError && got != replayed {
					t.Errorf("%s was sent again: %+v", action, got)
				}
			}
			a.node.Clock.Move(back + time.Second)
			q.opens(p.aes, p.ciphertext, p.plain)
			if got := q.must("ListKey", ""); strings.Count(got.Result, `"keyState":1`) != 3 {
				t.Errorf("keys: %s", got.Result)
			}
		})
	}
}

// TestForgottenRequests: a full replay table forgets its oldest requests, and
// none of them is let in again by what comes later, however it is dated.
func TestForgottenRequests(t *testing.T) {
	t.Parallel()
	const limit = 16
	a := newArena(t, setup{edit: func(c *server.Config) { c.ReplayLimit = limit }})
	a.node.Clock.Move(20 * time.Minute) // away from the start, before which nothing is accepted
	x := a.enrol()
	key := x.newKey(newAES)
	a.node.Clock.Move(time.Second)
	captured := x.body(encrypting(key, "captured"), nil)
	if got := x.post("Encrypt", captured); !got.ok() {
		t.Fatalf("%+v", got)
	}
	for i := range 6 * limit {
		a.node.Clock.Move(time.Second)
		if got := x.call("ListKey", ""); !got.ok() {
			t.Fatalf("request %d: %+v", i, got)
		}
		// Dated before everything that the table still knows.
		if got := x.post("ListKey", x.body("", members{"timestamp": x.stamp(-9 * time.Minute)})); i > limit && got != timestampError {
			t.Errorf("request %d, dated far back: %+v", i, got)
		}
		if got := x.post("Encrypt", captured); got != replayed && got != timestampError {
			t.Fatalf("accepted again after %d others: %+v", i, got)
		}
	}
}

// TestWindow: 10 minutes either way.
func TestWindow(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	a.node.Clock.Move(11 * time.Minute) // so that the start is out of the window
	x := a.enrol()
	tests := []struct {
		from time.Duration
		ok   bool
	}{
		{-22 * time.Minute, false}, {-10*time.Minute - 10*time.Second, false}, {-9*time.Minute - 50*time.Second, true},
		{-time.Second, true}, {time.Second, true},
		{9*time.Minute + 50*time.Second, true}, {10*time.Minute + 10*time.Second, false}, {22 * time.Minute, false},
	}
	for _, tt := range tests {
		got := x.post("ListKey", x.body("", members{"timestamp": x.stamp(tt.from)}))
		if tt.ok != got.ok() || !tt.ok && got != timestampError {
			t.Errorf("%v: %+v", tt.from, got)
		}
	}
}

// TestStrangersBurnNothing: eHSM remembered a timestamp before it looked at the
// signature, so that anybody could use up an app's.
func TestStrangersBurnNothing(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p, stranger := newProperty(a), a.enrol()
	body := p.body(encrypting(p.aes, "the owner's"), nil)
	m := split(t, body)
	forge := func(set members) []byte {
		f := members{}
		for name, v := range m {
			f[name] = v
		}
		for name, v := range set {
			f[name] = v
		}
		return f.json()
	}
	unsigned := split(t, body)
	delete(unsigned, "sign")
	for _, forged := range [][]byte{
		forge(members{"sign": quote(b64(strings.Repeat("x", 32)))}),
		forge(members{"sign": quote(stranger.sign(unsigned.json()))}),
		forge(members{"payload": only(p.aes)}),
		forge(members{"nonce": `"1"`}),
		upperSign(t, body),
	} {
		for range 3 {
			if diff := cmp.Diff(signError, stranger.post("Encrypt", forged)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", forged, diff)
			}
		}
	}
	if got := p.post("Encrypt", body); !got.ok() {
		t.Errorf("the owner's own request: %+v", got)
	}
}

// readings are the actions that change nothing, and what the owner sends as them.
func (p *property) readings() map[string]string {
	r := p.uses(p.aes, p.ec)
	r["ListKey"] = ""
	return r
}

// inherent is what protocol v1 cannot tell apart, as its signature does not
// cover the action. A longer list would be a weakness of ours.
var inherent = map[string]bool{
	"GetPublicKey as DeleteKey": true, "GetPublicKey as EnableKey": true, "GetPublicKey as DisableKey": true,
	"ListKey as DeleteAllKey": true, "ListKey as DeleteALLKey": true,
}

// TestSentAsAnotherAction (eHSM's weakness S11): whoever catches a request
// before it arrives may send it as any action. None but the inherent ones
// changes anything, and after the request has arrived not even those.
func TestSentAsAnotherAction(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	changing := []string{"CreateKey", "DeleteKey", "EnableKey", "DisableKey", "DeleteAllKey", "DeleteALLKey"}
	for action, payload := range p.readings() {
		for _, as := range changing {
			if inherent[action+" as "+as] {
				continue
			}
			if got := p.call(as, payload); got.ok() || got.Code != 400 {
				t.Errorf("%s as %s: %+v", action, as, got)
			}
		}
	}
	p.intact()
	if diff := cmp.Diff(foreign("plaintext", "DeleteKey"), p.call("DeleteKey", encrypting(p.aes, "x"))); diff != "" {
		t.Errorf("Encrypt as DeleteKey (-want +got):\n%s", diff)
	}
	// One that arrived as what it is, is spent.
	for action, payload := range p.readings() {
		body := p.body(payload, nil)
		if got := p.post(action, body); !got.ok() {
			t.Fatalf("%s: %+v", action, got)
		}
		for _, as := range changing {
			if got := p.post(as, body); got != replayed && !(payload == "" && got == missing) {
				t.Errorf("%s, done, as %s: %+v", action, as, got)
			}
		}
	}
	p.intact()
}

// TestSplitDifferently (eHSM's weakness S12): the signed string escapes nothing,
// so that other members give the same one. No forgery passes as an action that
// changes state; sent as what the original is, it and the original are accepted
// once at most between them.
func TestSplitDifferently(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	tests := []struct{ name, action, original, forged string }{ // without timestamp and sign
		{"a member into the key id", "Encrypt",
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":"AES","plaintext":"AAAA"}`,
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":"AES&plaintext=AAAA"}`},
		{"a member into a name", "Encrypt",
			`"appid":"APP","nonce":"NONCE","payload":{"aad":"AAAA","keyid":"AES","plaintext":"AAAA"}`,
			`"appid":"APP","nonce":"NONCE","payload":{"aad=AAAA&keyid":"AES","plaintext":"AAAA"}`},
		{"all members into a name", "Encrypt",
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":"AES","plaintext":"AAAA"}`,
			`"appid":"APP","nonce":"NONCE","payload":{"keyid=AES&plaintext":"AAAA"}`},
		{"a value into a nested name", "Encrypt",
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":"AES","plaintext":"AAA="}`,
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":"AES","plaintext":{"AAA":[null,""]}}`},
		{"the payload into the nonce", "GetPublicKey",
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":"EC"}`,
			`"appid":"APP","nonce":"NONCE&payload=keyid=EC"`},
		{"the payload into a nonce that is an object", "GetPublicKey",
			`"appid":"APP","nonce":{"a":"NONCE"},"payload":{"keyid":"EC"}`,
			`"appid":"APP","nonce":{"a":"NONCE&payload=keyid=EC"}`},
		{"the payload into a name in the nonce", "GetPublicKey",
			`"appid":"APP","nonce":{"a":"NONCE"},"payload":{"keyid":"EC"}`,
			`"appid":"APP","nonce":{"a":"NONCE","payload":{"keyid":"EC"}}`},
		{"the payload into the appid", "GetPublicKey",
			`"appid":"APP","payload":{"keyid":"EC"}`,
			`"appid":"APP&payload=keyid=EC"`},
		{"the nonce into the appid", "ListKey",
			`"appid":"APP","nonce":"NONCE"`,
			`"appid":"APP&nonce=NONCE"`},
		{"an element for a member", "ListKey",
			`"appid":"APP","nonce":"NONCE","payload":{"0":"x"}`,
			`"appid":"APP","nonce":"NONCE","payload":["x"]`},
		{"a member out of a value", "ListKey",
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":"AES&origin=x"}`,
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":"AES","origin":"x"}`},
		{"a key id out of a value", "ListKey",
			`"appid":"APP","nonce":"NONCE","payload":{"a":"x&keyid=AES"}`,
			`"appid":"APP","nonce":"NONCE","payload":{"a":"x","keyid":"AES"}`},
		{"a nested member into a value", "ListKey",
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":{"a":"b"}}`,
			`"appid":"APP","nonce":"NONCE","payload":{"keyid":"a=b"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// both makes a request and its forgery, with one signature.
			both := func() (original, forged []byte) {
				fill := strings.NewReplacer("APP", p.ID, "NONCE", fmt.Sprint("n", p.count.Add(1)), "AES", p.aes, "EC", p.ec)
				rest := `,"timestamp":` + p.stamp(0) + `}`
				o, f := fill.Replace(tt.original)+rest, fill.Replace(tt.forged)+rest
				sameSignature(t, "{"+o, "{"+f)
				sum := `{"sign":` + quote(p.sign([]byte("{"+o))) + ","
				return []byte(sum + o), []byte(sum + f)
			}
			for _, as := range []string{"CreateKey", "DeleteKey", "EnableKey", "DisableKey", "DeleteAllKey", "DeleteALLKey"} {
				_, forged := both()
				if got := p.post(as, forged); got.ok() {
					t.Errorf("the forgery did %s: %+v", as, got)
				}
			}
			original, forged := both()
			accepted := 0
			for _, body := range [][]byte{forged, original, original, forged} {
				if p.post(tt.action, body).ok() {
					accepted++
				}
			}
			if accepted > 1 {
				t.Errorf("accepted %d times", accepted)
			}
			p.intact()
		})
	}
}

// sameSignature fails the test where a forgery is none.
func sameSignature(t *testing.T, original, forged string) {
	t.Helper()
	want, err := wire.StringToSign([]byte(original))
	if err != nil {
		t.Fatalf("%s: %v", original, err)
	}
	got, err := wire.StringToSign([]byte(forged))
	if err != nil || !bytes.Equal(want, got) {
		t.Fatalf("no forgery: %q and %q, %v", want, got, err)
	}
}
