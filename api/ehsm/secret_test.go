package ehsm_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A realRig sends eHSM's requests, signed as its clients sign, to a real node.
type realRig struct {
	t       *testing.T
	domain  *trustedtest.Domain
	node    *trustedtest.Node
	app     *trustedtest.App
	millis  int64
	handler http.Handler
}

func newRealRig(t *testing.T) *realRig {
	d := trustedtest.NewDomain(t, 1)
	g := &realRig{t: t, domain: d, node: d.Nodes[0]}
	g.app = g.node.Enrol()
	g.reopen()
	return g
}

// reopen takes up a node that was restarted.
func (g *realRig) reopen() { g.handler = mount.Program{}.Handler(g.node.Server()) }

// call sends an action with a payload; v is what it must answer.
func (g *realRig) call(action string, payload any) (code int, message string, result map[string]any) {
	g.t.Helper()
	g.millis = max(g.millis+1, g.node.Clock.Now().UnixMilli())
	body := map[string]any{"appid": g.app.ID.String(), "timestamp": fmt.Sprint(g.millis), "payload": payload}
	raw, err := json.Marshal(body)
	if err != nil {
		g.t.Fatal(err)
	}
	signed, err := wire.StringToSign(raw)
	if err != nil {
		g.t.Fatal(err)
	}
	m := hmac.New(sha256.New, []byte(g.app.APIKey))
	m.Write(signed)
	body["sign"] = base64.StdEncoding.EncodeToString(m.Sum(nil))
	raw, _ = json.Marshal(body)
	r := httptest.NewRequest(http.MethodPost, "/ehsm?Action="+action, strings.NewReader(string(raw)))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	g.handler.ServeHTTP(w, r)
	var out struct {
		Code    int
		Message string
		Result  map[string]any
	}
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != http.StatusOK {
		g.t.Fatalf("%s: HTTP %d, %s", action, w.Code, w.Body)
	}
	return out.Code, out.Message, out.Result
}

// want checks an answer. Times in the result are left out.
func (g *realRig) want(action string, payload any, code int, message string, result map[string]any) map[string]any {
	g.t.Helper()
	gotCode, gotMessage, got := g.call(action, payload)
	if gotCode != code || gotMessage != message {
		g.t.Errorf("%s %v: %d %q, want %d %q", action, payload, gotCode, gotMessage, code, message)
	}
	if result != nil {
		if diff := cmp.Diff(result, timeless(got).(map[string]any)); diff != "" {
			g.t.Errorf("%s %v (-want +got):\n%s", action, payload, diff)
		}
	}
	return got
}

func timeless(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, member := range v {
			if name != "createTime" {
				out[name] = timeless(member)
			}
		}
		return out
	case []any:
		out := []any{}
		for _, e := range v {
			out = append(out, timeless(e))
		}
		return out
	}
	return v
}

type p = map[string]any

