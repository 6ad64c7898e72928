package snp_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/attest/snp"
)

// evidenceDir holds genuine evidence, signed by the vendors. It is others'
// property and therefore lies beside the project and not in it.
const evidenceDir = "../../../shared/evidence/snp"

func sample(t testing.TB, name string) []byte {
	t.Helper()
	if _, err := os.Stat(evidenceDir); errors.Is(err, os.ErrNotExist) {
		t.Skipf("SKIPPED: NO GENUINE EVIDENCE IS JUDGED. %s is not there; put the vendor-signed samples beside the project.", filepath.Clean(evidenceDir))
	}
	b, err := os.ReadFile(filepath.Join(evidenceDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// at is a time at which simulated evidence is in force.
var at = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// root certifies the machines of these tests. To find its keys takes a while.
var root = sync.OnceValue(simtee.NewRoot)

func machine(t testing.TB, cfg simtee.Config) *simtee.Platform {
	t.Helper()
	cfg.Root = root()
	p, err := cfg.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mint(t testing.TB, cfg simtee.Config) attest.Evidence {
	t.Helper()
	ev, err := machine(t, cfg).Evidence(attest.SNP, [64]byte{1, 2, 3}, at)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// blocks takes collateral apart, and join puts it together.
func blocks(t testing.TB, collateral []byte) (all []*pem.Block) {
	t.Helper()
	for block, rest := pem.Decode(collateral); block != nil; block, rest = pem.Decode(rest) {
		all = append(all, block)
	}
	if len(all) != 4 {
		t.Fatalf("%d blocks in the collateral, want 4", len(all))
	}
	return all
}

func join(all ...*pem.Block) (b []byte) {
	for _, block := range all {
		b = append(b, pem.EncodeToMemory(block)...)
	}
	return b
}

func TestGenuine(t *testing.T) {
	type outcome struct {
		Version                 int
		Product, ChipID, CSPID  string
		Debug, VLEK, Revocation bool
		Simulated               bool
		Reported, Current       attest.SNPTCB
		From, Until             string
	}
	for _, row := range []struct {
		name, report, cert string
		at                 string
		want               outcome
	}{
		{"VCEK", "test-report.bin", "test-vcek.der", "2024-06-01T00:00:00Z", outcome{
			Version: 2, Product: "Milan",
			ChipID:   "c38427a30d4c7af9d96f7a15b97269825a64cb76a2352ffd5d18115d89ad473f8e8c0bcd9a5d9286612bad4aadfb4426205a3b9e4fea82301135a170e477524e",
			Reported: attest.SNPTCB{Bootloader: 3, SNP: 8, Microcode: 0x73}, Current: attest.SNPTCB{Bootloader: 3, SNP: 8, Microcode: 0xce},
			From: "2023-01-24T17:58:26Z", Until: "2030-01-24T17:58:26Z",
		}},
		{"VLEK", "test-vlek-report.bin", "test-vlek.der", "2025-06-01T00:00:00Z", outcome{
			Version: 3, Product: "Milan", VLEK: true, CSPID: "CN=cc-us-east-2.amazonaws.com",
			Reported: attest.SNPTCB{Bootloader: 4, SNP: 0x18, Microcode: 0xd9}, Current: attest.SNPTCB{Bootloader: 4, SNP: 0x18, Microcode: 0xdc},
			From: "2024-12-10T22:14:21Z", Until: "2025-12-10T22:14:21Z",
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			when, err := time.Parse(time.RFC3339, row.at)
			if err != nil {
				t.Fatal(err)
			}
			ev := attest.Evidence{TEE: attest.SNP, Quote: sample(t, row.report), Collateral: snp.Bundle([][]byte{sample(t, row.cert)}, nil)}
			c, err := snp.Verify(ev, when)
			if err != nil {
				t.Fatal(err)
			}
			got := outcome{c.Version, c.SNP.Product, c.Platform.ChipID.String(), c.Platform.CSPID, c.Debug, c.SNP.SignedByVLEK, c.RevocationChecked, c.Simulated,
				c.SNP.ReportedTCB, c.SNP.CurrentTCB, c.ValidFrom.Format(time.RFC3339), c.ValidUntil.Format(time.RFC3339)}
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Error(diff)
			}
			want, _ := snp.RootFingerprint("Milan")
			if !c.Root.Equal(want[:]) || !attest.Hex(ev.Quote[0x50:0x90]).Equal(c.ReportData) || !attest.Hex(ev.Quote[0x90:0xc0]).Equal(c.SNP.Measurement) {
				t.Errorf("root %s, report data %s, measurement %s", c.Root, c.ReportData, c.SNP.Measurement)
			}
			for _, out := range []struct {
				at   time.Time
				want attest.Reason
			}{{c.ValidFrom.Add(-time.Second), attest.CertificateNotYet}, {c.ValidUntil.Add(time.Second), attest.CertificateExpired},
				{time.Time{}, attest.CertificateNotYet}, {c.ValidFrom, ""}, {c.ValidUntil, ""}} {
				_, err := snp.Verify(ev, out.at)
				if got := attest.ReasonOf(err); got != out.want {
					t.Errorf("at %v: %q (%v), want %q", out.at, got, err, out.want)
				}
			}
		})
	}
}

// TestKeysDoNotMix: a report says which kind of key signed it.
func TestKeysDoNotMix(t *testing.T) {
	when := time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)
	for _, files := range [][2]string{{"test-report.bin", "test-vlek.der"}, {"test-vlek-report.bin", "test-vcek.der"}} {
		ev := attest.Evidence{Quote: sample(t, files[0]), Collateral: snp.Bundle([][]byte{sample(t, files[1])}, nil)}
		if _, err := snp.Verify(ev, when); attest.ReasonOf(err) != attest.BadCertificate {
			t.Errorf("%v: %v, want %s", files, err, attest.BadCertificate)
		}
	}
}

func TestSimulated(t *testing.T) {
	program := simtee.Program{SNPMeasurement: [48]byte{1}, HostData: [32]byte{2}, FamilyID: [16]byte{3}, ImageID: [16]byte{4}, IDKeyDigest: [48]byte{5}, GuestSVN: 6}
	p := machine(t, simtee.Config{Program: program})
	ev, err := p.Evidence(attest.SNP, [64]byte{1, 2, 3}, at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := snp.Verify(ev, at)
	if err != nil {
		t.Fatal(err)
	}
	ark, err := p.Root().Certificate(attest.SNP)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(ark)
	tcb := attest.SNPTCB{Bootloader: 4, SNP: 22, Microcode: 205}
	zeros := make([]byte, 48)
	want := attest.Claims{
		TEE: attest.SNP, Version: 2, Simulated: true, RevocationChecked: true, Root: sum[:],
		ReportData: append([]byte{1, 2, 3}, make([]byte, 61)...),
		SNP: &attest.SNPClaims{
			Measurement: program.SNPMeasurement[:], HostData: program.HostData[:], FamilyID: program.FamilyID[:], ImageID: program.ImageID[:],
			IDKeyDigest: program.IDKeyDigest[:], AuthorKeyDigest: zeros, ReportID: ev.Quote[0x140:0x160], GuestSVN: 6,
			Policy: 1<<17 | 1<<16 | 0x11f, PlatformInfo: 1, Product: "Milan",
			CurrentTCB: tcb, ReportedTCB: tcb, CommittedTCB: tcb, LaunchTCB: tcb,
		},
		Platform:  attest.Platform{ChipID: ev.Quote[0x1a0:0x1e0]},
		Issued:    time.Date(2018, 5, 21, 10, 45, 10, 0, time.UTC),
		ValidFrom: time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC), ValidUntil: time.Date(2026, 4, 13, 0, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

// TestPolicy: what the verifier leaves to a policy, the policy gets to see.
func TestPolicy(t *testing.T) {
	admits := func(cfg simtee.Config, edit func(*attest.Policy)) attest.Reason {
		p := machine(t, cfg)
		ev, err := p.Evidence(attest.SNP, [64]byte{1, 2, 3}, at)
		if err != nil {
			t.Fatal(err)
		}
		measurement := p.Program().SNPMeasurement
		policy := attest.Policy{SNP: attest.SNPPolicy{Terms: attest.Terms{Simulated: true}, Identities: []attest.SNPIdentity{{Measurement: measurement[:]}}}}
		if edit != nil {
			edit(&policy)
		}
		_, err = attest.Verifiers{SNP: snp.Verify}.Verify(ev, policy, at)
		return attest.ReasonOf(err)
	}
	for _, row := range []struct {
		name string
		cfg  simtee.Config
		edit func(*attest.Policy)
		want attest.Reason
	}{
		{name: "admitted"},
		{name: "simulation not named", edit: func(p *attest.Policy) { p.SNP.Simulated = false }, want: attest.NotHardware},
		{name: "nobody", edit: func(p *attest.Policy) { *p = attest.Policy{} }, want: attest.TEENotAdmitted},
		{name: "another program", cfg: simtee.Config{Program: simtee.Program{SNPMeasurement: [48]byte{9}}},
			edit: func(p *attest.Policy) { p.SNP.Identities[0].Measurement = make([]byte, 48) }, want: attest.IdentityNotAdmitted},
		{name: "debug", cfg: simtee.Config{Misfortune: simtee.Misfortune{Debug: true}}, want: attest.DebugEnabled},
		{name: "debug named", cfg: simtee.Config{Misfortune: simtee.Misfortune{Debug: true}}, edit: func(p *attest.Policy) { p.SNP.Debug = true }},
		{name: "firmware below the floor", edit: func(p *attest.Policy) { p.SNP.Identities[0].MinTCB.Microcode = 206 }, want: attest.IdentityNotAdmitted},
		{name: "firmware that was brought up to it", cfg: simtee.Config{Misfortune: simtee.Misfortune{Recovery: simtee.Partial}},
			edit: func(p *attest.Policy) { p.SNP.Identities[0].MinTCB.Microcode = 206 }},
		{name: "bound to another challenge", edit: func(p *attest.Policy) { *p = p.BoundTo([64]byte{9}) }, want: attest.WrongReportData},
		{name: "bound to this challenge", edit: func(p *attest.Policy) { *p = p.BoundTo([64]byte{1, 2, 3}) }},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := admits(row.cfg, row.edit); got != row.want {
				t.Errorf("reason %q, want %q", got, row.want)
			}
		})
	}
}

// TestSelfMadeChain: with its own root the evidence is simulated and nothing
// else; without it, or with AMD's, it hangs in the air.
func TestSelfMadeChain(t *testing.T) {
	ev := mint(t, simtee.Config{})
	b := blocks(t, ev.Collateral)
	for _, row := range []struct {
		name string
		use  []*pem.Block
		want attest.Reason
	}{
		{"whole", b, ""},
		{"no list", b[:3], ""},
		{"no root", b[:2], attest.BrokenChain},
		{"only the chip's key", b[:1], attest.BrokenChain},
		{"AMD's root", []*pem.Block{b[0], b[1], genuineRoot(t)}, attest.BrokenChain},
		{"the chip's key as its own authority", []*pem.Block{b[0], b[0], b[2]}, attest.BrokenChain},
		{"the root as the signing key", []*pem.Block{b[0], b[2], b[2]}, attest.BrokenChain},
		{"nothing", nil, attest.MissingCollateral},
		{"only a list", b[3:], attest.MissingCollateral},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := snp.Verify(attest.Evidence{Quote: ev.Quote, Collateral: join(row.use...)}, at)
			if got := attest.ReasonOf(err); got != row.want {
				t.Fatalf("%v, want %q", err, row.want)
			}
			if err == nil && !c.Simulated {
				t.Error("a chain that anyone can make is not said to be simulated")
			}
		})
	}
}

// genuineRoot is a certificate of AMD's that the library has compiled in.
func genuineRoot(t *testing.T) *pem.Block {
	t.Helper()
	return &pem.Block{Type: "CERTIFICATE", Bytes: genuineRootDER(t)}
}

func TestMalformed(t *testing.T) {
	ev := mint(t, simtee.Config{})
	b := blocks(t, ev.Collateral)
	edit := func(do func(q []byte)) []byte {
		q := bytes.Clone(ev.Quote)
		do(q)
		return q
	}
	for _, row := range []struct {
		name              string
		quote, collateral []byte
		want              attest.Reason
	}{
		{"no report", nil, ev.Collateral, attest.Malformed},
		{"truncated", ev.Quote[:1183], ev.Collateral, attest.Malformed},
		{"extended", append(bytes.Clone(ev.Quote), 0), ev.Collateral, attest.Malformed},
		{"certificates behind it, as some tools write them", append(bytes.Clone(ev.Quote), make([]byte, 24)...), ev.Collateral, attest.Malformed},
		{"version 1", edit(func(q []byte) { q[0] = 1 }), ev.Collateral, attest.Unsupported},
		{"version 6", edit(func(q []byte) { q[0] = 6 }), ev.Collateral, attest.Unsupported},
		{"reserved bytes", edit(func(q []byte) { q[0x188] = 1 }), ev.Collateral, attest.Malformed},
		{"bytes after the signature", edit(func(q []byte) { q[1183] = 1 }), ev.Collateral, attest.Malformed},
		{"unsigned", edit(func(q []byte) { q[0x48] = 7 << 2 }), ev.Collateral, attest.Unsupported},
		{"reserved signer", edit(func(q []byte) { q[0x48] = 3 << 2 }), ev.Collateral, attest.Malformed},
		{"another signature algorithm", edit(func(q []byte) { q[0x34] = 2 }), ev.Collateral, attest.BadSignature},
		{"signature of zeros", edit(func(q []byte) { clear(q[0x2a0:]) }), ev.Collateral, attest.BadSignature},
		{"text before", ev.Quote, append([]byte("x\n"), ev.Collateral...), attest.Malformed},
		{"text after", ev.Quote, append(bytes.Clone(ev.Collateral), 'x'), attest.Malformed},
		{"a damaged block before", ev.Quote, append([]byte("-----BEGIN CERTIFICATE-----\n"), ev.Collateral...), attest.Malformed},
		{"headers", ev.Quote, join(&pem.Block{Type: "CERTIFICATE", Headers: map[string]string{"a": "b"}, Bytes: b[0].Bytes}), attest.Malformed},
		{"a key", ev.Quote, join(b[0], &pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}), attest.Malformed},
		{"four certificates", ev.Quote, join(b[0], b[1], b[2], b[2]), attest.Malformed},
		{"list not last", ev.Quote, join(b[0], b[1], b[3], b[2]), attest.Malformed},
		{"two lists", ev.Quote, join(b[0], b[1], b[2], b[3], b[3]), attest.Malformed},
		{"a certificate that is none", ev.Quote, join(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{1, 2}}), attest.BadCertificate},
		{"a list that is none", ev.Quote, join(b[0], b[1], b[2], &pem.Block{Type: "X509 CRL", Bytes: []byte{1, 2}}), attest.Malformed},
		{"too long", ev.Quote, slices.Concat(ev.Collateral, bytes.Repeat([]byte{'\n'}, 1<<16)), attest.Malformed},
		{"root first", ev.Quote, join(b[2], b[1], b[0], b[3]), attest.BadCertificate},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := snp.Verify(attest.Evidence{Quote: row.quote, Collateral: row.collateral}, at)
			if got := attest.ReasonOf(err); got != row.want {
				t.Errorf("%v, want %q", err, row.want)
			}
		})
	}
}

