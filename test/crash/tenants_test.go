package crash_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

var ctx = context.Background()

// A tenant is an app, and what was acknowledged to its workers.
type tenant struct {
	cred    client.Credential
	client  *client.Client // to the process that runs
	workers []*worker
}

// A worker does one thing after another with keys of its own, so that it knows
// what was acknowledged, and that one thing at most was under way.
type worker struct {
	name     string
	rng      *rand.Rand
	keys     []*key
	creating bool // a key, when the node was killed
	acked    int
}

// A key as its worker knows it.
type key struct {
	id    kms.KeyID
	spec  kms.Spec
	state kms.KeyState // Destroyed: it was deleted
	under kms.KeyState // it was on its way to this state when the node was killed; 0: it was not
	data  []byte       // what it encrypted, or its signature of the plaintext
	der   []byte
}

func (k *key) plaintext() []byte { return []byte("plaintext of " + k.id.String()) }

// keysPerWorker bounds how many keys a worker keeps.
const keysPerWorker = 30

// connect makes clients for a process.
func connect(t *testing.T, h home, url string, tenants []*tenant) {
	t.Helper()
	for _, x := range tenants {
		x.hangUp()
		x.client = newClient(t, h, url, x.cred)
	}
}

// hangUp closes the tenant's connections, also those that carried nothing yet:
// net/http waits seconds for them when it is asked to stop.
func (x *tenant) hangUp() {
	if x.client != nil {
		x.client.Close()
	}
}

func newClient(t *testing.T, h home, url string, cred client.Credential) *client.Client {
	t.Helper()
	ca, err := os.ReadFile(h.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: url, CA: ca, AppID: cred.AppID, APIKey: cred.APIKey, Retries: -1, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func enrol(t *testing.T, h home, url string, workers int, rng *rand.Rand) *tenant {
	t.Helper()
	cred, err := newClient(t, h, url, client.Credential{}).Enroll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	x := &tenant{cred: cred}
	for i := range workers {
		name := fmt.Sprintf("worker %d of %v", i, cred.AppID)
		x.workers = append(x.workers, &worker{name: name, rng: rand.New(rand.NewPCG(rng.Uint64(), uint64(i)))})
	}
	return x
}

// A shift is the work on one process, until that is killed.
type shift struct {
	killed atomic.Bool // or about to be
	acked  atomic.Int64
	wg     sync.WaitGroup

	mu   sync.Mutex
	errs []error
}

// work lets all workers work until the node is killed. It returns at once.
func work(tenants []*tenant) *shift {
	s := &shift{}
	for _, x := range tenants {
		for _, w := range x.workers {
			s.wg.Go(func() { s.run(x.client, w) })
		}
	}
	return s
}

func (s *shift) run(c *client.Client, w *worker) {
	for {
		err := w.act(c)
		if err == nil {
			s.acked.Add(1)
			continue
		}
		if !s.killed.Load() || !errors.Is(err, kms.Unavailable) {
			s.mu.Lock()
			s.errs = append(s.errs, fmt.Errorf("%s: %w", w.name, err))
			s.mu.Unlock()
		}
		return
	}
}

// end waits for the workers of a node that was killed. An error before the
// kill, or another one than the kill explains, is a failure.
func (s *shift) end(t *testing.T) {
	t.Helper()
	s.wg.Wait()
	for _, err := range s.errs {
		t.Error(err)
	}
}

// act does one thing.
func (w *worker) act(c *client.Client) error {
	w.acked++
	if len(w.keys) == 0 {
		return w.create(c)
	}
	k := w.keys[w.rng.IntN(len(w.keys))]
	switch dice := w.rng.IntN(10); {
	case dice < 3 && len(w.keys) < keysPerWorker:
		return w.create(c)
	case dice < 4 || len(w.keys) >= keysPerWorker:
		return w.move(c, k, kms.Destroyed)
	case dice < 6:
		return w.move(c, k, kms.KeyDisabled)
	case dice < 8:
		return w.move(c, k, kms.Enabled)
	default:
		return k.works(c)
	}
}

func (w *worker) create(c *client.Client) error {
	spec := []kms.Spec{kms.AES256GCM, kms.AES256GCM, kms.ECP256}[w.rng.IntN(3)]
	w.creating = true
	id, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: spec})
	if err != nil {
		return err
	}
	w.creating = false
	k := &key{id: id, spec: spec, state: kms.Enabled}
	w.keys = append(w.keys, k)
	return k.learn(c)
}

// move enables, disables or deletes a key.
func (w *worker) move(c *client.Client, k *key, to kms.KeyState) error {
	k.under = to
	var err error
	switch to {
	case kms.Destroyed:
		err = c.DeleteKey(ctx, k.id)
	case kms.Enabled:
		err = c.EnableKey(ctx, k.id)
	default:
		err = c.DisableKey(ctx, k.id)
	}
	if err != nil {
		return err
	}
	k.state, k.under = to, 0
	w.forgetDeleted()
	return nil
}

