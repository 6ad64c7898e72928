package backup_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
)

// header is one with everything in it, of a domain that r founded.
func header(t testing.TB) (*governtest.Rulers, *backup.Header) {
	t.Helper()
	r := governtest.Recoverable(t)
	bootstrap, policy := r.Found(kms.NodeID{1}, r.Policy(make([]byte, 32), time.Unix(1_700_000_000, 0)))
	h := &backup.Header{Domain: r.Founding.Domain, Generation: 1, Time: time.Unix(1_700_000_000, 5).UTC(), Salt: bytes.Repeat([]byte{3}, backup.SaltSize),
		Head:    govern.Head{Term: 2, Index: 9, Digest: govern.Digest{4}, PolicySerial: 1},
		Charter: r.Charter.Canonical(), Bootstrap: bootstrap, Policy1: policy, Policy: policy,
		Generations: []backup.Generation{{Checksum: make([]byte, 32), Retired: true}, {Checksum: bytes.Repeat([]byte{1}, 32), Sealed: []byte("sealed")}},
		Recovery:    &backup.Recovery{Public: []byte("public"), Threshold: 2, Commitments: [][]byte{{1}, {2}}}}
	for _, k := range r.Charter.RecoveryKeys {
		h.Recovery.Shares = append(h.Recovery.Shares, backup.Share{Key: k.ID(), Sealed: []byte("share")})
	}
	return r, h
}

func TestHeader(t *testing.T) {
	r, h := header(t)
	b, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, digest, err := backup.Read(bytes.NewReader(append(bytes.Clone(b), "chunks"...)))
	if err != nil || digest != sha256.Sum256(b) {
		t.Fatalf("digest %x, %v", digest, err)
	}
	if d := cmp.Diff(h, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	rules, err := got.Rules(r.Charter)
	if err != nil || rules.Domain != h.Domain || rules.Policy.Serial != 1 || !got.SameRecovery(rules) {
		t.Errorf("rules: %+v, %v", rules, err)
	}
	other, _ := header(t)
	if _, err := got.Rules(other.Charter); !errors.Is(err, kms.Denied) {
		t.Errorf("under another charter: %v", err)
	}
	for name, edit := range map[string]func(*backup.Header){
		"domain":           func(h *backup.Header) { h.Domain = kms.DomainID{7} },
		"policy's serial":  func(h *backup.Header) { h.Head.PolicySerial = 2 },
		"policy":           func(h *backup.Header) { h.Policy = []byte("{}") },
		"bootstrap":        func(h *backup.Header) { _, o := header(t); h.Bootstrap = o.Bootstrap },
		"amendment":        func(h *backup.Header) { h.Amendments = [][]byte{h.Policy} },
		"another domain's": func(h *backup.Header) { _, o := header(t); h.Domain = o.Domain },
	} {
		_, h := header(t)
		edit(h)
		if _, err := h.Rules(r.Charter); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestHeaderRefused(t *testing.T) {
	for name, edit := range map[string]func(*backup.Header){
		"no domain":                 func(h *backup.Header) { h.Domain = kms.DomainID{} },
		"no term":                   func(h *backup.Header) { h.Head.Term = 0 },
		"no salt":                   func(h *backup.Header) { h.Salt = nil },
		"no generations":            func(h *backup.Header) { h.Generations = nil },
		"generation not the newest": func(h *backup.Header) { h.Generation = 0 },
		"the newest retired": func(h *backup.Header) {
			h.Generations[1] = backup.Generation{Checksum: make([]byte, 32), Retired: true}
		},
		"a short checksum":            func(h *backup.Header) { h.Generations[0].Checksum = []byte{1} },
		"a retired one that is there": func(h *backup.Header) { h.Generations[0].Sealed = []byte{1} },
		"no threshold":                func(h *backup.Header) { h.Recovery.Threshold = 0 },
		"a threshold above all":       func(h *backup.Header) { h.Recovery.Threshold = 4 },
		"no shares":                   func(h *backup.Header) { h.Recovery.Shares = nil },
	} {
		_, h := header(t)
		edit(h)
		b, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := backup.Read(bytes.NewReader(b)); !errors.Is(err, kms.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, h := header(t)
	b, _ := h.Encode()
	for n := range len(b) {
		if n > 100 && n%97 != 0 {
			continue
		}
		if _, _, err := backup.Read(bytes.NewReader(b[:n])); !errors.Is(err, kms.Invalid) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	long := append([]byte(backup.Magic), 0xff, 0xff, 0xff, 0xff)
	if _, _, err := backup.Read(bytes.NewReader(long)); !errors.Is(err, kms.TooLarge) {
		t.Errorf("a header of 4 GiB: %v", err)
	}
}

func request(t testing.TB) *backup.Request {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return &backup.Request{Domain: kms.DomainID{1}, Node: sha256.Sum256(spki), Key: spki, Receiver: make([]byte, backup.ReceiverSize),
		Head: govern.Head{Term: 1, Index: 2, Digest: govern.Digest{3}, PolicySerial: 4}, Evidence: attest.Evidence{TEE: attest.SGX, Quote: []byte("q"), Collateral: []byte("c")}}
}

func TestRequest(t *testing.T) {
	r := request(t)
	b, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := backup.ParseRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	seen := map[[64]byte]string{r.ReportData(govern.Digest{}): "itself"}
	for name, edit := range map[string]func(*backup.Request){
		"domain":      func(r *backup.Request) { r.Domain[0]++ },
		"key":         func(r *backup.Request) { r.Key = request(t).Key },
		"no receiver": func(r *backup.Request) { r.Receiver = nil },
		"receiver":    func(r *backup.Request) { r.Receiver = append([]byte{1}, r.Receiver[1:]...) },
		"term":        func(r *backup.Request) { r.Head.Term++ },
		"index":       func(r *backup.Request) { r.Head.Index++ },
		"digest":      func(r *backup.Request) { r.Head.Digest[0]++ },
		"serial":      func(r *backup.Request) { r.Head.PolicySerial++ },
	} {
		other := *r
		edit(&other)
		data := other.ReportData(govern.Digest{})
		if same, ok := seen[data]; ok {
			t.Errorf("evidence for another %s is evidence for %s", name, same)
		}
		seen[data] = name
	}
	wrong := *r
	wrong.Node[0]++
	b, _ = wrong.Encode()
	if _, err := backup.ParseRequest(b); !errors.Is(err, kms.Invalid) {
		t.Errorf("a node that is not its key's: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	_, h := header(f)
	b, _ := h.Encode()
	f.Add(b)
	f.Add([]byte(backup.Magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := backup.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := backup.Read(bytes.NewReader(again)); err != nil {
			t.Errorf("what was printed does not read: %v", err)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	b, _ := request(f).Encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := backup.ParseRequest(b); err == nil {
			if _, err := r.Encode(); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzParseHanded(f *testing.F) {
	b, _ := (&backup.Handed{Domain: kms.DomainID{1}, Node: kms.NodeID{2}, Number: 3, Sealed: []byte("s")}).Encode()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := backup.ParseHanded(b)
		if err != nil {
			return
		}
		again, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := backup.ParseHanded(again); err != nil || got.Number != s.Number || got.Node != s.Node {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
