package native_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

const docsPath = "../../docs/native-api.md"

// A documented is a method as the documentation has it.
type documented struct {
	name        string
	permissions kms.Permissions
	steps       []step
}

// A step is one request of an example, and what is to come of it.
type step struct {
	method, request string
	reply           string // JSON; "": a refusal
	refusal         string // "code kind"
}

var (
	methodLine = regexp.MustCompile("(?m)^### ([A-Za-z]+)\n\n`([a-z]+)`(?: and `([a-z]+)`)?")
	example    = regexp.MustCompile("(?s)```json\n(.*?)```")
	stepStart  = regexp.MustCompile(`(?m)^([A-Za-z]*) ?([→←✗]) `)
)

// readDocs reads the methods that have a section of their own.
func readDocs(t *testing.T) (all []documented) {
	t.Helper()
	text, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range strings.Split("\n"+string(text), "\n### ")[1:] {
		section, _, _ = strings.Cut(section, "\n## ")
		m := methodLine.FindStringSubmatch("### " + section)
		if m == nil {
			t.Fatalf("a section without a method and its permission: %.60q", section)
		}
		d := documented{name: m[1]}
		for _, name := range m[2:] {
			if p, err := kms.ParsePermissions([]string{name}); name != "" && err != nil {
				t.Fatalf("%s: %v", d.name, err)
			} else if name != "" {
				d.permissions |= p
			}
		}
		for _, block := range example.FindAllStringSubmatch(section, -1) {
			d.steps = append(d.steps, readSteps(t, d.name, block[1])...)
		}
		all = append(all, d)
	}
	return all
}

func readSteps(t *testing.T, method, block string) (steps []step) {
	t.Helper()
	marks := stepStart.FindAllStringSubmatchIndex(block, -1)
	for i, m := range marks {
		end := len(block)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		body := strings.TrimSpace(block[m[1]:end])
		switch mark := block[m[4]:m[5]]; {
		case mark == "→":
			steps = append(steps, step{method: method, request: body})
			if name := block[m[2]:m[3]]; name != "" {
				steps[len(steps)-1].method = name
			}
		case len(steps) == 0:
			t.Fatalf("%s: a reply without a request", method)
		case mark == "←":
			steps[len(steps)-1].reply = body
		default:
			steps[len(steps)-1].refusal = body
		}
	}
	return steps
}

// A reader does what the documentation says.
type reader struct {
	*node
	t      *testing.T
	values map[string]string // of "<name>"
	client *http.Client
}

// post sends JSON as curl would, with a signature.
func (r *reader) post(method, body string, id kms.CredentialID, key string) (int, []byte) {
	r.t.Helper()
	req, err := http.NewRequest(http.MethodPost, r.endpoint.URL+"/holdfast.v1.KeyService/"+method, bytes.NewReader([]byte(body)))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(signature.HeaderName, signed(req, body, id, key))
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, text
}

// fill puts what was learnt in the place of "<name>".
func (r *reader) fill(text string) string {
	for name, value := range r.values {
		text = strings.ReplaceAll(text, name, value)
	}
	return text
}

// match compares a reply with what the documentation says, and learns from it.
func (r *reader) match(where string, want, got any) {
	r.t.Helper()
	switch want := want.(type) {
	case string:
		switch {
		case want == "…":
			if got == nil || got == "" {
				r.t.Errorf("%s is missing", where)
			}
		case strings.HasPrefix(want, "<"):
			text, ok := got.(string)
			if !ok || r.values[want] != "" && r.values[want] != text {
				r.t.Errorf("%s: %v, want %s = %q", where, got, want, r.values[want])
			}
			r.values[want] = text
		case want != got:
			r.t.Errorf("%s: %v, want %q", where, got, want)
		}
	case map[string]any:
		object, _ := got.(map[string]any)
		for name, v := range want {
			r.match(where+"."+name, v, object[name])
		}
		for name := range object {
			if _, told := want[name]; !told {
				r.t.Errorf("%s.%s is not in the documentation: %v", where, name, object[name])
			}
		}
	case []any:
		list, _ := got.([]any)
		if len(list) != len(want) {
			r.t.Errorf("%s has %d entries, want %d", where, len(list), len(want))
			return
		}
		for i := range want {
			r.match(fmt.Sprintf("%s[%d]", where, i), want[i], list[i])
		}
	default:
		if want != got {
			r.t.Errorf("%s: %v, want %v", where, got, want)
		}
	}
}

// do does one step of an example.
func (r *reader) do(s step, id kms.CredentialID, key string) {
	r.t.Helper()
	status, text := r.post(s.method, r.fill(s.request), id, key)
	if s.refusal != "" {
		var refused struct {
			Code    string
			Details []struct{ Debug struct{ Kind string } }
		}
		if err := json.Unmarshal(text, &refused); err != nil || len(refused.Details) != 1 || refused.Code+" "+refused.Details[0].Debug.Kind != s.refusal {
			r.t.Errorf("%s %s: %s, want %s", s.method, s.request, text, s.refusal)
		}
		return
	}
	var want, got any
	if err := json.Unmarshal([]byte(s.reply), &want); err != nil {
		r.t.Fatalf("%s: the reply in the documentation: %v", s.method, err)
	}
	if err := json.Unmarshal(text, &got); err != nil || status != http.StatusOK {
		r.t.Fatalf("%s %s: %d %s", s.method, s.request, status, text)
	}
	r.match(s.method, want, got)
}