// forgetDeleted drops deleted keys: any that comes back is one that nobody knows of.
func (w *worker) forgetDeleted() {
	w.keys = slices.DeleteFunc(w.keys, func(k *key) bool { return k.state == kms.Destroyed })
}

// learn uses a key for the first time, so that it can be seen later to be the same.
func (k *key) learn(c *client.Client) error {
	if k.spec == kms.AES256GCM {
		data, err := c.Encrypt(ctx, k.id, k.plaintext(), []byte("aad"))
		k.data = data
		return err
	}
	sig, err := c.Sign(ctx, k.id, kms.SigningInput{Message: k.plaintext(), Digest: kms.SHA256})
	if err != nil {
		return err
	}
	public, err := c.PublicKey(ctx, k.id)
	if err == nil {
		k.data, k.der = sig, public.DER
	}
	return err
}

// works makes sure that a key does what its state allows, and as before.
func (k *key) works(c *client.Client) error {
	if k.data == nil && k.state == kms.Enabled {
		return k.learn(c)
	}
	err := k.use(c)
	if want := map[kms.KeyState]error{kms.KeyDisabled: kms.Disabled}[k.state]; !errors.Is(err, want) {
		return fmt.Errorf("key %v, %v: got %w, want %v", k.id, k.state, err, want)
	}
	return nil
}

// use opens what the key sealed. A signature is verified here, with the public
// key as it was told then, and the key must make another good one.
func (k *key) use(c *client.Client) error {
	if k.spec == kms.AES256GCM {
		plain, err := c.Decrypt(ctx, k.id, k.data, []byte("aad"))
		if err == nil && !bytes.Equal(plain, k.plaintext()) {
			return errors.New("opened to something else")
		}
		return err
	}
	sig, err := c.Sign(ctx, k.id, kms.SigningInput{Message: k.plaintext(), Digest: kms.SHA256})
	if err != nil {
		return err
	}
	public, err := x509.ParsePKIXPublicKey(k.der)
	if err != nil {
		return err
	}
	digest := sha256.Sum256(k.plaintext())
	for _, s := range [][]byte{sig, k.data} {
		if !ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), digest[:], s) {
			return errors.New("signature does not verify")
		}
	}
	return nil
}

// settle compares all that was acknowledged with the node: every key is there,
// in its state, and works as before. What was under way may have happened; it
// is then known, and must be all there.
func settle(t *testing.T, tenants []*tenant) (checked int) {
	t.Helper()
	for _, x := range tenants {
		listed, err := x.client.ListKeys(ctx)
		if err != nil {
			t.Fatalf("listing: %v", err)
		}
		checked += len(listed)
		for _, w := range x.workers {
			listed = w.settle(t, listed)
		}
		x.adopt(t, listed)
		x.useAll(t)
	}
	return checked
}

// settle takes the worker's keys from the list and returns the rest.
func (w *worker) settle(t *testing.T, listed []client.Key) []client.Key {
	t.Helper()
	for _, k := range w.keys {
		found := kms.Destroyed
		if i := slices.IndexFunc(listed, func(l client.Key) bool { return l.ID == k.id }); i >= 0 {
			found = listed[i].State
			if listed[i].Spec != k.spec {
				t.Errorf("key %v became a %v", k.id, listed[i].Spec)
			}
			listed = slices.Delete(listed, i, i+1)
		}
		if found != k.state && found != k.under {
			t.Errorf("key %v is %v; acknowledged was %v, under way %v", k.id, found, k.state, k.under)
		}
		k.state, k.under = found, 0
	}
	w.forgetDeleted()
	return listed
}

// adopt gives keys that nobody was told of to a worker that was waiting for one.
func (x *tenant) adopt(t *testing.T, strangers []client.Key) {
	t.Helper()
	for _, w := range x.workers {
		if w.creating && len(strangers) > 0 {
			l := strangers[0]
			strangers = strangers[1:]
			w.keys = append(w.keys, &key{id: l.ID, spec: l.Spec, state: l.State})
		}
		w.creating = false
	}
	for _, l := range strangers {
		t.Errorf("key %v: nobody asked for it, or it was deleted", l.ID)
	}
}

func (x *tenant) useAll(t *testing.T) {
	t.Helper()
	var wg sync.WaitGroup
	for _, w := range x.workers {
		wg.Go(func() {
			for _, k := range w.keys {
				if err := k.works(x.client); err != nil {
					t.Errorf("%s: %v", w.name, err)
				}
			}
		})
	}
	wg.Wait()
}