// TestOneBit: no bit of what is signed, or of a signature, can be changed.
func TestOneBit(t *testing.T) {
	ev := mint(t, simtee.Config{})
	b := blocks(t, ev.Collateral)
	refused := func(t *testing.T, i int, ev attest.Evidence, may ...attest.Reason) {
		t.Helper()
		if _, err := snp.Verify(ev, at); !slices.Contains(may, attest.ReasonOf(err)) {
			t.Errorf("byte %d: %v, want one of %q", i, err, may)
		}
	}
	t.Run("report", func(t *testing.T) {
		for i := 0; i < len(ev.Quote); i += 3 {
			q := bytes.Clone(ev.Quote)
			q[i] ^= 1 << (i % 8)
			refused(t, i, attest.Evidence{Quote: q, Collateral: ev.Collateral}, attest.BadSignature, attest.Malformed, attest.Unsupported, attest.BadCertificate)
		}
	})
	for n, name := range []string{"VCEK", "ASK", "ARK", "list"} {
		t.Run(name, func(t *testing.T) {
			for i := 0; i < len(b[n].Bytes); i += 5 {
				changed := *b[n]
				changed.Bytes = bytes.Clone(b[n].Bytes)
				changed.Bytes[i] ^= 1 << (i % 8)
				use := slices.Clone(b)
				use[n] = &changed
				refused(t, i, attest.Evidence{Quote: ev.Quote, Collateral: join(use...)}, attest.BrokenChain, attest.BadCertificate, attest.Malformed,
					attest.WrongSigner, attest.CertificateExpired, attest.CertificateNotYet, attest.CollateralExpired, attest.CollateralNotYet, attest.Unsupported)
			}
		})
	}
}

