package server_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A world is a node's clients and all that they know: what was acknowledged,
// and what was asked for and may have happened all the same. Its fields are
// exported so that it can be handed to another process.
type world struct {
	Tenants   []*tenant
	StrayApps int // enrolments that may have happened

	node *trustedtest.Node
}

type tenant struct {
	ID        kms.AppID
	APIKey    string
	Keys      []*keyFacts
	StrayKeys int // creations that may have happened

	app *trustedtest.App
}

// keyFacts is what a client knows of a key.
type keyFacts struct {
	ID    kms.KeyID
	Spec  kms.Spec
	State kms.KeyState   // Destroyed: it was deleted
	Maybe []kms.KeyState // it may be in one of these as well
	Data  []byte         // what it encrypted, or its signature of the plaintext
	DER   []byte         // its public half
}

func (k *keyFacts) plaintext() []byte { return []byte("plaintext of " + k.ID.String()) }

// on moves the world to a node. Nothing is asked of it yet.
func (w *world) on(n *trustedtest.Node) {
	w.node = n
	for _, x := range w.Tenants {
		x.app = n.App(x.ID, x.APIKey)
	}
}

// clone copies the world; only what changes is copied deeply.
func (w *world) clone() *world {
	c := *w
	c.Tenants = nil
	for _, x := range w.Tenants {
		y := *x
		y.Keys = nil
		for _, k := range x.Keys {
			l := *k
			l.Maybe = slices.Clone(k.Maybe)
			y.Keys = append(y.Keys, &l)
		}
		c.Tenants = append(c.Tenants, &y)
	}
	return &c
}

// A deed is something a client asks for. An error means that it was not
// acknowledged.
type deed struct {
	name string
	do   func(*world) error
}

func enrolDeed() deed {
	return deed{"enrol", func(w *world) error {
		e, err := w.node.Core().Enrol(ctx)
		if err != nil {
			w.StrayApps++
			return err
		}
		w.Tenants = append(w.Tenants, &tenant{ID: e.App, APIKey: e.APIKey, app: w.node.App(e.App, e.APIKey)})
		return nil
	}}
}

// createDeed makes a key and uses it once. A use that fails is made up for by
// learn, later.
func createDeed(t int, s kms.Spec) deed {
	return deed{fmt.Sprintf("create %v for tenant %d", s, t), func(w *world) error {
		x, err := w.tenant(t)
		if err != nil {
			return err
		}
		c, err := x.app.Caller()
		if err != nil {
			return err
		}
		created, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: s, Origin: kms.Generated})
		if err != nil {
			x.StrayKeys++
			return err
		}
		k := &keyFacts{ID: created.ID, Spec: s, State: kms.Enabled}
		x.Keys = append(x.Keys, k)
		return x.learn(k)
	}}
}

// learn uses a key for the first time, so that it can be seen later to be the same.
func (x *tenant) learn(k *keyFacts) error {
	c, err := x.app.Caller()
	if err != nil {
		return err
	}
	ref := kms.KeyRef{ID: k.ID}
	if k.Spec == kms.AES256GCM {
		out, err := c.Encrypt(ctx, kms.EncryptRequest{Key: ref, Plaintext: k.plaintext(), Layout: kms.LayoutEHSM})
		k.Data = out.Data
		return err
	}
	sig, err := c.Sign(ctx, kms.SignRequest{Key: ref, Input: kms.SigningInput{Message: k.plaintext()}})
	if err != nil {
		return err
	}
	pub, err := x.app.Caller()
	if err != nil {
		return err
	}
	public, err := pub.PublicKey(ctx, ref)
	if err == nil {
		k.Data, k.DER = sig.Data, public.DER
	}
	return err
}

// stateDeed enables, disables or deletes a key; key -1 is the newest one.
func stateDeed(t, key int, to kms.KeyState) deed {
	return deed{fmt.Sprintf("make key %d of tenant %d %v", key, t, to), func(w *world) error {
		x, k, err := w.key(t, key)
		if err != nil {
			return err
		}
		c, err := x.app.Caller()
		if err != nil {
			return err
		}
		if to == kms.Destroyed {
			err = c.DeleteKey(ctx, k.ID)
		} else {
			err = c.SetKeyEnabled(ctx, k.ID, to == kms.Enabled)
		}
		if err != nil {
			k.Maybe = append(k.Maybe, to)
			return err
		}
		k.State = to
		return nil
	}}
}

// errNotThere is given where a deed needs what an earlier one did not get done.
var errNotThere = kms.Errorf(kms.Unavailable, "there is no such tenant or key")

func (w *world) tenant(i int) (*tenant, error) {
	if i >= len(w.Tenants) {
		return nil, errNotThere
	}
	return w.Tenants[i], nil
}

func (w *world) key(t, i int) (*tenant, *keyFacts, error) {
	x, err := w.tenant(t)
	if err != nil {
		return nil, nil, err
	}
	if i < 0 {
		i += len(x.Keys)
	}
	if i < 0 || i >= len(x.Keys) {
		return nil, nil, errNotThere
	}
	return x, x.Keys[i], nil
}