// TestSecretManager walks section 5 of the reference, row by row, on a real node.
func TestSecretManager(t *testing.T) {
	g := newRealRig(t)
	none := p{}
	name := "s\x01é"
	// CreateSecret
	g.want("CreateSecret", p{"secretName": name, "secretData": "one", "description": "text", "rotationInterval": "48h"}, 200, "The "+name+" create success.", none)
	g.want("CreateSecret", p{"secretName": name, "secretData": "x"}, 400, "Secret name already exists, cannot use the same secret name", none)
	g.want("CreateSecret", p{"secretName": "k", "secretData": "x", "encryptionKeyId": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"}, 400, "Cannot find cmk by keyid.", none)
	g.want("CreateSecret", p{"secretName": "k", "secretData": "x", "encryptionKeyId": "zzzzzzzz-bbbb-4ccc-8ddd-eeeeeeeeeeee"}, 400, "Cannot find cmk by keyid.", none)
	g.want("CreateSecret", p{"secretName": "k", "secretData": "x", "encryptionKeyId": "short"}, 400, "Parameter invalid, The encryptionKeyId length error.", none)
	_, _, rsa := g.call("CreateKey", p{"keyspec": "EH_EC_P256", "origin": "EH_INTERNAL_KEY", "keyusage": "EH_KEYUSAGE_SIGN_VERIFY"})
	g.want("CreateSecret", p{"secretName": "k", "secretData": "x", "encryptionKeyId": rsa["keyid"]}, 500, "Server exception.", nil)
	for _, interval := range []string{"5h", "359m", "9999s", "366d", "8761h"} {
		g.want("CreateSecret", p{"secretName": "k", "secretData": "x", "rotationInterval": interval}, 400, "The rotation time is less than 6 hours or more than 8760 hours", none)
	}
	for interval, why := range map[string]string{"6": "format wrong", "h": "format wrong", "6x": "format wrong", "6,": "format wrong", "10000h": "length error"} {
		g.want("CreateSecret", p{"secretName": "k", "secretData": "x", "rotationInterval": interval}, 400, "Parameter invalid, The rotationInterval "+why+".", none)
	}
	g.want("CreateSecret", p{"secretData": "x"}, 400, "Missing required parameters, The secretName cannot be empty.", none)
	g.want("CreateSecret", p{"secretName": "k"}, 400, "Missing required parameters, The secretData cannot be empty.", none)
	g.want("CreateSecret", p{"secretName": 7, "secretData": "x"}, 400, "Parameter invalid, The secretName must be of string type.", none)
	g.want("CreateSecret", p{"secretName": strings.Repeat("x", 65), "secretData": "x"}, 400, "Parameter invalid, The secretName length error.", none)
	g.want("CreateSecret", p{"secretName": "k", "secretData": strings.Repeat("x", 4097)}, 400, "Parameter invalid, The secretData length error.", none)
	g.want("CreateSecret", p{"secretName": "k", "secretData": "x", "description": strings.Repeat("x", 4097)}, 400, "Parameter invalid, The description length error.", none)
	_, _, aes := g.call("CreateKey", p{"keyspec": "EH_AES_GCM_128", "origin": "EH_INTERNAL_KEY"})
	g.want("CreateSecret", p{"secretName": "k", "secretData": strings.Repeat("値", 4096), "encryptionKeyId": aes["keyid"]}, 200, "The k create success.", none)
	g.want("GetSecretValue", p{"secretName": "k"}, 200, "successful", p{"secretName": "k", "secretData": strings.Repeat("値", 4096), "versionId": 1.0})
	code, message, _ := g.call("DeleteKey", p{"keyid": aes["keyid"]})
	if code != 409 || !strings.Contains(message, `"k"`) {
		t.Errorf("a key that protects a secret is deleted: %d %q", code, message)
	}
	if code, message, _ = g.call("DeleteAllKey", nil); code != 409 || !strings.Contains(message, `"k"`) {
		t.Errorf("all keys are deleted: %d %q", code, message)
	}
	g.call("DisableKey", p{"keyid": aes["keyid"]})
	g.want("GetSecretValue", p{"secretName": "k"}, 400, "keyid is disabled", none)
	g.want("PutSecretValue", p{"secretName": "k", "secretData": "x"}, 400, "keyid is disabled", none)
	g.call("EnableKey", p{"keyid": aes["keyid"]})

	// UpdateSecretDesc
	g.want("UpdateSecretDesc", p{"secretName": name, "description": "other"}, 200, "Update secret description success.", none)
	g.want("UpdateSecretDesc", p{"secretName": "none", "description": "other"}, 400, "Cannot find secretName", none)
	// PutSecretValue
	for n := 2; n <= 12; n++ {
		g.want("PutSecretValue", p{"secretName": name, "secretData": fmt.Sprint("value ", n)}, 200, "The "+name+" new version put success.", none)
	}
	g.want("PutSecretValue", p{"secretName": "none", "secretData": "x"}, 400, "Can not find secretName", none)
	// GetSecretValue
	g.want("GetSecretValue", p{"secretName": name}, 200, "successful", p{"secretName": name, "secretData": "value 12", "versionId": 12.0})
	got := g.want("GetSecretValue", p{"secretName": name, "versionId": 1}, 200, "successful", p{"secretName": name, "secretData": "one", "versionId": 1.0})
	if at, ok := got["createTime"].(float64); !ok || time.UnixMilli(int64(at)).Sub(g.node.Clock.Now()).Abs() > time.Minute {
		t.Errorf("created at %v", got["createTime"])
	}
	g.want("GetSecretValue", p{"secretName": name, "versionId": 13}, 200, "successful", none)
	g.want("GetSecretValue", p{"secretName": name, "versionId": 0.5}, 400, "Parameter invalid, The versionId must be of integer type.", none)
	g.want("GetSecretValue", p{"secretName": name, "versionId": -1}, 400, "Parameter invalid, The versionId value must be greater than or equal to 1.", none)
	g.want("GetSecretValue", p{"secretName": "none"}, 400, "Can't find the none's value.", none)
	// ListSecretVersionIds
	versions := []any{}
	for n := 1.0; n <= 12; n++ {
		versions = append(versions, p{"versionId": n})
	}
	g.want("ListSecretVersionIds", p{"secretName": name}, 200, "List secret versionIds success.", p{"secretName": name, "totalCount": 12.0, "versionIds": versions})
	g.want("ListSecretVersionIds", p{"secretName": "none"}, 200, "List secret versionIds success.", p{"secretName": "none", "totalCount": 0.0, "versionIds": []any{}})
	// DescribeSecret: the last rotation is the last put, the next one an interval later.
	got = g.want("DescribeSecret", p{"secretName": name}, 200, "Describe secrets success.", nil)
	last, next := got["lastRotationDate"].(float64), got["nextRotationDate"].(float64)
	if got["description"] != "other" || got["rotationInterval"] != "48h" || next-last != float64((48*time.Hour).Milliseconds()) || got["plannedDeleteTime"] != nil {
		t.Errorf("described as %v", got)
	}
	g.want("DescribeSecret", p{"secretName": "k"}, 200, "Describe secrets success.", p{"secretName": "k"})
	g.want("DescribeSecret", p{"secretName": "none"}, 200, "Describe secrets success.", none)
	g.want("CreateSecret", p{"secretName": "new", "secretData": "x", "rotationInterval": "7d"}, 200, "The new create success.", none)
	if got = g.want("DescribeSecret", p{"secretName": "new"}, 200, "Describe secrets success.", nil); got["lastRotationDate"] != "" || got["nextRotationDate"] == nil {
		t.Errorf("described as %v", got)
	}
	g.want("UpdateSecretDesc", p{"secretName": name}, 200, "Update secret description success.", none) // clears it
	// ListSecrets
	g.want("ListSecrets", nil, 200, "List secrets success.", p{"totalCount": 3.0, "secretList": []any{p{"secretName": "k"}, p{"secretName": "new"}, p{"secretName": name}}})
	g.want("ListSecrets", p{"secretName": "k"}, 200, "List secrets success.", p{"totalCount": 1.0, "secretList": []any{p{"secretName": "k"}}})
	g.want("ListSecrets", p{"secretName": "none"}, 200, "List secrets success.", p{"totalCount": 0.0, "secretList": []any{}})
	walkDeletion(g, name)
}

// walkDeletion is the rest of the walk: rows about deletion, and the state machine.
func walkDeletion(g *realRig, name string) {
	g.t.Helper()
	none := p{}
	g.want("DeleteSecret", p{"secretName": "none"}, 400, "Delete error, Can not find the secretName", none)
	g.want("DeleteSecret", p{"secretName": name, "forceDelete": "yes"}, 400, "The forceDelete must be true or false", none)
	g.want("DeleteSecret", p{"secretName": name, "recoveryPeriod": 0.5}, 400, "Parameter invalid, The recoveryPeriod must be of integer type.", none)
	g.want("DeleteSecret", p{"secretName": name, "recoveryPeriod": -1}, 400, "Parameter invalid, The recoveryPeriod value must be greater than or equal to 1.", none)
	g.want("DeleteSecret", p{"secretName": name, "recoveryPeriod": 366}, 400, "Parameter invalid, The recoveryPeriod value must be less than or equal to 365.", none)
	g.want("DeleteSecret", p{"secretName": name}, 200, "The "+name+" will be deleted after 30 days.", none)
	g.want("DeleteSecret", p{"secretName": name, "recoveryPeriod": 7, "forceDelete": "FALSE"}, 200, "The "+name+" will be deleted after 7 days.", none) // again
	g.want("DeleteSecret", p{"secretName": name, "recoveryPeriod": 7, "forceDelete": "TRUE"}, 200, "The "+name+" will be deleted after 7 days.", none)
	got := g.want("DescribeSecret", p{"secretName": name}, 200, "Describe secrets success.", nil)
	due := time.UnixMilli(int64(got["plannedDeleteTime"].(float64)))
	if wait := due.Sub(g.node.Clock.Now()); wait < 6*kms.Day || wait > 8*kms.Day {
		g.t.Errorf("planned in %v", wait)
	}
	_, _, listed := g.call("ListSecrets", p{"secretName": name})
	if listed["secretList"].([]any)[0].(p)["plannedDeleteTime"] == nil {
		g.t.Errorf("listed as %v", listed)
	}
	g.want("UpdateSecretDesc", p{"secretName": name, "description": "x"}, 400, "Can not modify a deleted secret.", none)
	g.want("PutSecretValue", p{"secretName": name, "secretData": "x"}, 400, "Can not put value for a deleted secret.", none)
	g.want("GetSecretValue", p{"secretName": name}, 400, "Can't find the "+name+"'s value.", none)
	g.want("ListSecretVersionIds", p{"secretName": name}, 200, "List secret versionIds success.", p{"secretName": name, "totalCount": 0.0, "versionIds": []any{}})
	g.want("CreateSecret", p{"secretName": name, "secretData": "x"}, 400, "Secret name already exists, cannot use the same secret name", none)
	g.want("RestoreSecret", p{"secretName": name}, 200, "The "+name+" restore success.", none)
	g.want("RestoreSecret", p{"secretName": name}, 200, "The "+name+" restore success.", none) // nothing was deleted
	g.want("RestoreSecret", p{"secretName": "none"}, 400, "Can not restore secret, the secretName not find.", none)
	g.want("GetSecretValue", p{"secretName": name}, 200, "successful", p{"secretName": name, "secretData": "value 12", "versionId": 12.0})

	g.want("DeleteSecret", p{"secretName": name, "force_delete": "true"}, 200, "The "+name+" delete success", none)
	g.want("CreateSecret", p{"secretName": name, "secretData": "again"}, 200, "The "+name+" create success.", none)
	g.want("GetSecretValue", p{"secretName": name, "versionId": 2}, 200, "successful", none)
	g.want("GetSecretValue", p{"secretName": name}, 200, "successful", p{"secretName": name, "secretData": "again", "versionId": 1.0})
	g.want("DeleteSecret", p{"secretName": name, "recoveryPeriod": 1}, 200, "The "+name+" will be deleted after 1 days.", none)
	g.node.Clock.Move(kms.Day + time.Minute)
	g.want("RestoreSecret", p{"secretName": name}, 400, "Can not restore secret, the secretName not find.", none)
	g.want("DescribeSecret", p{"secretName": name}, 200, "Describe secrets success.", none)
}
