package attest_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/attest"
)

// filled is n bytes of one value.
func filled(v byte, n int) attest.Hex { return bytes.Repeat([]byte{v}, n) }

var (
	now        = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)
	reportData = [64]byte(filled(0x99, 64))
)

// common is what the claims of every TEE have here.
func common(tee attest.TEE, version int) attest.Claims {
	return attest.Claims{
		TEE: tee, Version: version, ReportData: reportData[:], Root: filled(0x0f, 32), RevocationChecked: true,
		Status: attest.UpToDate, EvaluationNumber: 20,
		Issued: now.Add(-48 * time.Hour), ValidFrom: now.Add(-24 * time.Hour), ValidUntil: now.Add(240 * time.Hour),
	}
}

func sgxClaims() attest.Claims {
	c := common(attest.SGX, 3)
	c.Platform = attest.Platform{FMSPC: filled(0xf0, 6), PPID: filled(0xf1, 16)}
	c.SGX = &attest.SGXClaims{
		MRENCLAVE: filled(0xa0, 32), MRSIGNER: filled(0xa1, 32), ISVProdID: 7, ISVSVN: 3, Attributes: filled(0x05, 16),
		MiscSelect: filled(0, 4), ConfigID: filled(0xa2, 64), ConfigSVN: 2, CPUSVN: filled(5, 16), PCESVN: 11,
	}
	return c
}

func tdxClaims() attest.Claims {
	c := common(attest.TDX, 4)
	c.Platform = attest.Platform{FMSPC: filled(0xf0, 6), PPID: filled(0xf1, 16)}
	c.TDX = &attest.TDXClaims{
		MRTD: filled(0xb0, 48), RTMR0: filled(0xb1, 48), RTMR1: filled(0xb2, 48), RTMR2: filled(0xb3, 48), RTMR3: filled(0, 48),
		MRConfigID: filled(0xb4, 48), MROwner: filled(0xb5, 48), MROwnerConfig: filled(0xb6, 48), MRSEAM: filled(0xb7, 48), MRSignerSEAM: filled(0, 48),
		TDAttributes: filled(0x10, 8), XFAM: filled(0xe7, 8), TEETCBSVN: filled(5, 16), CPUSVN: filled(5, 16), PCESVN: 11,
	}
	return c
}

func snpClaims() attest.Claims {
	c := common(attest.SNP, 2)
	c.Status, c.EvaluationNumber = "", 0
	c.Platform = attest.Platform{ChipID: filled(0xf2, 64)}
	tcb := attest.SNPTCB{Bootloader: 3, TEE: 0, SNP: 8, Microcode: 115}
	c.SNP = &attest.SNPClaims{
		Measurement: filled(0xc0, 48), HostData: filled(0xc1, 32), FamilyID: filled(0xc2, 16), ImageID: filled(0xc3, 16),
		IDKeyDigest: filled(0xc4, 48), AuthorKeyDigest: filled(0xc5, 48), ReportID: filled(0xc6, 32), GuestSVN: 4, VMPL: 0,
		Policy: 1<<17 | 1<<16 | 1<<8 | 31, Product: "Milan", CurrentTCB: tcb, ReportedTCB: tcb, CommittedTCB: tcb, LaunchTCB: tcb,
	}
	return c
}

func ptr[T any](v T) *T { return &v }

func sgxPolicy() attest.Policy {
	return attest.Policy{SGX: attest.SGXPolicy{Identities: []attest.SGXIdentity{{MRENCLAVE: filled(0xa0, 32)}}}}
}

func tdxIdentity() attest.TDXIdentity {
	return attest.TDXIdentity{MRTD: filled(0xb0, 48), RTMR1: filled(0xb2, 48), RTMR2: filled(0xb3, 48)}
}

