package client_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// governed is a domain whose node serves its whole API.
func governed(t *testing.T) (*trustedtest.Domain, string) {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	d.Nodes[0].Edit = func(c *server.Config) { c.Mount = mount.Program{}.Handler }
	d.Nodes[0].Restart()
	return d, d.Nodes[0].Serve(listen.Config{}, nil).URL
}

// ruler is a client without a credential that attests the node.
func ruler(t *testing.T, d *trustedtest.Domain, url string) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{URL: url, Trust: &client.Trust{Charter: d.Charter, AllowSimulated: true}, Now: d.Nodes[0].Clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestGovernance(t *testing.T) {
	d, url := governed(t)
	c, r := ruler(t, d, url), d.Rulers
	first := *r // to sign other successors of policy 1 with
	refused := first.Next(func(p *govern.Policy) { p.Attestation = govern.Requirements{} })
	if _, err := c.SubmitPolicy(t.Context(), refused); !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "would expel") || hint(err) == "" {
		t.Errorf("a policy that expels: %v, hint %q", err, hint(err))
	}
	if checked, err := c.CheckPolicy(t.Context(), refused); err != nil || len(checked.Lockouts) == 0 || checked.Lockouts[0].Kind != kms.LockoutNode {
		t.Errorf("checked: %+v, %v", checked, err)
	}
	before := *r
	next := r.Next(func(p *govern.Policy) { p.RequireV2, p.Enrolment.Mode, p.Operators = true, govern.EnrolClosed, nil })
	checked, err := c.CheckPolicy(t.Context(), next)
	if err != nil || checked.Serial != 2 || len(checked.Lockouts) != 2 {
		t.Errorf("checked: %+v, %v", checked, err)
	}
	if st := d.Nodes[0].Server().Status(); st.PolicySerial != 1 {
		t.Fatal("a dry run changed the policy")
	}
	done, err := c.SubmitPolicy(t.Context(), next)
	if err != nil || done != (kms.SubmittedPolicy{Serial: 2, Digest: checked.Digest}) {
		t.Fatalf("%+v, %v", done, err)
	}
	for name, want := range map[string]struct {
		envelope []byte
		kind     kms.Kind
	}{
		"the same again":             {next, kms.Exists},
		"another under its serial":   {before.Next(func(p *govern.Policy) { p.Halt = true }), kms.Conflict},
		"a lower serial":             {r.Sign(govern.PolicyType, r.Founding.Policy.Canonical(), r.Owner, r.Signers[0], r.Signers[1]), kms.Stale},
		"without the owner":          {r.Sign(govern.PolicyType, r.Founding.Policy.Canonical(), r.Signers[:2]...), kms.Denied},
		"no document":                {[]byte("{}"), kms.Invalid},
		"of a domain that is not it": {trustedtest.NewDomain(t, 1).Rulers.Next(nil), kms.Denied},
	} {
		if _, err := c.SubmitPolicy(t.Context(), want.envelope); !errors.Is(err, want.kind) || hint(err) == "" && want.kind != kms.Invalid && want.kind != kms.Exists {
			t.Errorf("%s: %v, hint %q, want %v", name, err, hint(err), want.kind)
		}
	}
	checkHistory(t, c, d)
}

