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
