package state_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// forgetful are claims of a machine without a sealing key.
func forgetful(machine byte) attest.Claims {
	c := claims(machine)
	c.TEE, c.Version, c.SGX = attest.TDX, 4, nil
	b := make([]byte, 48)
	c.TDX = &attest.TDXClaims{MRTD: b, RTMR0: b, RTMR1: b, RTMR2: b, RTMR3: b, MRConfigID: b, MROwner: b, MROwnerConfig: b, MRSEAM: b, MRSignerSEAM: b,
		TDAttributes: make([]byte, 8), XFAM: make([]byte, 8), TEETCBSVN: make([]byte, 16), CPUSVN: make([]byte, 16)}
	return c
}

// foundedBy is a machine whose founder has these claims.
func foundedBy(t *testing.T, c attest.Claims) *machine {
	t.Helper()
	fresh := newMachine(t)
	found := decode(t, fresh.log[0]).GetFound()
	found.Founder = fresh.record(1)
	found.Founder.Claims = kept(t, c)
	m := &machine{Machine: state.New(), t: t, time: start, rulers: fresh.rulers}
	m.must(m.do(nil, &command.Command{Op: &command.Command_Found{Found: found}}))
	return m
}

func wantGathering(t *testing.T, what string, m *machine, want bool) {
	t.Helper()
	if got := m.View().Gathering(); got != want {
		t.Errorf("%s: gathering %t", what, got)
	}
	again := state.New()
	var b bytes.Buffer
	if err := m.Snapshot().Write(&b); err != nil {
		t.Fatal(err)
	}
	if err := again.Restore(&b); err != nil {
		t.Fatal(err)
	}
	if again.View().Gathering() != want || again.View().Head() != m.View().Head() {
		t.Errorf("%s: another state in its snapshot", what)
	}
}

// TestGathering: a domain that was founded by who keeps nothing is complete once three
// have voted, for good; any other is so at once.
func TestGathering(t *testing.T) {
	wantGathering(t, "founded with a sealing key", foundedBy(t, claims(1)), false)
	m := foundedBy(t, forgetful(1))
	wantGathering(t, "founded", m, true)
	m.configure(1)
	wantGathering(t, "one", m, true)
	m.configure(1, 2)
	wantGathering(t, "two", m, true)
	m.configure(1)
	wantGathering(t, "one again", m, true)
	m.configure(1, 2, 3)
	wantGathering(t, "three", m, false)
	m.configure(1, 2)
	wantGathering(t, "two again", m, false)
	m.configure(2)
	wantGathering(t, "one is left", m, false)
}

// TestGatheringAfterRecovery: who carries a domain on alone gathers it anew, where it
// keeps nothing, and has it complete at once, where it does.
func TestGatheringAfterRecovery(t *testing.T) {
	for _, tt := range []struct {
		name            string
		before, carries attest.Claims
		voters          []byte
		want            bool
	}{
		{"complete, by who keeps nothing", forgetful(1), forgetful(1), []byte{1, 2, 3}, true},
		{"complete, by who has a sealing key", forgetful(1), claims(1), []byte{1, 2, 3}, false},
		{"in the making, by who has a sealing key", forgetful(1), claims(1), []byte{1}, false},
		{"never in the making, by who keeps nothing", claims(1), forgetful(1), []byte{1}, true},
	} {
		m := foundedBy(t, tt.before)
		m.Term(2)
		m.configure(tt.voters...)
		doc := &govern.Recovery{Version: govern.RecoveryVersion, Domain: m.rulers.Founding.Domain, CharterDigest: m.rulers.Charter.Digest(),
			Head: m.View().Head(), Survivor: node(1), Nonce: govern.Nonce{1}}
		rec := m.record(1)
		rec.Claims = kept(t, tt.carries)
		m.must(m.do(nil, &command.Command{Op: &command.Command_RecoverDomain{RecoverDomain: &command.RecoverDomain{Node: rec,
			Document: m.rulers.Sign(govern.RecoveryType, doc.Canonical(), append([]*govern.PrivateKey{m.rulers.Owner}, m.rulers.Signers[:2]...)...)}}}))
		wantGathering(t, tt.name, m, tt.want)
	}
}

// TestGatheringInASnapshot: one that says that three vote in a domain in the making is
// none.
func TestGatheringInASnapshot(t *testing.T) {
	m := foundedBy(t, forgetful(1))
	m.configure(1, 2, 3)
	if err := state.New().LoadGathering(m.View()); err == nil {
		t.Error("no error")
	}
}
