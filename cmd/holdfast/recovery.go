package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// recoveryCmd is `holdfast recovery …`.
type recoveryCmd struct {
	Key    recoveryKeyCmd    `cmd:"" help:"Make keys that hold a share of a domain's recovery key."`
	Show   recoveryShowCmd   `cmd:"" help:"Show what a backup says in clear."`
	Draft  recoveryDraftCmd  `cmd:"" help:"Verify what a node shows, and write the recovery that lets it carry the domain on."`
	Sign   recoverySignCmd   `cmd:"" help:"Sign a recovery: the owner and the signers' threshold."`
	Verify recoveryVerifyCmd `cmd:"" help:"Show who has signed a recovery, and who has not."`
	Open   recoveryOpenCmd   `cmd:"" name:"open-share" help:"Verify what a node shows, and hand it your share of the recovery key."`
}

// recoveryKeyCmd is `holdfast recovery key …`.
type recoveryKeyCmd struct {
	New  recoveryKeyNewCmd `cmd:"" help:"Make a key that a share is sealed to."`
	Show signerShowCmd     `cmd:"" help:"Show the public half of a key."`
}

type recoveryKeyNewCmd struct {
	Out          string `required:"" placeholder:"FILE" help:"Where the private key goes, for you alone; the public one goes to FILE.pub. Nothing is replaced."`
	Passphrase   string `name:"passphrase-file" xor:"passphrase" placeholder:"FILE" help:"File with the passphrase that is to protect it. Without it you are asked."`
	NoPassphrase bool   `name:"no-passphrase" xor:"passphrase" help:"Leave the key in clear: whoever reads the file holds the share. For trying things out."`
}

// Run makes the key: one that something can be sealed to.
func (c *recoveryKeyNewCmd) Run(s *session) error {
	return (&signerNewCmd{Out: c.Out, Type: "p256", Passphrase: c.Passphrase, NoPassphrase: c.NoPassphrase}).Run(s)
}

type recoveryShowCmd struct {
	File string `arg:"" help:"The backup."`
}

// Run shows a backup.
func (c *recoveryShowCmd) Run(s *session) error { return s.showBackup(c.File) }

// claimFlags name what a node shows, and what it is judged by.
type claimFlags struct {
	groundFlags
	Policy         string `placeholder:"FILE" help:"The signed policy in force, where there is no backup."`
	Backup         string `placeholder:"FILE" help:"A backup of the domain: it has the documents that rule it, as they were signed, and the shares."`
	To             string `required:"" placeholder:"FILE" help:"What the node wrote that is to carry the domain on."`
	AllowSimulated bool   `help:"Take a simulated platform, which protects nothing."`
	Behind         bool   `help:"Go by the policy that these documents say is in force, although a later one was seen: what was expelled since counts again."`
}

// verified is what a node shows, once it holds.
type verified struct {
	header  *backup.Header // nil: there is no backup
	rules   *backup.Rules
	request *backup.Request
	claims  attest.Claims
}

func (c *claimFlags) verify(s *session, at time.Time) (*verified, error) {
	v := &verified{}
	err := c.readRules(v)
	if err == nil {
		err = c.notBehind(s, v.rules)
	}
	if err != nil {
		return nil, err
	}
	if v.request, err = readRequest(c.To); err != nil {
		return nil, err
	}
	if v.claims, err = v.request.Verify(v.rules, teeVerifiers, at); err != nil {
		return nil, because(err, kms.HintOf(err), c.To)
	}
	if v.claims.Simulated && !c.AllowSimulated {
		return nil, problemf("to try things out, say --allow-simulated", "the node runs on a simulated platform, which protects nothing")
	}
	return v, nil
}

// readRules verifies the documents that rule the domain: those in a backup, or those
// that are named.
func (c *claimFlags) readRules(v *verified) error {
	if c.Backup == "" {
		return c.readDocuments(v)
	}
	charter, err := c.charter()
	if err != nil {
		return err
	}
	if v.header, err = readBackup(c.Backup); err != nil {
		return err
	}
	if v.rules, err = v.header.Rules(charter, teeVerifiers); err != nil {
		return because(err, kms.HintOf(err), c.Backup)
	}
	if m := v.rules.Maker; (m.Simulated || m.Debug) && !c.AllowSimulated {
		return problemf("to try things out, say --allow-simulated", "the backup was made on a simulated platform, or under a debugger: anybody may have made it")
	}
	return nil
}

