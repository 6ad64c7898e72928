package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

type charterAmendCmd struct {
	groundFlags
	Current string `required:"" placeholder:"POLICY" help:"The signed policy in force, which the amendment rests on."`
	rulesFlags
	AddSigner    []publicKey `sep:"none" placeholder:"PUB" help:"A signer to add; several times for several. --signer names all of them anew."`
	RemoveSigner []publicKey `sep:"none" placeholder:"PUB" help:"A signer to remove."`
	NoRecovery   bool        `help:"No recovery keys any more."`
	Out          string      `required:"" placeholder:"FILE" help:"Where the draft goes; - is standard output."`
	Force        bool        `help:"Replace what is there."`
}

// Help is the rest of what --help says.
func (charterAmendCmd) Help() string {
	return "What no flag names stays as it is. The amendment is signed by the threshold that rules now and by every key that is new, " +
		"and by the owner, who submits it; where it names a new owner, that one may submit it."
}

// Run drafts an amendment.
func (c *charterAmendCmd) Run(s *session) error {
	standing, _, err := c.standing()
	if err != nil {
		return err
	}
	envelope, _, err := readEnvelope(c.Current, govern.PolicyType)
	if err != nil {
		return err
	}
	current, err := standing.OpenPolicy(envelope)
	if err != nil {
		return because(err, kms.HintOf(err), c.Current)
	}
	draft := standing.DraftAmendment(current)
	if err := c.change(draft); err != nil {
		return err
	}
	if bytes.Equal(draft.Canonical(), standing.DraftAmendment(current).Canonical()) {
		return misusef("name what is to change, such as --threshold 3", "the amendment changes nothing")
	}
	if err := draft.Validate(); err != nil {
		return err
	}
	if err := s.writeFile(c.Out, draftText(draft), c.Force); err != nil || c.Out == "-" {
		return err
	}
	return s.showAmendment(draft, standing, c.Out)
}

// change puts in the draft what the flags say.
func (c *charterAmendCmd) change(a *govern.Amendment) error {
	if c.Owner != nil {
		a.Owner = c.Owner.PublicKey
	}
	if len(c.Signer) > 0 {
		a.Signers = publicKeys(c.Signer)
	}
	for _, k := range c.RemoveSigner {
		i := slices.Index(a.Signers, k.PublicKey)
		if i < 0 {
			return misusef("`holdfast charter show` lists the signers", "%s is no signer", shortID(k.PublicKey))
		}
		a.Signers = slices.Delete(a.Signers, i, i+1)
	}
	a.Signers = append(a.Signers, publicKeys(c.AddSigner)...)
	if c.Threshold != 0 {
		a.Threshold = c.Threshold
	}
	if len(c.Recovery) > 0 || c.NoRecovery {
		a.RecoveryKeys, a.RecoveryThreshold = publicKeys(c.Recovery), 0
	}
	if c.RecoveryThreshold != 0 {
		a.RecoveryThreshold = c.RecoveryThreshold
	}
	return c.others(&a.RestartMode, &a.Intervals)
}

// A shownAmendment is what --json prints of a draft.
type shownAmendment struct {
	File      string             `json:"file"`
	Digest    govern.Digest      `json:"digest"`
	NewKeys   []govern.PublicKey `json:"new_keys"` // each has to sign, beside the threshold
	Amendment *govern.Amendment  `json:"amendment"`
}

func (s *session) showAmendment(a *govern.Amendment, old govern.Standing, path string) error {
	fresh := newKeys(old, a)
	return s.show(shownAmendment{path, a.Digest(), fresh, a}, func(w io.Writer) {
		fmt.Fprintf(w, "amendment\t%d, in %s\n", a.Serial, path)
		fmt.Fprintf(w, "digest\t%s\n", a.Digest())
		fmt.Fprintf(w, "rests on\tpolicy %d\n", a.Policy.Serial)
		printRules(w, govern.Standing{Owner: a.Owner, Signers: a.Signers, Threshold: a.Threshold, RecoveryKeys: a.RecoveryKeys,
			RecoveryThreshold: a.RecoveryThreshold, RestartMode: a.RestartMode, Intervals: a.Intervals})
		for _, k := range fresh {
			fmt.Fprintf(w, "new key\t%s  has to sign, which shows that somebody holds it\n", shortID(k))
		}
		fmt.Fprintf(w, "to be signed by\t%d of the %d signers so far, and every new key\n", old.Threshold, len(old.Signers))
	})
}

// newKeys are those that an amendment puts where they were not before.
func newKeys(old govern.Standing, a *govern.Amendment) []govern.PublicKey {
	fresh := []govern.PublicKey{}
	add := func(k govern.PublicKey, before ...govern.PublicKey) {
		if !slices.Contains(before, k) && !slices.Contains(fresh, k) {
			fresh = append(fresh, k)
		}
	}
	add(a.Owner, old.Owner)
	for _, k := range a.Signers {
		add(k, old.Signers...)
	}
	for _, k := range a.RecoveryKeys {
		add(k, old.RecoveryKeys...)
	}
	return fresh
}

type charterSignCmd struct{ signFlags }

// Run signs an amendment.
func (c *charterSignCmd) Run(s *session) error { return c.sign(s, govern.AmendmentType) }

type charterVerifyCmd struct {
	File string `arg:"" help:"The amendment."`
	groundFlags
}

// Run shows who signed an amendment.
func (c *charterVerifyCmd) Run(s *session) error {
	standing, _, err := c.standing()
	if err != nil {
		return err
	}
	doc, e, err := readDraft(c.File, govern.AmendmentType)
	if err != nil {
		return err
	}
	if e == nil {
		return errUnsigned(c.File)
	}
	a := doc.(*govern.Amendment)
	next, refusal := standing.Amend(e.Encode())
	r := rulersOf(standing)
	r.Fresh = newKeys(standing, a)
	t := r.count(c.File, e, doc, refusal)
	t.Submitted = t.Submitted || refusal == nil && e.SignedBy(next.Owner)
	return s.showTally(t)
}

type charterSubmitCmd struct {
	Node string `arg:"" name:"url" placeholder:"https://HOST:PORT" help:"A node of the domain."`
	File string `arg:"" help:"The signed amendment."`
	nodeFlags
}

// Run hands an amendment to a node.
func (c *charterSubmitCmd) Run(s *session) error {
	envelope, _, err := readEnvelope(c.File, govern.AmendmentType)
	if err != nil {
		return err
	}
	return c.with(s, c.Node, func(cl *client.Client) error {
		done, err := cl.Amend(s.ctx, envelope)
		if err != nil {
			return err
		}
		doc := map[string]any{"serial": done.Serial, "digest": govern.Digest(done.Digest)}
		if done.Dropped != 0 {
			doc["dropped_policy"] = done.Dropped
		}
		return s.show(doc, func(w io.Writer) {
			fmt.Fprintf(w, "in force\tamendment %d\n", done.Serial)
			fmt.Fprintf(w, "digest\t%s\n", govern.Digest(done.Digest))
			if done.Dropped != 0 {
				fmt.Fprintf(w, "dropped\tpolicy %d, which waited for its time: the new signers have to sign it again\n", done.Dropped)
			}
		})
	})
}