// TestForged: a change that the right key has signed is found by the check
// that is for it.
func TestForged(t *testing.T) {
	certificate := func(role simtee.Role, edit func(*x509.Certificate)) simtee.Config {
		return simtee.Config{Forge: &simtee.Forge{Certificate: func(r simtee.Role, c *x509.Certificate) {
			if r == role {
				edit(c)
			}
		}}}
	}
	list := func(edit func(*x509.RevocationList)) simtee.Config {
		return simtee.Config{Forge: &simtee.Forge{List: func(_ simtee.Role, l *x509.RevocationList) { edit(l) }}}
	}
	body := func(edit func([]byte)) simtee.Config {
		return simtee.Config{Forge: &simtee.Forge{Body: func(b []byte) []byte { edit(b); return b }}}
	}
	expired := func(c *x509.Certificate) { c.NotAfter = at.Add(-time.Second) }
	early := func(c *x509.Certificate) { c.NotBefore = at.Add(time.Second) }
	rename := func(c *x509.Certificate) { c.Subject.CommonName, c.Subject.ExtraNames = "SEV-Genoa", nil }
	le := binary.LittleEndian
	for _, row := range []struct {
		name string
		cfg  simtee.Config
		want attest.Reason
	}{
		{"VCEK expired", certificate(simtee.RoleVCEK, expired), attest.CertificateExpired},
		{"ASK expired", certificate(simtee.RoleASK, expired), attest.CertificateExpired},
		{"ARK expired", certificate(simtee.RoleARK, expired), attest.CertificateExpired},
		{"VCEK not yet valid", certificate(simtee.RoleVCEK, early), attest.CertificateNotYet},
		{"ASK not yet valid", certificate(simtee.RoleASK, early), attest.CertificateNotYet},
		{"ARK not yet valid", certificate(simtee.RoleARK, early), attest.CertificateNotYet},
		{"ASK that is no CA", certificate(simtee.RoleASK, func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false }), attest.WrongSigner},
		{"ASK that signs no certificates", certificate(simtee.RoleASK, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }), attest.WrongSigner},
		{"ASK of another product", certificate(simtee.RoleASK, rename), attest.BadCertificate},
		{"VCEK of another name", certificate(simtee.RoleVCEK, func(c *x509.Certificate) { c.Subject.CommonName = "SEV-VLEK" }), attest.BadCertificate},
		{"VCEK of another organisation", certificate(simtee.RoleVCEK, func(c *x509.Certificate) {
			c.Subject.Organization[0] = "Advanced Macro Devices"
		}), attest.BadCertificate},
		{"VCEK without a version", certificate(simtee.RoleVCEK, func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[1:] }), attest.BadCertificate},
		{"VCEK of Turin", certificate(simtee.RoleVCEK, func(c *x509.Certificate) {
			c.ExtraExtensions = slices.Clone(c.ExtraExtensions)
			c.ExtraExtensions[4].Id = append(slices.Clone(c.ExtraExtensions[4].Id[:9]), 9)
		}), attest.Unsupported},
		{"VCEK of another chip", certificate(simtee.RoleVCEK, func(c *x509.Certificate) { c.ExtraExtensions[10].Value[0] ^= 1 }), attest.CollateralMismatch},
		{"VCEK of older firmware", certificate(simtee.RoleVCEK, func(c *x509.Certificate) { c.ExtraExtensions[9].Value = []byte{2, 1, 1} }), attest.CollateralMismatch},
		{"reported above current", body(func(b []byte) { b[0x38+6]-- }), attest.CollateralMismatch},
		{"committed above current", body(func(b []byte) { b[0x1e0+6]++ }), attest.CollateralMismatch},
		{"another product in the report", body(func(b []byte) { le.PutUint32(b, 3); copy(b[0x188:], []byte{0x19, 0x11, 0}) }), attest.BadCertificate},
		{"unknown product in the report", body(func(b []byte) { le.PutUint32(b, 3); copy(b[0x188:], []byte{0x77, 1, 1}) }), attest.BadCertificate},
		{"version 3", body(func(b []byte) { le.PutUint32(b, 3); copy(b[0x188:], []byte{0x19, 1, 1}) }), ""},
		{"reserved bit in the guest policy", body(func(b []byte) { b[0x08+7] = 1 }), attest.Malformed},
		{"revoked", simtee.Config{Misfortune: simtee.Misfortune{Revoked: true}}, attest.Revoked},
		{"another key revoked", list(func(l *x509.RevocationList) {
			l.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: big.NewInt(1), RevocationTime: at}}
		}), ""},
		{"stale", simtee.Config{Misfortune: simtee.Misfortune{Stale: true}}, attest.CollateralExpired},
		{"list from the future", list(func(l *x509.RevocationList) { l.ThisUpdate = at.Add(time.Second) }), attest.CollateralNotYet},
		{"foreign", simtee.Config{Misfortune: simtee.Misfortune{Foreign: true}}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := snp.Verify(mint(t, row.cfg), at)
			if got := attest.ReasonOf(err); got != row.want {
				t.Errorf("%v, want %q", err, row.want)
			}
			if err != nil && c.TEE != "" {
				t.Error("refused, and yet there are claims")
			}
		})
	}
}

