package tenant_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestErrorCatalogue walks eHSM's catalogue of errors against a real node, one
// fault each. Left out is what no request can bring about here: "Unexpected
// Error", "database error" and "Server internal error" (eHSM's own failures),
// "Argument bad." (its buffer) and "keyid expire" (keys do not expire yet).
func TestErrorCatalogue(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p, other := newProperty(a), a.enrol()
	off := p.newKey(newAES)
	p.must("DisableKey", only(off))
	good := encrypting(p.aes, "x")
	member := func(name, value string) string { // of a good Encrypt
		return fmt.Sprintf(`{"keyid":%q,"plaintext":"AAAA",%q:%s}`, p.aes, name, value)
	}
	empty := func(f string) reply {
		return refusal(400, "Missing required parameters, The "+f+" cannot be empty.")
	}
	tests := []struct {
		name, action, payload string
		set                   members
		want                  reply
	}{
		{"no appid", "Encrypt", good, members{"appid": ""}, missing},
		{"empty timestamp", "Encrypt", good, members{"timestamp": `""`}, missing},
		{"no sign", "Encrypt", good, members{"sign": ""}, missing},
		{"cryptographic action without payload", "Encrypt", "", nil, missing},
		{"appid a number", "Encrypt", good, members{"appid": "1"}, refusal(400, "param type error")},
		{"payload a string", "Encrypt", `"x"`, nil, refusal(400, "param type error")},
		{"nonce of 65 characters", "Encrypt", good, members{"nonce": quote(strings.Repeat("n", 65))}, refusal(400, "Nonce length error")},
		{"timestamp of 12 characters", "Encrypt", good, members{"timestamp": `"170000000000"`}, refusal(400, "Timestamp length error")},
		{"timestamp not a number", "Encrypt", good, members{"timestamp": `"17000000000x0"`}, timestampError},
		{"timestamp 10:10 old", "Encrypt", good, members{"timestamp": a.stamp(-610 * time.Second)}, timestampError},
		{"another's signature", "Encrypt", good, members{"sign": quote(other.signText("x"))}, signError},
		{"appid unknown", "Encrypt", good, members{"appid": quote(noKey)}, signError},
		{"unknown action", "MakeCoffee", good, nil, apiNotFound},
		{"required field empty", "Encrypt", fmt.Sprintf(`{"keyid":%q,"plaintext":""}`, p.aes), nil, empty("plaintext")},
		{"required field missing", "DeleteKey", "", nil, empty("keyid")},
		{"string field a number", "Encrypt", member("aad", "1"), nil, invalid("aad", "must be of string type")},
		{"integer field a string", "GenerateDataKey", fmt.Sprintf(`{"keyid":%q,"keylen":"16"}`, p.aes), nil, invalid("keylen", "must be of integer type")},
		{"text too long", "Encrypt", member("aad", quote(strings.Repeat("A", 8196))), nil, invalid("aad", "length error")},
		{"id in upper case", "Encrypt", encrypting(strings.ToUpper(p.aes), "x"), nil, invalid("keyid", "format wrong")},
		{"not base64", "Encrypt", member("aad", `"!"`), nil, invalid("aad", "not a vailed base64 string")},
		{"unknown name", "CreateKey", strings.Replace(newAES, "EH_AES_GCM_256", "EH_AES_GCM_257", 1), nil, invalid("keyspec", "type is incorrect")},
		{"integer too small", "GenerateDataKey", fmt.Sprintf(`{"keyid":%q,"keylen":0}`, p.aes), nil, invalid("keylen", "value must be greater than or equal to 1")},
		{"integer too great", "GenerateDataKey", fmt.Sprintf(`{"keyid":%q,"keylen":1025}`, p.aes), nil, invalid("keylen", "value must be less than or equal to 1024")},
		{"key unknown", "Encrypt", encrypting(noKey, "x"), nil, refusal(400, "keyid error")},
		{"key disabled", "Encrypt", encrypting(off, "x"), nil, refusal(400, "keyid is disabled")},
		{"key of another usage", "Sign", signing(p.aes, "x"), nil, serverFault},
		{"key that cannot be for that", "CreateKey", strings.Replace(newAES, "ENCRYPT_DECRYPT", "SIGN_VERIFY", 1), nil, serverFault},
		{"ciphertext of nothing", "Decrypt", decrypting(p.aes, "AAAA"), nil, undecryptable},
		{"enabling what is not there", "EnableKey", only(noKey), nil, keyNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, p.post(tt.action, p.body(tt.payload, tt.set))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	if got := other.call("Encrypt", good); got != refusal(400, "appid error") {
		t.Errorf("key of another app: %+v", got)
	}
	if got := p.post("Encrypt", []byte("x")); got != invalidJSON {
		t.Errorf("not JSON: %+v", got)
	}
	if got := p.post("GetVersion", p.body("", nil)); got != apiNotFound {
		t.Errorf("GetVersion by POST: %+v", got)
	}
	for _, old := range []string{"AsymmetricEncrypt&Action=Encrypt", "encrypt", "ENCRYPT", ""} {
		if got := p.call(old, good); got != apiNotFound {
			t.Errorf("action %q: %+v", old, got)
		}
	}
	p.replayOf(t)
	p.must("DeleteKey", only(off))
	p.intact()
}

func (p *property) replayOf(t *testing.T) {
	t.Helper()
	body := p.body(newAES, nil)
	first := p.post("CreateKey", body)
	if got := p.post("CreateKey", body); !first.ok() || got != replayed {
		t.Errorf("the same again: %+v", got)
	}
	p.must("DeleteKey", only(first.field("keyid")))
}

// TestSignedText checks what is signed against texts written by hand: the
// published edge cases, in payloads that Encrypt ignores but signs.
func TestSignedText(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	x := a.enrol()
	key := x.newKey(newAES)
	tests := map[string]struct{ extra, signed string }{ // between keyid and plaintext, in order of names
		"nothing":            {``, ``},
		"empty values":       {`"l":"","m":0,"n":-0,"o":false,"oo":null,"p":[],"pa":[""],"pb":[null],"pc":[[]]`, ``},
		"almost empty ones":  {`"l":"0","m":" ","n":{},"o":[0],"oa":[false]`, `&l=0&m= &n=&o=&oa=`},
		"numbers":            {`"l":16,"m":1.0,"n":1.5,"o":1e21,"p":1e-7,"pa":-1,"pb":123456789012345680000`, `&l=16&m=1&n=1.5&o=1e+21&p=1e-7&pa=-1&pb=123456789012345680000`},
		"true":               {`"l":true`, `&l=true`},
		"nested":             {`"l":{"z":1,"b":true,"c":false,"d":0,"e":null,"B":"upper"}`, `&l=B=upper&b=true&z=1`},
		"arrays":             {`"l":["x","y"],"m":[1,2,3,4,5,6,7,8,9,10,11]`, `&l=0=x&1=y&m=0=1&1=2&10=11&2=3&3=4&4=5&5=6&6=7&7=8&8=9&9=10`},
		"nothing is escaped": {`"l":"p&q=%20+é","m":"\u00e9\u0026"`, `&l=p&q=%20+é&m=é&`},
		"order of UTF-16":    {`"lé":1,"l😀":2,"l\uffff":3`, "&lé=1&l😀=2&l\uffff=3"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			nonce, stamp := fmt.Sprint(x.count.Add(1)), strings.Trim(x.stamp(0), `"`)
			signed := "appid=" + x.ID + "&nonce=" + nonce + "&payload=keyid=" + key + tt.signed + "&plaintext=AAAA&timestamp=" + stamp
			payload := fmt.Sprintf(`{"plaintext":"AAAA","keyid":%q`, key)
			if tt.extra != "" {
				payload += "," + tt.extra
			}
			body := fmt.Sprintf(`{"sign":%q,"timestamp":%q,"nonce":%q,"appid":%q,"payload":%s}`, x.signText(signed), stamp, nonce, x.ID, payload+"}")
			if got := x.post("Encrypt", []byte(body)); !got.ok() {
				t.Errorf("%+v to %s", got, body)
			}
		})
	}
}

// TestSDKs sends what eHSM's SDKs send, each signed as the SDK signs it.
func TestSDKs(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	x := a.enrol()
	key := x.newKey(newAES)
	stamp := strings.Trim(x.stamp(0), `"`)
	create := "keyspec=EH_AES_GCM_256&keyusage=EH_KEYUSAGE_ENCRYPT_DECRYPT&origin=EH_INTERNAL_KEY"
	tests := []struct{ name, action, target, nonce, payload, signed string }{
		// Rust: always a nonce, a decimal u64; members sorted; JSON text with its quotes removed is what is signed.
		{"Rust CreateKey", "CreateKey", "/ehsm", "13475936459872364591", `{"keyspec":"EH_AES_GCM_256","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT","origin":"EH_INTERNAL_KEY"}`, create},
		{"Rust GenerateDataKey", "GenerateDataKey", "/ehsm", "1", `{"aad":"YWFk","keyid":"` + key + `","keylen":48}`, "aad=YWFk&keyid=" + key + "&keylen=48"},
		{"Rust ListKey", "ListKey", "/ehsm", "18446744073709551615", ``, ""},
		// Python: never a nonce; the base URL ends in a slash.
		{"Python CreateKey", "CreateKey", "/ehsm/", "", `{"keyspec": "EH_AES_GCM_256", "origin": "EH_INTERNAL_KEY", "keyusage": "EH_KEYUSAGE_ENCRYPT_DECRYPT"}`, create},
		{"Python Encrypt", "Encrypt", "/ehsm/", "", `{"keyid": "` + key + `", "plaintext": "cGxhaW4=", "aad": "YWFk"}`, "aad=YWFk&keyid=" + key + "&plaintext=cGxhaW4="},
		// Go: an ordered payload, numbers as they are.
		{"Go GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "/ehsm", "", `{"aad":"YWFk","keyid":"` + key + `","keylen":16}`, "aad=YWFk&keyid=" + key + "&keylen=16"},
		{"Go ListKey", "ListKey", "/ehsm", "", ``, ""},
		// BigDL and eHSM's older scripts: an empty payload.
		{"BigDL ListKey", "ListKey", "/ehsm", "", `{}`, "-"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			signed, body := "appid="+x.ID, fmt.Sprintf(`{"appid":%q`, x.ID)
			if tt.nonce != "" {
				signed, body = signed+"&nonce="+tt.nonce, body+fmt.Sprintf(`,"nonce":%q`, tt.nonce)
			}
			if tt.payload != "" {
				signed, body = signed+"&payload="+strings.TrimPrefix(tt.signed, "-"), body+`,"payload":`+tt.payload
			}
			signed += "&timestamp=" + stamp
			body += fmt.Sprintf(`,"sign":%q,"timestamp":%q}`, x.signText(signed), stamp)
			r := x.request(tt.action, []byte(body))
			r.URL.Path = tt.target
			if got := x.do(r); !got.ok() || !strings.Contains(strings.ToLower(got.Message), "success") {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestVectors sends the published test vectors as they are: at their time, by
// their app, under their API key. The node draws ids and keys at random, so the
// dice are loaded with those of the vectors.
func TestVectors(t *testing.T) {
	const (
		appid  = "11111111-2222-4333-8444-555555555555"
		apikey = "0123456789ABCDEFGHJKLMNPQRSTUVWX"
		keyid  = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	)
	a := arenaAt(t, time.UnixMilli(1_700_000_000_000).Add(-time.Minute))
	x := &app{arena: a, http: a.client()}
	x.get("/ehsm?Action=GetVersion") // nothing but ids and keys is drawn on a connection that is there
	dice.load(uuid(appid), keyRoll(apikey))
	x.register()
	if x.ID != appid || x.APIKey != apikey || dice.left() > 0 {
		t.Fatalf("enrolled %s with another API key than the vectors'", x.ID)
	}
	const head = `{"appid":"` + appid + `","timestamp":"1700000000000","sign":`
	const v4 = `"nonce":"","payload":{"secretName":"s","secretData":"p&q=%20+é","description":"","B":"upper",` +
		`"a":{"z":1,"b":true,"c":false,"d":0,"e":null},"l":["x","y"],"m":[],"o":{},"f":1.5,"zero":"0"}}`
	tests := []struct{ name, action, sign, rest string }{
		{"V1", "CreateKey", "j4tMA4Ug/cdOr0bm4LdPj1taocu/MlTFa2CbspUDvlY=", `"payload":{"keyspec":"EH_AES_GCM_256","origin":"EH_INTERNAL_KEY","keyusage":"EH_KEYUSAGE_ENCRYPT_DECRYPT"}}`},
		{"V2", "GenerateDataKey", "qd8+fIkdUHxzqlbqK3b3UItCav/XbHw1JpFFGhwpeUQ=", `"nonce":"2374462904","payload":{"keylen":16,"keyid":"` + keyid + `","aad":"YWFk"}}`},
		{"V3", "ListKey", "fbv89UpublE2ZVEKKhYdMsMhS/kuxuaOfMFjTDxu6AU=", ``},
		{"V4", "MakeCoffee", "iEbH/UGklKf4uQdjcjU9fscGFHk0ap4NkU17XucghEY=", v4}, // its action is not built
		{"V5", "ListKey", "UPlk+3hS0+2BC0ELDGplHtoqrRjSpB8WnPDZtgnmew0=", `"payload":{}}`},
	}
	dice.load(uuid(noKey), uuid(keyid)) // V1's command, and its key
	for _, tt := range tests {
		body := func(sign string) []byte {
			text := head + quote(sign)
			if tt.rest == "" {
				return []byte(text + "}")
			}
			return []byte(text + "," + tt.rest)
		}
		if got := x.post(tt.action, body(strings.ToUpper(tt.sign))); got != signError { // as eHSM's documents have it
			t.Errorf("%s in upper case: %+v", tt.name, got)
		}
		got := x.post(tt.action, body(tt.sign))
		if good := got.ok() || tt.name == "V4" && got == apiNotFound; !good { // which only an authenticated caller is told
			t.Errorf("%s: %+v", tt.name, got)
		}
		if tt.name == "V1" && got.field("keyid") != keyid {
			t.Errorf("V1: %+v", got)
		}
		if again := x.post(tt.action, body(tt.sign)); again != replayed {
			t.Errorf("%s again: %+v", tt.name, again)
		}
	}
}

// arenaAt is an arena in a domain that was founded at another time.
func arenaAt(t *testing.T, at time.Time) *arena {
	t.Helper()
	machine := trustedtest.NewDomain(t, 1).Nodes[0].Machine()
	n := trustedtest.On(t, machine, filepath.Join(t.TempDir(), "node"))
	n.Clock.Move(at.Sub(n.Clock.Now()))
	n.Found()
	n.MustStart()
	a := &arena{t: t, node: n}
	a.restart()
	return a
}

func uuid(s string) []byte {
	var b []byte
	if _, err := fmt.Sscanf(strings.ReplaceAll(s, "-", ""), "%x", &b); err != nil {
		panic(err)
	}
	return b
}

// keyRoll is what an API key is made of: a byte for each character, the
// character's place in eHSM's alphabet, and as many to spare.
func keyRoll(apikey string) []byte {
	const alphabet = "0123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz"
	roll := make([]byte, 0, 2*len(apikey))
	for _, c := range apikey {
		roll = append(roll, byte(strings.IndexRune(alphabet, c)))
	}
	return roll[:2*len(apikey)]
}

// TestStatusPage: it tells no names of apps or keys, and is there for anybody.
func TestStatusPage(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	p := newProperty(a)
	text := a.raw(t, "GET /status HTTP/1.1\r\nHost: localhost\r\n"+hangUp+"\r\n\r\n")
	_, body, _ := strings.Cut(text, "\r\n\r\n")
	var s map[string]any
	if err := json.Unmarshal([]byte(body), &s); err != nil || s["ready"] != true || s["apps"] != 1.0 || s["keys"] != 2.0 {
		t.Errorf("%s: %v", body, err)
	}
	for _, secret := range []string{p.ID, p.APIKey, p.aes, p.ec} {
		if strings.Contains(text, secret) {
			t.Errorf("the status page tells %s", secret)
		}
	}
}

// TestStoppedNode: a node whose disk fails refuses what it cannot make durable
// and says so, and what it holds stays.
func TestStoppedNode(t *testing.T) {
	t.Parallel()
	var disk *faultdisk.Faulty
	a := newArena(t, setup{disk: func(d server.Disk) server.Disk {
		disk = faultdisk.New(d)
		return disk
	}})
	p := newProperty(a)
	disk.Arm(faultdisk.Fault{Op: faultdisk.Sync, How: faultdisk.NotDone, Stay: true})
	unavailable := refusal(503, "The service is unavailable, please try again later. The request may have taken effect.")
	for action, payload := range map[string]string{"CreateKey": newAES, "DisableKey": only(p.ec), "DeleteKey": only(p.ec)} {
		if diff := cmp.Diff(unavailable, p.call(action, payload)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", action, diff)
		}
	}
	if got := p.get("/ehsm?Action=Enroll"); got != unavailable {
		t.Errorf("Enroll: %+v", got)
	}
	for action, payload := range p.uses(p.aes, p.ec) {
		if got := p.call(action, payload); got != unavailable {
			t.Errorf("%s: %+v", action, got)
		}
	}
	if !strings.Contains(a.log.String(), "level=ERROR") {
		t.Error("the operator is told nothing")
	}
	a.node.Wrap, a.setup.disk = nil, nil
	a.restart()
	p.again().opens(p.aes, p.ciphertext, p.plain)
}
