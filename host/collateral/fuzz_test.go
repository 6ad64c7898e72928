package collateral_test

import (
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/host/collateral"
)

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"item":"a","body":"AAAA","chain":"x","fetched":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"version":1,"item":"a","item":"b"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		name, body, err := collateral.ParseRecord(b)
		if err != nil && (name != "" || body != nil) {
			t.Error("something was returned beside an error")
		}
		collateral.New(collateral.Config{Bundle: b})
	})
}

func FuzzHeader(f *testing.F) {
	f.Add("-----BEGIN%20CERTIFICATE-----%0AAA%2B%2BBB%3D%0A-----END%20CERTIFICATE-----%0A")
	f.Add("-----BEGIN+CERTIFICATE-----%0AAA%2B%0A-----END+CERTIFICATE-----")
	f.Add("%")
	f.Add("7")
	f.Add("Sun, 01 Mar 2026 12:00:00 GMT")
	f.Fuzz(func(t *testing.T, text string) {
		if chain, err := collateral.Unescape("X", text); err == nil && !strings.Contains(chain, "-----BEGIN CERTIFICATE-----") {
			t.Errorf("%q", chain)
		}
		if d := collateral.RetryAfter(text, noon); d < 0 || d > time.Hour {
			t.Errorf("%q: %v", text, d)
		}
	})
}

// FuzzAnswer offers an answer to every reader there is. What it accepts has to
// be signed, so that only what was published passes, in whatever wrapping.
func FuzzAnswer(f *testing.F) {
	p, err := simtee.Create(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	c, err := collateral.New((&vendor{now: atNoon, platform: p}).config())
	if err != nil {
		f.Fatal(err)
	}
	for _, tee := range tees {
		ev, err := p.Evidence(tee, [64]byte{}, noon)
		if err != nil {
			f.Fatal(err)
		}
		blocks := blocksOf(ev.Collateral)
		ev.Collateral = nil
		if _, err := c.Collateral(f.Context(), ev); err != nil {
			f.Fatal(err)
		}
		for _, b := range blocks {
			f.Add(b.Bytes, "")
		}
	}
	for _, tee := range []attest.TEE{attest.SGX, attest.TDX} {
		said, err := p.Published(tee, noon)
		if err != nil {
			f.Fatal(err)
		}
		for _, answer := range []struct {
			body  []byte
			chain string
		}{{said.TCBInfo, said.TCBInfoChain}, {said.QEIdentity, said.QEIdentityChain}, {said.PCKCRL, said.PCKCRLChain}, {said.RootCRL, ""}} {
			if n := c.ReadAll(answer.body, answer.chain); n != 1 {
				f.Fatalf("%d readers took %s", n, answer.body)
			}
			f.Add(answer.body, answer.chain)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, chain string) {
		if n := c.ReadAll(body, chain); n > 1 {
			t.Errorf("%d readers took it", n)
		}
	})
}

func FuzzEvidence(f *testing.F) {
	p, err := simtee.Create(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	c, err := collateral.New(collateral.Config{Bundle: []byte(`{"version":1,"records":[]}`), Now: atNoon})
	if err != nil {
		f.Fatal(err)
	}
	for _, tee := range tees {
		ev, err := p.Evidence(tee, [64]byte{}, noon)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(ev.Quote, ev.Collateral)
	}
	f.Fuzz(func(t *testing.T, quote, given []byte) {
		if _, err := c.Collateral(t.Context(), attest.Evidence{Quote: quote, Collateral: given}); err == nil {
			t.Error("collateral out of nothing")
		}
	})
}