// TestForeignList: the list of another root says nothing about this one.
func TestForeignList(t *testing.T) {
	here := blocks(t, mint(t, simtee.Config{}).Collateral)
	ev := mint(t, simtee.Config{Misfortune: simtee.Misfortune{Foreign: true}})
	there := blocks(t, ev.Collateral)
	_, err := snp.Verify(attest.Evidence{Quote: ev.Quote, Collateral: join(there[0], there[1], there[2], here[3])}, at)
	if attest.ReasonOf(err) != attest.BrokenChain {
		t.Errorf("%v, want %s", err, attest.BrokenChain)
	}
}

// TestMaskedChip: the host may hide the chip in the report; its certificate
// still names it.
func TestMaskedChip(t *testing.T) {
	ev := mint(t, simtee.Config{Forge: &simtee.Forge{Body: func(b []byte) []byte { clear(b[0x1a0:0x1e0]); return b }}})
	c, err := snp.Verify(ev, at)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParseCertificate(blocks(t, ev.Collateral)[0].Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if want := key.Extensions[len(key.Extensions)-1].Value; len(c.Platform.ChipID) != 64 || !bytes.Contains(key.Raw, c.Platform.ChipID) {
		t.Errorf("chip id %s, want that of the certificate, %x", c.Platform.ChipID, want)
	}
}

// sameMachine is the same in every process, as fuzzing needs it.
func sameMachine(t testing.TB, cfg simtee.Config) *simtee.Platform {
	t.Helper()
	p, err := cfg.Open("../simtee/testdata")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func FuzzVerify(f *testing.F) {
	ev, err := sameMachine(f, simtee.Config{}).Evidence(attest.SNP, [64]byte{1, 2, 3}, at)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(ev.Quote, ev.Collateral)
	f.Fuzz(func(t *testing.T, quote, collateral []byte) {
		c, err := snp.Verify(attest.Evidence{Quote: quote, Collateral: collateral}, at)
		if err != nil {
			if _, ok := errors.AsType[*attest.Error](err); !ok || c.TEE != "" {
				t.Errorf("%T %v with claims of %q", err, err, c.TEE)
			}
			return
		}
		// Nobody signs for the fuzzer, so what verifies is what was signed.
		if !bytes.Equal(quote, ev.Quote) || !c.Simulated {
			t.Errorf("accepted %x", quote)
		}
	})
}

// FuzzSigned lets the fuzzer have reports signed, to get past the signature.
func FuzzSigned(f *testing.F) {
	var next []byte
	p := sameMachine(f, simtee.Config{Forge: &simtee.Forge{Body: func([]byte) []byte { return bytes.Clone(next) }}})
	genuine, err := sameMachine(f, simtee.Config{}).Evidence(attest.SNP, [64]byte{1, 2, 3}, at)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(genuine.Quote[:672])
	f.Fuzz(func(t *testing.T, signed []byte) {
		if len(signed) != 672 {
			return
		}
		next = signed
		ev, err := p.Evidence(attest.SNP, [64]byte{}, at)
		if err != nil {
			t.Fatal(err)
		}
		c, err := snp.Verify(ev, at)
		if err != nil {
			return
		}
		for _, field := range [][2][]byte{{c.ReportData, signed[0x50:0x90]}, {c.SNP.Measurement, signed[0x90:0xc0]}, {c.SNP.HostData, signed[0xc0:0xe0]}} {
			if !bytes.Equal(field[0], field[1]) {
				t.Errorf("claims %x, signed %x", field[0], field[1])
			}
		}
		if c.Debug != (signed[0x0a]&8 != 0) {
			t.Errorf("debug %v, guest policy %x", c.Debug, signed[0x08:0x10])
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	ev := mint(b, simtee.Config{})
	for b.Loop() {
		if _, err := snp.Verify(ev, at); err != nil {
			b.Fatal(err)
		}
	}
}