// notBehind asks that no later policy was seen in force: whom that one has expelled,
// these documents would take for a node of the domain.
func (c *claimFlags) notBehind(s *session, r *backup.Rules) error {
	highest, err := seenSerial(s, r.Standing.Charter, r.Domain)
	if err != nil || r.Policy.Serial >= highest || c.Behind {
		return err
	}
	return problemf("take a later backup, or the policy in force; --behind goes by this one all the same",
		"policy %d is in force by these documents, and policy %d was seen in force", r.Policy.Serial, highest)
}

func (c *claimFlags) readDocuments(v *verified) error {
	if c.Policy == "" {
		return misusef("name a backup with --backup, or the documents with --bootstrap, --amendment and --policy", "nothing says who rules the domain")
	}
	standing, _, err := c.standing()
	if err != nil {
		return err
	}
	envelope, _, err := readEnvelope(c.Policy, govern.PolicyType)
	if err != nil {
		return err
	}
	policy, err := standing.OpenPolicy(envelope)
	if err != nil {
		return because(err, kms.HintOf(err), c.Policy)
	}
	v.rules = &backup.Rules{Domain: standing.Domain, Standing: standing, Policy: policy}
	return nil
}

type recoveryOpenCmd struct {
	claimFlags
	Recovery   string `required:"" placeholder:"FILE" help:"The recovery that owner and signers have signed: for this node, from this head."`
	Key        string `required:"" placeholder:"FILE" help:"Your recovery key."`
	Passphrase string `name:"passphrase-file" placeholder:"FILE" help:"File with the passphrase of the key, if it has one. Without it you are asked."`
	Out        string `short:"o" required:"" placeholder:"FILE" help:"Where the share goes, sealed to that node: nobody else can open it."`
	Force      bool   `help:"Replace what is there."`
}

// Help is the rest of what --help says.
func (recoveryOpenCmd) Help() string {
	return "Give --backup: your share is in it. The evidence of the node is verified first: that it is a program that the domain's policy admits, on genuine hardware, and holds the key that your share is sealed to; " +
		"and that a program which that policy admitted has made the backup. The recovery has to be signed by the owner and the threshold of the signers, for that node and that head."
}

// A shownShare is what --json prints.
type shownShare struct {
	File   string        `json:"file"`
	Domain kms.DomainID  `json:"domain_id"`
	Node   kms.NodeID    `json:"node_id"`
	Number int           `json:"number"`
	Head   govern.Head   `json:"head"`
	Claims attest.Claims `json:"claims"`
}

// Run opens the share here, and seals it to the node.
func (c *recoveryOpenCmd) Run(s *session) error {
	if c.Backup == "" {
		return misusef("name the backup that the node is to restore with --backup", "shares are in backups")
	}
	v, err := c.verify(s, time.Now())
	if err == nil {
		err = c.wanted(v)
	}
	if err != nil {
		return err
	}
	key, err := s.openKey(c.Key, c.Passphrase)
	if err != nil {
		return err
	}
	handed, err := v.header.Hand(key, v.request)
	if err != nil {
		return err
	}
	b, err := handed.Encode()
	if err != nil {
		return err
	}
	if err := s.writeFile(c.Out, append(b, '\n'), c.Force); err != nil || c.Out == "-" {
		return err
	}
	doc := shownShare{c.Out, handed.Domain, handed.Node, handed.Number, v.request.Head, v.claims}
	return s.show(doc, func(w io.Writer) {
		printClaims(w, handed.Node, v.claims)
		printHead(w, v.request.Head)
		fmt.Fprintf(w, "share\tnumber %d of %d, of which %d are needed: %s\n", handed.Number, len(v.header.Recovery.Shares), v.header.Recovery.Threshold, c.Out)
	})
}

