//go:build unix

package linear_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

const (
	workersPerNode = 3
	callLimit      = 4 * time.Second
	pace           = 12 * time.Millisecond // between a worker's calls, on average
	longStory      = 80                    // calls after which a thing makes way for a new one
	openStory      = 5                     // and calls of unknown outcome
	keySlots       = 5
	aliasSlots     = 2
	credentials    = 2
	targets        = 4 // keys that aliases name
)

// A crew works on a domain through all nodes at once.
type crew struct {
	t       *testing.T
	domain  *domain
	history *history

	targets []kms.KeyID // never changed
	slots   []*slot

	mu      sync.Mutex
	clients map[string]*client.Client
	next    atomic.Int64 // number of a worker: one whose call is open is another one from then on
	stop    atomic.Bool
	working sync.WaitGroup
}

// A slot holds the thing of some kind that is worked on now.
type slot struct {
	kind string

	mu   sync.Mutex
	has  bool
	name string // of the thing
	data []byte // that a key encrypted
	cred client.Credential
	id   kms.CredentialID
}

func newCrew(t *testing.T, d *domain) *crew {
	t.Helper()
	w := &crew{t: t, domain: d, history: newHistory(), clients: make(map[string]*client.Client)}
	c := w.client(d.nodes[0], d.app, kms.CredentialID{})
	for range targets {
		id, err := c.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM})
		if err != nil {
			t.Fatal(err)
		}
		w.targets = append(w.targets, id)
	}
	for kind, n := range map[string]int{"key": keySlots, "alias": aliasSlots, "credential": credentials} {
		for range n {
			w.slots = append(w.slots, &slot{kind: kind})
		}
	}
	t.Cleanup(func() {
		for _, c := range w.clients {
			c.Close()
		}
	})
	return w
}

// begin has the workers work until end.
func (w *crew) begin(seed uint64) {
	for i := range workersPerNode * len(w.domain.nodes) {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		at := w.domain.nodes[i%len(w.domain.nodes)]
		who := int(w.next.Add(1))
		w.working.Go(func() {
			for !w.stop.Load() {
				if w.act(who, at, rng) {
					who = int(w.next.Add(1))
				}
				time.Sleep(time.Duration(rng.Int64N(int64(2 * pace))))
			}
		})
	}
}

func (w *crew) end() {
	w.stop.Store(true)
	w.working.Wait()
}

