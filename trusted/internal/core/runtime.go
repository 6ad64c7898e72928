package core

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	derived "github.com/holdfast-kms/holdfast/trusted/internal/runtimes"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// Runtimes is what the core serves attested runtimes with.
type Runtimes struct {
	Keys *derived.Keys
	// Self is what this node's own evidence proves: a policy says of whom whose
	// nodes may be asked.
	Self func() attest.Claims
	// Members shares the secrets of epochs with the other nodes of the domain; nil:
	// there are none.
	Members EpochMembers
}

// EpochMembers are the other nodes, as far as the secrets of epochs go.
type EpochMembers interface {
	// Makes reports whether it is for this node to make them.
	Makes() bool
	// Share hands a proposed secret to the others, before it is published.
	Share(ctx context.Context, view *state.View, epoch uint64)
	// Fetch takes the secret of an epoch that was published from another node.
	Fetch(ctx context.Context, view *state.View, e state.Ephemeral) error
}

// RuntimePublicKey is the public half of a runtime's key pair, signed, for anyone:
// of a runtime that the policy in force lists for this node. The errors are
// Invalid (also an epoch that has not begun), NotFound (runtime, generation, an
// epoch without a secret), Disabled (a retired generation), Expired (the epoch is past its age), Exhausted and
// Unavailable.
func (c *Core) RuntimePublicKey(ctx context.Context, r kms.RuntimeKeyRequest) (p kms.RuntimePublicKey, err error) {
	view, err := c.served(ctx)
	if err != nil {
		return p, err
	}
	now := c.now(view)
	if !slices.Contains(c.listed(view, now), r.Runtime) {
		return p, kms.Errorf(kms.NotFound, "the policy in force lists no such runtime").WithField("runtime")
	}
	f, err := c.find(view, r, now)
	if err != nil {
		return p, err
	}
	p = vouch(view, f)
	err = c.withPair(ctx, c.slow.serve, f, func(pair *derived.Pair) error {
		p.Public = pair.Public
		return c.cfg.Runtimes.Keys.Sign(&p)
	})
	return p, err
}