func hint(err error) string {
	var e *client.Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

func checkHistory(t *testing.T, c *client.Client, d *trustedtest.Domain) {
	t.Helper()
	h, err := c.Policies(t.Context())
	if err != nil || len(h.Policies) != 2 || h.Policies[0].Serial != 1 || h.Policies[1].Since.IsZero() {
		t.Fatalf("%+v, %v", h, err)
	}
	for serial, want := range map[uint64]uint64{0: 2, 1: 1, 2: 2} {
		shown, err := c.Policy(t.Context(), serial)
		if err != nil {
			t.Fatal(err)
		}
		p, standing, err := client.VerifyPolicy(d.Rulers.Charter, shown)
		if err != nil || p.Serial != want || standing.Domain != d.Rulers.Founding.Domain {
			t.Errorf("policy %d: %v", serial, err)
		}
		shown.Policy[len(shown.Policy)/2] ^= 1
		if _, _, err := client.VerifyPolicy(d.Rulers.Charter, shown); err == nil {
			t.Errorf("policy %d: altered, and verified", serial)
		}
	}
	if _, err := c.Policy(t.Context(), 9); !errors.Is(err, kms.NotFound) {
		t.Errorf("a policy that never was: %v", err)
	}
}

// TestAmend: the client follows from the charter to who rules now, and verifies
// what those who ruled before signed.
func TestAmend(t *testing.T) {
	d, url := governed(t)
	c, r := ruler(t, d, url), d.Rulers
	if _, err := c.SubmitPolicy(t.Context(), r.Next(nil)); err != nil {
		t.Fatal(err)
	}
	shown, err := c.Policy(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	current, standing, err := client.VerifyPolicy(r.Charter, shown)
	if err != nil {
		t.Fatal(err)
	}
	scheduled := r.Next(func(p *govern.Policy) {
		p.Activates = d.Nodes[0].Clock.Now().Add(time.Hour).UTC().Truncate(time.Second)
	})
	if done, err := c.SubmitPolicy(t.Context(), scheduled); err != nil || done.Activates.IsZero() {
		t.Fatalf("%+v, %v", done, err)
	}
	fresh, err := govern.NewPrivateKey(govern.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	a := standing.DraftAmendment(current)
	a.Signers[0] = fresh.Public()
	envelope := r.Sign(govern.AmendmentType, a.Canonical(), r.Owner, r.Signers[0], r.Signers[1])
	if _, err := c.Amend(t.Context(), envelope); !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "did not sign") {
		t.Errorf("without the new key: %v", err)
	}
	if envelope, err = govern.Sign(envelope, fresh); err != nil {
		t.Fatal(err)
	}
	done, err := c.Amend(t.Context(), envelope)
	if err != nil || done.Serial != 1 || done.Dropped != 3 || done.Digest != [32]byte(a.Digest()) {
		t.Fatalf("%+v, %v", done, err)
	}
	if _, err := ruler(t, d, url).Attest(t.Context()); err != nil {
		t.Errorf("a new client: %v", err)
	}
	for serial := range uint64(3) {
		shown, err := c.Policy(t.Context(), serial)
		if err != nil {
			t.Fatal(err)
		}
		if _, s, err := client.VerifyPolicy(r.Charter, shown); err != nil || s.Amendments != 1 {
			t.Errorf("policy %d after the amendment: %v", serial, err)
		}
	}
}

// TestTwoDomains: two domains founded under one charter have different ids, and
// a client that knows one refuses the other.
func TestTwoDomains(t *testing.T) {
	d, url := governed(t)
	other := d.NewNode()
	other.Edit = func(c *server.Config) { c.Mount = mount.Program{}.Handler }
	other.MustStart()
	otherURL := other.Serve(listen.Config{}, nil).URL
	one, two := d.Nodes[0].Server().Status().DomainID, other.Server().Status().DomainID
	if one == two {
		t.Fatal("one id for two domains")
	}
	memory := &client.Trust{Charter: d.Charter, AllowSimulated: true, Memory: &remembering{}}
	attest := func(trust *client.Trust, url string) (*client.Verified, error) {
		c, err := client.New(client.Config{URL: url, Trust: trust})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Attest(t.Context())
	}
	if v, err := attest(memory, url); err != nil || v.Domain != one {
		t.Fatalf("the first: %v", err)
	}
	if _, err := attest(memory, otherURL); !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "another domain") {
		t.Errorf("the other, under a charter that is known for the first: %v", err)
	}
	named := &client.Trust{Charter: d.Charter, AllowSimulated: true, Domain: one}
	if _, err := attest(named, otherURL); !errors.Is(err, kms.Denied) || !strings.Contains(err.Error(), "another domain") {
		t.Errorf("the other, where the first is named: %v", err)
	}
	named.Domain = two
	if v, err := attest(named, otherURL); err != nil || v.Domain != two {
		t.Errorf("the other, where it is named: %v", err)
	}
}

// remembering is a memory.
type remembering struct{ marks []client.Mark }

func (m *remembering) Recall(govern.Digest) ([]client.Mark, error) { return m.marks, nil }

func (m *remembering) Remember(mark client.Mark) error {
	m.marks = append(m.marks, mark)
	return nil
}
