package state_test

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

func setPolicy(envelope []byte) *command.Command {
	return &command.Command{Op: &command.Command_SetPolicy{SetPolicy: &command.SetPolicy{Envelope: envelope}}}
}

// TestPolicySuccession: what govern refuses, Apply refuses too, and the policy
// in force stays.
func TestPolicySuccession(t *testing.T) {
	m := newMachine(t)
	r := m.rulers
	first := m.View().Policy()
	stranger := r.Signers[2:]
	next := *first
	next.Domain, next.Previous, next.Serial = r.Founding.Domain, first.Digest(), 2
	payload := next.Canonical()
	two := r.Signers[:2]
	for name, c := range map[string][]byte{
		"one signature short": r.Sign(govern.PolicyType, payload, r.Owner, r.Signers[0]),
		"without the owner":   r.Sign(govern.PolicyType, payload, two...),
		"the same twice":      r.Sign(govern.PolicyType, payload, r.Owner, r.Signers[0], r.Signers[0]),
		"an outsider":         r.Sign(govern.PolicyType, payload, r.Owner, r.Operator, stranger[0]),
		"another type":        r.Sign(govern.BootstrapType, payload, r.Owner, two[0], two[1]),
		"garbage":             []byte("{}"),
		"policy 1 again":      m.View().Rule().Envelope,
	} {
		if res := m.do(nil, setPolicy(c)); res.Err == nil {
			t.Errorf("%s: accepted", name)
		}
		if m.View().Policy() != first {
			t.Fatalf("%s: the policy changed", name)
		}
	}
	m.must(m.do(nil, setPolicy(r.Next(nil))))
	if got := m.View().Policy().Serial; got != 2 {
		t.Errorf("serial %d is in force", got)
	}
}

// TestScheduledPolicy comes into force at its time, at the first command that
// brings it, and survives a snapshot before and after.
func TestScheduledPolicy(t *testing.T) {
	m := newMachine(t)
	at := time.Unix(0, m.time).Add(time.Hour).UTC().Truncate(time.Second)
	m.must(m.do(nil, setPolicy(m.rulers.Next(func(p *govern.Policy) { p.Activates = at }))))
	if got := m.View().Policy().Serial; got != 1 {
		t.Fatalf("serial %d is in force before its time", got)
	}
	if res := m.do(nil, setPolicy(m.rulers.Next(nil))); res.Err == nil || res.Err.Kind != kms.Conflict {
		t.Errorf("a third while the second waits: %v", res.Err)
	}
	again := restored(t, m.Machine)
	for name, machine := range map[string]*state.Machine{"as it is": m.Machine, "restored": again} {
		tick(t, machine, m.index+1, at.UnixNano())
		if got := machine.View().Policy().Serial; got != 2 {
			t.Errorf("%s: serial %d is in force after its time", name, got)
		}
	}
	if got := restored(t, again).View().Policy().Serial; got != 2 {
		t.Errorf("restored again: serial %d", got)
	}
}

// TestSimulated: a policy that takes simulated evidence marks the domain for good.
func TestSimulated(t *testing.T) {
	m := newMachine(t)
	if !m.View().Simulated() {
		t.Fatal("policy 1 takes simulated evidence")
	}
	m.must(m.do(nil, setPolicy(m.rulers.Next(func(p *govern.Policy) { p.Attestation = govern.Requirements{} }))))
	if !m.View().Simulated() || !restored(t, m.Machine).View().Simulated() {
		t.Error("forgotten with the policy")
	}
}

func tick(t *testing.T, m *state.Machine, index uint64, at int64) {
	t.Helper()
	data, err := proto.Marshal(&command.Command{Id: id(9_000_000 + index), Time: at, Op: &command.Command_Tick{Tick: &command.Tick{}}})
	if err != nil {
		t.Fatal(err)
	}
	if r := m.Apply(index, data); r.Err != nil {
		t.Fatal(r.Err)
	}
	m.Publish()
}

func restored(t *testing.T, m *state.Machine) *state.Machine {
	t.Helper()
	var b bytes.Buffer
	if err := m.Snapshot().Write(&b); err != nil {
		t.Fatal(err)
	}
	out := state.New()
	if err := out.Restore(&b); err != nil {
		t.Fatal(err)
	}
	return out
}

func setAmendment(envelope []byte) *command.Command {
	return &command.Command{Op: &command.Command_SetAmendment{SetAmendment: &command.SetAmendment{Envelope: envelope}}}
}

