package server_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// quoter has a node's machine sign whatever it is asked to, in the name of the program
// with a measurement; zero: the domain's own.
func quoter(t *testing.T, n *trustedtest.Node, measurement [32]byte) func([64]byte) (attest.Evidence, error) {
	t.Helper()
	platform, err := simtee.Config{Measurement: measurement}.Open(n.Machine().Fuses)
	if err != nil {
		t.Fatal(err)
	}
	return func(reportData [64]byte) (attest.Evidence, error) {
		return platform.Evidence(attest.SGX, reportData, n.Clock.Now())
	}
}

// TestForgedBackup: from what a backup says in clear anybody can write one of the
// same domain under a master secret of his own; no node takes it, whatever it shows
// for evidence, and the one thing that is missing is a program that the policy admits.
func TestForgedBackup(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewRecoverable(t, 1)
	node := d.Nodes[0]
	genuine := node.Backup()
	copied, _, err := backup.Read(bytes.NewReader(genuine))
	if err != nil {
		t.Fatal(err)
	}
	rules, err := copied.Rules(d.Rulers.Charter, attest.Verifiers{SGX: sgx.Verify})
	if err != nil || !rules.Maker.Simulated || rules.Maker.SGX == nil {
		t.Fatalf("made by %+v, %v", rules.Maker, err)
	}
	digest := rules.Policy.Digest()
	ofNode, ofStranger := quoter(t, node, [32]byte{}), quoter(t, node, [32]byte{7})
	machine := d.Machine()
	for name, tt := range map[string]struct {
		prove func(forged, genuine *backup.Header) error
		taken bool
	}{
		"no evidence":              {func(*backup.Header, *backup.Header) error { return nil }, false},
		"that of a genuine backup": {func(h, g *backup.Header) error { h.Evidence = g.Evidence; return nil }, false},
		"another program's":        {func(h, _ *backup.Header) error { return h.Prove(digest, ofStranger) }, false},
		"for another policy":       {func(h, _ *backup.Header) error { return h.Prove([32]byte{1}, ofNode) }, false},
		"for another header": {func(h, _ *backup.Header) error {
			defer func(was uint64) { h.Head.Index = was }(h.Head.Index)
			h.Head.Index++
			return h.Prove(digest, ofNode)
		}, false},
		"of a node, for another use": {func(h, _ *backup.Header) (err error) {
			h.Evidence, err = ofNode(attest.ReportData(attest.ForService, attest.Binding{Domain: h.Domain}))
			return err
		}, false},
		"as no forger has it": {func(h, _ *backup.Header) error { return h.Prove(digest, ofNode) }, true},
	} {
		forged, err := server.ForgeBackup(genuine, 9, 1_000_000, tt.prove)
		if err != nil {
			t.Fatal(err)
		}
		_, err = machine.PrepareRestore(forged)
		refused, ok := errors.AsType[*kms.Error](err)
		switch {
		case tt.taken && err != nil:
			t.Errorf("%s: the forgery is refused for another reason: %v", name, err)
		case !tt.taken && (!errors.Is(err, kms.Denied) || !ok || refused.Field != "evidence" || kms.HintOf(err) == ""):
			t.Errorf("%s: %v", name, err)
		}
		if err := machine.Restore(forged, nil); !tt.taken && !errors.Is(err, kms.Denied) {
			t.Errorf("%s: restored: %v", name, err)
		}
	}
}
