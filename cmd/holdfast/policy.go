package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// policyCmd is `holdfast policy …`.
type policyCmd struct {
	New     policyNewCmd     `cmd:"" help:"Draft policy 1."`
	Edit    policyEditCmd    `cmd:"" help:"Edit a draft, or draft the successor of a signed policy."`
	Diff    policyDiffCmd    `cmd:"" help:"Say who gains and who loses what from one policy to another."`
	Sign    policySignCmd    `cmd:"" help:"Sign a policy."`
	Merge   mergeCmd         `cmd:"" help:"Put signatures that were made at the same time, on copies of a document, together."`
	Verify  policyVerifyCmd  `cmd:"" help:"Show who has signed a policy, and who has not."`
	Submit  policySubmitCmd  `cmd:"" help:"Hand a policy to a node, or ask who it would lock out."`
	Show    policyShowCmd    `cmd:"" help:"Show a policy, of a node or in a file."`
	History policyHistoryCmd `cmd:"" help:"List the policies that a domain has been ruled by."`
}

type policyNewCmd struct {
	Charter        string        `required:"" placeholder:"FILE" help:"The charter."`
	Founder        string        `placeholder:"FILE" help:"The founder's evidence: its identity is listed."`
	BySigner       bool          `help:"List the founder by who signed it, product and security version, so that later versions are admitted too."`
	MRENCLAVE      []attest.Hex  `name:"mrenclave" sep:"none" placeholder:"HEX" help:"An SGX enclave to list as a node; several times for several."`
	Measurement    []attest.Hex  `name:"snp-measurement" sep:"none" placeholder:"HEX" help:"An SEV-SNP machine to list as a node; several times for several."`
	Valid          time.Duration `default:"8760h" help:"How long clients take it, from now."`
	Operator       []publicKey   `sep:"none" placeholder:"PUB" help:"Public key of an operator, who approves and removes nodes, issues tickets and orders backups; several times for several."`
	Enrolment      string        `default:"closed" enum:"closed,open,ticket" help:"Who may make apps: closed (nobody), ticket (with an operator's ticket) or open (anyone)."`
	Approved       bool          `help:"Nodes need an operator's approval to join."`
	RequireV2      bool          `name:"require-v2" help:"Refuse requests that are signed in eHSM's first scheme."`
	AllowSimulated bool          `help:"Admit simulated platforms, which protect nothing."`
	Out            string        `required:"" placeholder:"FILE" help:"Where the draft goes; - is standard output."`
	Force          bool          `help:"Replace what is there."`
}

// Run drafts policy 1.
func (c *policyNewCmd) Run(s *session) error {
	charter, err := readCharterFile(c.Charter)
	if err != nil {
		return err
	}
	now := time.Now()
	p := &govern.Policy{Version: govern.PolicyVersion, CharterDigest: charter.Digest(), Serial: 1,
		ValidUntil: now.Add(c.Valid).UTC().Truncate(time.Second),
		Operators:  publicKeys(c.Operator), Admission: govern.AdmitAttested, RequireV2: c.RequireV2,
		EphemeralAge: attest.Age(time.Hour), EvidenceAge: attest.Age(24 * time.Hour)}
	if c.Approved {
		p.Admission = govern.AdmitApproved
	}
	if err := p.Enrolment.Mode.UnmarshalText([]byte(c.Enrolment)); err != nil {
		return err
	}
	if c.AllowSimulated {
		terms := attest.Terms{Simulated: true}
		p.Attestation = govern.Requirements{SGX: terms, TDX: terms, SNP: terms}
	}
	if err := c.list(s, p, charter, now); err != nil {
		return err
	}
	if len(p.Nodes) == 0 {
		return misusef("give --founder FILE, --mrenclave HEX or --snp-measurement HEX", "a policy lists the programs that may be nodes")
	}
	if err := p.Validate(); err != nil {
		return err
	}
	if err := s.writeFile(c.Out, draftText(p), c.Force); err != nil || c.Out == "-" {
		return err
	}
	return s.showPolicy(p, c.Out)
}

// list lists the nodes that the flags name.
func (c *policyNewCmd) list(s *session, p *govern.Policy, charter *govern.Charter, now time.Time) error {
	add := func(id govern.Identity) {
		name := "node"
		if len(p.Nodes) > 0 {
			name = fmt.Sprintf("node %d", len(p.Nodes)+1)
		}
		p.Nodes = append(p.Nodes, govern.NodeEntry{Name: name, Identity: id})
	}
	for _, m := range c.MRENCLAVE {
		add(govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: m}})
	}
	for _, m := range c.Measurement {
		add(govern.Identity{SNP: &attest.SNPIdentity{Measurement: m}})
	}
	if c.Founder == "" {
		return nil
	}
	f, err := s.readFounder(c.Founder)
	if err != nil {
		return err
	}
	_, claims, err := verifyFounder(f, charter, c.AllowSimulated, now)
	if err != nil {
		return err
	}
	id, err := identityOf(claims, c.BySigner)
	if err != nil {
		return err
	}
	add(id)
	if err := p.NodePolicy().Admit(claims, now); err != nil {
		return because(err, attest.ReasonOf(err).Hint(), "a policy with these terms would not admit the founder")
	}
	return nil
}

// A shownPolicy is what --json prints.
type shownPolicy struct {
	File     string          `json:"file,omitempty"`
	Serial   uint64          `json:"serial"`
	Digest   govern.Digest   `json:"digest"`
	Verified bool            `json:"verified"` // signatures were checked, from the charter on
	Since    *time.Time      `json:"since,omitempty"`
	Next     *shownPolicy    `json:"next,omitempty"` // waits for its time
	Policy   json.RawMessage `json:"policy"`
}