// amendment is the next one, as edit changes it, signed by these keys.
func (m *machine) amendment(edit func(*govern.Amendment), keys ...*govern.PrivateKey) []byte {
	m.t.Helper()
	r := m.View().Rule()
	a := r.Standing.DraftAmendment(r.Policy)
	edit(a)
	return m.rulers.Sign(govern.AmendmentType, a.Canonical(), keys...)
}

func newKey(t *testing.T) *govern.PrivateKey {
	t.Helper()
	k, err := govern.NewPrivateKey(govern.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// exchange puts another key in the place of the last signer's.
func exchange(k *govern.PrivateKey) func(*govern.Amendment) {
	return func(a *govern.Amendment) { a.Signers[len(a.Signers)-1] = k.Public() }
}

// TestAmendments: what govern refuses, Apply refuses, and who rules stays.
func TestAmendments(t *testing.T) {
	m := newMachine(t)
	r, fresh, stranger := m.rulers, newKey(t), newKey(t)
	one, two, owner := r.Signers[0], r.Signers[1], r.Owner
	before := m.View().Rule()
	for name, c := range map[string][]byte{
		"one signature short":    m.amendment(exchange(fresh), owner, one, fresh),
		"without the owner":      m.amendment(exchange(fresh), one, two, fresh),
		"without the new signer": m.amendment(exchange(fresh), owner, one, two),
		"the same twice":         m.amendment(exchange(fresh), owner, one, one, fresh),
		"a stranger":             m.amendment(exchange(fresh), owner, one, two, fresh, stranger),
		"changes nothing":        m.amendment(func(*govern.Amendment) {}, owner, one, two),
		"another domain":         m.amendment(func(a *govern.Amendment) { exchange(fresh)(a); a.Domain[0]++ }, owner, one, two, fresh),
		"skips one":              m.amendment(func(a *govern.Amendment) { exchange(fresh)(a); a.Serial++; a.Previous[0]++ }, owner, one, two, fresh),
		"another policy":         m.amendment(func(a *govern.Amendment) { exchange(fresh)(a); a.Policy.Serial++ }, owner, one, two, fresh),
		"a policy":               r.Sign(govern.PolicyType, before.Policy.Canonical(), owner, one, two),
		"garbage":                []byte("{}"),
	} {
		if res := m.do(nil, setAmendment(c)); res.Err == nil {
			t.Errorf("%s: accepted", name)
		}
		if m.View().Rule() != before {
			t.Fatalf("%s: the rule changed", name)
		}
	}
	good := m.amendment(exchange(fresh), owner, one, two, fresh)
	m.must(m.do(nil, setAmendment(good)))
	if res := m.do(nil, setAmendment(good)); res.Err == nil || res.Err.Kind != kms.Exists {
		t.Errorf("the same again: %v", res.Err)
	}
	m.must(m.do(nil, setAmendment(m.amendment(func(a *govern.Amendment) { a.Threshold = 3 }, owner, one, fresh))))
	for name, machine := range map[string]*state.Machine{"as it is": m.Machine, "restored": restored(t, m.Machine)} {
		rule := machine.View().Rule()
		if s := rule.Standing; s.Amendments != 2 || s.Threshold != 3 || s.Signers[2] != fresh.Public() || len(rule.Amendments) != 2 {
			t.Errorf("%s: %d amendments, threshold %d", name, s.Amendments, s.Threshold)
		}
		if rule.Policy.Serial != 1 {
			t.Errorf("%s: policy %d", name, rule.Policy.Serial)
		}
	}
	third := r.Signers[2]
	if res := m.do(nil, setPolicy(r.Next(nil))); res.Err == nil { // signed by two, one of them gone
		t.Error("a policy of those who ruled before was accepted")
	}
	next := m.nextPolicy(nil, owner, one, two, third)
	if res := m.do(nil, setPolicy(next)); res.Err == nil {
		t.Error("the signature of one who rules no more was accepted")
	}
	m.must(m.do(nil, setPolicy(m.nextPolicy(nil, owner, one, two, fresh))))
	if got := restored(t, m.Machine).View().Policy().Serial; got != 2 {
		t.Errorf("restored with policy %d", got)
	}
}

// nextPolicy is the successor of the policy in force, signed by these keys.
func (m *machine) nextPolicy(edit func(*govern.Policy), keys ...*govern.PrivateKey) []byte {
	m.t.Helper()
	rule := m.View().Rule()
	p := *rule.Policy
	p.Domain, p.Previous, p.Serial, p.Activates = rule.Standing.Domain, rule.Policy.Digest(), p.Serial+1, time.Time{}
	if edit != nil {
		edit(&p)
	}
	return m.rulers.Sign(govern.PolicyType, p.Canonical(), keys...)
}

// TestAmendOwner: a new owner may submit the amendment that names him, so that a
// key that is lost does not lock the domain; the threshold authorises all the same.
func TestAmendOwner(t *testing.T) {
	m := newMachine(t)
	r, owner := m.rulers, newKey(t)
	edit := func(a *govern.Amendment) { a.Owner = owner.Public() }
	if res := m.do(nil, setAmendment(m.amendment(edit, owner, r.Signers[0]))); res.Err == nil {
		t.Error("a new owner and one signer were enough")
	}
	m.must(m.do(nil, setAmendment(m.amendment(edit, owner, r.Signers[0], r.Signers[1]))))
	if res := m.do(nil, setPolicy(m.nextPolicy(nil, r.Owner, r.Signers[0], r.Signers[1]))); res.Err == nil {
		t.Error("the old owner submitted a policy")
	}
	m.must(m.do(nil, setPolicy(m.nextPolicy(nil, owner, r.Signers[0], r.Signers[1]))))
}

// TestAmendWhileScheduled: a policy that waits for its time waits on under the
// same signers, and is dropped with them.
func TestAmendWhileScheduled(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(*testing.T, *machine) []byte
		want bool
	}{
		{"the same signers", func(_ *testing.T, m *machine) []byte {
			return m.amendment(func(a *govern.Amendment) { a.Intervals.Epoch *= 2 }, m.rulers.Owner, m.rulers.Signers[0], m.rulers.Signers[2])
		}, true},
		{"a higher threshold", func(_ *testing.T, m *machine) []byte {
			return m.amendment(func(a *govern.Amendment) { a.Threshold = 3 }, m.rulers.Owner, m.rulers.Signers[0], m.rulers.Signers[2])
		}, false},
		{"one of its signers gone", func(t *testing.T, m *machine) []byte {
			k := newKey(t)
			return m.amendment(func(a *govern.Amendment) { a.Signers[0] = k.Public() }, m.rulers.Owner, m.rulers.Signers[0], m.rulers.Signers[2], k)
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			at := time.Unix(0, m.time).Add(time.Hour).UTC().Truncate(time.Second)
			m.must(m.do(nil, setPolicy(m.rulers.Next(func(p *govern.Policy) { p.Activates = at }))))
			m.must(m.do(nil, setAmendment(c.edit(t, m))))
			for name, machine := range map[string]*state.Machine{"as it is": m.Machine, "restored": restored(t, m.Machine)} {
				if got := machine.View().Rule().Next != nil; got != c.want {
					t.Errorf("%s: it waits on: %t", name, got)
				}
				tick(t, machine, m.index+1, at.UnixNano())
				if got := machine.View().Policy().Serial == 2; got != c.want {
					t.Errorf("%s: it came into force: %t", name, got)
				}
			}
		})
	}
}

// TestPastPolicies: the last hundred are kept, also over snapshots and changes
// of who rules.
func TestPastPolicies(t *testing.T) {
	m := newMachine(t)
	r, fresh := m.rulers, newKey(t)
	keys := []*govern.PrivateKey{r.Owner, r.Signers[0], r.Signers[1]}
	for i := range state.MaxPast + 5 {
		if i == 3 {
			m.must(m.do(nil, setAmendment(m.amendment(func(a *govern.Amendment) { a.Signers[1] = fresh.Public() }, append(keys, fresh)...))))
			keys[2] = fresh
		}
		m.time += int64(time.Second)
		m.must(m.do(nil, setPolicy(m.nextPolicy(nil, keys...))))
		if i == 10 {
			m.Machine = restored(t, m.Machine)
		}
	}
	for name, machine := range map[string]*state.Machine{"as it is": m.Machine, "restored": restored(t, m.Machine)} {
		rule := machine.View().Rule()
		if len(rule.Past) != state.MaxPast || rule.Past[0].Serial != 6 || rule.Past[state.MaxPast-1].Serial+1 != rule.Policy.Serial {
			t.Fatalf("%s: %d past policies from %d on, %d is in force", name, len(rule.Past), rule.Past[0].Serial, rule.Policy.Serial)
		}
		if rule.Since != m.time || rule.Past[state.MaxPast-1].Since != m.time-int64(time.Second) {
			t.Errorf("%s: in force since %d", name, rule.Since)
		}
	}
}
