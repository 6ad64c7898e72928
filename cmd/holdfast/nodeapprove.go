package main

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// operatorFlags are those of what an operator signs.
type operatorFlags struct {
	Operator   string        `placeholder:"FILE" help:"Private key, in PEM, of an operator that the domain's policy lists."`
	Passphrase string        `name:"passphrase-file" placeholder:"FILE" help:"File with the passphrase of that key, if it has one. Without it you are asked."`
	Expires    time.Duration `default:"1h" help:"When the document ends, from now."`
	Out        string        `short:"o" placeholder:"FILE" help:"Write the signed document instead of handing it in."`
	Force      bool          `help:"Replace what is there."`
	connection
}

func (f *operatorFlags) until(now time.Time) (time.Time, error) {
	end := now.Add(f.Expires).UTC().Truncate(time.Second)
	if !end.After(now) {
		return end, misusef("such as --expires 1h", "it ends some time from now on")
	}
	return end, nil
}

// sign signs a document with the operator's key.
func (f *operatorFlags) sign(s *session, t govern.PayloadType, payload []byte) ([]byte, error) {
	if f.Operator == "" {
		return nil, misusef("give --operator FILE", "nobody would believe what nobody signed")
	}
	return s.addSignature(govern.NewEnvelope(t, payload), f.Operator, f.Passphrase)
}

// nodeApproveCmd is `holdfast node approve`.
type nodeApproveCmd struct {
	Node     string `arg:"" optional:"" help:"The id of the node that waits, or how it begins: at least 8 digits. May be left out with --out, where flags say all that the approval names."`
	Replace  string `placeholder:"OLD" help:"Approve that it takes the place of this node, which goes for good: all 64 digits."`
	Approval string `placeholder:"FILE" help:"Hand in an approval that was signed before, instead of signing one."`

	Machine     attest.Hex `placeholder:"HEX" help:"The machine as you know it. An approval of another one is not signed."`
	MRENCLAVE   attest.Hex `name:"mrenclave" placeholder:"HEX" help:"The program as you built it. An approval of another one is not signed."`
	Measurement attest.Hex `name:"snp-measurement" placeholder:"HEX" help:"The same of an SEV-SNP machine."`
	Policy      uint64     `placeholder:"SERIAL" help:"Serial of the policy in force, where no node is asked."`
	operatorFlags
}

// Help is the rest of what --help says.
func (nodeApproveCmd) Help() string {
	return "An approval is for one program on one machine, under the policy in force, once. What the node proved of itself is shown before you sign: " +
		"compare it with what you know, or have that done with --machine and --mrenclave. With --charter the node that you ask proves itself first.\n\n" +
		"With --out FILE the approval is for the node to bring along when it joins (--approval FILE). Where --domain, --policy, --machine and a measurement are given as well, no node is asked: " +
		"so it can be signed on a machine without a network."
}

// Run approves of a node.
func (c *nodeApproveCmd) Run(s *session) error {
	switch {
	case c.Approval != "" && (c.Operator != "" || c.Out != ""):
		return misusef("leave out --operator and --out", "--approval FILE is signed already")
	case c.Node == "" && (c.Out == "" || c.Approval != ""):
		return misusef("name it: `holdfast node list` shows who waits", "which node?")
	case c.Node == "":
		return c.alone(s)
	}
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	n, err := s.findNode(cl, c.Node)
	if err != nil {
		return err
	}
	envelope, err := c.envelope(s, cl, n)
	if err != nil {
		return err
	}
	if c.Out != "" {
		return s.writeFile(c.Out, envelope, c.Force)
	}
	if err := cl.ApproveNode(s.ctx, n.ID, envelope); err != nil {
		return err
	}
	return s.show(map[string]any{"approved": n.ID}, func(w io.Writer) {
		fmt.Fprintf(w, "approved\t%s\n", n.ID)
		fmt.Fprintln(w, "next\tit takes over state and master secrets, and then votes: holdfast node list")
	})
}

// envelope is the approval of a node that waits: one that was signed before, or a
// new one.
func (c *nodeApproveCmd) envelope(s *session, cl *client.Client, n kms.NodeInfo) ([]byte, error) {
	if c.Approval != "" {
		envelope, _, err := readEnvelope(c.Approval, govern.ApprovalType)
		return envelope, err
	}
	a, err := c.draft(s, cl, n)
	if err != nil {
		return nil, err
	}
	s.describe(a)
	if n.Replaces != (kms.NodeID{}) && c.Replace == "" {
		s.note("it asks to take the place of node %s; --replace %s approves of that", n.Replaces, n.Replaces)
	}
	return c.sign(s, govern.ApprovalType, a.Canonical())
}