// TestDocumentation does every example of the documentation in turn, against a
// real node, as anybody with curl would: first with a credential that lacks the
// permission, which must be refused, then with one that has them all.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, app := n.enrol()
	r := &reader{node: n, t: t, values: map[string]string{}, client: n.http(false)}
	lacking := map[kms.Permissions]*nameless{}
	for _, p := range []kms.Permissions{kms.PermUse, kms.PermManage, kms.PermRead} {
		made, err := c.CreateCredential(t.Context(), kms.CreateCredentialRequest{Permissions: kms.PermAll &^ p})
		if err != nil {
			t.Fatal(err)
		}
		n.domain.Log.Plant([]byte(made.APIKey.Reveal()))
		lacking[p] = &nameless{made.ID, made.APIKey.Reveal()}
	}
	seen := map[string]bool{}
	for _, d := range readDocs(t) {
		if seen[d.name] = true; len(d.steps) == 0 || d.permissions == 0 {
			t.Errorf("%s has no example, or no permission", d.name)
		}
		for _, s := range d.steps {
			for p, by := range lacking {
				if s.method != d.name || !d.permissions.Has(p) || s.refusal != "" && d.name == "SetCondition" {
					continue
				}
				if status, text := r.post(s.method, r.fill(s.request), by.id, by.key); status != http.StatusForbidden {
					t.Errorf("%s without %q: %d %s", s.method, p, status, text)
				}
			}
			r.do(s, kms.CredentialID(app.ID), app.APIKey)
		}
	}
	methods := holdfastv1.File_holdfast_v1_keys_proto.Services().ByName("KeyService").Methods()
	for i := range methods.Len() {
		if name := string(methods.Get(i).Name()); !seen[name] {
			t.Errorf("%s is not in the documentation", name)
		}
	}
	if methods.Len() != len(seen) {
		t.Errorf("%d methods are documented, there are %d", len(seen), methods.Len())
	}
}

// A nameless is a credential.
type nameless struct {
	id  kms.CredentialID
	key string
}

// TestDocumentationOfOthers: of each service beside it the page has a row, and a
// section with every method: who may call it, what it takes and what it returns,
// member by member.
func TestDocumentationOfOthers(t *testing.T) {
	text, err := os.ReadFile(docsPath)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	protoregistry.GlobalFiles.RangeFilesByPackage("holdfast.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			if s := f.Services().Get(i); s.Name() != "KeyService" {
				checkService(t, string(text), s)
				seen++
			}
		}
		return true
	})
	if seen < 10 {
		t.Errorf("%d services were looked at", seen)
	}
	keys := holdfastv1.File_holdfast_v1_keys_proto.Services().ByName("KeyService").Methods()
	for i := range keys.Len() { // replies are compared by TestDocumentation
		checkMembers(t, string(text), string(text), keys.Get(i).Input())
	}
}

func checkService(t *testing.T, page string, s protoreflect.ServiceDescriptor) {
	t.Helper()
	_, section, found := strings.Cut(page, "\n## "+string(s.Name())+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !found || !regexp.MustCompile(`(?m)^\| `+string(s.Name())+` \| [^|]+ \| \d+ kB \| `).MatchString(page) {
		t.Errorf("%s has no section, or no row", s.Name())
		return
	}
	for i := range s.Methods().Len() {
		m := s.Methods().Get(i)
		if !regexp.MustCompile(`(?m)^\| ` + string(m.Name()) + ` \| [^|]*\w[^|]* \| [^|]*\|$`).MatchString(section) {
			t.Errorf("%s: nothing says who may call %s, and what may come of it", s.Name(), m.Name())
		}
		_, item, found := strings.Cut(section, "\n* **"+string(m.Name())+"**")
		item, _, _ = strings.Cut(item, "\n* ")
		if !found {
			t.Errorf("%s: nothing says what %s takes and returns", s.Name(), m.Name())
			continue
		}
		takes, returns, _ := strings.Cut(item, "←")
		checkMembers(t, page, takes, m.Input())
		checkMembers(t, page, returns, m.Output())
	}
}

// checkMembers asks that a text names the members of a message, and the page those
// of the messages in it.
func checkMembers(t *testing.T, page, text string, m protoreflect.MessageDescriptor) {
	t.Helper()
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		if name := f.JSONName(); !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, `"`+name+`":`) {
			t.Errorf("%s of %s is not in the documentation", name, m.Name())
		}
		if inner := f.Message(); inner != nil && inner.ParentFile().Package() == "holdfast.v1" {
			checkMembers(t, page, page, inner)
		}
	}
}