// TestZeroPolicy admits nobody, whatever is proven.
func TestZeroPolicy(t *testing.T) {
	for _, c := range []attest.Claims{sgxClaims(), tdxClaims(), snpClaims()} {
		if err := (attest.Policy{}).Admit(c, now); !errors.Is(err, attest.TEENotAdmitted) {
			t.Errorf("%s: %v", c.TEE, err)
		}
	}
	if err := sgxPolicy().Admit(attest.Claims{}, now); !errors.Is(err, attest.Malformed) {
		t.Errorf("no claims: %v", err)
	}
	if err := sgxPolicy().Admit(attest.Claims{TEE: attest.SGX}, now); !errors.Is(err, attest.Malformed) {
		t.Errorf("no measurement: %v", err)
	}
}

// TestTerms varies claims and the terms of a policy that otherwise admits them.
func TestTerms(t *testing.T) {
	for _, c := range []struct {
		name   string
		claims func(*attest.Claims)
		terms  func(*attest.Terms)
		want   attest.Reason
	}{
		{"as it is", nil, nil, ""},

		{"simulated", func(c *attest.Claims) { c.Simulated = true }, nil, attest.NotHardware},
		{"simulated, named", func(c *attest.Claims) { c.Simulated = true }, func(t *attest.Terms) { t.Simulated = true }, ""},
		{"hardware where simulated is named", nil, func(t *attest.Terms) { t.Simulated = true }, ""},
		{"another root", nil, func(t *attest.Terms) { t.Roots = []attest.Hex{filled(1, 32)} }, attest.RootNotAdmitted},
		{"one of the roots", nil, func(t *attest.Terms) { t.Roots = []attest.Hex{filled(1, 32), filled(0x0f, 32)} }, ""},
		{"a root named is not simulated named", func(c *attest.Claims) { c.Simulated = true }, func(t *attest.Terms) { t.Roots = []attest.Hex{filled(0x0f, 32)} }, attest.NotHardware},

		{"debug", func(c *attest.Claims) { c.Debug = true }, nil, attest.DebugEnabled},
		{"debug, named", func(c *attest.Claims) { c.Debug = true }, func(t *attest.Terms) { t.Debug = true }, ""},
		{"no revocation lists", func(c *attest.Claims) { c.RevocationChecked = false }, nil, attest.RevocationUnknown},
		{"no revocation lists, named", func(c *attest.Claims) { c.RevocationChecked = false }, func(t *attest.Terms) { t.RevocationUnchecked = true }, ""},

		{"out of date", func(c *attest.Claims) { c.Status = attest.OutOfDate }, nil, attest.StatusNotAdmitted},
		{"out of date, named", func(c *attest.Claims) { c.Status = attest.OutOfDate }, func(t *attest.Terms) { t.Statuses = []attest.TCBStatus{attest.OutOfDate} }, ""},
		{"up to date where another status is named", nil, func(t *attest.Terms) { t.Statuses = []attest.TCBStatus{attest.OutOfDate} }, attest.StatusNotAdmitted},
		{"no status", func(c *attest.Claims) { c.Status = "" }, nil, attest.StatusNotAdmitted},
		{"revoked", func(c *attest.Claims) { c.Status = attest.TCBRevoked }, nil, attest.StatusNotAdmitted},
		{"revoked, named", func(c *attest.Claims) { c.Status = attest.TCBRevoked }, func(t *attest.Terms) { t.Statuses = []attest.TCBStatus{attest.TCBRevoked} }, attest.BadPolicy},

		{"advisory", func(c *attest.Claims) { c.Advisories = []string{"A"} }, nil, ""},
		{"advisory denied", func(c *attest.Claims) { c.Advisories = []string{"A", "B"} }, func(t *attest.Terms) { t.DenyAdvisories = []string{"B"} }, attest.AdvisoryDenied},
		{"advisory not tolerated", func(c *attest.Claims) { c.Advisories = []string{"A", "B"} }, func(t *attest.Terms) { t.TolerateAdvisories = []string{"B"} }, attest.AdvisoryDenied},
		{"none tolerated", func(c *attest.Claims) { c.Advisories = []string{"A"} }, func(t *attest.Terms) { t.TolerateAdvisories = []string{} }, attest.AdvisoryDenied},
		{"advisory tolerated", func(c *attest.Claims) { c.Advisories = []string{"B"} }, func(t *attest.Terms) { t.TolerateAdvisories = []string{"A", "B"} }, ""},
		{"advisory tolerated and denied", func(c *attest.Claims) { c.Advisories = []string{"B"} }, func(t *attest.Terms) { t.TolerateAdvisories, t.DenyAdvisories = []string{"B"}, []string{"B"} }, attest.AdvisoryDenied},

		{"evaluation too low", nil, func(t *attest.Terms) { t.MinEvaluationNumber = 21 }, attest.EvaluationTooLow},
		{"evaluation just enough", nil, func(t *attest.Terms) { t.MinEvaluationNumber = 20 }, ""},

		{"FMSPC denied", nil, func(t *attest.Terms) { t.DenyPlatforms = []attest.Hex{filled(0xf0, 6)} }, attest.PlatformDenied},
		{"PPID denied", nil, func(t *attest.Terms) { t.DenyPlatforms = []attest.Hex{filled(0, 6), filled(0xf1, 16)} }, attest.PlatformDenied},
		{"another platform denied", nil, func(t *attest.Terms) { t.DenyPlatforms = []attest.Hex{filled(0xf1, 6)} }, ""},
		{"FMSPC allowed", nil, func(t *attest.Terms) { t.AllowPlatforms = []attest.Hex{filled(0xf0, 6)} }, ""},
		{"another platform allowed", nil, func(t *attest.Terms) { t.AllowPlatforms = []attest.Hex{filled(0xf1, 6)} }, attest.PlatformDenied},
		{"allowed and denied", nil, func(t *attest.Terms) {
			t.AllowPlatforms, t.DenyPlatforms = []attest.Hex{filled(0xf0, 6)}, []attest.Hex{filled(0xf1, 16)}
		}, attest.PlatformDenied},
		{"hidden, and some denied", func(c *attest.Claims) { c.Platform = attest.Platform{} }, func(t *attest.Terms) { t.DenyPlatforms = []attest.Hex{filled(0xf0, 6)} }, attest.PlatformDenied},
		{"hidden, and some allowed", func(c *attest.Claims) { c.Platform = attest.Platform{} }, func(t *attest.Terms) { t.AllowPlatforms = []attest.Hex{filled(0xf0, 6)} }, attest.PlatformDenied},
		{"hidden, and nobody asks", func(c *attest.Claims) { c.Platform = attest.Platform{} }, nil, ""},

		{"collateral too old", nil, func(t *attest.Terms) { t.MaxCollateralAge = attest.Age(47 * time.Hour) }, attest.CollateralTooOld},
		{"collateral just young enough", nil, func(t *attest.Terms) { t.MaxCollateralAge = attest.Age(48 * time.Hour) }, ""},
		{"kept claims past their end", func(c *attest.Claims) { c.ValidUntil = now.Add(-time.Second) }, nil, attest.CollateralExpired},
		{"kept claims before their start", func(c *attest.Claims) { c.ValidFrom = now.Add(time.Second) }, nil, attest.CollateralNotYet},
		{"claims without dates", func(c *attest.Claims) { c.ValidFrom, c.ValidUntil = time.Time{}, time.Time{} }, nil, attest.Malformed},
	} {
		t.Run(c.name, func(t *testing.T) {
			claims, policy := sgxClaims(), sgxPolicy()
			if c.claims != nil {
				c.claims(&claims)
			}
			if c.terms != nil {
				c.terms(&policy.SGX.Terms)
			}
			if err := policy.Admit(claims, now); attest.ReasonOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestTermsOfOneTEE are not those of another.
func TestTermsOfOneTEE(t *testing.T) {
	p := sgxPolicy()
	p.TDX.Terms = attest.Terms{Simulated: true, Debug: true, RevocationUnchecked: true, Statuses: []attest.TCBStatus{attest.OutOfDate}}
	c := sgxClaims()
	c.Simulated = true
	if err := p.Admit(c, now); !errors.Is(err, attest.NotHardware) {
		t.Error(err)
	}
	if err := p.Admit(tdxClaims(), now); !errors.Is(err, attest.TEENotAdmitted) {
		t.Error(err)
	}
}

func TestSGXIdentities(t *testing.T) {
	signer := attest.SGXIdentity{MRSIGNER: filled(0xa1, 32), ISVProdID: ptr(uint16(7)), MinISVSVN: 3}
	with := func(change func(*attest.SGXIdentity)) attest.SGXIdentity {
		id := signer
		change(&id)
		return id
	}
	for _, c := range []struct {
		name string
		id   attest.SGXIdentity
		want attest.Reason
	}{
		{"MRENCLAVE", attest.SGXIdentity{MRENCLAVE: filled(0xa0, 32)}, ""},
		{"another MRENCLAVE", attest.SGXIdentity{MRENCLAVE: filled(0xa1, 32)}, attest.IdentityNotAdmitted},
		{"MRENCLAVE of another signer", attest.SGXIdentity{MRENCLAVE: filled(0xa0, 32), MRSIGNER: filled(0, 32)}, attest.IdentityNotAdmitted},
		{"MRENCLAVE below the version", attest.SGXIdentity{MRENCLAVE: filled(0xa0, 32), MinISVSVN: 4}, attest.IdentityNotAdmitted},
		{"signer", signer, ""},
		{"another signer", with(func(id *attest.SGXIdentity) { id.MRSIGNER = filled(0xa0, 32) }), attest.IdentityNotAdmitted},
		{"another product", with(func(id *attest.SGXIdentity) { id.ISVProdID = ptr(uint16(8)) }), attest.IdentityNotAdmitted},
		{"below the version", with(func(id *attest.SGXIdentity) { id.MinISVSVN = 4 }), attest.IdentityNotAdmitted},
		{"above the version", with(func(id *attest.SGXIdentity) { id.MinISVSVN = 2 }), ""},
		{"configuration", with(func(id *attest.SGXIdentity) { id.ConfigID, id.MinConfigSVN = filled(0xa2, 64), 2 }), ""},
		{"another configuration", with(func(id *attest.SGXIdentity) { id.ConfigID = filled(0, 64) }), attest.IdentityNotAdmitted},
		{"below the configuration's version", with(func(id *attest.SGXIdentity) { id.MinConfigSVN = 3 }), attest.IdentityNotAdmitted},
		{"attributes", with(func(id *attest.SGXIdentity) { id.Attributes, id.AttributesMask = filled(0x0d, 16), filled(0x07, 16) }), ""},
		{"other attributes", with(func(id *attest.SGXIdentity) { id.Attributes, id.AttributesMask = filled(0x07, 16), filled(0x07, 16) }), attest.IdentityNotAdmitted},

		{"nobody in particular", attest.SGXIdentity{}, attest.BadPolicy},
		{"signer without product", with(func(id *attest.SGXIdentity) { id.ISVProdID = nil }), attest.BadPolicy},
		{"product without signer", with(func(id *attest.SGXIdentity) { id.MRSIGNER = nil }), attest.BadPolicy},
		{"short MRENCLAVE", attest.SGXIdentity{MRENCLAVE: filled(0xa0, 31)}, attest.BadPolicy},
		{"empty MRENCLAVE", attest.SGXIdentity{MRENCLAVE: attest.Hex{}}, attest.BadPolicy},
		{"attributes without mask", with(func(id *attest.SGXIdentity) { id.Attributes = filled(0, 16) }), attest.BadPolicy},
		{"mask without attributes", with(func(id *attest.SGXIdentity) { id.AttributesMask = filled(0, 16) }), attest.BadPolicy},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := attest.Policy{SGX: attest.SGXPolicy{Identities: []attest.SGXIdentity{c.id}}}
			if err := p.Admit(sgxClaims(), now); attest.ReasonOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestTDXIdentities(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*attest.TDXIdentity)
		want   attest.Reason
	}{
		{"as it is", func(*attest.TDXIdentity) {}, ""},
		{"all of it", func(id *attest.TDXIdentity) {
			id.RTMR0, id.RTMR3, id.MRConfigID = filled(0xb1, 48), filled(0, 48), filled(0xb4, 48)
			id.MROwner, id.MROwnerConfig, id.MRSEAM = filled(0xb5, 48), filled(0xb6, 48), filled(0xb7, 48)
			id.MinTEETCBSVN = filled(5, 16)
			id.TDAttributes, id.TDAttributesMask = filled(0x10, 8), filled(0xff, 8)
			id.XFAM, id.XFAMMask = filled(0x03, 8), filled(0x0b, 8)
		}, ""},
		{"MRTD", func(id *attest.TDXIdentity) { id.MRTD = filled(1, 48) }, attest.IdentityNotAdmitted},
		{"RTMR0", func(id *attest.TDXIdentity) { id.RTMR0 = filled(1, 48) }, attest.IdentityNotAdmitted},
		{"RTMR1", func(id *attest.TDXIdentity) { id.RTMR1 = filled(1, 48) }, attest.IdentityNotAdmitted},
		{"RTMR2", func(id *attest.TDXIdentity) { id.RTMR2 = filled(1, 48) }, attest.IdentityNotAdmitted},
		{"RTMR3", func(id *attest.TDXIdentity) { id.RTMR3 = filled(1, 48) }, attest.IdentityNotAdmitted},
		{"MRCONFIGID", func(id *attest.TDXIdentity) { id.MRConfigID = filled(1, 48) }, attest.IdentityNotAdmitted},
		{"MROWNER", func(id *attest.TDXIdentity) { id.MROwner = filled(1, 48) }, attest.IdentityNotAdmitted},
		{"MROWNERCONFIG", func(id *attest.TDXIdentity) { id.MROwnerConfig = filled(1, 48) }, attest.IdentityNotAdmitted},
		{"MRSEAM", func(id *attest.TDXIdentity) { id.MRSEAM = filled(1, 48) }, attest.IdentityNotAdmitted},
		{"TEE_TCB_SVN", func(id *attest.TDXIdentity) { id.MinTEETCBSVN = append(filled(5, 15), 6) }, attest.IdentityNotAdmitted},
		{"attributes", func(id *attest.TDXIdentity) { id.TDAttributes, id.TDAttributesMask = filled(0, 8), filled(0x10, 8) }, attest.IdentityNotAdmitted},
		{"XFAM", func(id *attest.TDXIdentity) { id.XFAM, id.XFAMMask = filled(0, 8), filled(1, 8) }, attest.IdentityNotAdmitted},
		{"firmware alone", func(id *attest.TDXIdentity) { id.RTMR1, id.RTMR2 = nil, nil }, attest.BadPolicy},
		{"no kernel", func(id *attest.TDXIdentity) { id.RTMR1 = nil }, attest.BadPolicy},
		{"no command line", func(id *attest.TDXIdentity) { id.RTMR2 = nil }, attest.BadPolicy},
		{"no firmware", func(id *attest.TDXIdentity) { id.MRTD = nil }, attest.BadPolicy},
		{"short register", func(id *attest.TDXIdentity) { id.RTMR3 = filled(0, 32) }, attest.BadPolicy},
		{"XFAM without mask", func(id *attest.TDXIdentity) { id.XFAM = filled(0, 8) }, attest.BadPolicy},
	} {
		t.Run(c.name, func(t *testing.T) {
			id := tdxIdentity()
			c.change(&id)
			p := attest.Policy{TDX: attest.TDXPolicy{Identities: []attest.TDXIdentity{id}}}
			if err := p.Admit(tdxClaims(), now); attest.ReasonOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestSNPIdentities(t *testing.T) {
	measurement := func() attest.SNPIdentity { return attest.SNPIdentity{Measurement: filled(0xc0, 48)} }
	keys := func() attest.SNPIdentity {
		return attest.SNPIdentity{IDKeyDigest: filled(0xc4, 48), ImageID: filled(0xc3, 16)}
	}
	for _, c := range []struct {
		name   string
		id     func() attest.SNPIdentity
		change func(*attest.SNPIdentity)
		claims func(*attest.SNPClaims)
		want   attest.Reason
	}{
		{"measurement", measurement, nil, nil, ""},
		{"keys", keys, nil, nil, ""},
		{"all of it", measurement, func(id *attest.SNPIdentity) {
			id.IDKeyDigest, id.AuthorKeyDigest, id.FamilyID = filled(0xc4, 48), filled(0xc5, 48), filled(0xc2, 16)
			id.ImageID, id.HostData, id.MinGuestSVN = filled(0xc3, 16), filled(0xc1, 32), 4
			id.MinTCB, id.MinABI, id.Products = attest.SNPTCB{Bootloader: 3, SNP: 8, Microcode: 115}, 1<<8|31, []string{"Genoa", "Milan"}
		}, nil, ""},
		{"measurement differs", measurement, func(id *attest.SNPIdentity) { id.Measurement = filled(0, 48) }, nil, attest.IdentityNotAdmitted},
		{"key differs", keys, func(id *attest.SNPIdentity) { id.IDKeyDigest = filled(1, 48) }, nil, attest.IdentityNotAdmitted},
		{"author differs", keys, func(id *attest.SNPIdentity) { id.AuthorKeyDigest = filled(1, 48) }, nil, attest.IdentityNotAdmitted},
		{"family differs", keys, func(id *attest.SNPIdentity) { id.FamilyID = filled(1, 16) }, nil, attest.IdentityNotAdmitted},
		{"image differs", keys, func(id *attest.SNPIdentity) { id.ImageID = filled(1, 16) }, nil, attest.IdentityNotAdmitted},
		{"host data differ", keys, func(id *attest.SNPIdentity) { id.HostData = filled(1, 32) }, nil, attest.IdentityNotAdmitted},
		{"guest below its version", keys, func(id *attest.SNPIdentity) { id.MinGuestSVN = 5 }, nil, attest.IdentityNotAdmitted},
		{"ABI below", keys, func(id *attest.SNPIdentity) { id.MinABI = 1<<8 | 32 }, nil, attest.IdentityNotAdmitted},
		{"another product", keys, func(id *attest.SNPIdentity) { id.Products = []string{"Turin"} }, nil, attest.IdentityNotAdmitted},
		{"may share a core", keys, func(id *attest.SNPIdentity) { id.NoSMT = true }, nil, attest.IdentityNotAdmitted},
		{"TCB below", keys, func(id *attest.SNPIdentity) { id.MinTCB.Microcode = 116 }, nil, attest.IdentityNotAdmitted},
		{"reported TCB below", keys, func(id *attest.SNPIdentity) { id.MinTCB.SNP = 8 }, func(c *attest.SNPClaims) { c.ReportedTCB.SNP = 7 }, attest.IdentityNotAdmitted},
		{"committed TCB below", keys, func(id *attest.SNPIdentity) { id.MinTCB.SNP = 8 }, func(c *attest.SNPClaims) { c.CommittedTCB.SNP = 7 }, attest.IdentityNotAdmitted},
		{"launch TCB below", keys, func(id *attest.SNPIdentity) { id.MinTCB.SNP = 8 }, func(c *attest.SNPClaims) { c.LaunchTCB.SNP = 7 }, attest.IdentityNotAdmitted},
		{"less privileged", measurement, nil, func(c *attest.SNPClaims) { c.VMPL = 1 }, attest.IdentityNotAdmitted},
		{"less privileged, named", measurement, func(id *attest.SNPIdentity) { id.MaxVMPL = 1 }, func(c *attest.SNPClaims) { c.VMPL = 1 }, ""},
		{"of no level", measurement, func(id *attest.SNPIdentity) { id.MaxVMPL = 3 }, func(c *attest.SNPClaims) { c.VMPL = 0xffffffff }, attest.IdentityNotAdmitted},
		{"migration agent", measurement, nil, func(c *attest.SNPClaims) { c.Policy |= 1 << 18 }, attest.IdentityNotAdmitted},
		{"migration agent, named", measurement, func(id *attest.SNPIdentity) { id.MigrationAgent = true }, func(c *attest.SNPClaims) { c.Policy |= 1 << 18 }, ""},
		{"VLEK", measurement, nil, func(c *attest.SNPClaims) { c.SignedByVLEK = true }, attest.IdentityNotAdmitted},
		{"VLEK, named", measurement, func(id *attest.SNPIdentity) { id.VLEK = true }, func(c *attest.SNPClaims) { c.SignedByVLEK = true }, ""},
		{"nobody in particular", func() attest.SNPIdentity { return attest.SNPIdentity{} }, nil, nil, attest.BadPolicy},
		{"key without image", keys, func(id *attest.SNPIdentity) { id.ImageID = nil }, nil, attest.BadPolicy},
		{"image without key", keys, func(id *attest.SNPIdentity) { id.IDKeyDigest = nil }, nil, attest.BadPolicy},
		{"no ID block", keys, func(id *attest.SNPIdentity) { id.IDKeyDigest = filled(0, 48) }, func(c *attest.SNPClaims) { c.IDKeyDigest = filled(0, 48) }, attest.BadPolicy},
		{"no such level", measurement, func(id *attest.SNPIdentity) { id.MaxVMPL = 4 }, nil, attest.BadPolicy},
		{"short measurement", measurement, func(id *attest.SNPIdentity) { id.Measurement = filled(0xc0, 32) }, nil, attest.BadPolicy},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, claims := c.id(), snpClaims()
			if c.change != nil {
				c.change(&id)
			}
			if c.claims != nil {
				c.claims(claims.SNP)
			}
			p := attest.Policy{SNP: attest.SNPPolicy{Identities: []attest.SNPIdentity{id}}}
			if err := p.Admit(claims, now); attest.ReasonOf(err) != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestTermsWithoutMeaning ask of SNP what only Intel says.
func TestTermsWithoutMeaning(t *testing.T) {
	p := attest.Policy{SNP: attest.SNPPolicy{
		Terms:      attest.Terms{MinEvaluationNumber: 17, Statuses: []attest.TCBStatus{attest.OutOfDate}},
		Identities: []attest.SNPIdentity{{Measurement: filled(0xc0, 48)}},
	}}
	if err := p.Admit(snpClaims(), now); err != nil {
		t.Error(err)
	}
}

// TestTornClaims are claims that lost a part where they were kept.
func TestTornClaims(t *testing.T) {
	p := sgxPolicy()
	p.SGX.Identities[0].Attributes, p.SGX.Identities[0].AttributesMask = filled(5, 16), filled(5, 16)
	c := sgxClaims()
	if err := p.Admit(c, now); err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{0, 8, 17} {
		c.SGX.Attributes = filled(5, length)
		if err := p.Admit(c, now); !errors.Is(err, attest.IdentityNotAdmitted) {
			t.Errorf("attributes of %d bytes: %v", length, err)
		}
	}
	m := attest.Policy{TDX: attest.TDXPolicy{Identities: []attest.TDXIdentity{tdxIdentity()}}}
	m.TDX.Identities[0].MinTEETCBSVN = filled(1, 16)
	d := tdxClaims()
	d.TDX.TEETCBSVN = nil
	if err := m.Admit(d, now); !errors.Is(err, attest.IdentityNotAdmitted) {
		t.Error(err)
	}
}

// TestSeveralIdentities admits what any one of them names.
func TestSeveralIdentities(t *testing.T) {
	p := attest.Policy{SGX: attest.SGXPolicy{Identities: []attest.SGXIdentity{
		{MRENCLAVE: filled(1, 32)}, {MRENCLAVE: filled(2, 32)}, {MRENCLAVE: filled(0xa0, 32)},
	}}}
	if err := p.Admit(sgxClaims(), now); err != nil {
		t.Error(err)
	}
	p.SGX.Identities = p.SGX.Identities[:2]
	err := p.Admit(sgxClaims(), now)
	want := "measurement: not a program that the policy names: not identity 1 of 2 (mrenclave is " + filled(0xa0, 32).String() +
		"), not identity 2 of 2 (mrenclave is " + filled(0xa0, 32).String() + ")"
	if err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
}

// TestBound demands the report data of one conversation.
func TestBound(t *testing.T) {
	p := sgxPolicy()
	bound := p.BoundTo(reportData)
	if err := bound.Admit(sgxClaims(), now); err != nil {
		t.Error(err)
	}
	other := reportData
	other[63] ^= 1
	if err := p.BoundTo(other).Admit(sgxClaims(), now); !errors.Is(err, attest.WrongReportData) {
		t.Error(err)
	}
	short := sgxClaims()
	short.ReportData = short.ReportData[:63]
	if err := bound.Admit(short, now); !errors.Is(err, attest.WrongReportData) {
		t.Error(err)
	}
	if err := p.Admit(short, now); err != nil {
		t.Errorf("BoundTo changed its receiver: %v", err)
	}
}

func TestPolicyDocument(t *testing.T) {
	whole := attest.Policy{
		SGX: attest.SGXPolicy{
			Terms: attest.Terms{
				Statuses: []attest.TCBStatus{attest.UpToDate, attest.SWHardeningNeeded}, DenyAdvisories: []string{"INTEL-SA-00289"}, TolerateAdvisories: []string{},
				MinEvaluationNumber: 17, AllowPlatforms: []attest.Hex{filled(1, 6)}, DenyPlatforms: []attest.Hex{filled(2, 16)},
				MaxCollateralAge: attest.Age(720 * time.Hour), Debug: true, Simulated: true, Roots: []attest.Hex{filled(3, 32)}, RevocationUnchecked: true,
			},
			Identities: []attest.SGXIdentity{{MRENCLAVE: filled(4, 32)}, {MRSIGNER: filled(5, 32), ISVProdID: ptr(uint16(0)), MinISVSVN: 2}},
		},
		TDX: attest.TDXPolicy{Identities: []attest.TDXIdentity{tdxIdentity()}},
		SNP: attest.SNPPolicy{Identities: []attest.SNPIdentity{{Measurement: filled(6, 48), MinTCB: attest.SNPTCB{SNP: 8}, VLEK: true}}},
	}
	printed, err := whole.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := attest.ParsePolicy(printed)
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Comparer(func(a, b attest.Policy) bool {
		x, _ := a.Encode()
		y, _ := b.Encode()
		return bytes.Equal(x, y)
	})
	if !cmp.Equal(whole, read, same) || read.SGX.TolerateAdvisories == nil {
		t.Errorf("read back as %+v", read)
	}
	for name, text := range map[string]string{
		"nothing":               ``,
		"unknown member":        `{"sgx":{"simulate":true}}`,
		"another case":          `{"sgx":{"Debug":true}}`,
		"a member twice":        `{"sgx":{"debug":false,"debug":true}}`,
		"more after it":         `{} {}`,
		"no hexadecimal":        `{"sgx":{"identities":[{"mrenclave":"xx"}]}}`,
		"a number too large":    `{"sgx":{"identities":[{"mrenclave":"` + filled(0, 32).String() + `","isv_prod_id":65536}]}}`,
		"an age without unit":   `{"sgx":{"max_collateral_age":"30"}}`,
		"an unknown status":     `{"sgx":{"tcb_statuses":["Fine"]}}`,
		"a negative age":        `{"tdx":{"max_collateral_age":"-1h"}}`,
		"a short root":          `{"snp":{"roots":["00"]}}`,
		"a platform of 7":       `{"snp":{"deny_platforms":["00000000000000"]}}`,
		"an identity of nobody": `{"sgx":{"identities":[{}]}}`,
	} {
		if p, err := attest.ParsePolicy([]byte(text)); !errors.Is(err, attest.BadPolicy) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}
