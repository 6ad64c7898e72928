package state_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

func (m *machine) compromised(generation uint32, nonce byte) []byte {
	doc := &govern.Order{Version: govern.OrderVersion, Domain: m.rulers.Founding.Domain, Deed: govern.DeedCompromise, Generation: generation,
		Expires: time.Unix(0, m.time).Add(time.Hour).UTC().Truncate(time.Second), Nonce: govern.Nonce{nonce}}
	return m.rulers.Sign(govern.OrderType, doc.Canonical(), m.rulers.Signers[:2]...)
}

func declare(order []byte) *command.Command {
	return &command.Command{Op: &command.Command_DeclareCompromise{DeclareCompromise: &command.DeclareCompromise{Order: order}}}
}

func finish(generation uint32) *command.Command {
	return &command.Command{Op: &command.Command_FinishCompromise{FinishCompromise: &command.FinishCompromise{Generation: generation}}}
}

func replaceCA(m *machine, generation uint32, order []byte) *command.Command {
	return &command.Command{Op: &command.Command_ReplaceAuthority{ReplaceAuthority: &command.ReplaceAuthority{Order: order,
		Replaces:  m.View().Authority().Certificate,
		Authority: &command.Authority{Certificate: []byte("another"), Generation: generation, WrappedKey: []byte("wrapped")}}}}
}

// A newest generation that others know is followed by another without an order,
// and is retired when nothing hangs on it; who may say so, and in which order.
func TestCompromise(t *testing.T) {
	m := newMachine(t)
	m.refused("by an operator", m.do(nil, declare(m.orderTo(govern.DeedRotate, 0+1, 9))), kms.Denied)
	m.refused("for an app", m.do(m.by(1), declare(m.compromised(0, 1))), kms.Invalid)
	m.refused("one that there is not", m.do(nil, declare(m.compromised(1, 1))), kms.NotFound)
	m.refused("an authority that nobody asks for", m.do(nil, replaceCA(m, 0, nil)), kms.Denied)
	m.refused("finishing what was not declared", m.do(nil, finish(0)), kms.NotFound)

	order := m.compromised(0, 1)
	m.must(m.do(nil, declare(order)))
	m.refused("the same order again", m.do(nil, declare(order)), kms.Exists)
	if v := m.View(); !v.GenerationDue() || !v.AuthorityDue() {
		t.Error("nothing is due")
	}
	m.refused("finishing while it is the newest", m.do(nil, finish(0)), kms.Misused)
	m.must(m.do(nil, putGeneration(1, nil)))
	m.refused("yet another", m.do(nil, putGeneration(2, nil)), kms.Denied)
	m.refused("an authority under the old one", m.do(nil, replaceCA(m, 0, nil)), kms.Conflict)
	m.must(m.do(nil, replaceCA(m, 1, nil)))
	if v := m.View(); v.AuthorityDue() || !bytes.Equal(v.Authority().Certificate, []byte("another")) {
		t.Error("the authority is the old one")
	}
	before := m.View().Compromises()
	if len(before) != 1 || before[0].Finished != 0 || before[0].Refused != before[0].Declared {
		t.Errorf("declared: %+v", before)
	}
	if n := m.View().Wrapped()[0]; n == 0 {
		m.must(m.do(nil, finish(0)))
		if m.View().InUse(0) {
			t.Error("it is in use")
		}
	} else {
		m.refused("finishing while something is wrapped under it", m.do(nil, finish(0)), kms.Misused)
	}
	after := restored(t, m.Machine)
	if diff := cmp.Diff(m.View().Compromises(), after.View().Compromises()); diff != "" {
		t.Errorf("after a snapshot:\n%s", diff)
	}
}
