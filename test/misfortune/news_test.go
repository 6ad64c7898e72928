package misfortune_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
)

// opens is the machine as another machine's owner would see it published.
func (s *site) opens(misfortune simtee.Misfortune) *simtee.Platform {
	s.t.Helper()
	p, err := simtee.Config{Misfortune: misfortune}.Open(s.machine.fuses)
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// dials makes a client of the node.
func (s *site) dials(url string, edit func(*client.Config)) *client.Client {
	s.t.Helper()
	cfg := client.Config{URL: url, CA: s.node.Server().CA(), Now: s.node.Clock.Now, Retries: -1}
	edit(&cfg)
	c, err := client.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(c.Close)
	return c
}

// TestBadNews: what the vendor says of the machine counts at the next
// examination, for the node itself and for who connects to it; and a host that
// goes back to older collateral does not undo it.
func TestBadNews(t *testing.T) {
	for _, news := range []struct {
		name       string
		misfortune simtee.Misfortune
		reason     attest.Reason
	}{
		{"revoked", simtee.Misfortune{Revoked: true}, attest.Revoked},
		{"out of date", simtee.Misfortune{Recovery: simtee.Announced}, attest.StatusNotAdmitted},
	} {
		t.Run(news.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			app, end := s.node.Enrol(), s.node.Serve(listen.Config{}, nil)
			attested := s.dials(end.URL, func(c *client.Config) {
				c.CA, c.Trust = nil, &client.Trust{Charter: s.domain.Charter, AllowSimulated: true}
			})
			if _, err := attested.Attest(t.Context()); err != nil {
				t.Fatal(err)
			}
			before := s.collateral(t)

			s.vendor.publishes(s.opens(news.misfortune))
			s.passes(time.Minute)
			s.refuses(app, news.reason.Error())
			if _, err := attested.Attest(t.Context()); !errors.Is(err, kms.Denied) || attest.ReasonOf(err) != news.reason {
				t.Errorf("an attested dial: %v", err)
			}

			s.feeds.Store(&before)
			for range 3 {
				s.node.Clock.Move(2 * time.Hour)
				s.node.Server().Examine(t.Context())
				s.refuses(app, "")
			}
		})
	}
}

// collateral is what the node has for its own evidence now.
func (s *site) collateral(t *testing.T) []byte {
	t.Helper()
	ev, err := s.machine.Evidence(t.Context(), [64]byte{})
	if err == nil {
		ev.Collateral, err = s.client.Collateral(t.Context(), ev)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ev.Collateral
}

// TestRevokedWorkload: the list that names another machine, of the same vendor,
// ends the session of the workload there, and no other.
func TestRevokedWorkload(t *testing.T) {
	s := newSite(t, func(v *vendor) { v.back = day })
	app, end := s.node.Enrol(), s.node.Serve(listen.Config{}, nil)
	dir := t.TempDir()
	cfg := simtee.Config{Root: s.machine.is.Load().Root(), Measurement: sha256.Sum256([]byte("a workload"))}
	elsewhere, err := cfg.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	workload := func(p *simtee.Platform) *client.Client {
		return s.dials(end.URL, func(c *client.Config) {
			c.AppID, c.APIKey = app.ID, client.NewAPIKey(app.APIKey)
			c.Workload = &client.Workload{Evidence: func(_ context.Context, reportData [64]byte) (attest.Evidence, error) {
				ev, err := p.Evidence(attest.SGX, reportData, s.node.Clock.Now())
				ev.Collateral = nil
				return ev, err
			}}
		})
	}
	there, here := workload(elsewhere), workload(s.opens(simtee.Misfortune{}))
	use := func(c *client.Client) error {
		_, err := c.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
		return err
	}
	for _, c := range []*client.Client{there, here} {
		if err := use(c); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Misfortune.Revoked = true
	revoked, err := cfg.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s.vendor.set(func(v *vendor) { v.platform, v.back = revoked, 0 })
	s.passes(time.Minute)
	if err := use(there); !errors.Is(err, kms.Denied) {
		t.Errorf("the session that was open: %v", err)
	}
	if err := use(workload(elsewhere)); !errors.Is(err, kms.Denied) {
		t.Errorf("a new session: %v", err)
	}
	if err := use(here); err != nil {
		t.Errorf("the workload on another machine: %v", err)
	}
	s.serves(app)
}

// TestSwappedPlatform: a platform that begins to sign for another program is not
// this node's, even where the policy admits that program too.
func TestSwappedPlatform(t *testing.T) {
	s := newSite(t)
	app := s.node.Enrol()
	other := sha256.Sum256([]byte("the next version"))
	envelope := s.domain.Rulers.Next(func(p *govern.Policy) {
		p.Nodes = append(p.Nodes[:1:1], govern.NodeEntry{Name: "next", Identity: govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: other[:]}}})
	})
	if _, err := s.node.Core().SubmitPolicy(t.Context(), envelope); err != nil {
		t.Fatal(err)
	}
	s.serves(app)
	for _, swap := range []struct {
		cfg simtee.Config
		why string
	}{
		{simtee.Config{Measurement: other}, "another program"},
		{simtee.Config{Misfortune: simtee.Misfortune{Debug: true}}, attest.DebugEnabled.Error()},
	} {
		s.machine.suffers(t, swap.cfg)
		s.passes(time.Minute)
		s.refuses(app, swap.why)
		s.machine.suffers(t, simtee.Config{})
		s.recovers(app)
	}
}

// TestStatusSaysWhatToDo reads the warning as a person would.
func TestStatusSaysWhatToDo(t *testing.T) {
	s := newSite(t)
	s.vendor.befalls(outages[0].fault)
	s.passes(20 * day)
	got := strings.Join(s.warnings(), "\n")
	for _, want := range []string{"collateral", "ends", "log", "service"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}
