package govern_test

import (
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

func TestFoundRefused(t *testing.T) {
	r := newRealm(t)
	a, b, c := r.signers[0], r.signers[1], r.signers[2]
	p := r.policy(1)
	good := r.bootstrap(p, kms.NodeID{9})
	boot := func(keys ...*govern.PrivateKey) []byte { return signed(t, govern.BootstrapType, good, keys...) }
	whole, policy := boot(r.owner, a, b), r.signed(p)
	edited := func(edit func(*govern.Policy)) []byte {
		p := r.policy(1)
		edit(p)
		return r.signed(p)
	}
	foundOn := func(edit func(*govern.Policy)) []byte {
		p := r.policy(1)
		edit(p)
		return signed(t, govern.BootstrapType, r.bootstrap(p, kms.NodeID{9}), r.owner, a, b)
	}
	halt := func(p *govern.Policy) { p.Halt = true }
	otherCharter := func(p *govern.Policy) { p.CharterDigest[0]++ }
	second := func(p *govern.Policy) {
		p.Serial, p.Domain, p.Previous = 2, r.founding.Domain, r.founding.Policy.Digest()
	}
	stranger := *r.charter
	stranger.Name = "stranger"
	tests := []struct {
		name              string
		charter           *govern.Charter
		bootstrap, policy []byte
		kind              kms.Kind
		field, text       string
	}{
		{"no charter", nil, whole, policy, kms.Invalid, "", "charter: none"},
		{"charter that is not valid", new(govern.Charter), whole, policy, kms.Invalid, "version", "charter"},
		{"other charter", &stranger, whole, policy, kms.Denied, "charter_digest", "bootstrap: for another charter"},
		{"nobody signed", r.charter, boot(), policy, kms.Denied, "signatures", "0 of the signers, and it takes 2"},
		{"owner alone", r.charter, boot(r.owner), policy, kms.Denied, "signatures", "0 of the signers, and it takes 2"},
		{"one signature short", r.charter, boot(r.owner, a), policy, kms.Denied, "signatures", "1 of the signers, and it takes 2"},
		{"without the owner", r.charter, boot(a, b, c), policy, kms.Denied, "signatures", "the owner did not sign"},
		{"a stranger signed too", r.charter, boot(r.owner, a, b, key(t, 99)), policy, kms.Denied, "signatures/3", "no say"},
		{"policy short of a signature", r.charter, whole, signed(t, govern.PolicyType, p, a, r.owner), kms.Denied, "signatures", "1 of the signers"},
		{"other policy", r.charter, whole, edited(func(p *govern.Policy) { p.RequireV2 = true }), kms.Conflict, "serial", "another policy"},
		{"policy 2", r.charter, foundOn(second), edited(second), kms.Denied, "domain", "another domain"},
		{"policy under another charter", r.charter, foundOn(otherCharter), edited(otherCharter), kms.Denied, "charter_digest", "another charter"},
		{"policy that halts", r.charter, foundOn(halt), edited(halt), kms.Invalid, "halt", "stops the domain"},
		{"policy for a bootstrap", r.charter, policy, policy, kms.Invalid, "payloadType", "an envelope with a policy"},
		{"bootstrap for a policy", r.charter, whole, whole, kms.Invalid, "payloadType", "an envelope with a bootstrap"},
		{"no envelope", r.charter, good.Canonical(), policy, kms.Invalid, "version", "envelope"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := govern.Found(tt.charter, tt.bootstrap, tt.policy)
			if f != nil {
				t.Error("a domain was founded")
			}
			checkError(t, err, tt.kind, tt.field, tt.text)
		})
	}
}

func TestDomainsOfOneCharterAreApart(t *testing.T) {
	one, two := newRealmOf(t, kms.NodeID{1}), newRealmOf(t, kms.NodeID{2})
	if one.founding.Domain == two.founding.Domain {
		t.Fatal("two foundings, one domain")
	}
	next := one.after(one.founding.Policy)
	_, err := two.founding.Standing.OpenPolicy(one.signed(next))
	checkError(t, err, kms.Denied, "domain", "another domain")
	_, err = two.founding.Standing.NextPolicy(one.founding.Policy, one.signed(next))
	checkError(t, err, kms.Invalid, "", "was not opened in this domain")
	// A policy 1 names no domain; the bootstrap picks the one.
	other := two.policy(1)
	other.RequireV2 = true
	_, err = one.founding.Standing.OpenPolicy(two.signed(other))
	checkError(t, err, kms.Conflict, "serial", "another policy")
}