// settle compares the world with its node and says what does not hold. What
// may have happened is then known: it is what is there, and stays so.
func (w *world) settle() error {
	st := w.node.Server().Status()
	if !st.Ready {
		return fmt.Errorf("node is not ready: %s", st.Reason)
	}
	if n := len(w.Tenants); st.Apps < n || st.Apps > n+w.StrayApps {
		return fmt.Errorf("there are %d apps, %d were acknowledged and %d may be more", st.Apps, n, w.StrayApps)
	}
	keys := 0
	for i, x := range w.Tenants {
		if err := x.settle(); err != nil {
			return fmt.Errorf("tenant %d: %w", i, err)
		}
		keys += x.alive()
	}
	if st.Keys != keys {
		return fmt.Errorf("the node counts %d keys, its clients %d", st.Keys, keys)
	}
	w.StrayApps = st.Apps - len(w.Tenants)
	return nil
}

func (x *tenant) alive() (n int) {
	for _, k := range x.Keys {
		if k.State != kms.Destroyed {
			n++
		}
	}
	return n
}

// list is the tenant's keys as the node lists them.
func (x *tenant) list() ([]kms.Key, error) {
	c, err := x.app.Caller()
	if err != nil {
		return nil, err
	}
	page, err := c.ListKeys(ctx, kms.ListKeysRequest{})
	return page.Keys, err
}

func (x *tenant) settle() error {
	listed, err := x.list()
	if err != nil {
		return err
	}
	for _, k := range x.Keys {
		i := slices.IndexFunc(listed, func(l kms.Key) bool { return l.ID == k.ID })
		found := kms.Destroyed
		if i >= 0 {
			found = listed[i].State
			listed = slices.Delete(listed, i, i+1)
		}
		if found != k.State && !slices.Contains(k.Maybe, found) {
			return fmt.Errorf("key %v is %v, acknowledged was %v (or, perhaps, %v)", k.ID, found, k.State, k.Maybe)
		}
		k.State, k.Maybe = found, nil
		if err := x.works(k); err != nil {
			return fmt.Errorf("key %v, %v: %w", k.ID, k.State, err)
		}
	}
	if len(listed) > x.StrayKeys {
		return fmt.Errorf("%d keys nobody knows of, only %d may be", len(listed), x.StrayKeys)
	}
	x.StrayKeys = 0
	for _, l := range listed { // not acknowledged, but there: then all of it must be
		k := &keyFacts{ID: l.ID, Spec: l.Spec, State: l.State}
		if err := x.learn(k); err != nil {
			return fmt.Errorf("key %v, which was not acknowledged, is half there: %w", k.ID, err)
		}
		x.Keys = append(x.Keys, k)
	}
	return nil
}

// works makes sure that a key does what its state allows, and as before.
func (x *tenant) works(k *keyFacts) error {
	if k.Data == nil && k.State == kms.Enabled {
		return x.learn(k)
	}
	err := x.use(k)
	want := map[kms.KeyState]error{kms.KeyDisabled: kms.Disabled, kms.Destroyed: kms.NotFound}[k.State]
	if !errors.Is(err, want) {
		return fmt.Errorf("using it: %w, want %v", err, want)
	}
	return nil
}

// use opens what the key sealed, or verifies what it signed.
func (x *tenant) use(k *keyFacts) error {
	c, err := x.app.Caller()
	if err != nil {
		return err
	}
	ref := kms.KeyRef{ID: k.ID}
	if k.Spec == kms.AES256GCM {
		out, err := c.Decrypt(ctx, kms.DecryptRequest{Key: ref, Data: k.Data, Layout: kms.LayoutEHSM})
		if err == nil && !bytes.Equal(out.Data, k.plaintext()) {
			return errors.New("opened to something else")
		}
		return err
	}
	v, err := c.Verify(ctx, kms.VerifyRequest{Key: ref, Input: kms.SigningInput{Message: k.plaintext()}, Signature: k.Data})
	if err == nil && !v.Valid {
		return errors.New("its signature does not verify")
	}
	return err
}

// lists is everything that the node tells of everyone's keys.
func (w *world) lists() ([][]kms.Key, error) {
	var all [][]kms.Key
	for _, x := range w.Tenants {
		l, err := x.list()
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// exactly is settle for a world in which nothing is left open, and compares
// all that is listed too.
func (w *world) exactly(want [][]kms.Key) error {
	for _, x := range w.Tenants {
		if x.StrayKeys+w.StrayApps > 0 {
			return errors.New("test: something is left open")
		}
	}
	if err := w.settle(); err != nil {
		return err
	}
	got, err := w.lists()
	if err != nil {
		return err
	}
	if d := cmp.Diff(want, got); d != "" {
		return fmt.Errorf("listed keys (-want +got):\n%.1000s", d)
	}
	return nil
}

// must does deeds that must be acknowledged.
func (w *world) must(t testing.TB, deeds ...deed) {
	t.Helper()
	for _, d := range deeds {
		if err := d.do(w); err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
	}
}

// fileOf is the file that an error names, or "".
func fileOf(err error) string {
	for err != nil {
		var e *kms.Error
		if !errors.As(err, &e) {
			return ""
		}
		if e.File != "" {
			return e.File
		}
		err = e.Err
	}
	return ""
}

// tail is the end of a long text.
func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
