package tenant_test

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// noKey is a well-formed id that nobody has.
const noKey = "99999999-9999-4999-8999-999999999999"

// property is what an owner has that others want.
type property struct {
	*app
	aes, ec           string
	plain, ciphertext string
	message, sig      string
}

func newProperty(a *arena) *property {
	p := &property{app: a.enrol(), plain: "the plaintext that others want", message: "the message that was signed"}
	p.aes, p.ec = p.newKey(newAES), p.newKey(newEC)
	p.ciphertext = p.encrypt(p.aes, p.plain)
	p.plant([]byte(p.message))
	p.sig = p.must("Sign", signing(p.ec, p.message)).field("signature")
	return p
}

// uses is every action that uses a key, and a good payload for it with the
// given AES and EC keys.
func (p *property) uses(aes, ec string) map[string]string {
	return map[string]string{
		"Encrypt":                         encrypting(aes, "the plaintext of an attacker"),
		"Decrypt":                         decrypting(aes, p.ciphertext),
		"GenerateDataKey":                 dataKey(aes),
		"GenerateDataKeyWithoutPlaintext": dataKey(aes),
		"Sign":                            signing(ec, p.message),
		"Verify":                          verifying(ec, p.message, p.sig),
		"GetPublicKey":                    only(ec),
	}
}

// refused fails the test unless every use of the keys is answered alike.
func (p *property) refused(as *app, aes, ec string, want reply) {
	p.t.Helper()
	for action, payload := range p.uses(aes, ec) {
		if diff := cmp.Diff(want, as.call(action, payload)); diff != "" {
			p.t.Errorf("%s (-want +got):\n%s", action, diff)
		}
	}
}

// intact fails the test if anything of the property has changed.
func (p *property) intact() {
	p.t.Helper()
	p.opens(p.aes, p.ciphertext, p.plain)
	if got := p.call("Verify", verifying(p.ec, p.message, p.sig)); got.Result != `{"result":true}` {
		p.t.Errorf("the signing key is not what it was: %+v", got)
	}
	if got := p.must("ListKey", ""); !strings.Contains(got.Result, p.aes) || !strings.Contains(got.Result, p.ec) || strings.Contains(got.Result, `"keyState":0`) {
		p.t.Errorf("the owner's keys: %s", got.Result)
	}
}

func TestKeysOfOthers(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p, thief := newProperty(a), a.enrol()
	p.refused(thief, p.aes, p.ec, refusal(400, "appid error"))
	p.refused(p.app, noKey, noKey, refusal(400, "keyid error"))
	p.refused(p.app, p.ec, p.aes, serverFault) // each for the other's use
	for who, x := range map[string]struct {
		*app
		key string
	}{"another's key": {thief, p.aes}, "nobody's key": {p.app, noKey}} {
		for action, want := range map[string]reply{
			"EnableKey": keyNotFound, "DisableKey": keyNotFound,
			"DeleteKey": deleted, // as in eHSM: and nothing is
		} {
			if diff := cmp.Diff(want, x.call(action, only(x.key))); diff != "" {
				t.Errorf("%s of %s (-want +got):\n%s", action, who, diff)
			}
		}
	}
	for _, action := range []string{"DeleteAllKey", "DeleteALLKey"} {
		thief.must(action, "")
	}
	if got := thief.must("ListKey", ""); got.Result != `{"list":[]}` {
		t.Errorf("the thief sees %s", got.Result)
	}
	p.intact()
}

func TestDisabledAndDeletedKeys(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	both := func(action string) {
		t.Helper()
		p.must(action, only(p.aes))
		p.must(action, only(p.ec))
	}
	both("DisableKey")
	p.refused(p.app, p.aes, p.ec, refusal(400, "keyid is disabled"))
	both("EnableKey")
	p.intact()
	both("DeleteKey")
	p.refused(p.app, p.aes, p.ec, refusal(400, "keyid error"))
	if diff := cmp.Diff(keyNotFound, p.call("EnableKey", only(p.aes))); diff != "" {
		t.Errorf("enabling a deleted key (-want +got):\n%s", diff)
	}
}

// TestDisabledAtOnce: once DisableKey is acknowledged no request that is sent
// later uses the key, however many were under way.
func TestDisabledAtOnce(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	var done atomic.Bool
	var wg sync.WaitGroup
	var served, late atomic.Int64
	for range 4 {
		wg.Go(func() {
			for {
				after := done.Load()
				got := p.call("Encrypt", encrypting(p.aes, "x"))
				switch {
				case got.ok() && after:
					late.Add(1)
				case got.ok():
					served.Add(1)
				case got != refusal(400, "keyid is disabled"):
					t.Errorf("%+v", got)
				}
				if after {
					return
				}
			}
		})
	}
	for served.Load() < 20 && !t.Failed() {
		p.opens(p.aes, p.ciphertext, p.plain)
	}
	p.must("DisableKey", only(p.aes))
	done.Store(true)
	wg.Wait()
	if late.Load() > 0 {
		t.Errorf("%d requests used the key after it was disabled", late.Load())
	}
}
