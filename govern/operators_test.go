package govern_test

import (
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

var soon = now.Add(time.Hour)

func (r *realm) ticket() *govern.Ticket {
	return &govern.Ticket{Version: govern.TicketVersion, Domain: r.founding.Domain, ID: govern.TicketID{1}, Expires: soon, Permissions: kms.PermUse}
}

func (r *realm) approval() *govern.Approval {
	return &govern.Approval{
		Version: govern.ApprovalVersion, Domain: r.founding.Domain, Action: govern.ActJoin, Platform: claims(0, 0).Platform.PPID,
		Identity: enclave(0x70), PolicySerial: 1, Expires: soon, Nonce: govern.Nonce{1},
	}
}

func (r *realm) change() *govern.ConditionChange {
	return &govern.ConditionChange{
		Version: govern.ConditionChangeVersion, Domain: r.founding.Domain, Key: kms.KeyID{1}, Revision: 3,
		Condition: govern.Condition{Rules: []govern.ConditionRule{{Operations: kms.EncryptDecrypt, Programs: []govern.Identity{enclave(1)}}}},
	}
}

func (r *realm) recoveryDoc() *govern.Recovery {
	return &govern.Recovery{
		Version: govern.RecoveryVersion, Domain: r.founding.Domain, CharterDigest: r.charter.Digest(),
		Head: govern.Head{Term: 2, Index: 7, Digest: govern.Digest{1}, PolicySerial: 1}, Survivor: kms.NodeID{1}, Nonce: govern.Nonce{1},
	}
}

func TestOperatorsDocumentsRefused(t *testing.T) {
	r := newRealm(t)
	two := *r.founding.Policy
	two.Operators = publics(r.operator, key(t, 50))
	elsewhere := newRealmOf(t, kms.NodeID{77})
	unopened := r.policy(1)
	for name, kind := range map[string]struct {
		t    govern.PayloadType
		doc  canonical
		away canonical // the same for another domain
		open func(p *govern.Policy, b []byte) error
	}{
		"ticket": {govern.TicketType, r.ticket(), elsewhere.ticket(), func(p *govern.Policy, b []byte) error {
			d, err := p.OpenTicket(b)
			return consistent(d != nil, err)
		}},
		"approval": {govern.ApprovalType, r.approval(), elsewhere.approval(), func(p *govern.Policy, b []byte) error {
			d, err := p.OpenApproval(b)
			return consistent(d != nil, err)
		}},
		"condition change": {govern.ConditionChangeType, r.change(), elsewhere.change(), func(p *govern.Policy, b []byte) error {
			d, err := p.OpenConditionChange(b)
			return consistent(d != nil, err)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := r.founding.Policy
			by := func(keys ...*govern.PrivateKey) []byte { return signed(t, kind.t, kind.doc, keys...) }
			if err := kind.open(p, by(r.operator)); err != nil {
				t.Fatal(err)
			}
			if err := kind.open(&two, by(r.operator, key(t, 50))); err != nil {
				t.Error(err)
			}
			checkError(t, kind.open(p, by()), kms.Denied, "signatures", "no operator signed")
			checkError(t, kind.open(p, by(r.owner)), kms.Denied, "signatures/0", "no say")
			checkError(t, kind.open(p, by(r.signers...)), kms.Denied, "signatures/0", "no say")
			checkError(t, kind.open(p, by(r.operator, key(t, 50))), kms.Denied, "signatures/1", "no say")
			checkError(t, kind.open(&two, breakSignature(t, by(r.operator, key(t, 50)), 1)), kms.Denied, "signatures/1", "does not hold")
			checkError(t, kind.open(p, signed(t, kind.t, kind.away, r.operator)), kms.Denied, "domain", "another domain")
			checkError(t, kind.open(p, signed(t, govern.PolicyType, kind.doc, r.operator)), kms.Invalid, "payloadType", "an envelope with a policy")
			checkError(t, kind.open(unopened, by(r.operator)), kms.Invalid, "", "not opened in a domain")
			checkError(t, kind.open(nil, by(r.operator)), kms.Invalid, "", "not opened in a domain")
			nobody := *p
			nobody.Operators = nil
			checkError(t, kind.open(&nobody, by(r.operator)), kms.Denied, "signatures/0", "no say")
		})
	}
}

// consistent is err, or says that it came with a document.
func consistent(there bool, err error) error {
	if there == (err != nil) {
		return errors.New("a document and an error, or neither")
	}
	return err
}

func TestOperatorsDocumentsInvalid(t *testing.T) {
	r := newRealm(t)
	type edit[D any] struct {
		name  string
		edit  func(D)
		field string
	}
	for _, tt := range []edit[*govern.Ticket]{
		{"version", func(d *govern.Ticket) { d.Version = 2 }, "version"},
		{"domain", func(d *govern.Ticket) { d.Domain = kms.DomainID{} }, "domain"},
		{"id", func(d *govern.Ticket) { d.ID = govern.TicketID{} }, "id"},
		{"no expiry", func(d *govern.Ticket) { d.Expires = time.Time{} }, "expires"},
		{"expiry within a second", func(d *govern.Ticket) { d.Expires = soon.Add(1) }, "expires"},
		{"no permission", func(d *govern.Ticket) { d.Permissions = 0 }, "permissions"},
		{"unknown permission", func(d *govern.Ticket) { d.Permissions = 0x80 }, "permissions"},
	} {
		d := r.ticket()
		tt.edit(d)
		checkInvalid(t, d.Validate(), kms.Invalid, tt.field)
	}
	for _, tt := range []edit[*govern.Approval]{
		{"version", func(d *govern.Approval) { d.Version = 2 }, "version"},
		{"domain", func(d *govern.Approval) { d.Domain = kms.DomainID{} }, "domain"},
		{"action", func(d *govern.Approval) { d.Action = 0 }, "action"},
		{"joins in place of one", func(d *govern.Approval) { d.Replaces = kms.NodeID{1} }, "replaces"},
		{"replaces none", func(d *govern.Approval) { d.Action = govern.ActReplace }, "replaces"},
		{"no platform", func(d *govern.Approval) { d.Platform = nil }, "platform"},
		{"a model", func(d *govern.Approval) { d.Platform = make(attest.Hex, 6) }, "platform"},
		{"no identity", func(d *govern.Approval) { d.Identity = govern.Identity{} }, "identity"},
		{"no policy", func(d *govern.Approval) { d.PolicySerial = 0 }, "policy_serial"},
		{"no expiry", func(d *govern.Approval) { d.Expires = time.Time{} }, "expires"},
		{"no nonce", func(d *govern.Approval) { d.Nonce = govern.Nonce{} }, "nonce"},
	} {
		d := r.approval()
		tt.edit(d)
		checkInvalid(t, d.Validate(), kms.Invalid, tt.field)
	}
	for _, tt := range []edit[*govern.ConditionChange]{
		{"version", func(d *govern.ConditionChange) { d.Version = 2 }, "version"},
		{"domain", func(d *govern.ConditionChange) { d.Domain = kms.DomainID{} }, "domain"},
		{"key", func(d *govern.ConditionChange) { d.Key = kms.KeyID{} }, "key_id"},
		{"revision", func(d *govern.ConditionChange) { d.Revision = 0 }, "revision"},
		{"removes and sets", func(d *govern.ConditionChange) { d.Remove = true }, "remove"},
		{"condition", func(d *govern.ConditionChange) { d.Condition.Rules[0].Operations = 0 }, "rules/0/operations"},
	} {
		d := r.change()
		tt.edit(d)
		checkInvalid(t, d.Validate(), kms.Invalid, tt.field)
	}
	for _, tt := range []edit[*govern.Recovery]{
		{"version", func(d *govern.Recovery) { d.Version = 2 }, "version"},
		{"domain", func(d *govern.Recovery) { d.Domain = kms.DomainID{} }, "domain"},
		{"charter", func(d *govern.Recovery) { d.CharterDigest = govern.Digest{} }, "charter_digest"},
		{"amendments", func(d *govern.Recovery) { d.Amendments = -1 }, "amendments"},
		{"term", func(d *govern.Recovery) { d.Head.Term = 0 }, "head"},
		{"index", func(d *govern.Recovery) { d.Head.Index = 0 }, "head"},
		{"digest", func(d *govern.Recovery) { d.Head.Digest = govern.Digest{} }, "head"},
		{"policy", func(d *govern.Recovery) { d.Head.PolicySerial = 0 }, "head"},
		{"survivor", func(d *govern.Recovery) { d.Survivor = kms.NodeID{} }, "survivor"},
		{"nonce", func(d *govern.Recovery) { d.Nonce = govern.Nonce{} }, "nonce"},
	} {
		d := r.recoveryDoc()
		tt.edit(d)
		checkInvalid(t, d.Validate(), kms.Invalid, tt.field)
	}
}

func TestPermissionsByName(t *testing.T) {
	r := newRealm(t)
	whole := string(r.ticket().Canonical())
	for list, want := range map[string]kms.Permissions{
		`["use"]`: kms.PermUse, `["read","use"]`: kms.PermUse | kms.PermRead, `["use","manage","secrets","read"]`: kms.PermAll,
		`[]`: 0, `["all"]`: 0, `["use","use"]`: 0, `"use"`: 0, `[""]`: 0, `[1]`: 0, `1`: 0, `["Use"]`: 0,
	} {
		d, err := govern.ParseTicket([]byte(replaceOnce(t, whole, `["use"]`, list)))
		if want == 0 {
			if !errors.Is(err, kms.Invalid) {
				t.Errorf("%s: %v", list, err)
			}
		} else if err != nil || d.Permissions != want {
			t.Errorf("%s: %v, %v", list, d, err)
		}
	}
}

func TestApproves(t *testing.T) {
	r := newRealm(t)
	p, a := r.founding.Policy, r.approval()
	if err := p.Approves(a, claims(0x70, 0), now); err != nil {
		t.Error(err)
	}
	checkError(t, p.Approves(a, claims(0x71, 0), now), kms.Denied, "", "approval")
	other := claims(0x70, 0)
	other.Platform.PPID = make(attest.Hex, 16)
	checkError(t, p.Approves(a, other, now), kms.Denied, "platform", "for the platform")
	checkError(t, p.Approves(a, claims(0x70, 0), soon), kms.Expired, "expires", "was good until")
	checkError(t, r.ticket().ValidAt(soon), kms.Expired, "expires", "was good until")
	if err := r.ticket().ValidAt(now); err != nil {
		t.Error(err)
	}
	a.PolicySerial = 2
	_, err := p.OpenApproval(signed(t, govern.ApprovalType, a, r.operator))
	checkError(t, err, kms.Stale, "policy_serial", "given under policy 2")
}

func TestRecovery(t *testing.T) {
	r := newRealm(t)
	s, a, b := r.founding.Standing, r.signers[0], r.signers[1]
	open := func(d *govern.Recovery, keys ...*govern.PrivateKey) error {
		got, err := s.OpenRecovery(signed(t, govern.RecoveryType, d, keys...))
		return consistent(got != nil, err)
	}
	edited := func(edit func(*govern.Recovery)) *govern.Recovery {
		d := r.recoveryDoc()
		edit(d)
		return d
	}
	if err := open(r.recoveryDoc(), r.owner, a, b); err != nil {
		t.Fatal(err)
	}
	checkError(t, open(r.recoveryDoc(), a, b), kms.Denied, "signatures", "the owner did not sign")
	checkError(t, open(r.recoveryDoc(), r.owner, a), kms.Denied, "signatures", "1 of the signers")
	checkError(t, open(r.recoveryDoc(), r.owner, a, b, r.recovery), kms.Denied, "signatures/3", "no say")
	checkError(t, open(edited(func(d *govern.Recovery) { d.Domain[0]++ }), r.owner, a, b), kms.Denied, "domain", "another domain")
	checkError(t, open(edited(func(d *govern.Recovery) { d.CharterDigest[0]++ }), r.owner, a, b), kms.Denied, "charter_digest", "another charter")
	checkError(t, open(edited(func(d *govern.Recovery) { d.Amendments = 1 }), r.owner, a, b), kms.Stale, "amendments", "signed after 1")
}

func TestHeadBehind(t *testing.T) {
	h := govern.Head{Term: 2, Index: 7, Digest: govern.Digest{1}, PolicySerial: 3}
	for name, tt := range map[string]struct {
		o    govern.Head
		want bool
	}{
		"itself":            {h, false},
		"older":             {govern.Head{Term: 1, Index: 6, PolicySerial: 2}, false},
		"higher term":       {govern.Head{Term: 3, Index: 7, PolicySerial: 3}, true},
		"higher index":      {govern.Head{Term: 2, Index: 8, PolicySerial: 3}, true},
		"higher policy":     {govern.Head{Term: 1, Index: 6, PolicySerial: 4}, true},
		"fork at its place": {govern.Head{Term: 2, Index: 7, Digest: govern.Digest{2}, PolicySerial: 3}, true},
	} {
		if h.Behind(tt.o) != tt.want {
			t.Errorf("%s: %v", name, !tt.want)
		}
	}
}