func newShownPolicy(p *govern.Policy) shownPolicy {
	return shownPolicy{Serial: p.Serial, Digest: p.Digest(), Policy: p.Canonical()}
}

func (s *session) showPolicy(p *govern.Policy, path string) error {
	doc := newShownPolicy(p)
	doc.File = path
	return s.show(doc, func(w io.Writer) {
		if path != "" {
			fmt.Fprintf(w, "file\t%s\n", path)
		}
		printPolicy(w, p)
	})
}

// printPolicy says in words what a policy allows: what it gives to a domain that
// had none.
func printPolicy(w io.Writer, p *govern.Policy) {
	fmt.Fprintf(w, "policy\t%d\n", p.Serial)
	fmt.Fprintf(w, "digest\t%s\n", p.Digest())
	for _, c := range govern.Diff(nil, p) {
		if c.Kind == govern.Alters {
			if _, value, ok := bytes.Cut([]byte(c.What), []byte(" → ")); ok {
				fmt.Fprintf(w, "%s\t%s\n", c.Who, oneLine(string(value)))
			}
			continue
		}
		fmt.Fprintf(w, "may\t%s: %s\n", oneLine(c.Who), oneLine(c.What))
	}
}

type policyDiffCmd struct {
	Old string `arg:"" help:"The one before, signed or not."`
	New string `arg:"" help:"The one after, signed or not."`
}

// Run says what differs.
func (c *policyDiffCmd) Run(s *session) error {
	old, _, err := readPolicy(c.Old)
	if err != nil {
		return err
	}
	next, _, err := readPolicy(c.New)
	if err != nil {
		return err
	}
	changes := govern.Diff(old, next)
	if changes == nil {
		changes = []govern.Change{}
	}
	return s.show(map[string]any{"old": old.Serial, "new": next.Serial, "changes": changes}, func(w io.Writer) {
		if len(changes) == 0 {
			fmt.Fprintln(w, "nobody gains or loses anything")
		}
		for _, change := range changes {
			fmt.Fprintln(w, oneLine(change.String()))
		}
	})
}

type policySignCmd struct {
	signFlags
	Behind bool `help:"Sign it although a policy of its serial, or a later one, was seen in force."`
}

// Run signs a policy, unless the domain is known to be further.
func (c *policySignCmd) Run(s *session) error {
	doc, _, err := readDraft(c.File, govern.PolicyType)
	if err != nil {
		return err
	}
	if p := doc.(*govern.Policy); p.Domain != (kms.DomainID{}) && !c.Behind {
		if err := notBehind(s, p); err != nil {
			return err
		}
	}
	return c.sign(s, govern.PolicyType)
}

// notBehind asks that a policy is later than the latest that was seen in force.
func notBehind(s *session, p *govern.Policy) error {
	highest, err := seenSerial(s, p.CharterDigest, p.Domain)
	if err != nil {
		return err
	}
	if p.Serial <= highest {
		return problemf("draft it anew over the one in force; --behind signs it all the same", "the policy has serial %d, and policy %d was seen in force", p.Serial, highest)
	}
	return nil
}

type policyVerifyCmd struct {
	File string `arg:"" help:"The signed policy."`
	groundFlags
}

// Help is the rest of what --help says.
func (policyVerifyCmd) Help() string {
	return "Policy 1 is verified by the charter alone, and by the bootstrap as well once there is one; later ones by charter, bootstrap and the amendments so far. " +
		"The exit status is 0 if the policy is valid. Whether it is the next one is for a node to say: policy submit --dry-run."
}

// Run shows who signed a policy.
func (c *policyVerifyCmd) Run(s *session) error {
	doc, e, err := readDraft(c.File, govern.PolicyType)
	if err != nil {
		return err
	}
	if e == nil {
		return errUnsigned(c.File)
	}
	p := doc.(*govern.Policy)
	if c.Bootstrap == "" && p.Serial == 1 {
		return c.alone(s, p, e)
	}
	standing, _, err := c.standing()
	if err != nil {
		return err
	}
	_, refusal := standing.OpenPolicy(e.Encode())
	return s.showTally(rulersOf(standing).count(c.File, e, doc, refusal))
}

// alone verifies policy 1 before there is a bootstrap: one that would name it
// makes a domain of it, for which nobody has signed.
func (c *policyVerifyCmd) alone(s *session, p *govern.Policy, e *govern.Envelope) error {
	charter, err := c.charter()
	if err != nil {
		return err
	}
	r := rulers{Owner: charter.Owner, Signers: charter.Signers, Threshold: charter.Threshold}
	t := r.count(c.File, e, p, nil)
	switch {
	case p.CharterDigest != charter.Digest():
		t.refuse("it is under another charter, "+p.CharterDigest.String(), "")
	case len(t.Strangers) > 0:
		t.refuse("somebody signed it who has no say", "begin again with the draft")
	case t.Missing > 0:
		t.refuse(fmt.Sprintf("signed by %d of the %d signers that it takes", t.Have, t.Threshold), "have it signed by others")
	}
	for _, sig := range e.Signatures {
		for _, known := range t.Signatures {
			if known.KeyID == sig.KeyID && !known.Signed {
				t.refuse("the signature of "+shortID(known.Key)+" is not good", "it is of another document: sign again")
			}
		}
	}
	return s.showTally(t)
}

func (t *tally) refuse(reason, hint string) { t.Valid, t.Reason, t.Hint = false, reason, hint }
