package tenant_test

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/kms"
)

// A signed2 is a request with a version 2 signature, which covers all of it.
type signed2 struct {
	action, host, header string
	body                 []byte
}

func (x *app) sign2(action, payload string) signed2 {
	r := signed2{action: action, host: x.endpoint.Addr, body: []byte(`{"payload":` + payload + `}`)}
	id, err := kms.ParseCredentialID(x.ID)
	if err != nil {
		x.t.Fatal(err)
	}
	h := signature.Header{Credential: id, TimeMillis: x.node.Clock.Now().UnixMilli(), Binding: signature.BindNone}
	rand.Read(h.Nonce[:])
	signature.Sign([]byte(x.APIKey), &h, &signature.Request{Method: http.MethodPost, Host: r.host,
		Target: "/ehsm?Action=" + action, BodyHash: sha256.Sum256(r.body)})
	r.header = h.String()
	x.plant(r.body)
	return r
}

func (x *app) post2(r signed2) reply {
	x.t.Helper()
	req := x.request(r.action, r.body)
	req.Host = r.host
	req.Header.Set(signature.HeaderName, r.header)
	return x.do(req)
}

// TestVersion2 takes a request apart that is signed as a whole: what version 1
// leaves open is closed.
func TestVersion2(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	for action, payload := range p.uses(p.aes, p.ec) {
		for _, as := range []string{"CreateKey", "DeleteKey", "EnableKey", "DisableKey", "DeleteAllKey"} {
			r := p.sign2(action, payload)
			r.action = as
			if diff := cmp.Diff(signError, p.post2(r)); diff != "" {
				t.Errorf("%s as %s (-want +got):\n%s", action, as, diff)
			}
		}
		r := p.sign2(action, payload)
		if got := p.post2(r); !got.ok() {
			t.Errorf("%s: %+v", action, got)
		}
		if got := p.post2(r); got != replayed {
			t.Errorf("%s again: %+v", action, got)
		}
	}
	good := encrypting(p.aes, "x")
	for name, edit := range map[string]func(*signed2){
		"another host":            func(r *signed2) { r.host = "elsewhere.example" },
		"another body":            func(r *signed2) { r.body = []byte(strings.Replace(string(r.body), b64("x"), b64("y"), 1)) },
		"the same in other bytes": func(r *signed2) { r.body = append(r.body, ' ') },
		"another's app":           func(r *signed2) { r.header = strings.Replace(r.header, p.ID, noKey, 1) },
		"another time":            func(r *signed2) { r.header = strings.Replace(r.header, "time=1", "time=2", 1) },
		"another version":         func(r *signed2) { r.header = strings.Replace(r.header, "v=2", "v=1", 1) },
		"a binding it has not":    func(r *signed2) { r.header = strings.Replace(r.header, "binding=none", "binding=tls-exporter", 1) },
		"upper case":              func(r *signed2) { r.header = strings.ToUpper(r.header) },
		"an empty header":         func(r *signed2) { r.header = "" },
		"a long header":           func(r *signed2) { r.header += strings.Repeat(" ", 10_000) + "x" },
	} {
		r := p.sign2("Encrypt", good)
		edit(&r)
		if diff := cmp.Diff(signError, p.post2(r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	t.Run("no way back to version 1", func(t *testing.T) {
		r := p.sign2("Encrypt", good)
		if got := p.post("Encrypt", r.body); got != missing {
			t.Errorf("without its header: %+v", got)
		}
		r = signed2{action: "Encrypt", host: a.endpoint.Addr, header: "x", body: p.body(good, nil)}
		if got := p.post2(r); got != signError {
			t.Errorf("a good version 1 signature under a bad header: %+v", got)
		}
	})
	t.Run("two headers", func(t *testing.T) {
		r := p.sign2("Encrypt", good)
		line := fmt.Sprintf("%s: %s", signature.HeaderName, r.header)
		text := strings.Replace(plainRequest("Encrypt", r.body, line, line, hangUp), "Host: localhost", "Host: "+r.host, 1)
		if got := one(t, a.raw(t, text), "POST"); got != signError {
			t.Errorf("%+v", got)
		}
	})
	p.intact()
}
