package attest

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Verdict is the outcome of verification for a person or a script. Its JSON
// is what `holdfast attest verify --json` prints.
type Verdict struct {
	Accepted bool   `json:"accepted"`
	Reason   Reason `json:"reason"` // "" if accepted
	Detail   string `json:"detail,omitzero"`

	TEE     TEE `json:"tee"`
	Version int `json:"version"`
	// Measurement is an *SGXClaims, a *TDXClaims or an *SNPClaims; nil if the
	// evidence does not hold.
	Measurement       any       `json:"measurement"`
	ReportData        Hex       `json:"report_data"`
	Platform          Platform  `json:"platform"`
	Status            TCBStatus `json:"tcb_status"`
	Advisories        []string  `json:"advisories"`
	EvaluationNumber  uint32    `json:"tcb_evaluation_data_number"`
	Debug             bool      `json:"debug"`
	Simulated         bool      `json:"simulated"`
	RevocationChecked bool      `json:"revocation_checked"`
	ValidFrom         time.Time `json:"valid_from,omitzero"` // absent if the evidence does not hold
	ValidUntil        time.Time `json:"valid_until,omitzero"`

	// Checks is everything that was looked at, for Explain.
	Checks []Check `json:"-"`
	// At is the time that the verdict holds for.
	At time.Time `json:"at"`
}

// Verdict verifies ev and asks p, as Verify does, and keeps what each check
// found. Without a policy evidence is accepted if its signatures, chains and
// collateral hold under a vendor's root; who and what it is remains to be read
// in the verdict.
func (v Verifiers) Verdict(ev Evidence, p *Policy, at time.Time) Verdict {
	claims, err := v.Prove(ev, at)
	if err != nil {
		return refused(ev, err, at)
	}
	var checks []Check
	if p != nil {
		checks = p.Judge(claims, at)
	} else {
		checks = judgeWithout(claims)
	}
	return verdictOn(claims, append([]Check{{What: holds}}, checks...), at)
}

// holds is the check that a Verifier makes.
const holds = "signatures, certificates and collateral that hold"

// judgeWithout is what is demanded where nobody said what is wanted. Whether
// revocation was checked is then a fact that the verdict states; who decides by
// a verdict has a policy, and a policy demands it.
func judgeWithout(c Claims) []Check {
	var strict Terms
	checks := []Check{{"genuine hardware", strict.checkHardware(c)}}
	if c.Status == TCBRevoked { // no policy can accept it, so neither can its absence
		checks = append(checks, Check{"firmware of an accepted status", strict.checkStatus(c)})
	}
	return checks
}

func refused(ev Evidence, err error, at time.Time) Verdict {
	tee := ev.TEE
	if tee == "" {
		tee = Recognize(ev.Quote)
	}
	refusal, ok := errors.AsType[*Error](err)
	if !ok {
		refusal = Refuse(ReasonOf(err), "evidence", "%w", err)
	}
	return Verdict{
		Reason: refusal.Reason, Detail: refusal.Error(), TEE: tee, Advisories: []string{}, At: at,
		Checks: []Check{{What: holds, Err: refusal}},
	}
}

func verdictOn(c Claims, checks []Check, at time.Time) Verdict {
	v := Verdict{
		Accepted: true, TEE: c.TEE, Version: c.Version, Measurement: c.measurement(), ReportData: c.ReportData, Platform: c.Platform,
		Status: c.Status, Advisories: append([]string{}, c.Advisories...), EvaluationNumber: c.EvaluationNumber, Debug: c.Debug, Simulated: c.Simulated,
		RevocationChecked: c.RevocationChecked, ValidFrom: c.ValidFrom, ValidUntil: c.ValidUntil, Checks: checks, At: at,
	}
	for _, check := range checks {
		if check.Err != nil {
			v.Accepted, v.Reason, v.Detail = false, check.Err.Reason, check.Err.Error()
			break
		}
	}
	return v
}

