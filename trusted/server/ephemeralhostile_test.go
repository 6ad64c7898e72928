package server_test

import (
	"bytes"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// machineOf is a stranger on a node's machine, which a program runs on.
func machineOf(t *testing.T, d *trustedtest.Domain, n *trustedtest.Node, p simtee.Program) *stranger {
	t.Helper()
	s := newStranger(t, d)
	var err error
	if s.platform, err = (simtee.Config{Program: p}).Open(n.Machine().Fuses); err != nil {
		t.Fatal(err)
	}
	return s
}

// joinAs asks to be taken in as a machine of one kind that is reached at a socket.
func (s *stranger) joinAs(to *trustedtest.Node, tee attest.TEE, socket string) error {
	s.t.Helper()
	_, err := s.join(to, func(j *wire.Join) {
		ev, err := s.platform.Evidence(tee, member.ReportData(s.public, s.boot.Public(), s.domain, j.Challenge), time.Now())
		if err != nil {
			s.t.Fatal(err)
		}
		j.Socket, j.Evidence = socket, shownAs(ev)
	})
	return err
}

// record is what a domain has on record of a node.
func record(t *testing.T, at *trustedtest.Node, id kms.NodeID) kms.NodeInfo {
	t.Helper()
	for _, i := range at.Server().Status().Nodes {
		if i.ID == id {
			return i
		}
	}
	return kms.NodeInfo{}
}

// TestPlaceOfAnother: who has no key of a node's takes its place only on the same
// machine, at the same address, as the same kind of machine, and once it is dead; and
// where the policy wants approvals, without one, only as the program that was approved.
func TestPlaceOfAnother(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	sponsor := d.Nodes[0]
	takesTDX(t, d, nil)
	n := mustJoin(t, tdx(d))
	d.AwaitVoters(3)
	id := n.Server().Status().Node
	socket := record(t, sponsor, id).Socket
	none := simtee.Program{}
	if err := machineOf(t, d, n, none).joinAs(sponsor, attest.TDX, socket); !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "alive") {
		t.Errorf("a second start beside the first: %v", err)
	}
	_ = n.Stop()
	elsewhere := tdx(d)
	d.Nodes = d.Nodes[:3]
	for name, tt := range map[string]struct {
		machine *trustedtest.Node
		tee     attest.TEE
		socket  string
	}{
		"another machine at its address": {elsewhere, attest.TDX, socket},
		"its machine at another address": {n, attest.TDX, "127.0.0.1:2"},
		"its machine as another kind":    {n, attest.SGX, socket},
	} {
		s := machineOf(t, d, tt.machine, none)
		if err := s.joinAs(sponsor, tt.tee, tt.socket); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if rec := record(t, sponsor, s.node); rec.ID != s.node || rec.Replaces != (kms.NodeID{}) || record(t, sponsor, id).ID != id {
			t.Errorf("%s: %+v", name, rec)
		}
		orderer{t, sponsor, d}.expel(s.node) // a machine has room for two
	}
	if _, err := sponsor.Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) { p.Admission = govern.AdmitApproved })); err != nil {
		t.Fatal(err)
	}
	other := machineOf(t, d, n, simtee.Program{RTMR: [4][48]byte{3: {1}}})
	if err := other.joinAs(sponsor, attest.TDX, socket); err != nil {
		t.Error(err)
	}
	if rec := record(t, sponsor, other.node); rec.Role != kms.RoleWaiting || rec.Replaces != id {
		t.Errorf("another program, without an approval: %+v", rec)
	}
	n.MustStart() // the same program on the same machine, which was approved of by letting it in
	if now := n.Server().Status().Node; record(t, sponsor, now).Replaces != id {
		t.Errorf("%+v", record(t, sponsor, now))
	}
	eventually(t, func() (bool, error) {
		if record(t, sponsor, id).ID == id {
			return false, errors.New("what it was is still a member")
		}
		return true, nil
	})
}

// TestOldFolderWithoutSealingKey: what a host puts into the folder of a node without a
// sealing key, an older copy of it or another node's, is never opened.
func TestOldFolderWithoutSealingKey(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	takesTDX(t, d, nil)
	n := mustJoin(t, tdx(d))
	d.AwaitVoters(3)
	app := d.Nodes[0].Enrol()
	key := aesKey(t, app.On(n))
	_ = n.Stop()
	old := readFolder(t, n.Dir)
	n.MustStart()
	d.AwaitVoters(3)
	if err := app.On(n).MustCaller().SetKeyEnabled(ctx, key, false); err != nil {
		t.Fatal(err)
	}
	_ = n.Stop()
	old.write(t, n.Dir)
	n.MustStart()
	_, err := app.On(n).MustCaller().Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: []byte("x"), Layout: kms.LayoutNative})
	if !errors.Is(err, kms.Disabled) {
		t.Errorf("a key that was disabled: %v", err)
	}
	d.AwaitVoters(3)
	_ = n.Stop()

	sealed := d.Nodes[1] // whose folder would open on its own kind of machine
	_ = sealed.Stop()
	theirs := readFolder(t, sealed.Dir)
	own := n.Dir
	n.Dir = sealed.Dir
	if err := n.StartWithin(20 * time.Second); !errors.Is(err, kms.Exists) || kms.HintOf(err) == "" {
		t.Errorf("in the folder of a node with a sealing key: %v", err)
	}
	n.Dir = own
	if !maps.EqualFunc(readFolder(t, sealed.Dir), theirs, bytes.Equal) {
		t.Error("it changed that folder")
	}
}

// TestSealedDomainTakesNone: in restart mode "sealed" a node without a sealing key is
// refused, by itself and by the member that it asks.
func TestSealedDomainTakesNone(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewDomain(t, 2)
	admitTDX(t, d, nil)
	n := tdx(d)
	err := n.JoinBy(20 * time.Second)
	wantTyped(t, "itself", err, kms.Denied, "rejoin")
	err = machineOf(t, d, n, simtee.Program{}).joinAs(d.Nodes[0], attest.TDX, "127.0.0.1:1")
	if !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "derives no keys") {
		t.Errorf("the member: %v", err)
	}
}
