package backup_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
)

var verifiers = attest.Verifiers{SGX: sgx.Verify}

// machines are simulated ones that quote for a program: the domain's, and another.
var machines = sync.OnceValue(func() [2]*simtee.Platform {
	var out [2]*simtee.Platform
	root := simtee.NewRoot()
	for i := range out {
		dir, err := os.MkdirTemp("", "machine")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		if out[i], err = (simtee.Config{Measurement: [32]byte{byte(i + 1)}, Root: root}).Create(dir); err != nil {
			panic(err)
		}
	}
	return out
})

// quoteOf quotes on a machine as of the time of h.
func quoteOf(i int, h *backup.Header) func([64]byte) (attest.Evidence, error) {
	return func(reportData [64]byte) (attest.Evidence, error) {
		return machines()[i].Evidence(attest.SGX, reportData, h.Time)
	}
}

// header is one with everything in it, of a domain that r founded.
func header(t testing.TB) (*governtest.Rulers, *backup.Header) {
	t.Helper()
	r, h := unproved(t)
	if err := h.Prove(r.Founding.Policy.Digest(), quoteOf(0, h)); err != nil {
		t.Fatal(err)
	}
	return r, h
}

func unproved(t testing.TB) (*governtest.Rulers, *backup.Header) {
	t.Helper()
	r := governtest.Recoverable(t)
	program := machines()[0].Measurement()
	bootstrap, policy := r.Found(kms.NodeID{1}, r.Policy(program[:], time.Unix(1_700_000_000, 0)))
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
	if d := cmp.Diff(h, got, cmpopts.IgnoreUnexported(backup.Header{})); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	rules, err := got.Rules(r.Charter, verifiers)
	if err != nil || rules.Domain != h.Domain || !rules.Maker.Simulated || rules.Policy.Serial != 1 || !got.SameRecovery(rules) {
		t.Errorf("rules: %+v, %v", rules, err)
	}
	for name, edit := range map[string]func(*backup.Rules){
		"nobody any more":   func(r *backup.Rules) { r.Standing.RecoveryKeys, r.Standing.RecoveryThreshold = nil, 0 },
		"one less":          func(r *backup.Rules) { r.Standing.RecoveryKeys = r.Standing.RecoveryKeys[1:] },
		"another order":     func(r *backup.Rules) { slices.Reverse(r.Standing.RecoveryKeys) },
		"another threshold": func(r *backup.Rules) { r.Standing.RecoveryThreshold++ },
	} {
		amended := *rules
		amended.Standing.RecoveryKeys = slices.Clone(rules.Standing.RecoveryKeys)
		if edit(&amended); got.SameRecovery(&amended) {
			t.Errorf("shares of former holders, %s: not noticed", name)
		}
	}
	if bare := (&backup.Header{}); bare.SameRecovery(rules) || !bare.SameRecovery(&backup.Rules{}) {
		t.Error("a domain without recovery keys")
	}
	other, _ := header(t)
	if _, err := got.Rules(other.Charter, verifiers); !errors.Is(err, kms.Denied) {
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
		if _, err := h.Rules(r.Charter, verifiers); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// TestMaker: a header is taken as that of a program that its policy admits, which
// made exactly this one at its time, and as nobody else's.
func TestMaker(t *testing.T) {
	r, whole := header(t)
	policy := r.Founding.Policy.Digest()
	for name, tt := range map[string]struct {
		edit func(*backup.Header)
		kind error // nil: taken
	}{
		"as it was made":          {func(*backup.Header) {}, nil},
		"no evidence":             {func(h *backup.Header) { h.Evidence = attest.Evidence{} }, kms.Denied},
		"another time":            {func(h *backup.Header) { h.Time = h.Time.Add(time.Nanosecond) }, attest.WrongReportData},
		"another salt":            {func(h *backup.Header) { h.Salt = bytes.Repeat([]byte{4}, backup.SaltSize) }, attest.WrongReportData},
		"another recovery key":    {func(h *backup.Header) { h.Recovery.Public = []byte("mine") }, attest.WrongReportData},
		"another secret":          {func(h *backup.Header) { h.Generations[1].Checksum = bytes.Repeat([]byte{2}, 32) }, attest.WrongReportData},
		"another head":            {func(h *backup.Header) { h.Head.Index++ }, attest.WrongReportData},
		"under another policy":    {func(h *backup.Header) { _ = h.Prove(govern.Digest{1}, quoteOf(0, h)) }, attest.WrongReportData},
		"by another program":      {func(h *backup.Header) { _ = h.Prove(policy, quoteOf(1, h)) }, attest.IdentityNotAdmitted},
		"after the collateral":    {func(h *backup.Header) { late(h, policy, time.Hour*24*365*40) }, kms.Denied},
		"for another purpose":     {func(h *backup.Header) { h.Evidence, _ = quoteOf(0, h)([64]byte{}) }, attest.WrongReportData},
		"a quote with a flip":     {func(h *backup.Header) { q := bytes.Clone(h.Evidence.Quote); q[100] ^= 1; h.Evidence.Quote = q }, kms.Denied},
		"no collateral any more":  {func(h *backup.Header) { h.Evidence.Collateral = nil }, attest.MissingCollateral},
		"a quote, but of nothing": {func(h *backup.Header) { h.Evidence.Quote = []byte("quote") }, kms.Denied},
	} {
		h := *whole
		h.Generations = slices.Clone(whole.Generations)
		recovery := *whole.Recovery
		h.Recovery = &recovery
		tt.edit(&h)
		b, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := backup.Read(bytes.NewReader(b))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rules, err := got.Rules(r.Charter, verifiers)
		switch {
		case tt.kind == nil && err != nil, tt.kind != nil && (!errors.Is(err, kms.Denied) || !errors.Is(err, tt.kind) || kms.HintOf(err) == "" || rules != nil):
			t.Errorf("%s: %v", name, err)
		}
	}
}

// late proves a header for its own time, and shows collateral of long before.
func late(h *backup.Header, policy govern.Digest, by time.Duration) {
	then := *h
	h.Time = h.Time.Add(by)
	_ = h.Prove(policy, quoteOf(0, &then))
}

// TestEvidenceIsLast: what the evidence is for is all before it, so nothing may be
// behind it, nor any second one, that a parser would take into account.
func TestEvidenceIsLast(t *testing.T) {
	_, h := header(t)
	b, err := h.Encode()
	if err != nil {
		t.Fatal(err)
	}
	body := b[len(backup.Magic)+4:]
	for name, tail := range map[string][]byte{
		"another policy":   protowire.AppendBytes(protowire.AppendTag(nil, 14, protowire.BytesType), []byte("{}")),
		"more evidence":    protowire.AppendBytes(protowire.AppendTag(nil, 30, protowire.BytesType), nil),
		"an unknown field": protowire.AppendVarint(protowire.AppendTag(nil, 31, protowire.VarintType), 1),
	} {
		all := append(bytes.Clone(body), tail...)
		front := binary.BigEndian.AppendUint32([]byte(backup.Magic), uint32(len(all)))
		if _, _, err := backup.Read(bytes.NewReader(append(front, all...))); !errors.Is(err, kms.Invalid) {
			t.Errorf("%s behind the evidence: %v", name, err)
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
		"endless collateral":          func(h *backup.Header) { h.Evidence.Collateral = make([]byte, 1<<20+1) },
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