// wanted asks that owner and signers want this node to carry the domain on, from
// this head: that a genuine node shows itself says nothing of whose machine it is on.
func (c *recoveryOpenCmd) wanted(v *verified) error {
	envelope, _, err := readEnvelope(c.Recovery, govern.RecoveryType)
	if err != nil {
		return err
	}
	doc, err := v.rules.Standing.OpenRecovery(envelope)
	switch {
	case err != nil:
		return because(err, kms.HintOf(err), c.Recovery)
	case doc.Survivor != v.request.Node:
		return problemf("hand the share to the node that owner and signers named", "the recovery is for node %s to carry the domain on, and this is node %s", doc.Survivor, v.request.Node)
	case doc.Head != v.request.Head:
		return problemf("ask owner and signers which backup they have seen", "the recovery names entry %d of term %d, and the node would go on from entry %d of term %d",
			doc.Head.Index, doc.Head.Term, v.request.Head.Index, v.request.Head.Term)
	}
	return nil
}

type recoveryDraftCmd struct {
	claimFlags
	Out   string `short:"o" required:"" placeholder:"FILE" help:"Where the recovery goes, for owner and signers to sign."`
	Force bool   `help:"Replace what is there."`
}

// Help is the rest of what --help says.
func (recoveryDraftCmd) Help() string {
	return "For a node that survives any backup of the domain will do that is under the same policy, for only its documents are read; without one name the documents. " +
		"Look on every disk that is left, and take the highest head: what comes after it is lost."
}

// A shownRecovery is what --json prints.
type shownRecovery struct {
	File     string           `json:"file"`
	Recovery *govern.Recovery `json:"recovery"`
	Claims   attest.Claims    `json:"claims"`
}

// Run verifies the node, and writes the document.
func (c *recoveryDraftCmd) Run(s *session) error {
	v, err := c.verify(s, time.Now())
	if err != nil {
		return err
	}
	doc := &govern.Recovery{Version: govern.RecoveryVersion, Domain: v.rules.Domain, CharterDigest: v.rules.Standing.Charter,
		Amendments: v.rules.Standing.Amendments, Head: v.request.Head, Survivor: v.request.Node}
	rand.Read(doc.Nonce[:])
	if err := doc.Validate(); err != nil {
		return err
	}
	if err := s.writeFile(c.Out, draftText(doc), c.Force); err != nil || c.Out == "-" {
		return err
	}
	return s.show(shownRecovery{c.Out, doc, v.claims}, func(w io.Writer) {
		printClaims(w, doc.Survivor, v.claims)
		printHead(w, doc.Head)
		fmt.Fprintf(w, "to be signed by\tthe owner and %d of %d signers: %s\n", v.rules.Standing.Threshold, len(v.rules.Standing.Signers), c.Out)
	})
}

type recoverySignCmd struct {
	signFlags
	Behind bool `help:"Sign it although a higher head was seen: what came after this one is given up."`
}

// Help is the rest of what --help says.
func (recoverySignCmd) Help() string {
	return "It signs no head that is behind the highest of those that this user's commands have signed, or seen by `holdfast status --charter`."
}

// Run signs a recovery.
func (c *recoverySignCmd) Run(s *session) error {
	doc, _, err := readDraft(c.File, govern.RecoveryType)
	if err != nil {
		return err
	}
	r := doc.(*govern.Recovery)
	heads, err := headsOf(s)
	if err != nil {
		return err
	}
	highest, err := heads.highest(r.Domain)
	if err != nil {
		return err
	}
	if r.Head.Behind(highest) && !c.Behind {
		return problemf("look for a disk or a backup that has come further; --behind signs it all the same", "the recovery names entry %d of term %d under policy %d, and entry %d of term %d under policy %d was seen",
			r.Head.Index, r.Head.Term, r.Head.PolicySerial, highest.Index, highest.Term, highest.PolicySerial)
	}
	if err := c.sign(s, govern.RecoveryType); err != nil {
		return err
	}
	return heads.remember(r.Domain, r.Head)
}

type recoveryVerifyCmd struct {
	File string `arg:"" help:"The signed recovery."`
	groundFlags
}

// Run shows who signed a recovery.
func (c *recoveryVerifyCmd) Run(s *session) error {
	standing, _, err := c.standing()
	if err != nil {
		return err
	}
	doc, e, err := readDraft(c.File, govern.RecoveryType)
	if err != nil {
		return err
	}
	if e == nil {
		return errUnsigned(c.File)
	}
	_, refusal := standing.OpenRecovery(e.Encode())
	return s.showTally(rulersOf(standing).count(c.File, e, doc, refusal))
}
