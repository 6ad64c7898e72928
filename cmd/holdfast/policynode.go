package main

import (
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

type policySubmitCmd struct {
	Node   string `arg:"" name:"url" placeholder:"https://HOST:PORT" help:"A node of the domain."`
	File   string `arg:"" help:"The policy, signed by the threshold and the owner."`
	DryRun bool   `name:"dry-run" help:"Change nothing: say whether it would be taken, and which nodes, runtimes, workloads and apps it would lock out as far as the node can tell."`
	nodeFlags
}

// Run submits the policy.
func (c *policySubmitCmd) Run(s *session) error {
	envelope, _, err := readEnvelope(c.File, govern.PolicyType)
	if err != nil {
		return err
	}
	return c.with(s, c.Node, func(cl *client.Client) error {
		if c.DryRun {
			return c.check(s, cl, envelope)
		}
		done, err := cl.SubmitPolicy(s.ctx, envelope)
		if err != nil {
			return err
		}
		doc := map[string]any{"serial": done.Serial, "digest": govern.Digest(done.Digest)}
		when := "in force"
		if done.Activates.After(time.Now()) {
			doc["activates"] = done.Activates
			when = "scheduled for " + timeText(done.Activates)
		}
		return s.show(doc, func(w io.Writer) {
			fmt.Fprintf(w, "policy\t%d, %s\n", done.Serial, when)
			fmt.Fprintf(w, "digest\t%s\n", govern.Digest(done.Digest))
		})
	})
}

// A lockout is what --json prints of one.
type lockout struct {
	Kind string `json:"kind"`
	Who  string `json:"who"`
	Why  string `json:"why"`
}

// check shows what would become of the policy. One that would expel the node is
// a result, with status 1.
func (c *policySubmitCmd) check(s *session, cl *client.Client, envelope []byte) error {
	checked, err := cl.CheckPolicy(s.ctx, envelope)
	if err != nil {
		return err
	}
	all, expels := []lockout{}, false
	for _, l := range checked.Lockouts {
		all = append(all, lockout(l))
		expels = expels || l.Kind == kms.LockoutNode
	}
	doc := map[string]any{"serial": checked.Serial, "digest": govern.Digest(checked.Digest), "lockouts": all}
	err = s.show(doc, func(w io.Writer) {
		fmt.Fprintf(w, "policy\t%d would be taken; nothing was changed\n", checked.Serial)
		if len(all) == 0 {
			fmt.Fprintf(w, "locked out\tnobody that the node knows of\n")
		}
		for _, l := range all {
			fmt.Fprintf(w, "locked out\t%s %s: %s\n", l.Kind, oneLine(l.Who), oneLine(l.Why))
		}
	})
	if err == nil && expels {
		return errQuiet
	}
	return err
}

type policyShowCmd struct {
	Source string `arg:"" name:"url or file" help:"A node's https address, or a file with a policy, signed or not."`
	Serial uint64 `placeholder:"N" help:"Of a node: one of the last hundred policies, instead of the one in force."`
	Out    string `short:"o" placeholder:"FILE" help:"Write the signed policy of a node to a file, to draft its successor from."`
	Force  bool   `help:"Replace what is there."`
	nodeFlags
}

// Help is the rest of what --help says.
func (policyShowCmd) Help() string {
	return "With --charter the policy of a node is verified from the charter on, and the node has to prove itself. Without it what is shown is the node's word."
}

// Run shows a policy.
func (c *policyShowCmd) Run(s *session) error {
	if isNodeURL(c.Source) {
		return c.with(s, c.Source, func(cl *client.Client) error { return c.fetch(s, cl) })
	}
	p, _, err := readPolicy(c.Source)
	if err != nil {
		return err
	}
	return s.showPolicy(p, c.Source)
}

func (c *policyShowCmd) fetch(s *session, cl *client.Client) error {
	shown, err := cl.Policy(s.ctx, c.Serial)
	if err != nil {
		return err
	}
	p, verified, err := c.open(shown)
	if err != nil {
		return err
	}
	if c.Out != "" {
		if err := s.writeFile(c.Out, append(shown.Policy, '\n'), c.Force); err != nil || c.Out == "-" {
			return err
		}
	}
	doc := newShownPolicy(p)
	doc.File, doc.Verified = c.Out, verified
	if !shown.Since.IsZero() {
		doc.Since = &shown.Since
	}
	if len(shown.Next) > 0 {
		next, err := payloadOf(shown.Next)
		if err != nil {
			return err
		}
		waiting := newShownPolicy(next)
		doc.Next = &waiting
	}
	return s.show(doc, func(w io.Writer) {
		printPolicy(w, p)
		if doc.Since != nil {
			fmt.Fprintf(w, "since\t%s\n", timeText(*doc.Since))
		}
		if doc.Next != nil {
			fmt.Fprintf(w, "scheduled\tpolicy %d, %s\n", doc.Next.Serial, doc.Next.Digest)
		}
		if !verified {
			fmt.Fprintf(w, "verified\tno: name the charter with --charter\n")
		}
	})
}

// open reads what a node showed, and verifies it where a charter is named.
func (c *policyShowCmd) open(shown *kms.PolicyShown) (p *govern.Policy, verified bool, err error) {
	if c.trustFlags.Charter == "" {
		p, err = payloadOf(shown.Policy)
		return p, false, err
	}
	charter, err := readCharterFile(c.trustFlags.Charter)
	if err != nil {
		return nil, false, err
	}
	p, _, err = client.VerifyPolicy(charter, shown)
	return p, true, err
}

// payloadOf reads a policy in an envelope without asking who signed it.
func payloadOf(envelope []byte) (*govern.Policy, error) {
	e, err := govern.ParseEnvelope(envelope)
	if err == nil && e.Type == govern.PolicyType {
		return govern.ParsePolicy(e.Payload)
	}
	return nil, problemf("is something else listening at this address?", "what the node shows is no policy")
}

type policyHistoryCmd struct {
	Node string `arg:"" name:"url" placeholder:"https://HOST:PORT" help:"A node of the domain."`
	nodeFlags
}

// A pastPolicy is what --json prints of one.
type pastPolicy struct {
	Serial  uint64        `json:"serial"`
	Digest  govern.Digest `json:"digest"`
	Since   *time.Time    `json:"since,omitempty"`
	InForce bool          `json:"in_force"`
}

// Run lists the policies.
func (c *policyHistoryCmd) Run(s *session) error {
	return c.with(s, c.Node, func(cl *client.Client) error {
		h, err := cl.Policies(s.ctx)
		if err != nil {
			return err
		}
		all := []pastPolicy{}
		for i, e := range h.Policies {
			all = append(all, newPast(e, i == len(h.Policies)-1))
		}
		doc := map[string]any{"policies": all}
		if h.Next != nil {
			doc["next"] = newPast(*h.Next, false)
		}
		return s.show(doc, func(w io.Writer) { printHistory(w, all, h.Next) })
	})
}

func newPast(e kms.PolicyEntry, inForce bool) pastPolicy {
	p := pastPolicy{Serial: e.Serial, Digest: govern.Digest(e.Digest), InForce: inForce}
	if !e.Since.IsZero() {
		p.Since = &e.Since
	}
	return p
}

func printHistory(w io.Writer, all []pastPolicy, next *kms.PolicyEntry) {
	fmt.Fprintf(w, "SERIAL\tSINCE\tDIGEST\t\n")
	line := func(p pastPolicy, note string) {
		since := "?"
		if p.Since != nil {
			since = timeText(*p.Since)
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\n", p.Serial, since, p.Digest, note)
	}
	for _, p := range all {
		note := ""
		if p.InForce {
			note = "in force"
		}
		line(p, note)
	}
	if next != nil {
		line(newPast(*next, false), "scheduled")
	}
}

// nodeFlags say whom to trust of a node that is named. No credential is read:
// what is handed over is signed, and nobody in particular hands it over.
type nodeFlags struct {
	CA string `group:"node" name:"ca" placeholder:"FILE" help:"Certificates in PEM to trust the node by."`
	trustFlags
}

// with connects to a node.
func (f nodeFlags) with(s *session, node string, do func(*client.Client) error) error {
	cfg, err := f.config(s, node)
	if err != nil {
		return err
	}
	cl, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(cl)
}

func (f nodeFlags) config(s *session, node string) (cfg client.Config, err error) {
	if !isNodeURL(node) {
		return cfg, misusef("write it as https://HOST:PORT", "%q is not the address of a node", node)
	}
	cfg.URL = node
	if charter := s.getenv("HOLDFAST_CHARTER"); charter != "" {
		if cfg.Trust, err = (trustSettings{Charter: charter}).read(".", seenBeside(s, "")); err != nil {
			return cfg, err
		}
	}
	if ca := orElse(f.CA, s.getenv("HOLDFAST_CA")); ca != "" {
		if cfg.CA, err = readCA(ca, "."); err != nil {
			return cfg, err
		}
	}
	if err := f.trustFlags.add(s, "", &cfg); err != nil {
		return cfg, err
	}
	if cfg.Trust != nil && f.CA != "" {
		return cfg, misusef("leave --ca out: the node's proof names the CA", "a charter is named, which takes the place of a CA")
	}
	return cfg, nil
}
