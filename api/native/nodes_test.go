package native_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/api/native"
	"github.com/holdfast-kms/holdfast/kms"
)

// A roster lists nodes and refuses everything with one error.
type roster struct {
	list kms.NodeList
	err  error
}

func (r roster) Nodes(context.Context) (kms.NodeList, error)                   { return r.list, nil }
func (r roster) ApproveNode(_ context.Context, _ kms.NodeID, doc []byte) error { return r.err }
func (r roster) RemoveNode(_ context.Context, _ kms.NodeID, doc []byte) error  { return r.err }

const nodeService = "/holdfast.v1.NodeService/"

// TestNodesAreListed: all that is told of a node, and of those who left the last
// thousand, only to who asks.
func TestNodesAreListed(t *testing.T) {
	r := roster{list: kms.NodeList{Nodes: []kms.NodeInfo{{ID: kms.NodeID{1}, Name: "a", Role: kms.RoleVoter, Leader: true, Identity: `{"sgx":{}}`,
		Platform: "00ff", Trouble: "none", Replaces: kms.NodeID{2}, Generations: 3}}}}
	for i := range 1200 {
		r.list.Departed = append(r.list.Departed, kms.DepartedNode{ID: kms.NodeID{byte(i), byte(i >> 8)}, Reason: kms.NodeDrained, Time: time.Unix(int64(1+i), 0)})
	}
	h := native.New(native.Config{Authenticate: newFake().authenticate, Roster: r})
	body := do(h, request(nodeService+"ListNodes", "application/json", "{}", nil)).Body.String()
	for _, want := range []string{`"name":"a"`, `"role":"voter"`, `"leader":true`, `"platform":"00ff"`, `"trouble":"none"`, `"generations":3`,
		`"replaces":"02` + strings.Repeat("00", 31) + `"`} {
		if !strings.Contains(strings.ReplaceAll(body, `": `, `":`), want) {
			t.Errorf("the list lacks %s: %s", want, body)
		}
	}
	if strings.Contains(body, "drained") {
		t.Error("those who left are told unasked")
	}
	body = do(h, request(nodeService+"ListNodes", "application/json", `{"departed":true}`, nil)).Body.String()
	last := fmt.Sprintf("%x", kms.NodeID{1199 & 0xff, 1199 >> 8})
	if n := strings.Count(body, "drained"); n != 1000 || strings.Index(body, last) > strings.Index(body, "drained") {
		t.Errorf("%d who left, the last of them not first", n)
	}
}

// TestNodeRefusals: why a document is refused is told in full; nothing else is.
func TestNodeRefusals(t *testing.T) {
	id := `{"nodeId":"` + strings.Repeat("11", 32) + `"}`
	tests := []struct {
		name string
		err  error
		body string
		code connect.Code
		says string
	}{
		{"denied", kms.Errorf(kms.Denied, "for the platform 00"), id, connect.CodePermissionDenied, "for the platform 00"},
		{"not there", kms.Errorf(kms.NotFound, "no such node waits"), id, connect.CodeNotFound, "no such node waits"},
		{"stale", kms.Errorf(kms.Stale, "given under policy 1"), id, connect.CodeFailedPrecondition, "given under policy 1"},
		{"quorum", kms.Errorf(kms.Conflict, "no majority"), id, connect.CodeFailedPrecondition, "no majority"},
		{"unavailable", kms.Errorf(kms.Unavailable, "secret words"), id, connect.CodeUnavailable, "not now"},
		{"internal", errSecret, id, connect.CodeInternal, "internal error"},
		{"no id", nil, `{"nodeId":"11"}`, connect.CodeInvalidArgument, "malformed"},
		{"none at all", nil, `{}`, connect.CodeInvalidArgument, "malformed"},
		{"another member", nil, `{"x":1}`, connect.CodeInvalidArgument, ""},
	}
	for _, tt := range tests {
		for _, method := range []string{"ApproveNode", "RemoveNode"} {
			h := native.New(native.Config{Authenticate: newFake().authenticate, Roster: roster{err: tt.err}})
			w := do(h, request(nodeService+method, "application/json", tt.body, nil))
			mustNotLeak(t, w)
			if !strings.Contains(w.Body.String(), `"code":"`+tt.code.String()+`"`) || !strings.Contains(w.Body.String(), tt.says) {
				t.Errorf("%s, %s: %d %s", method, tt.name, w.Code, w.Body)
			}
		}
	}
	h := native.New(native.Config{Authenticate: newFake().authenticate, Roster: roster{}})
	if w := do(h, request(nodeService+"ApproveNode", "application/json", id, nil)); w.Code != http.StatusOK {
		t.Errorf("approved: %d %s", w.Code, w.Body)
	}
}
