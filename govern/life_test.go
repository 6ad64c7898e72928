package govern_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// life is testdata/life.json: the documents of a domain from its founding to its
// recovery, made by a program that shares no code with this one.
type life struct {
	Charter       string `json:"charter"`
	CharterDigest string `json:"charter_digest"`
	DomainID      string `json:"domain_id"`
	Keys          map[string]struct {
		Byte   byte   `json:"byte"`
		Public string `json:"public"`
		ID     string `json:"id"`
	} `json:"keys"`
	Documents []struct {
		Name     string   `json:"name"`
		Payload  string   `json:"payload"`
		Digest   string   `json:"digest"`
		SignedBy []string `json:"signed_by"`
		Envelope string   `json:"envelope"`
	} `json:"documents"`
}

func readLife(tb testing.TB) (l life, envelopes map[string][]byte) {
	readJSON(tb, "life.json", &l)
	envelopes = map[string][]byte{}
	for _, d := range l.Documents {
		envelopes[d.Name] = []byte(d.Envelope)
	}
	if len(envelopes) != 9 {
		tb.Fatalf("%d documents, want 9", len(envelopes))
	}
	return l, envelopes
}

// printers parse a payload by its type.
var printers = map[govern.PayloadType]func([]byte) (canonical, error){
	govern.BootstrapType:       func(b []byte) (canonical, error) { return govern.ParseBootstrap(b) },
	govern.PolicyType:          func(b []byte) (canonical, error) { return govern.ParsePolicy(b) },
	govern.AmendmentType:       func(b []byte) (canonical, error) { return govern.ParseAmendment(b) },
	govern.RecoveryType:        func(b []byte) (canonical, error) { return govern.ParseRecovery(b) },
	govern.TicketType:          func(b []byte) (canonical, error) { return govern.ParseTicket(b) },
	govern.ApprovalType:        func(b []byte) (canonical, error) { return govern.ParseApproval(b) },
	govern.ConditionChangeType: func(b []byte) (canonical, error) { return govern.ParseConditionChange(b) },
}

func TestVectorsOfEveryDocument(t *testing.T) {
	l, _ := readLife(t)
	for _, d := range l.Documents {
		t.Run(d.Name, func(t *testing.T) {
			e, err := govern.ParseEnvelope([]byte(d.Envelope))
			if err != nil {
				t.Fatal(err)
			}
			if string(e.Payload) != d.Payload || string(e.Encode()) != d.Envelope {
				t.Errorf("the envelope prints as %s", e.Encode())
			}
			doc, err := printers[e.Type](e.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if string(doc.Canonical()) != d.Payload {
				t.Errorf("prints as\n%s, want\n%s", doc.Canonical(), d.Payload)
			}
			if named, ok := doc.(interface{ Digest() govern.Digest }); ok && named.Digest().String() != d.Digest {
				t.Errorf("digest %s, want %s", named.Digest(), d.Digest)
			}
		})
	}
}

// Ed25519 is deterministic: our signature must be theirs.
func TestSignaturesAreThoseOfAnotherProgram(t *testing.T) {
	l, envelopes := readLife(t)
	e, err := govern.ParseEnvelope(envelopes["ticket"])
	if err != nil {
		t.Fatal(err)
	}
	got, err := govern.Sign(govern.NewEnvelope(e.Type, e.Payload), key(t, l.Keys["operator"].Byte))
	if err != nil || !bytes.Equal(got, envelopes["ticket"]) {
		t.Errorf("got %s, %v; want %s", got, err, envelopes["ticket"])
	}
	for name, k := range l.Keys {
		var public govern.PublicKey
		if err := public.UnmarshalText([]byte(k.Public)); err != nil || public.ID() != k.ID {
			t.Errorf("%s: id %s, %v; want %s", name, public.ID(), err, k.ID)
		}
	}
}

// A domain's whole life, in the order in which it happens.
func TestLife(t *testing.T) {
	l, env := readLife(t)
	charter, err := govern.ParseCharter([]byte(l.Charter))
	if err != nil {
		t.Fatal(err)
	}
	f, err := govern.Found(charter, env["bootstrap"], env["policy 1"])
	if err != nil {
		t.Fatal(err)
	}
	if f.Domain.String() != l.DomainID || charter.Digest().String() != l.CharterDigest {
		t.Errorf("domain %s, charter %s; want %s, %s", f.Domain, charter.Digest(), l.DomainID, l.CharterDigest)
	}
	s := f.Standing
	second, err := s.NextPolicy(f.Policy, env["policy 2"])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckSubmission(env["policy 2"]); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"amendment 1", "amendment 2"} {
		if s, err = s.NextAmendment(second, env[name]); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if s.Amendments != 2 || s.RestartMode != govern.Rejoin || s.Threshold != 2 || s.Owner.String() != l.Keys["c"].Public {
		t.Errorf("after two amendments: %+v", s)
	}
	// The policy in force was signed by a signer who is none any more.
	if second, err = s.OpenPolicy(env["policy 2"]); err != nil {
		t.Fatalf("the endorsed policy: %v", err)
	}
	_, err = s.OpenPolicy(env["policy 1"])
	checkError(t, err, kms.Stale, "serial", "amendment 2 rests on policy 2")

	for name, open := range map[string]func([]byte) error{
		"ticket":           func(b []byte) error { _, err := second.OpenTicket(b); return err },
		"approval":         func(b []byte) error { _, err := second.OpenApproval(b); return err },
		"condition change": func(b []byte) error { _, err := second.OpenConditionChange(b); return err },
		"recovery":         func(b []byte) error { _, err := s.OpenRecovery(b); return err },
	} {
		if err := open(env[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for other := range env { // no document is read as another
			if err := open(env[other]); other != name && err == nil {
				t.Errorf("%s opens as a %s", other, name)
			}
		}
	}
}
