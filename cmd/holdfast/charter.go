package main

import (
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
)

// charterCmd is `holdfast charter …`.
type charterCmd struct {
	New    charterNewCmd    `cmd:"" help:"Write the charter that a domain is founded on."`
	Show   charterShowCmd   `cmd:"" help:"Show a charter in words, and its digest."`
	Amend  charterAmendCmd  `cmd:"" help:"Draft an amendment, which changes who rules."`
	Sign   charterSignCmd   `cmd:"" help:"Sign an amendment."`
	Verify charterVerifyCmd `cmd:"" help:"Show who has signed an amendment, and who has not."`
	Submit charterSubmitCmd `cmd:"" help:"Hand an amendment to a node."`
}

// rulesFlags are what a charter says and an amendment can change.
type rulesFlags struct {
	Owner             *publicKey  `placeholder:"PUB" help:"Public key of the owner, who submits documents: as signer new prints it, or a file with it."`
	Signer            []publicKey `sep:"none" placeholder:"PUB" help:"Public key of a signer; several times for several."`
	Threshold         int         `placeholder:"N" help:"How many of the signers must sign."`
	Recovery          []publicKey `sep:"none" placeholder:"PUB" help:"Public key of who holds a share of the recovery key, which brings the domain back when every node is lost: as recovery key new prints it, or a file with it. Several times for several."`
	RecoveryThreshold int         `placeholder:"N" help:"How many of those it takes."`
	RestartMode       string      `placeholder:"MODE" help:"How a node comes back after a stop: sealed (from its sealed state) or rejoin (it joins anew; there is no way back)."`
	Tick              attest.Age  `placeholder:"DURATION" help:"Between two readings of the clock."`
	Epoch             attest.Age  `placeholder:"DURATION" help:"Length of an epoch, after which ephemeral secrets change."`
}

type charterNewCmd struct {
	Name string `required:"" placeholder:"NAME" help:"Name of the domain."`
	rulesFlags
	Out   string `required:"" placeholder:"FILE" help:"Where the charter goes; - is standard output."`
	Force bool   `help:"Replace what is there."`
}

// Run writes the charter.
func (c *charterNewCmd) Run(s *session) error {
	charter := &govern.Charter{Version: govern.CharterVersion, Name: c.Name, RestartMode: govern.Sealed, Intervals: govern.DefaultIntervals(),
		Signers: publicKeys(c.Signer), Threshold: c.Threshold, RecoveryKeys: publicKeys(c.Recovery), RecoveryThreshold: c.RecoveryThreshold}
	switch {
	case c.Owner == nil:
		return misusef("name the owner's public key with --owner", "a charter names an owner")
	case len(c.Signer) == 0 || c.Threshold == 0:
		return misusef("such as --signer A --signer B --signer C --threshold 2", "a charter names signers, and how many of them decide")
	}
	charter.Owner = c.Owner.PublicKey
	if err := c.others(&charter.RestartMode, &charter.Intervals); err != nil {
		return err
	}
	if err := charter.Validate(); err != nil {
		return err
	}
	if err := s.writeFile(c.Out, draftText(charter), c.Force); err != nil || c.Out == "-" {
		return err
	}
	return s.showCharter(charter, c.Out)
}

// others takes up what is not a key.
func (f *rulesFlags) others(mode *govern.RestartMode, intervals *govern.Intervals) error {
	if f.RestartMode != "" {
		if err := mode.UnmarshalText([]byte(f.RestartMode)); err != nil {
			return misusef("sealed or rejoin", "--restart-mode: %v", err)
		}
	}
	if f.Tick != 0 {
		intervals.Tick = f.Tick
	}
	if f.Epoch != 0 {
		intervals.Epoch = f.Epoch
	}
	return nil
}

type charterShowCmd struct {
	File string `arg:"" help:"The charter."`
}

// Run shows the charter.
func (c *charterShowCmd) Run(s *session) error {
	charter, err := readCharterFile(c.File)
	if err != nil {
		return err
	}
	return s.showCharter(charter, c.File)
}

// A shownCharter is what --json prints.
type shownCharter struct {
	File    string          `json:"file"`
	Digest  govern.Digest   `json:"digest"`
	Charter *govern.Charter `json:"charter"`
}

func (s *session) showCharter(charter *govern.Charter, path string) error {
	return s.show(shownCharter{path, charter.Digest(), charter}, func(w io.Writer) {
		fmt.Fprintf(w, "charter\t%s\n", charter.Name)
		fmt.Fprintf(w, "digest\t%s\n", charter.Digest())
		printRules(w, govern.Standing{Owner: charter.Owner, Signers: charter.Signers, Threshold: charter.Threshold, RecoveryKeys: charter.RecoveryKeys,
			RecoveryThreshold: charter.RecoveryThreshold, RestartMode: charter.RestartMode, Intervals: charter.Intervals})
	})
}

// printRules says in words who rules.
func printRules(w io.Writer, s govern.Standing) {
	fmt.Fprintf(w, "owner\t%s  submits documents, and authorises nothing\n", shortID(s.Owner))
	for i, k := range s.Signers {
		fmt.Fprintf(w, "signer %d\t%s\n", i+1, shortID(k))
	}
	fmt.Fprintf(w, "threshold\t%d of %d signers make a policy valid\n", s.Threshold, len(s.Signers))
	for i, k := range s.RecoveryKeys {
		fmt.Fprintf(w, "recovery %d\t%s\n", i+1, shortID(k))
	}
	if len(s.RecoveryKeys) > 0 {
		fmt.Fprintf(w, "recovery\t%d of %d keys\n", s.RecoveryThreshold, len(s.RecoveryKeys))
	}
	fmt.Fprintf(w, "restart mode\t%s\n", s.RestartMode)
	fmt.Fprintf(w, "clock\tread every %s; an epoch lasts %s\n", time.Duration(s.Intervals.Tick), time.Duration(s.Intervals.Epoch))
}
