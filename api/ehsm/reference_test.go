package ehsm_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// The tests of the files reference_*_test.go walk the reference of eHSM as
// implemented, row by row, over a real core: actions (3.1 to 3.3), import (3.5),
// operations and formats of each spec (4.1, 4.2).

// A site is an app of a node, with the facade in front.
type site struct {
	*rig
	t *testing.T
	d *trustedtest.Domain
}

// newSite starts a node. Each test has one, and its subtests share it.
func newSite(t *testing.T) *site {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	core := d.Nodes[0].Core()
	h := ehsm.New(ehsm.Config{Enroll: core.Enrol, Version: "1.2.3", GitSHA: "abcdef0",
		Authenticate: func(ctx context.Context, c kms.Credential) (ehsm.Caller, error) {
			caller, err := core.Authenticate(ctx, c)
			if err != nil {
				return nil, err
			}
			return caller, nil
		}})
	s := &site{t: t, d: d, rig: &rig{handler: h, millis: time.Now().UnixMilli()}}
	return s.enrol()
}

// enrol is another app of the same node.
func (s *site) enrol() *site {
	s.t.Helper()
	got := s.do(s.t, httptest.NewRequest("GET", "/ehsm?Action=Enroll", nil))
	other := &site{t: s.t, d: s.d, rig: &rig{handler: s.handler, app: text(got, "appid"), apiKey: text(got, "apikey"), millis: s.millis}}
	if got.Message != "successful" || len(other.app) != 36 || len(other.apiKey) != 32 {
		s.t.Fatalf("enrolling: %v", got)
	}
	s.d.Log.Plant([]byte(other.apiKey))
	return other
}

// on is the site for a subtest.
func (s *site) on(t *testing.T) *site { return &site{rig: s.rig, t: t, d: s.d} }

// A payload is a request's payload.
type payload map[string]any

