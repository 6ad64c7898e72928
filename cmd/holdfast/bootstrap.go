package main

import (
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// bootstrapCmd is `holdfast bootstrap …`.
type bootstrapCmd struct {
	New    bootstrapNewCmd    `cmd:"" help:"Verify a founder's evidence, and write the bootstrap that names it."`
	Sign   bootstrapSignCmd   `cmd:"" help:"Sign a bootstrap: the owner and the signers' threshold."`
	Verify bootstrapVerifyCmd `cmd:"" help:"Show who has signed a bootstrap, and who has not."`
}

type bootstrapNewCmd struct {
	Charter        string `required:"" placeholder:"FILE" help:"The charter."`
	Founder        string `required:"" placeholder:"FILE" help:"The founder's evidence, as the node wrote it."`
	Policy         string `required:"" placeholder:"FILE" help:"Policy 1, signed or not."`
	AllowSimulated bool   `help:"Take a simulated platform, which protects nothing."`
	Out            string `required:"" placeholder:"FILE" help:"Where the bootstrap goes, for owner and signers to sign."`
	Force          bool   `help:"Replace what is there."`
}

// A shownBootstrap is what --json prints.
type shownBootstrap struct {
	File      string            `json:"file"`
	Domain    kms.DomainID      `json:"domain"` // that it founds
	Bootstrap *govern.Bootstrap `json:"bootstrap"`
	Claims    attest.Claims     `json:"claims"` // of the founder's evidence
}

// Run verifies the founder and writes the bootstrap.
func (c *bootstrapNewCmd) Run(s *session) error {
	charter, err := readCharterFile(c.Charter)
	if err != nil {
		return err
	}
	policy, _, err := readPolicy(c.Policy)
	if err != nil {
		return err
	}
	f, err := s.readFounder(c.Founder)
	if err != nil {
		return err
	}
	now := time.Now()
	id, claims, err := verifyFounder(f, charter, c.AllowSimulated, now)
	if err != nil {
		return err
	}
	if err := foundingPolicy(policy, charter, claims, now); err != nil {
		return err
	}
	b := &govern.Bootstrap{Version: govern.BootstrapVersion, CharterDigest: charter.Digest(), Founder: id, PolicyDigest: policy.Digest()}
	if err := b.Validate(); err != nil {
		return err
	}
	if err := s.writeFile(c.Out, draftText(b), c.Force); err != nil || c.Out == "-" {
		return err
	}
	doc := shownBootstrap{c.Out, govern.DomainID(charter, b), b, claims}
	return s.show(doc, func(w io.Writer) {
		printClaims(w, id, claims)
		fmt.Fprintf(w, "policy 1\t%s\n", policy.Digest())
		fmt.Fprintf(w, "domain\t%s\n", doc.Domain)
		fmt.Fprintf(w, "to be signed by\tthe owner and %d of %d signers: %s\n", charter.Threshold, len(charter.Signers), c.Out)
	})
}

// foundingPolicy refuses a policy that cannot be the first under the charter, or
// does not admit the founder.
func foundingPolicy(p *govern.Policy, charter *govern.Charter, claims attest.Claims, at time.Time) error {
	switch {
	case p.Serial != 1:
		return problemf("name policy 1", "the policy has serial %d, and a domain is founded on serial 1", p.Serial)
	case p.CharterDigest != charter.Digest():
		return problemf("draft it with `holdfast policy new --charter`", "the policy is under another charter, %s", p.CharterDigest)
	}
	if err := p.NodePolicy().Admit(claims, at); err != nil {
		return because(err, orElse(attest.ReasonOf(err).Hint(), "list the founder's identity in policy 1"), "policy 1 does not admit the founder")
	}
	return p.ValidAt(at)
}

type bootstrapSignCmd struct{ signFlags }

// Run signs a bootstrap.
func (c *bootstrapSignCmd) Run(s *session) error { return c.sign(s, govern.BootstrapType) }

type bootstrapVerifyCmd struct {
	File    string `arg:"" help:"The signed bootstrap."`
	Charter string `required:"" placeholder:"FILE" help:"The charter."`
}

// Run shows who signed a bootstrap.
func (c *bootstrapVerifyCmd) Run(s *session) error {
	charter, err := readCharterFile(c.Charter)
	if err != nil {
		return err
	}
	doc, e, err := readDraft(c.File, govern.BootstrapType)
	if err != nil {
		return err
	}
	if e == nil {
		return errUnsigned(c.File)
	}
	_, _, refusal := govern.VerifyBootstrap(charter, e.Encode())
	return s.showTally(rulers{Owner: charter.Owner, Signers: charter.Signers, Threshold: charter.Threshold}.count(c.File, e, doc, refusal))
}
