package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/attest/tdx"
)

// attestCmd is `holdfast attest`.
type attestCmd struct {
	Verify attestVerifyCmd `cmd:"" help:"Judge evidence of a TEE; the exit status says whether it is accepted."`
	Show   attestShowCmd   `cmd:"" help:"Show what evidence says of itself, and then the verdict on it."`
}

// teeVerifiers are all that there are. Evidence under a root that is no
// vendor's is told by its claims and not by the lack of a verifier.
var teeVerifiers = attest.Verifiers{SGX: sgx.Verify, TDX: tdx.Verify, SNP: snp.Verify}

// attestFlags is what both commands are given.
type attestFlags struct {
	Evidence   string   `arg:"" name:"evidence" help:"A file, - for standard input, or a node's https address: an SGX or TDX quote or an SNP report, raw or in base64 or hexadecimal, or evidence in JSON. Which of them it is shows by its content."`
	Collateral []string `sep:"none" placeholder:"FILE" help:"What the vendor published about the platform, several times where it is several files. Intel: the JSON object with all of it, or answers of the PCS as they came: TCB info, QE identity, issuer chains, revocation lists. AMD: certificates, and the root's revocation list."`
	Cert       []string `sep:"none" placeholder:"FILE" help:"Of an SNP report: the certificate of the key that signed it (VCEK or VLEK), PEM or DER; then, if wanted, those of AMD above it."`
	Policy     string   `placeholder:"FILE" help:"The policy to judge by. Without one, evidence is accepted if it holds under a vendor's root. Whether revocation was checked is shown."`
	Time       string   `placeholder:"RFC3339" help:"Judge as of this time, such as 2025-06-20T00:00:00Z. Without it, now."`
}

// attestVerifyCmd is `holdfast attest verify`.
type attestVerifyCmd struct {
	attestFlags
}

// Help is the rest of what --help says.
func (attestVerifyCmd) Help() string {
	return `The exit status is 0 if the evidence is accepted: its signatures, certificates and collateral hold at that time, and the policy, if there is one, admits it. It is 1 if it is refused, or where a file cannot be read, and 2 where the command line makes no sense.`
}

// Run judges evidence. Evidence that is refused is a result, with status 1.
func (c *attestVerifyCmd) Run(s *session) error {
	j, err := c.open(s)
	if err != nil {
		return err
	}
	v := j.verdict()
	if err := s.show(v, func(w io.Writer) { printVerdict(w, v) }); err != nil {
		return err
	}
	if !v.Accepted {
		return errQuiet
	}
	return nil
}

// attestShowCmd is `holdfast attest show`.
type attestShowCmd struct {
	attestFlags
}

// Help is the rest of what --help says.
func (attestShowCmd) Help() string {
	return `The exit status is 0 if the evidence could be shown, accepted or not; it is for a person to read. Ask "attest verify" where something depends on it.`
}

// Run shows what evidence says. Evidence that says nothing, for it is in no
// format that is known, is a result, with status 1.
func (c *attestShowCmd) Run(s *session) error {
	j, err := c.open(s)
	if err != nil {
		return err
	}
	said, unreadable := unverified(j.evidence)
	doc := struct {
		Unverified *attest.Unverified `json:"unverified"` // null: it is in no format that is known
		Verdict    attest.Verdict     `json:"verdict"`
	}{said, j.verdict()}
	err = s.show(doc, func(w io.Writer) {
		if said != nil {
			fmt.Fprintln(w, oneLines(said.Explain()))
		}
		printVerdict(w, doc.Verdict)
	})
	if err == nil && unreadable != nil {
		return errQuiet
	}
	return err
}

func printVerdict(w io.Writer, v attest.Verdict) { io.WriteString(w, oneLines(attest.Explain(v))) }

// oneLines is oneLine for a text of several: parts of it are a stranger's.
func oneLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = oneLine(lines[i])
	}
	return strings.Join(lines, "\n")
}

// A judgement is everything that a verdict rests on.
type judgement struct {
	evidence attest.Evidence
	// unfit says why the collateral that was given is none, and is nil if it may be.
	unfit  error
	policy *attest.Policy
	at     time.Time
}

// open reads all that the flags name.
func (f *attestFlags) open(s *session) (*judgement, error) {
	j := judgement{at: time.Now()}
	var err error
	if f.Time != "" {
		if j.at, err = time.Parse(time.RFC3339, f.Time); err != nil {
			return nil, misusef("write it as 2025-06-20T00:00:00Z", "%q is not a time", f.Time)
		}
	}
	if j.policy, err = f.readPolicy(s); err != nil {
		return nil, err
	}
	if j.evidence, err = f.readEvidence(s); err != nil {
		return nil, err
	}
	given, err := f.readCollateral(s)
	if err != nil {
		return nil, err
	}
	return &j, j.add(given)
}

// verdict judges.
func (j *judgement) verdict() attest.Verdict {
	verifiers := teeVerifiers
	if j.unfit != nil {
		// What is wrong with the quote is still said first.
		verifiers = attest.Verifiers{SGX: j.without(sgx.Verify), TDX: j.without(tdx.Verify), SNP: j.without(snp.Verify)}
	}
	return verifiers.Verdict(j.evidence, j.policy, j.at)
}

// without refuses what verify would refuse for the quote alone, and all else
// for its collateral.
func (j *judgement) without(verify attest.Verifier) attest.Verifier {
	return func(ev attest.Evidence, at time.Time) (attest.Claims, error) {
		if _, err := unverified(ev); err != nil {
			return verify(ev, at)
		}
		return attest.Claims{}, j.unfit
	}
}

func (f *attestFlags) readPolicy(s *session) (*attest.Policy, error) {
	if f.Policy == "" {
		return nil, nil
	}
	b, err := s.readLong(f.Policy)
	if err != nil {
		return nil, err
	}
	p, err := attest.ParsePolicy(b)
	if err != nil {
		return nil, because(err, attest.BadPolicy.Hint(), f.Policy)
	}
	return &p, nil
}

func (f *attestFlags) readEvidence(s *session) (attest.Evidence, error) {
	if strings.HasPrefix(f.Evidence, "https://") {
		return fetchEvidence(s.ctx, f.Evidence)
	}
	b, err := s.readLong(f.Evidence)
	if err != nil {
		return attest.Evidence{}, err
	}
	return recognizeEvidence(b), nil
}

// maxEvidence is more than evidence and collateral take.
const maxEvidence = 8 << 20

// readLong reads path, - being standard input, up to maxEvidence.
func (s *session) readLong(path string) ([]byte, error) {
	b, err := await(s, func() ([]byte, error) {
		in := s.stdin
		if path != "-" {
			f, err := os.Open(path)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			in = f
		}
		return io.ReadAll(io.LimitReader(in, maxEvidence+1))
	})
	if err == nil && len(b) > maxEvidence {
		err = problemf("", "%s has more than %d bytes", nameOf(path, "standard input"), maxEvidence)
	}
	return b, err
}