func (c Claims) measurement() any {
	switch {
	case c.SGX != nil:
		return c.SGX
	case c.TDX != nil:
		return c.TDX
	case c.SNP != nil:
		return c.SNP
	}
	return nil
}

// Explain says for a person what was checked, what failed, and what to do
// about it. The text ends with a newline.
func Explain(v Verdict) string {
	var b strings.Builder
	if v.Accepted {
		fmt.Fprintf(&b, "ACCEPTED as of %s\n", stamp(v.At))
	} else {
		fmt.Fprintf(&b, "REFUSED as of %s: %s (%s)\n", stamp(v.At), v.Reason.Error(), string(v.Reason))
	}
	explainFacts(&b, v)
	b.WriteString("\nchecked\n")
	for _, check := range v.Checks {
		explainCheck(&b, check)
	}
	return b.String()
}

func explainFacts(b *strings.Builder, v Verdict) {
	if v.Measurement == nil {
		return
	}
	kind := "genuine hardware"
	if v.Simulated {
		kind = "SIMULATED: anyone may have made this"
	}
	fact := func(name, format string, args ...any) {
		fmt.Fprintf(b, "  %-14s %s\n", name, fmt.Sprintf(format, args...))
	}
	b.WriteByte('\n')
	fact("evidence", "%s version %d, %s", v.TEE, v.Version, kind)
	for _, f := range identityFacts(v.Measurement) {
		fact(f.name, "%s", f.value)
	}
	fact("report data", "%s", v.ReportData)
	fact("platform", "%s", v.Platform)
	if v.Status != "" {
		fact("TCB status", "%s, evaluation %d", v.Status, v.EvaluationNumber)
	}
	if len(v.Advisories) > 0 {
		fact("advisories", "%s", strings.Join(v.Advisories, ", "))
	}
	if v.Debug {
		fact("DEBUG", "the host can read and change this program's memory")
	}
	if !v.RevocationChecked {
		fact("REVOCATION", "not checked: the lists were not given, or the vendor has none for this platform")
	}
	fact("verifies", "from %s until %s", stamp(v.ValidFrom), stamp(v.ValidUntil))
}

type fact struct{ name, value string }

func identityFacts(measurement any) []fact {
	switch m := measurement.(type) {
	case *SGXClaims:
		return []fact{{"MRENCLAVE", m.MRENCLAVE.String()}, {"MRSIGNER", m.MRSIGNER.String()},
			{"product", fmt.Sprintf("%d, security version %d", m.ISVProdID, m.ISVSVN)}}
	case *TDXClaims:
		return []fact{{"MRTD", m.MRTD.String()}, {"RTMR0", m.RTMR0.String()}, {"RTMR1", m.RTMR1.String()},
			{"RTMR2", m.RTMR2.String()}, {"RTMR3", m.RTMR3.String()}}
	case *SNPClaims:
		return []fact{{"measurement", m.Measurement.String()}, {"host data", m.HostData.String()},
			{"machine", fmt.Sprintf("%s, guest security version %d, VMPL %d", m.Product, m.GuestSVN, m.VMPL)}}
	}
	return nil
}

// String names the platform by all that is known of it.
func (p Platform) String() string {
	var parts []string
	for _, f := range []fact{{"FMSPC", p.FMSPC.String()}, {"PPID", p.PPID.String()}, {"chip", p.ChipID.String()}, {"cloud", p.CSPID}} {
		if f.value != "" {
			parts = append(parts, f.name+" "+f.value)
		}
	}
	if len(parts) == 0 {
		return "unnamed"
	}
	return strings.Join(parts, ", ")
}

func explainCheck(b *strings.Builder, c Check) {
	if c.Err == nil {
		fmt.Fprintf(b, "  ok      %s\n", c.What)
		return
	}
	fmt.Fprintf(b, "  FAILED  %s\n          %s\n          what to do: %s\n", c.What, c.Err, c.Err.Reason.Hint())
}
