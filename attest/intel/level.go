package intel

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
)

// A level is the verdict on a platform as it is put together.
type level struct {
	verdict
	evaluation uint32
	issued     time.Time
}

// with joins the verdict on a part of the platform (its quoting enclave, its
// TDX module) to the verdict on its firmware, as Intel's verification library
// does: what is wrong with a part can make the whole worse and never better.
func (l level) with(part verdict) level {
	l.Status = worse(l.Status, part.Status)
	all := slices.Concat(l.Advisories, part.Advisories)
	slices.Sort(all)
	l.Advisories = slices.Compact(all)
	return l
}

func worse(platform, part attest.TCBStatus) attest.TCBStatus {
	switch {
	case platform == attest.TCBRevoked || part == attest.TCBRevoked:
		return attest.TCBRevoked
	case part == attest.UpToDate:
		return platform
	}
	// A part is up to date, out of date or revoked. Intel has no rule for
	// anything else, so it counts as out of date.
	switch platform {
	case attest.ConfigurationNeeded, attest.ConfigurationAndSWHardeningNeeded, attest.OutOfDateConfigurationNeeded:
		return attest.OutOfDateConfigurationNeeded
	}
	return attest.OutOfDate
}

// judge finds the verdict on the platform: that of the first level, in Intel's
// order, none of whose numbers is above the platform's.
func (info *TCBInfo) judge(pck *PCK, m *Module) (level, error) {
	for _, l := range info.Levels {
		if !l.reached(pck, m) {
			continue
		}
		platform := level{verdict: l.verdict}
		if m == nil {
			return platform, nil
		}
		module, err := info.judgeModule(m)
		return platform.with(module), err
	}
	return level{}, attest.Refuse(attest.TCBNotSupported, "TCB", "below every level in the TCB info")
}

func (l *platformLevel) reached(pck *PCK, m *Module) bool {
	if !eachAtLeast(pck.Components[:], l.TCB.SGX) || pck.PCESVN < l.TCB.PCESVN {
		return false
	}
	if m == nil {
		return true
	}
	skip := 0
	if m.version() > 0 {
		skip = 2 // judged by the module's own identity
	}
	return eachAtLeast(m.TEETCBSVN[skip:], l.TCB.TDX[skip:])
}

func eachAtLeast(got []byte, floor []component) bool {
	for i, c := range floor {
		if got[i] < c.SVN {
			return false
		}
	}
	return true
}

// version is the TDX module's major version; 0 is that of the first modules,
// which have no identity of their own.
func (m *Module) version() byte { return m.TEETCBSVN[1] }

// judgeModule sees to it that the TDX module is Intel's, and finds the verdict
// on it.
func (info *TCBInfo) judgeModule(m *Module) (verdict, error) {
	id, err := info.moduleIdentity(m)
	if err != nil {
		return verdict{}, err
	}
	if !id.MRSigner.Equal(m.MRSigner) || !masked(m.Attributes, id.Attributes, id.AttributesMask) {
		return verdict{}, attest.Refuse(attest.BadTDXModule, "TDX module", "signer %x, attributes %x", m.MRSigner, m.Attributes)
	}
	if m.version() == 0 {
		return verdict{Status: attest.UpToDate}, nil // its numbers are in the platform's level
	}
	return judgeLevels("TDX module", id.Levels, uint16(m.TEETCBSVN[0]))
}

func (info *TCBInfo) moduleIdentity(m *Module) (*moduleIdentity, error) {
	if m.version() == 0 {
		if info.TDXModule == nil {
			return nil, attest.Refuse(attest.BadTDXModule, "TDX module", "the TCB info names none of the first version")
		}
		return info.TDXModule, nil
	}
	want := fmt.Sprintf("TDX_%02x", m.version())
	for i := range info.ModuleIdentities {
		if strings.EqualFold(info.ModuleIdentities[i].ID, want) {
			return &info.ModuleIdentities[i], nil
		}
	}
	return nil, attest.Refuse(attest.BadTDXModule, "TDX module", "the TCB info names no %s", want)
}

// judge sees to it that the enclave with this report is Intel's quoting
// enclave, and finds the verdict on it.
func (id *QEIdentity) judge(report []byte) (verdict, error) {
	qe, err := ParseEnclaveReport(report)
	if err != nil {
		return verdict{}, err
	}
	const part = "quoting enclave"
	switch {
	case !id.MRSigner.Equal(qe.MRSIGNER):
		return verdict{}, attest.Refuse(attest.BadQuotingEnclave, part, "signer %x", qe.MRSIGNER)
	case id.ISVProdID != qe.ISVProdID:
		return verdict{}, attest.Refuse(attest.BadQuotingEnclave, part, "product %d", qe.ISVProdID)
	case !masked(qe.MiscSelect, id.MiscSelect, id.MiscSelectMask):
		return verdict{}, attest.Refuse(attest.BadQuotingEnclave, part, "MISCSELECT %x", qe.MiscSelect)
	case !masked(qe.Attributes, id.Attributes, id.AttributesMask):
		return verdict{}, attest.Refuse(attest.BadQuotingEnclave, part, "attributes %x", qe.Attributes)
	}
	return judgeLevels(part, id.Levels, qe.ISVSVN)
}

// judgeLevels finds the first level that svn reaches.
func judgeLevels(part string, levels []enclaveLevel, svn uint16) (verdict, error) {
	for _, l := range levels {
		if svn >= l.TCB.ISVSVN {
			return l.verdict, nil
		}
	}
	return verdict{}, attest.Refuse(attest.TCBNotSupported, part, "security version %d is below every level", svn)
}

// masked reports whether got is want where mask has ones. As in Intel's
// library a want with ones outside of mask is met by nothing.
func masked(got, want, mask []byte) bool {
	if len(got) != len(mask) || len(want) != len(mask) {
		return false
	}
	for i := range mask {
		if got[i]&mask[i] != want[i] {
			return false
		}
	}
	return true
}
