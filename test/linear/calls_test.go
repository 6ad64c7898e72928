//go:build unix

package linear_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// keyCalls is how often each is made.
var keyCalls = weights{
	{"encrypt", 5}, {"decrypt", 3}, {"describe", 4}, {"disable", 5}, {"enable", 6}, {"rotate", 3}, {"schedule", 2}, {"cancel", 3}, {"delete", 1},
}

var aliasCalls = weights{{"resolve", 6}, {"create", 4}, {"update", 5}, {"delete", 3}}

var credentialCalls = weights{{"use", 14}, {"revoke", 1}}

type weights []struct {
	what   string
	weight int
}

// pick chooses one by a number.
func (w weights) pick(number func(int) int) string {
	sum := 0
	for _, x := range w {
		sum += x.weight
	}
	n := number(sum)
	for _, x := range w {
		if n -= x.weight; n < 0 {
			return x.what
		}
	}
	return ""
}

func (t *turn) onKey() (open bool) {
	c := call{what: keyCalls.pick(t.rng.IntN)}
	keys, name := t.client.Keys(), t.thing.name
	described := func(d kms.KeyDescription, err error) (finding, error) {
		return finding{version: d.Current, state: d.State}, err
	}
	_, open = t.do(t.thing, c, c.what == "describe" || c.what == "encrypt" || c.what == "decrypt", func(ctx context.Context) (finding, error) {
		switch c.what {
		case "encrypt":
			out, err := keys.Encrypt(ctx, name, []byte(name), client.CipherOptions{})
			return finding{version: out.Key.Version}, err
		case "decrypt":
			out, err := keys.Decrypt(ctx, name, t.data, client.CipherOptions{})
			if err == nil && !bytes.Equal(out.Data, []byte(name)) {
				t.domain.fail("key %s opened something else", name)
			}
			return finding{}, err
		case "disable":
			return finding{}, keys.Disable(ctx, name)
		case "enable":
			return finding{}, keys.Enable(ctx, name)
		case "delete":
			return finding{}, keys.Delete(ctx, name)
		case "rotate":
			return described(keys.Rotate(ctx, name))
		case "schedule":
			return described(keys.ScheduleDeletion(ctx, name, kms.MaxDeletionDays))
		case "cancel":
			return described(keys.CancelDeletion(ctx, name))
		}
		return described(keys.Describe(ctx, name))
	})
	return open
}

func (t *turn) onAlias() (open bool) {
	target := t.targets[t.rng.IntN(len(t.targets))].String()
	c := call{what: aliasCalls.pick(t.rng.IntN)}
	if c.what == "create" || c.what == "update" {
		c.target = target
	}
	keys, name := t.client.Keys(), t.thing.name
	_, open = t.do(t.thing, c, c.what == "resolve", func(ctx context.Context) (f finding, err error) {
		switch c.what {
		case "create":
			_, err = keys.CreateAlias(ctx, name, target)
		case "update":
			_, err = keys.UpdateAlias(ctx, name, target)
		case "delete":
			err = keys.DeleteAlias(ctx, name)
		default:
			var d kms.KeyDescription
			if d, err = keys.Describe(ctx, name); err == nil {
				f.target = d.ID.String()
			}
		}
		return f, err
	})
	return open
}

func (t *turn) onCredential() (open bool) {
	c := call{what: credentialCalls.pick(t.rng.IntN)}
	if c.what == "revoke" {
		_, open = t.do(t.thing, c, false, func(ctx context.Context) (finding, error) { return finding{}, t.client.RevokeCredential(ctx, t.id) })
		return open
	}
	caller := t.crew.client(t.at, t.cred, t.id)
	if caller == nil {
		return false
	}
	t.do(t.thing, c, true, func(ctx context.Context) (finding, error) {
		_, err := caller.Keys().Describe(ctx, t.targets[0].String())
		return finding{}, err
	})
	return false
}

// settle reads each thing that is worked on at every node: the last calls of the
// history, that show whether all nodes have come to the same end.
func (w *crew) settle() {
	for _, n := range w.domain.nodes {
		for _, s := range w.slots {
			c := w.client(n, w.domain.app, kms.CredentialID{})
			if c == nil {
				w.domain.fail("%s does not serve in the end", n.name)
				break
			}
			t := &turn{crew: w, who: int(w.next.Add(1)), at: n, client: c, rng: rand.New(rand.NewPCG(0, 0)), slot: s}
			if t.take(); t.has {
				w.settleOne(t)
			}
		}
	}
}

func (w *crew) settleOne(t *turn) {
	var err error
	t.do(t.thing, call{what: map[string]string{"key": "describe", "alias": "resolve", "credential": "use"}[t.slot.kind]}, true, func(ctx context.Context) (f finding, _ error) {
		c, name := t.client, t.thing.name
		if t.slot.kind == "credential" {
			if c = w.client(t.at, t.cred, t.id); c == nil {
				return f, kms.Errorf(kms.Unavailable, "the node does not serve")
			}
			name = t.targets[0].String()
		}
		var d kms.KeyDescription
		if d, err = c.Keys().Describe(ctx, name); err == nil {
			f = finding{version: d.Current, state: d.State, target: d.ID.String()}
		}
		return f, err
	})
	if err != nil && unanswered(err) && !errors.Is(err, kms.Denied) {
		w.domain.fail("%s does not answer in the end: %v", t.at.name, err)
	}
}