// client calls a node with a credential; nil: the node does not serve.
func (w *crew) client(n *node, cred client.Credential, id kms.CredentialID) *client.Client {
	url := n.address()
	if url == "" {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := url + id.String()
	if c := w.clients[at]; c != nil {
		return c
	}
	c, err := client.New(client.Config{URL: url, CA: w.domain.ca, AppID: cred.AppID, APIKey: cred.APIKey, CredentialID: id, Retries: -1, Timeout: callLimit})
	if err != nil {
		w.domain.fail("%v", err)
		return nil
	}
	w.clients[at] = c
	return c
}

// act makes one call through a node. It reports whether its outcome is not known.
func (w *crew) act(who int, at *node, rng *rand.Rand) (open bool) {
	c := w.client(at, w.domain.app, kms.CredentialID{})
	if c == nil {
		return false
	}
	s := w.slots[rng.IntN(len(w.slots))]
	t := &turn{crew: w, who: who, at: at, client: c, rng: rng, slot: s}
	t.take()
	if !t.has {
		return t.renew()
	}
	switch s.kind {
	case "key":
		return t.onKey()
	case "alias":
		return t.onAlias()
	}
	return t.onCredential()
}

// A turn is one call of one worker, about what its slot held when it began.
type turn struct {
	*crew
	who    int
	at     *node
	client *client.Client
	rng    *rand.Rand
	slot   *slot

	has   bool
	thing thing
	data  []byte
	cred  client.Credential
	id    kms.CredentialID
}

// take looks what the slot holds. What has a long story, or too much of it open,
// makes way.
func (t *turn) take() {
	s := t.slot
	s.mu.Lock()
	defer s.mu.Unlock()
	t.thing = thing{s.kind, s.name}
	if s.has {
		all, open := t.history.size(t.thing)
		s.has = all < longStory && open < openStory
	}
	t.has, t.data, t.cred, t.id = s.has, s.data, s.cred, s.id
}

// put has the slot hold a thing, unless another worker was faster.
func (s *slot) put(name string, data []byte, cred client.Credential, id kms.CredentialID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.has {
		s.has, s.name, s.data, s.cred, s.id = true, name, data, cred, id
	}
}

// do makes a call and records what came of it. A call that only reads says nothing
// where it is not answered.
func (t *turn) do(x thing, c call, reads bool, f func(context.Context) (finding, error)) (done, open bool) {
	began := t.history.now()
	got, err := f(t.t.Context())
	if err != nil {
		got = finding{failed: true, err: kms.KindOf(err)}
	}
	if errors.Is(err, kms.Internal) && !broken(err) {
		t.domain.fail("%s %s at %s: %v", x.kind, c.what, t.at.name, err)
	}
	switch {
	case err == nil, !unanswered(err):
		t.history.add(t.who, x, c, began, got)
		t.mayLeave(got)
	case reads, errors.Is(err, syscall.ECONNREFUSED):
		t.history.dropped(x, c)
	default:
		open = true
		t.history.add(t.who, x, c, began, finding{unknown: true})
	}
	return err == nil, open
}

// mayLeave lets a thing that is gone make way for another one, after a few more
// calls that find it gone.
func (t *turn) mayLeave(f finding) {
	gone := t.slot.kind == "key" && f.is(kms.NotFound) || f.is(kms.Unauthenticated)
	if t.slot.mu.Lock(); gone && t.slot.name == t.thing.name && t.rng.IntN(6) == 0 {
		t.slot.has = false
	}
	t.slot.mu.Unlock()
}

// broken reports whether the connection broke, which the SDK's native calls take for
// an internal error of the node's.
func broken(err error) bool {
	for _, text := range []string{"connection reset", "broken pipe", "EOF"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// unanswered reports whether an error leaves open what happened. Denied is what the
// SDK says of a certificate from a node whose clock is wrong.
func unanswered(err error) bool {
	return errors.Is(err, kms.Internal) || errors.Is(err, kms.Unavailable) || errors.Is(err, kms.Stale) || errors.Is(err, kms.Denied)
}

// renew makes a new thing for the slot.
func (t *turn) renew() (open bool) {
	switch t.slot.kind {
	case "key":
		return t.newKey()
	case "alias":
		t.newAlias()
		return false
	}
	return t.newCredential()
}

// newKey makes a key. One that nobody was told of nobody uses.
func (t *turn) newKey() bool {
	began := t.history.now()
	d, err := t.client.Keys().Create(t.t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM})
	if err != nil {
		return unanswered(err)
	}
	x := thing{"key", d.ID.String()}
	t.history.add(t.who, x, call{what: "create"}, began, finding{})
	var data []byte
	t.do(x, call{what: "encrypt"}, true, func(ctx context.Context) (f finding, err error) {
		out, err := t.client.Keys().Encrypt(ctx, x.name, []byte(x.name), client.CipherOptions{})
		data = out.Data
		return finding{version: out.Key.Version}, err
	})
	if data != nil {
		t.slot.put(x.name, data, client.Credential{}, kms.CredentialID{})
	}
	return false
}

// newAlias has the slot be about a name that was never used. The one before goes:
// a key has few.
func (t *turn) newAlias() {
	if old := t.thing.name; old != "" {
		t.do(t.thing, call{what: "delete"}, false, func(ctx context.Context) (finding, error) { return finding{}, t.client.Keys().DeleteAlias(ctx, old) })
	}
	t.slot.put(fmt.Sprintf("alias/%016x", t.rng.Uint64()), nil, client.Credential{}, kms.CredentialID{})
}

// newCredential makes a credential. Those that nobody was told of are revoked where
// they are too many.
func (t *turn) newCredential() bool {
	began := t.history.now()
	made, err := t.client.CreateCredential(t.t.Context(), kms.CreateCredentialRequest{Permissions: kms.PermRead | kms.PermUse})
	if errors.Is(err, kms.Exhausted) {
		t.sweep()
	}
	if err != nil {
		return unanswered(err)
	}
	t.history.add(t.who, thing{"credential", made.ID.String()}, call{what: "create"}, began, finding{})
	t.slot.put(made.ID.String(), nil, client.Credential{AppID: t.domain.app.AppID, APIKey: made.APIKey}, made.ID)
	return false
}

// sweep revokes credentials that no slot holds. What was made just now may be on its
// way into one.
func (t *turn) sweep() {
	all, err := t.client.ListCredentials(t.t.Context())
	if err != nil {
		return
	}
	used := map[kms.CredentialID]bool{kms.CredentialID(t.domain.app.AppID): true}
	for _, s := range t.slots {
		s.mu.Lock()
		used[s.id] = true
		s.mu.Unlock()
	}
	for _, c := range all {
		if x := (thing{"credential", c.ID.String()}); !used[c.ID] && time.Since(c.Created) > 20*time.Second {
			revoke := func(ctx context.Context) (finding, error) { return finding{}, t.client.RevokeCredential(ctx, c.ID) }
			if recorded, _ := t.history.size(x); recorded > 0 {
				t.do(x, call{what: "revoke"}, false, revoke)
			} else {
				_, _ = revoke(t.t.Context())
			}
		}
	}
}
