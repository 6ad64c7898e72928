package server_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestQuote: a node's own quote answers the challenge, verifies under a policy
// that names the node's program, and under no other.
func TestQuote(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	app, other := n.Enrol(), n.Enrol()
	challenge := []byte("a challenge of the caller's")
	q, err := app.MustCaller().GenerateQuote(ctx, kms.QuoteRequest{Challenge: challenge})
	if err != nil {
		t.Fatal(err)
	}
	v := verifyQuote(t, app, q.Quote, q.Collateral, nil)
	want := attest.ReportData(attest.ForChallenge, attest.Binding{Domain: q.Domain, PolicySerial: q.PolicySerial, PolicyDigest: q.PolicyDigest, Nonce: challenge})
	if !v.Valid || !v.Simulated || v.Status != string(attest.UpToDate) || !bytes.Equal(v.ReportData, want[:]) {
		t.Fatalf("%+v", v)
	}
	policy := func(enclave, signer []byte) *kms.QuotePolicyID {
		t.Helper()
		p, err := app.MustCaller().PutQuotePolicy(ctx, kms.PutQuotePolicyRequest{MRENCLAVE: [32]byte(enclave), MRSIGNER: [32]byte(signer)})
		if err != nil {
			t.Fatal(err)
		}
		return &p.ID
	}
	mine := policy(v.MRENCLAVE, v.MRSIGNER)
	if v := verifyQuote(t, app, q.Quote, nil, mine); !v.Valid { // the node finds the collateral
		t.Errorf("its own policy: %+v", v)
	}
	for name, c := range map[string]struct {
		quote  []byte
		policy *kms.QuotePolicyID
		want   attest.Reason
	}{
		"another enclave": {q.Quote, policy(make([]byte, 32), v.MRSIGNER), attest.IdentityNotAdmitted},
		"another signer":  {q.Quote, policy(v.MRENCLAVE, make([]byte, 32)), attest.IdentityNotAdmitted},
		"altered":         {flip(q.Quote, 100), mine, attest.BadSignature},
		"cut short":       {q.Quote[:len(q.Quote)-1], nil, attest.Malformed},
		"no quote at all": {[]byte("nonsense"), nil, attest.Unsupported},
	} {
		if v := verifyQuote(t, app, c.quote, q.Collateral, c.policy); v.Valid || v.Reason != string(c.want) {
			t.Errorf("%s: valid %t, reason %q, want %q", name, v.Valid, v.Reason, c.want)
		}
	}
	if _, err := other.MustCaller().VerifyQuote(ctx, kms.VerifyQuoteRequest{Quote: q.Quote, Policy: mine}); !errors.Is(err, kms.Foreign) {
		t.Errorf("another app's policy: %v", err)
	}
	n.Restart()
	if p, err := app.MustCaller().QuotePolicy(ctx, *mine); err != nil || p.MRENCLAVE != [32]byte(v.MRENCLAVE) {
		t.Errorf("after a restart: %+v, %v", p, err)
	}
	if _, err := other.MustCaller().QuotePolicy(ctx, *mine); !errors.Is(err, kms.Foreign) {
		t.Errorf("read by another app: %v", err)
	}
}

func verifyQuote(t *testing.T, a *trustedtest.App, quote, collateral []byte, p *kms.QuotePolicyID) kms.QuoteVerdict {
	t.Helper()
	v, err := a.MustCaller().VerifyQuote(ctx, kms.VerifyQuoteRequest{Quote: quote, Collateral: collateral, Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestQuoteSimulated: where the domain takes no simulated evidence, neither does
// it call such a quote good.
func TestQuoteSimulated(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	app := n.Enrol()
	q, err := app.MustCaller().GenerateQuote(ctx, kms.QuoteRequest{Challenge: []byte("c")})
	if err != nil {
		t.Fatal(err)
	}
	caller := app.MustCaller()
	envelope := d.Rulers.Next(func(p *govern.Policy) { p.Attestation, p.Halt = govern.Requirements{}, true })
	if _, err := n.Core().SubmitPolicy(ctx, envelope); err != nil {
		t.Fatal(err)
	}
	// The policy has stopped the node as well.
	if _, err := app.Caller(); !errors.Is(err, kms.Unavailable) {
		t.Errorf("served under a policy that does not admit the node: %v", err)
	}
	if s := n.Server().Status(); s.Ready || s.Reason == "" || s.Secure {
		t.Errorf("status does not say so: %+v", s)
	}
	// A request that was authenticated before is served by what it saw then.
	if v, err := caller.VerifyQuote(ctx, kms.VerifyQuoteRequest{Quote: q.Quote}); err != nil || !v.Valid {
		t.Errorf("under the view before: %+v, %v", v, err)
	}
}

// TestPolicyThatExpels is refused unless it says halt.
func TestPolicyThatExpels(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	app := n.Enrol()
	for name, edit := range map[string]func(*govern.Policy){
		"another program": func(p *govern.Policy) {
			p.Nodes = []govern.NodeEntry{{Name: "node", Identity: govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: make([]byte, 32)}}}}
		},
		"hardware alone": func(p *govern.Policy) { p.Attestation = govern.Requirements{} },
	} {
		rulers := *d.Rulers // so that the refused one is not the last
		if _, err := n.Core().SubmitPolicy(ctx, rulers.Next(edit)); !errors.Is(err, kms.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	expired := *d.Rulers
	if _, err := n.Core().SubmitPolicy(ctx, expired.Next(func(p *govern.Policy) { p.ValidUntil = n.Clock.Now().Add(-time.Hour).UTC().Truncate(time.Second) })); !errors.Is(err, kms.Expired) {
		t.Errorf("expired: %v", err)
	}
	app.MustCaller()
	if got := n.Server().Status().PolicySerial; got != 1 {
		t.Errorf("serial %d is in force", got)
	}
}

// TestRequireV2: under such a policy a request in eHSM's scheme is refused,
// however good its signature is.
func TestRequireV2(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	app := n.Enrol()
	app.MustCaller()
	if _, err := n.Core().SubmitPolicy(ctx, d.Rulers.Next(func(p *govern.Policy) { p.RequireV2 = true })); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Caller(); !errors.Is(err, kms.Denied) {
		t.Errorf("signed in version 1: %v", err)
	}
	bad := app.Credential("forged")
	bad.MAC = make([]byte, len(bad.MAC))
	if _, err := n.Core().Authenticate(ctx, bad); !errors.Is(err, kms.Unauthenticated) {
		t.Errorf("who has no key learns of the policy: %v", err)
	}
}
