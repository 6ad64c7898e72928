package govern_test

import (
	"bytes"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// fuzzDocument: what is accepted is valid, and its print is a fixed point.
func fuzzDocument(f *testing.F, parse func([]byte) (canonical, error)) {
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parse(b)
		if err != nil {
			return
		}
		again, err := parse(d.Canonical())
		if err != nil || !bytes.Equal(again.Canonical(), d.Canonical()) {
			t.Errorf("%q prints as %q, which does not read back (%v)", b, d.Canonical(), err)
		}
	})
}

// addLife seeds a fuzzer with the payloads of one type.
func addLife(f *testing.F, want govern.PayloadType) {
	l, _ := readLife(f)
	for _, d := range l.Documents {
		if e, err := govern.ParseEnvelope([]byte(d.Envelope)); err == nil && e.Type == want {
			f.Add(e.Payload)
		}
	}
}

func FuzzCharter(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Charter))
	}
	fuzzDocument(f, func(b []byte) (canonical, error) { return govern.ParseCharter(b) })
}

func FuzzBootstrap(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add([]byte(v.Bootstrap))
	}
	fuzzDocument(f, printers[govern.BootstrapType])
}

func FuzzPolicy(f *testing.F) {
	addLife(f, govern.PolicyType)
	fuzzDocument(f, printers[govern.PolicyType])
}

func FuzzAmendment(f *testing.F) {
	addLife(f, govern.AmendmentType)
	fuzzDocument(f, printers[govern.AmendmentType])
}

func FuzzRecovery(f *testing.F) {
	addLife(f, govern.RecoveryType)
	fuzzDocument(f, printers[govern.RecoveryType])
}

func FuzzTicket(f *testing.F) {
	addLife(f, govern.TicketType)
	fuzzDocument(f, printers[govern.TicketType])
}

func FuzzApproval(f *testing.F) {
	addLife(f, govern.ApprovalType)
	fuzzDocument(f, printers[govern.ApprovalType])
}

func FuzzConditionChange(f *testing.F) {
	addLife(f, govern.ConditionChangeType)
	fuzzDocument(f, printers[govern.ConditionChangeType])
}

func FuzzCondition(f *testing.F) {
	f.Add([]byte(`{"rules":[]}`))
	f.Add((&govern.Condition{Rules: []govern.ConditionRule{{Operations: 3, Programs: []govern.Identity{enclave(1), ofSigner(2, 3, 4), td(5), guest(6)}}}}).Canonical())
	fuzzDocument(f, func(b []byte) (canonical, error) { return govern.ParseCondition(b) })
}

// FuzzEnvelope: an envelope that is accepted prints as a fixed point, and no
// way of opening it panics.
func FuzzEnvelope(f *testing.F) {
	l, env := readLife(f)
	for _, e := range env {
		f.Add(e)
	}
	charter, err := govern.ParseCharter([]byte(l.Charter))
	if err != nil {
		f.Fatal(err)
	}
	found, err := govern.Found(charter, env["bootstrap"], env["policy 1"])
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = found.Standing.NextPolicy(found.Policy, b)
		_, _ = found.Standing.NextAmendment(found.Policy, b)
		_, _ = found.Standing.OpenRecovery(b)
		_, _ = found.Policy.OpenTicket(b)
		_ = found.Standing.CheckSubmission(b)
		e, err := govern.ParseEnvelope(b)
		if err != nil {
			return
		}
		again, err := govern.ParseEnvelope(e.Encode())
		if err != nil || !bytes.Equal(again.Encode(), e.Encode()) {
			t.Errorf("%q prints as %q, which does not read back (%v)", b, e.Encode(), err)
		}
	})
}

// FuzzPrivateKey: no file panics. Files that ask for much work are left out.
func FuzzPrivateKey(f *testing.F) {
	plain, err := key(f, 1).EncodePEM(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain, []byte(nil))
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n"), []byte("x"))
	f.Fuzz(func(t *testing.T, file, passphrase []byte) {
		k, err := govern.ParsePrivateKey(file, passphrase)
		if (err == nil) == k.Public().IsZero() {
			t.Errorf("a key %v with the error %v", k, err)
		}
	})
}

// FuzzFounder: what is read prints to what reads the same.
func FuzzFounder(f *testing.F) {
	key := []byte("a key")
	good := &govern.Founder{Version: govern.FounderVersion, Node: kms.NodeID(sha256.Sum256(key)), Key: key,
		CharterDigest: govern.Digest{1}, Evidence: attest.Evidence{TEE: attest.SGX, Quote: []byte("a quote")}}
	f.Add(good.Text())
	f.Add([]byte(strings.Replace(string(good.Text()), `"version":1`, `"version":1,"version":1`, 1)))
	if _, err := govern.ParseFounder(good.Text()); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		read, err := govern.ParseFounder(b)
		if err != nil {
			return
		}
		again, err := govern.ParseFounder(read.Text())
		if err != nil || !bytes.Equal(again.Text(), read.Text()) {
			t.Errorf("%s: %v", read.Text(), err)
		}
	})
}