// RuntimeSigningKeys are the public halves of the keys that sign, oldest first,
// those of retired generations too: what they signed can still be verified. The
// error is Unavailable.
func (c *Core) RuntimeSigningKeys(ctx context.Context) (all []kms.RuntimeSigningKey, err error) {
	view, err := c.served(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range view.Generations() {
		k := kms.RuntimeSigningKey{Generation: g.Number, Retired: g.Retired != 0}
		copy(k.Public[:], g.SigningKey)
		copy(k.Checksum[:], g.Checksum)
		all = append(all, k)
	}
	return all, nil
}

// RuntimeKeys hands a runtime one of its key pairs. The caller is an attested
// session of a program that the policy in force lists for the runtime, in the
// entry of this node: it is judged at every request. The errors are Denied, and
// those of RuntimePublicKey.
func (c *Caller) RuntimeKeys(ctx context.Context, r kms.RuntimeKeyRequest) (k kms.RuntimeKeys, err error) {
	if err := c.mayQuery(r.Runtime); err != nil {
		return k, err
	}
	f, err := c.core.find(c.view, r, c.core.now(c.view))
	if err != nil {
		return k, err
	}
	err = c.core.withPair(ctx, c.core.slow.use, f, func(pair *derived.Pair) error {
		k = kms.RuntimeKeys{RuntimeKey: f.key, Domain: c.view.Founding().Domain, Public: pair.Public, Expires: f.until}
		return pair.Use(func(private, state []byte) error {
			k.Private, k.State = append(k.Private, private...), append(k.State, state...)
			return nil
		})
	})
	return k, err
}

// RuntimeDecrypt opens what was sealed to a runtime, for that runtime; the
// private key stays inside. The errors are those of RuntimeKeys, TooLarge and
// DecryptFailed.
func (c *Caller) RuntimeDecrypt(ctx context.Context, r kms.RuntimeDecryptRequest) (plain []byte, err error) {
	if err := c.mayQuery(r.Runtime); err != nil {
		return nil, err
	}
	key, body, err := kms.ParseRuntimeSealed(r.Sealed)
	if err != nil {
		return nil, err
	}
	key.Runtime = r.Runtime
	f, err := c.core.find(c.view, kms.RuntimeKeyRequest{RuntimeKey: key}, c.core.now(c.view))
	if err != nil {
		return nil, err
	}
	err = c.core.withPair(ctx, c.core.slow.use, f, func(pair *derived.Pair) error {
		plain, err = pair.Open(key.SealedInfo(c.view.Founding().Domain), body)
		return err
	})
	return plain, err
}

// RuntimeMAC authenticates a message under the state key of a runtime's pair, for
// that runtime. The errors are those of RuntimeKeys, and TooLarge.
func (c *Caller) RuntimeMAC(ctx context.Context, r kms.RuntimeMACRequest) (m kms.RuntimeMAC, err error) {
	if err := c.mayQuery(r.Runtime); err != nil {
		return m, err
	}
	if err := checkSize("message", len(r.Message), kms.MaxRuntimeMessage); err != nil {
		return m, err
	}
	f, err := c.core.find(c.view, r.RuntimeKeyRequest, c.core.now(c.view))
	if err != nil {
		return m, err
	}
	err = c.core.withPair(ctx, c.core.slow.use, f, func(pair *derived.Pair) error {
		m.RuntimeKey = f.key
		m.MAC, err = pair.MAC(r.Message)
		return err
	})
	return m, err
}

// mayQuery asks the policy that is in force now, by what the caller proved. Who
// is not listed hears nothing else of the runtime.
func (c *Caller) mayQuery(runtime string) error {
	if c.workload == nil {
		return kms.Errorf(kms.Denied, "a runtime's keys are for attested sessions alone").
			WithHint("open a session from inside the runtime's TEE")
	}
	return c.view.Policy().MayQuery(c.core.cfg.Runtimes.Self(), runtime, c.workload.Claims, c.core.now(c.view))
}

// listed are the runtimes whose keys the policy in force lets any program ask
// this node for.
func (c *Core) listed(view *state.View, now time.Time) (names []string) {
	for _, n := range view.Policy().Entries(c.cfg.Runtimes.Self(), now) {
		for _, r := range n.MayQuery {
			names = append(names, r.Runtime)
		}
	}
	return names
}

// served is the newest state, where this node may serve.
func (c *Core) served(ctx context.Context) (*state.View, error) {
	view, err := c.cfg.Replica.View(ctx)
	if err != nil {
		return nil, err
	}
	return view, c.cfg.Serving(view, c.now(view))
}

// found is a key pair that there is.
type found struct {
	key       kms.RuntimeKey
	ephemeral state.Ephemeral // zero for a long-term pair
	until     time.Time       // of an ephemeral one
}

// find says which pair is meant, and that it may be used now.
func (c *Core) find(view *state.View, r kms.RuntimeKeyRequest, now time.Time) (f found, err error) {
	f.key = r.RuntimeKey
	if !r.Ephemeral {
		if r.Latest {
			f.key.Period = uint64(view.Generation())
		}
		if err := f.key.Validate(); err != nil {
			return f, err
		}
		return f, inUse(view, f.key.Period)
	}
	epoch := view.Calendar().At(now)
	if r.Latest {
		f.key.Period = epoch
	}
	if err := f.key.Validate(); err != nil {
		return f, err
	}
	if f.key.Period > epoch {
		return f, kms.Errorf(kms.Invalid, "epoch %d has not begun: it is epoch %d", f.key.Period, epoch).WithField("epoch")
	}
	e, published := view.Ephemeral(f.key.Period)
	if !published {
		return f, unpublished(view, f.key.Period, epoch, now)
	}
	f.ephemeral, f.until = e, view.Until(e).Truncate(time.Second)
	if !now.Before(f.until) {
		return f, errPast(e.Epoch)
	}
	return f, nil
}

// unpublished says why an epoch that has begun has no secret.
func unpublished(view *state.View, epoch, current uint64, now time.Time) error {
	if epoch == current {
		return kms.Errorf(kms.Unavailable, "the secret of epoch %d is being made", epoch).WithField("epoch").WithHint("try again in a second")
	}
	if ends := view.Calendar().Ends(epoch); now.Before(view.Until(state.Ephemeral{Ends: ends})) {
		return kms.Errorf(kms.NotFound, "epoch %d had no secret: no member was up", epoch).WithField("epoch")
	}
	return errPast(epoch)
}

func errPast(epoch uint64) error {
	return kms.Errorf(kms.Expired, "the secret of epoch %d is past the age that the policy allows", epoch).WithField("epoch")
}

// inUse refuses a generation that there is not, or not any more.
func inUse(view *state.View, generation uint64) error {
	switch {
	case generation >= uint64(len(view.Generations())):
		return kms.Errorf(kms.NotFound, "there is no generation %d", generation).WithField("generation")
	case !view.InUse(uint32(generation)):
		return kms.Errorf(kms.Disabled, "generation %d was retired", generation).WithField("generation")
	}
	return nil
}

// vouch begins the statement about a pair that is signed.
func vouch(view *state.View, f found) kms.RuntimePublicKey {
	p := kms.RuntimePublicKey{RuntimeKey: f.key, Expires: f.until, Generation: view.Generation(), Checksum: f.ephemeral.Checksum}
	if !f.key.Ephemeral {
		p.Generation = uint32(f.key.Period)
		copy(p.Checksum[:], view.Generations()[p.Generation].Checksum)
	}
	return p
}

// withPair lends a pair. It waits its turn, in one of the pool's lines: strangers
// ask for pairs too, and each takes some 100 µs.
func (c *Core) withPair(ctx context.Context, line func(context.Context, func() error) error, f found, use func(*derived.Pair) error) error {
	return line(ctx, func() error {
		pair, err := c.pair(f)
		if err != nil {
			return err
		}
		defer pair.Wipe()
		return use(pair)
	})
}

func (c *Core) pair(f found) (*derived.Pair, error) {
	if f.key.Ephemeral {
		return c.cfg.Runtimes.Keys.Ephemeral(f.key, f.ephemeral.Checksum)
	}
	return c.cfg.Runtimes.Keys.LongTerm(f.key)
}

// TurnEpoch sees to the secrets of epochs: those past their age are cleared, and
// one is made and published for the epoch that it is, and for the next one when
// that is near, where they have none. Where the policy in force lists no runtime
// none is made. The errors are those of Propose.
func (c *Core) TurnEpoch(ctx context.Context) error {
	view, err := c.served(ctx)
	if err != nil {
		return err
	}
	now, calendar := c.now(view), view.Calendar()
	epoch := calendar.At(now)
	c.cfg.Runtimes.Keys.Keep(func(e uint64) bool {
		published, there := view.Ephemeral(e)
		if !there {
			return e >= epoch // may be on its way
		}
		return now.Before(view.Until(published))
	})
	c.settleEpochs(ctx, view)
	if len(c.listed(view, now)) == 0 || c.cfg.Runtimes.Members != nil && !c.cfg.Runtimes.Members.Makes() {
		return nil
	}
	err = c.publishEpoch(ctx, view, epoch)
	if calendar.Ends(epoch).Sub(now) <= ahead(calendar.Length) {
		err = errors.Join(err, c.publishEpoch(ctx, view, epoch+1))
	}
	return err
}

// ahead is how long before an epoch begins its secret is made: so late, because
// a domain whose only node restarts meanwhile has lost it.
func ahead(length time.Duration) time.Duration { return min(length/4, time.Minute) }

// publishEpoch proposes a secret for an epoch that has none, and takes up what
// was published for one that has.
func (c *Core) publishEpoch(ctx context.Context, view *state.View, epoch uint64) error {
	keys := c.cfg.Runtimes.Keys
	if _, there := view.Ephemeral(epoch); !there {
		sum, err := keys.Propose(epoch)
		if err != nil {
			return err
		}
		if c.cfg.Runtimes.Members != nil {
			c.cfg.Runtimes.Members.Share(ctx, view, epoch)
		}
		cmd := c.command(c.now(view).UnixNano())
		cmd.Op = &command.Command_PutEphemeral{PutEphemeral: &command.PutEphemeral{Epoch: epoch, Checksum: sum[:]}}
		if _, err := c.cfg.Replica.Propose(ctx, cmd); err != nil && !errors.Is(err, kms.Exists) {
			return err
		}
		if view, err = c.cfg.Replica.Local(); err != nil {
			return err
		}
	}
	if e, there := view.Ephemeral(epoch); there {
		keys.Settle(epoch, e.Checksum)
	}
	return nil
}

// settleEpochs takes up the secrets that were published, and has those that this
// node lacks handed over by another. One that nobody has any more is gone.
func (c *Core) settleEpochs(ctx context.Context, view *state.View) {
	for _, e := range view.LivingEphemerals(c.now(view)) {
		c.cfg.Runtimes.Keys.Settle(e.Epoch, e.Checksum)
		if c.cfg.Runtimes.Members != nil && !c.cfg.Runtimes.Keys.Held(e.Epoch) {
			_ = c.cfg.Runtimes.Members.Fetch(ctx, view, e) // it is tried again
		}
	}
}