func TestNextPolicy(t *testing.T) {
	r := newRealm(t)
	s, a, b := r.founding.Standing, r.signers[0], r.signers[1]
	second, err := s.NextPolicy(r.founding.Policy, r.signed(r.after(r.founding.Policy)))
	if err != nil {
		t.Fatal(err)
	}
	third := r.after(second)
	edit := func(f func(*govern.Policy)) []byte {
		p := r.after(second)
		f(p)
		return r.signed(p)
	}
	tests := []struct {
		name        string
		envelope    []byte
		kind        kms.Kind
		field, text string
	}{
		{"the very policy", r.signed(r.after(r.founding.Policy)), kms.Exists, "serial", "this very policy"},
		{"same serial, other content", edit(func(p *govern.Policy) { p.Serial, p.Previous = 2, r.founding.Policy.Digest(); p.RequireV2 = true }), kms.Conflict, "serial", "is another policy"},
		{"lower serial", r.signed(r.policy(1)), kms.Stale, "serial", "serial 1, and policy 2 is there"},
		{"serial skips one", edit(func(p *govern.Policy) { p.Serial = 4 }), kms.Conflict, "serial", "does not follow"},
		{"wrong previous digest", edit(func(p *govern.Policy) { p.Previous = r.founding.Policy.Digest() }), kms.Conflict, "previous", "follows"},
		{"other domain", edit(func(p *govern.Policy) { p.Domain[0]++ }), kms.Denied, "domain", "another domain"},
		{"other charter", edit(func(p *govern.Policy) { p.CharterDigest[0]++ }), kms.Denied, "charter_digest", "another charter"},
		{"nobody signed", signed(t, govern.PolicyType, third), kms.Denied, "signatures", "0 of the signers"},
		{"one signature short", signed(t, govern.PolicyType, third, a), kms.Denied, "signatures", "1 of the signers, and it takes 2"},
		{"owner does not count", signed(t, govern.PolicyType, third, a, r.owner), kms.Denied, "signatures", "1 of the signers, and it takes 2"},
		{"operator has no say", signed(t, govern.PolicyType, third, a, b, r.operator), kms.Denied, "signatures/2", "no say"},
		{"one signer twice", twice(t, signed(t, govern.PolicyType, third, a)), kms.Denied, "signatures", "1 of the signers, and it takes 2"},
		{"one bad among enough", breakSignature(t, signed(t, govern.PolicyType, third, a, b, r.signers[2]), 2), kms.Denied, "signatures/2", "does not hold"},
		{"bad signature of the owner", breakSignature(t, signed(t, govern.PolicyType, third, a, b, r.owner), 2), kms.Denied, "signatures/2", "does not hold"},
		{"payload of another", repack(t, r.signed(third), edit(func(p *govern.Policy) { p.RequireV2 = true })), kms.Denied, "signatures/0", "does not hold"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := s.NextPolicy(second, tt.envelope)
			if p != nil {
				t.Error("a policy came back")
			}
			checkError(t, err, tt.kind, tt.field, tt.text)
			if tt.kind != kms.Exists && kms.HintOf(err) == "" && tt.field != "charter_digest" {
				t.Error("no hint")
			}
		})
	}
	for name, env := range map[string][]byte{
		"all signers": signed(t, govern.PolicyType, third, r.signers...),
		"others":      signed(t, govern.PolicyType, third, r.signers[2], a),
		"with owner":  signed(t, govern.PolicyType, third, r.owner, a, b),
		"one twice":   twice(t, r.signed(third)),
	} {
		p, err := s.NextPolicy(second, env)
		if err != nil || p.Digest() != third.Digest() || p.InDomain() != s.Domain {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = s.NextPolicy(nil, r.signed(third))
	checkError(t, err, kms.Invalid, "", "not opened")
	_, err = s.NextPolicy(r.after(r.founding.Policy), r.signed(third))
	checkError(t, err, kms.Invalid, "", "not opened")
	unset := s
	unset.Threshold = 0
	_, err = unset.OpenPolicy(signed(t, govern.PolicyType, third))
	checkError(t, err, kms.Denied, "signatures", "0 of the signers, and it takes 0")
	_, err = govern.Standing{}.OpenPolicy(r.signed(third))
	checkError(t, err, kms.Denied, "charter_digest", "")
}

func TestCheckSubmission(t *testing.T) {
	r := newRealm(t)
	s, p := r.founding.Standing, r.after(r.founding.Policy)
	checkError(t, s.CheckSubmission(r.signed(p)), kms.Denied, "signatures", "not submitted by the owner")
	checkError(t, s.CheckSubmission(breakSignature(t, signed(t, govern.PolicyType, p, r.owner), 0)), kms.Denied, "signatures", "not submitted by the owner")
	checkError(t, govern.Standing{}.CheckSubmission(signed(t, govern.PolicyType, p, r.owner)), kms.Denied, "signatures", "not submitted")
	if err := s.CheckSubmission(signed(t, govern.PolicyType, p, r.owner)); err != nil {
		t.Error(err)
	}
	_, err := s.OpenPolicy(signed(t, govern.PolicyType, p, r.owner))
	checkError(t, err, kms.Denied, "signatures", "0 of the signers")
}

func TestPolicyValidAt(t *testing.T) {
	p := newRealm(t).policy(1)
	if err := p.ValidAt(p.ValidUntil.Add(-time.Second)); err != nil {
		t.Error(err)
	}
	checkError(t, p.ValidAt(p.ValidUntil), kms.Expired, "valid_until", "was valid until 2030-01-02T03:04:05Z")
}

// twice repeats the first signature.
func twice(t *testing.T, envelope []byte) []byte {
	t.Helper()
	e, err := govern.ParseEnvelope(envelope)
	if err != nil {
		t.Fatal(err)
	}
	e.Signatures = append(e.Signatures, e.Signatures[0])
	return e.Encode()
}

func breakSignature(t *testing.T, envelope []byte, i int) []byte {
	t.Helper()
	e, err := govern.ParseEnvelope(envelope)
	if err != nil {
		t.Fatal(err)
	}
	e.Signatures[i].Sig[7] ^= 1
	return e.Encode()
}

// repack puts the payload of one envelope under the signatures of another.
func repack(t *testing.T, signatures, payload []byte) []byte {
	t.Helper()
	s, err := govern.ParseEnvelope(signatures)
	if err != nil {
		t.Fatal(err)
	}
	p, err := govern.ParseEnvelope(payload)
	if err != nil {
		t.Fatal(err)
	}
	s.Payload = p.Payload
	return s.Encode()
}