// describe says in words what is about to be signed.
func (s *session) describe(a *govern.Approval) {
	s.note("you approve that a node %ss domain %s, until %s", a.Action, a.Domain, timeText(a.Expires))
	s.note("  program  %s", a.Identity)
	s.note("  machine  %s", a.Platform)
	s.note("  policy   %d", a.PolicySerial)
	if a.Action == govern.ActReplace {
		s.note("  in place of node %s, which goes for good", a.Replaces)
	}
}

// draft names what the node has proved, where that is what is expected.
func (c *nodeApproveCmd) draft(s *session, cl *client.Client, n kms.NodeInfo) (*govern.Approval, error) {
	if n.Platform == "" {
		return nil, problemf("have its host show it: an approval is for one machine", "the platform of node %s hides which machine it is", shortNode(n.ID))
	}
	machine, err := hex.DecodeString(n.Platform)
	if err != nil {
		return nil, problemf("ask another node", "the node that was asked names no machine: %q", oneLine(n.Platform))
	}
	id, err := govern.ParseIdentity([]byte(n.Identity))
	if err != nil {
		return nil, because(err, "ask another node, or update this program", "what the node proved names no program")
	}
	if err := c.expected(machine, id); err != nil {
		return nil, err
	}
	st, err := cl.DomainStatus(s.ctx)
	if err != nil {
		return nil, err
	}
	if c.Policy != 0 && c.Policy != st.PolicySerial {
		return nil, problemf("leave --policy out", "policy %d is in force", st.PolicySerial)
	}
	return c.fill(&govern.Approval{Domain: st.Domain, Platform: machine, Identity: id, PolicySerial: st.PolicySerial})
}

// expected refuses a machine or program other than the flags name.
func (c *nodeApproveCmd) expected(machine attest.Hex, id govern.Identity) error {
	if c.Machine != nil && !c.Machine.Equal(machine) {
		return problemf("approve of it only if you know this machine, too", "the node runs on machine %s, not on %s", machine, c.Machine)
	}
	if named, ok := c.program(); ok && !named.Equal(id) {
		return problemf("approve of it only if you know this program, too", "the node runs %s, not %s", id, named)
	}
	return nil
}

// program is the one that the flags name.
func (c *nodeApproveCmd) program() (id govern.Identity, ok bool) {
	if c.MRENCLAVE != nil {
		id.SGX = &attest.SGXIdentity{MRENCLAVE: c.MRENCLAVE}
	}
	if c.Measurement != nil {
		id.SNP = &attest.SNPIdentity{Measurement: c.Measurement}
	}
	return id, c.MRENCLAVE != nil || c.Measurement != nil
}

// fill completes an approval.
func (c *nodeApproveCmd) fill(a *govern.Approval) (_ *govern.Approval, err error) {
	a.Version, a.Action = govern.ApprovalVersion, govern.ActJoin
	if c.Replace != "" {
		a.Action = govern.ActReplace
		if a.Replaces, err = kms.ParseNodeID(c.Replace); err != nil {
			return nil, misusef("`holdfast node show` prints all of it", "--replace: %v", err)
		}
	}
	if a.Expires, err = c.until(time.Now()); err != nil {
		return nil, err
	}
	rand.Read(a.Nonce[:])
	return a, a.Validate()
}

// alone signs an approval without asking a node.
func (c *nodeApproveCmd) alone(s *session) error {
	id, ok := c.program()
	if !ok || c.Machine == nil || c.Policy == 0 || c.Domain == "" {
		return misusef("give --domain, --policy, --machine and --mrenclave or --snp-measurement, or name a node that waits", "not all is said that the approval has to name")
	}
	domain, err := parseDomain(c.Domain)
	if err != nil {
		return err
	}
	a, err := c.fill(&govern.Approval{Domain: domain, Platform: c.Machine, Identity: id, PolicySerial: c.Policy})
	if err != nil {
		return err
	}
	s.describe(a)
	envelope, err := c.sign(s, govern.ApprovalType, a.Canonical())
	if err != nil {
		return err
	}
	return s.writeFile(c.Out, envelope, c.Force)
}