func (p payload) json() string {
	var parts []string
	for name, v := range p {
		switch v := v.(type) {
		case []byte:
			parts = append(parts, quote(name)+":"+quote(base64.StdEncoding.EncodeToString(v)))
		case string:
			parts = append(parts, quote(name)+":"+quote(v))
		default:
			parts = append(parts, quote(name)+":"+fmt.Sprint(v))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func (s *site) ask(action string, p payload) reply {
	s.t.Helper()
	if p == nil {
		return s.call(s.t, action, "")
	}
	return s.call(s.t, action, p.json())
}

// get asks and returns a result in base64, decoded.
func (s *site) get(action, name string, p payload) []byte {
	s.t.Helper()
	got := s.ask(action, p)
	b, err := base64.StdEncoding.DecodeString(text(got, name))
	if got.Code != 200 || got.Message != "success!" || err != nil {
		s.t.Fatalf("%s: %v, %v", action, got, err)
	}
	return b
}

// want asks and compares the answer.
func (s *site) want(want reply, action string, p payload) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.ask(action, p)); diff != "" {
		s.t.Errorf("%s %v (-want +got):\n%s", action, p, diff)
	}
}

func text(r reply, name string) string {
	v, _ := r.Result[name].(string)
	return v
}

// create makes a key; "" leaves a member out.
func (s *site) create(spec, origin, usage string) string {
	s.t.Helper()
	p := payload{"keyspec": spec, "origin": origin, "keyusage": usage}
	got := s.ask("CreateKey", p)
	if got.Code != 200 || got.Message != "success!" || len(text(got, "keyid")) != 36 {
		s.t.Fatalf("%v: %v", p, got)
	}
	return text(got, "keyid")
}

const (
	internal  = "EH_INTERNAL_KEY"
	external  = "EH_EXTERNAL_KEY"
	encrypts  = "EH_KEYUSAGE_ENCRYPT_DECRYPT"
	signs     = "EH_KEYUSAGE_SIGN_VERIFY"
	makesMACs = "EH_KEYUSAGE_GENERATE_VERIFY_MAC"
	oaep      = "EH_RSA_PKCS1_OAEP"
	pkcs1     = "EH_RSA_PKCS1"
	pss       = "EH_RSA_PKCS1_PSS"
	noPadding = "EH_PAD_NONE"
)

var (
	misused   = exception(500, "Server exception.")
	unopened  = exception(400, "Decryption failed, Please confirm that your parameters are correct.")
	validated = succeeded("success!", map[string]any{"result": true})
	rejected  = succeeded("success!", map[string]any{"result": false})
)

// TestReferenceUsages walks 4.1's columns of origins and usages, and 3.1's
// CreateKey.
func TestReferenceUsages(t *testing.T) {
	s := newSite(t)
	symmetric := []string{"EH_AES_GCM_128", "EH_AES_GCM_192", "EH_AES_GCM_256", "EH_SM4_CTR", "EH_SM4_CBC"}
	curves := []string{"EH_EC_P224", "EH_EC_P256", "EH_EC_P256K", "EH_EC_P384", "EH_EC_P521", "EH_SM2"}
	macs := []string{"EH_HMAC", "EH_HMAC_SHA_224", "EH_HMAC_SHA_256", "EH_HMAC_SHA_384", "EH_HMAC_SHA_512"}
	rows := []struct {
		specs  []string
		usages []string // "" is the default
		never  []string
	}{
		{symmetric, []string{encrypts, ""}, []string{signs, makesMACs}},
		{[]string{"EH_RSA_2048"}, []string{encrypts, signs, ""}, []string{makesMACs}},
		{curves, []string{encrypts, signs, ""}, []string{makesMACs}}, // usage 1 of EC is accepted but useless
		{macs, []string{makesMACs, ""}, []string{encrypts, signs}},
		{[]string{"EH_ED25519"}, []string{signs, ""}, []string{encrypts, makesMACs}},
	}
	for _, row := range rows {
		for _, spec := range row.specs {
			for _, origin := range []string{internal, external} {
				for _, usage := range row.usages {
					s.create(spec, origin, usage)
				}
				for _, usage := range append(row.never, "EH_KEYUSAGE_ANY") {
					s.want(misused, "CreateKey", payload{"keyspec": spec, "origin": origin, "keyusage": usage})
				}
			}
		}
	}
	for _, spec := range []string{"EH_RSA_3072", "EH_RSA_4096"} { // made slowly, so once
		id := s.create(spec, internal, signs)
		if got := text(s.ask("GetPublicKey", payload{"keyid": id}), "pubkey"); !strings.HasPrefix(got, "-----BEGIN RSA PUBLIC KEY-----\n") {
			t.Errorf("%s: %s", spec, got)
		}
	}
}

// TestReferenceManagement walks 3.2 and 3.3, and the order of checks of a key.
func TestReferenceManagement(t *testing.T) {
	s := newSite(t)
	other := s.enrol()
	aes, ec, waiting := s.create("EH_AES_GCM_256", internal, encrypts), s.create("EH_EC_P384", internal, signs), s.create("EH_SM4_CTR", external, encrypts)
	foreign := other.create("EH_AES_GCM_128", internal, encrypts)
	const unknown = "99999999-9999-4999-8999-999999999999"
	done, notFound := succeeded("successful", map[string]any{}), refusal(400, "not find this keyid")
	sealing := func(id string) payload { return payload{"keyid": id, "plaintext": []byte("hello")} }

	s.want(refusal(400, "keyid error"), "Encrypt", sealing(unknown))
	s.want(refusal(400, "appid error"), "Encrypt", sealing(foreign))
	s.want(misused, "Encrypt", sealing(ec))
	s.want(misused, "Encrypt", sealing(waiting))

	for range 2 { // idempotent
		s.want(done, "DisableKey", payload{"keyid": aes})
	}
	s.want(refusal(400, "keyid is disabled"), "Encrypt", sealing(aes))
	states := map[string]float64{}
	for _, k := range listed(t, s) {
		states[k["keyid"].(string)] = k["keyState"].(float64)
		created := time.UnixMilli(int64(k["creationDate"].(float64)))
		if len(k) != 6 || k["alias"] != "" || time.Since(created).Abs() > time.Hour || k["expireTime"].(float64) < float64(time.Now().AddDate(100, 0, 0).UnixMilli()) {
			t.Errorf("listed as %v", k)
		}
	}
	if diff := cmp.Diff(map[string]float64{aes: 0, ec: 1, waiting: 1}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	for range 2 {
		s.want(done, "EnableKey", payload{"keyid": aes})
	}
	sealed := s.get("Encrypt", "ciphertext", sealing(aes)) // what was lost in eHSM, usage among it, is still there
	for _, action := range []string{"EnableKey", "DisableKey"} {
		s.want(notFound, action, payload{"keyid": unknown})
		s.want(notFound, action, payload{"keyid": foreign})
	}
	s.want(done, "DeleteKey", payload{"keyid": unknown})
	s.want(done, "DeleteKey", payload{"keyid": foreign})
	other.want(succeeded("success!", map[string]any{"plaintext": b64("x")}), "Decrypt",
		payload{"keyid": foreign, "ciphertext": other.get("Encrypt", "ciphertext", payload{"keyid": foreign, "plaintext": []byte("x")})})
	s.want(done, "DeleteKey", payload{"keyid": aes})
	s.want(refusal(400, "keyid error"), "Decrypt", payload{"keyid": aes, "ciphertext": sealed})
	for _, action := range []string{"DeleteAllKey", "DeleteALLKey"} {
		s.create("EH_SM2", internal, signs)
		s.want(done, action, nil)
		if left := listed(t, s); len(left) > 0 {
			t.Errorf("after %s: %v", action, left)
		}
	}
	if len(listed(t, other)) != 1 {
		t.Error("another app's keys went too")
	}
	version := s.do(t, httptest.NewRequest("GET", "/ehsm?Action=GetVersion", nil))
	if diff := cmp.Diff(succeeded("success!", map[string]any{"version": "1.2.3", "git_sha": "abcdef0"}), version); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func listed(t *testing.T, s *site) []map[string]any {
	t.Helper()
	got := s.ask("ListKey", nil)
	list, ok := got.Result["list"].([]any)
	if got.Message != "successful" || !ok {
		t.Fatal(got)
	}
	var keys []map[string]any
	for _, k := range list {
		keys = append(keys, k.(map[string]any))
	}
	return keys
}

// TestReferenceMACs: what eHSM names and never had.
func TestReferenceMACs(t *testing.T) {
	s := newSite(t)
	for spec, size := range map[string]int{"EH_HMAC": 32, "EH_HMAC_SHA_224": 28, "EH_HMAC_SHA_384": 48, "EH_HMAC_SHA_512": 64} {
		id := s.create(spec, internal, "")
		mac := s.get("GenerateMac", "mac", payload{"keyid": id, "message": []byte("hello")})
		if len(mac) != size {
			t.Errorf("%s: %d bytes", spec, len(mac))
		}
		s.want(validated, "VerifyMac", payload{"keyid": id, "message": []byte("hello"), "mac": mac})
		s.want(rejected, "VerifyMac", payload{"keyid": id, "message": []byte("other"), "mac": mac})
		s.want(rejected, "VerifyMac", payload{"keyid": id, "message": []byte("hello"), "mac": mac[:len(mac)-1]})
		for _, action := range []string{"Encrypt", "AsymmetricEncrypt"} {
			s.want(misused, action, payload{"keyid": id, "plaintext": []byte("hello"), "padding_mode": oaep})
		}
		s.want(misused, "Sign", payload{"keyid": id, "message": []byte("hello"), "message_type": "EH_RAW"})
		s.want(misused, "GetPublicKey", payload{"keyid": id})
	}
	s.want(misused, "GenerateMac", payload{"keyid": s.create("EH_AES_GCM_256", internal, ""), "message": []byte("hello")})
	s.want(misused, "VerifyMac", payload{"keyid": s.create("EH_EC_P256", internal, ""), "message": []byte("hello"), "mac": bytes.Repeat([]byte{1}, 32)})
}
