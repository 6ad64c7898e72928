package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// domainBackupCmd is `holdfast domain backup`.
type domainBackupCmd struct {
	Key        string        `required:"" placeholder:"FILE" help:"Private key of an operator that the policy lists, or of the owner."`
	Passphrase string        `name:"passphrase-file" placeholder:"FILE" help:"File with the passphrase of the key, if it has one. Without it you are asked."`
	Expires    time.Duration `default:"10m" help:"When the order ends, from now."`
	Out        string        `short:"o" required:"" placeholder:"FILE" help:"Where the backup goes; - is standard output."`
	Force      bool          `help:"Replace what is there."`
	connection
}

// Help is the rest of what --help says.
func (domainBackupCmd) Help() string {
	return "The backup is encrypted to the domain. To open it takes a node that holds the domain's master secrets, or, when every node is lost, " +
		"shares of the recovery key; to restore it takes the owner and the threshold of the signers as well. Keep several, in several places."
}

// A shownBackup is what --json prints.
type shownBackup struct {
	File        string       `json:"file"`
	Domain      kms.DomainID `json:"domain_id"`
	Time        time.Time    `json:"time"`
	Generation  uint32       `json:"generation"`
	Head        govern.Head  `json:"head"`
	Shares      int          `json:"shares"`
	Threshold   int          `json:"threshold"`
	Holders     []string     `json:"holders,omitempty"` // key ids, in the order of the shares' numbers
	Recoverable bool         `json:"recoverable"`       // when every node is lost

	Charter govern.Digest  `json:"charter_digest"`
	Maker   *attest.Claims `json:"maker,omitempty"`          // under the backup's own documents; absent: no node of that domain is proved to have made it
	Former  bool           `json:"former_holders,omitempty"` // the shares are of keys that an amendment has replaced: those of the new ones were not dealt yet
	Cause   string         `json:"cause,omitempty"`          // why there is no maker
	Hint    string         `json:"hint,omitempty"`
}

// Run has a backup made, and writes it: all of it, or nothing.
func (c *domainBackupCmd) Run(s *session) error {
	if c.Out != "-" && !c.Force && exists(c.Out) {
		return taken(c.Out)
	}
	order, err := c.order(s)
	if err != nil {
		return err
	}
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	out, err := s.newOutput(c.Out)
	if err != nil {
		return because(err, "name another file with --out", "writing "+c.Out)
	}
	if err := cl.BackupDomain(s.ctx, order, out); err != nil {
		out.discard()
		return err
	}
	if err := out.commit(); err != nil || c.Out == "-" {
		return err
	}
	return s.showBackup(c.Out)
}

func (c *domainBackupCmd) order(s *session) ([]byte, error) {
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	st, err := cl.Status(s.ctx)
	if err != nil {
		return nil, err
	}
	doc := &govern.Order{Version: govern.OrderVersion, Domain: st.DomainID, Deed: govern.DeedBackup, Expires: time.Now().Add(c.Expires).UTC().Truncate(time.Second)}
	rand.Read(doc.Nonce[:])
	if err := doc.Validate(); err != nil {
		return nil, err
	}
	return s.addSignature(govern.NewEnvelope(govern.OrderType, doc.Canonical()), c.Key, c.Passphrase)
}

// readBackup reads what a backup says in clear.
func readBackup(path string) (*backup.Header, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, _, err := backup.Read(f)
	if err != nil {
		return nil, because(err, kms.HintOf(err), path)
	}
	return h, nil
}

func (s *session) showBackup(path string) error {
	h, err := readBackup(path)
	if err != nil {
		return err
	}
	doc := shownBackup{File: path, Domain: h.Domain, Time: h.Time, Generation: h.Generation, Head: h.Head, Recoverable: h.Recovery != nil}
	if r := h.Recovery; r != nil {
		doc.Shares, doc.Threshold = len(r.Shares), r.Threshold
		for _, share := range r.Shares {
			doc.Holders = append(doc.Holders, share.Key)
		}
	}
	doc.judge(h)
	return s.show(doc, func(w io.Writer) { printBackup(w, doc) })
}

// judge says what made the backup, by the documents in it: that they are those of
// the domain, their charter's digest tells who knows it.
func (b *shownBackup) judge(h *backup.Header) {
	charter, err := govern.ParseCharter(h.Charter)
	if err == nil {
		b.Charter = charter.Digest()
		var rules *backup.Rules
		if rules, err = h.Rules(charter, teeVerifiers); err == nil {
			b.Maker, b.Former = &rules.Maker, !h.SameRecovery(rules)
			return
		}
	}
	b.Cause, b.Hint = err.Error(), kms.HintOf(err)
}

// makerText names the program that made a backup.
func (b *shownBackup) makerText() string {
	if b.Maker == nil {
		return "NOBODY KNOWS, so nobody can restore it: " + oneLine(b.Cause)
	}
	kind := "genuine"
	if b.Maker.Debug {
		kind = "UNDER A DEBUGGER: its host may have made it"
	}
	if b.Maker.Simulated {
		kind = "SIMULATED: anybody may have made it"
	}
	return fmt.Sprintf("a program on %s, %s, that policy %d of charter %.16s admitted", b.Maker.TEE, kind, b.Head.PolicySerial, b.Charter)
}

func printBackup(w io.Writer, b shownBackup) {
	fmt.Fprintf(w, "backup\t%s\ndomain id\t%s\nmade\t%s\ngeneration\t%d\n", b.File, b.Domain, timeText(b.Time), b.Generation)
	printHead(w, b.Head)
	fmt.Fprintf(w, "made by\t%s\n", b.makerText())
	if b.Hint != "" {
		fmt.Fprintf(w, "hint\t%s\n", b.Hint)
	}
	if b.Former {
		fmt.Fprintln(w, "warning\tan amendment has changed the recovery keys, and this backup does not have the shares of the new ones: make another one in a minute")
	}
	if !b.Recoverable {
		fmt.Fprintln(w, "when every node is lost\tnobody can open it: the domain has no recovery keys")
		return
	}
	fmt.Fprintf(w, "when every node is lost\t%d of %d shares open it\n", b.Threshold, b.Shares)
	for i, id := range b.Holders {
		fmt.Fprintf(w, "share %d\tkey %.16s\n", i+1, id)
	}
}

func printHead(w io.Writer, h govern.Head) {
	fmt.Fprintf(w, "head\tentry %d of term %d, under policy %d\nstate\t%s\n", h.Index, h.Term, h.PolicySerial, h.Digest)
}

// readRequest reads what a node shows that is to carry a domain on.
func readRequest(path string) (*backup.Request, error) {
	b, err := readBounded(path, backup.MaxRequest)
	if err != nil {
		return nil, err
	}
	r, err := backup.ParseRequest(b)
	if err != nil {
		return nil, because(err, orElse(kms.HintOf(err), "it takes what the node wrote that is to carry the domain on"), path)
	}
	return r, nil
}

// readBounded reads a file that somebody else made any size he likes: a byte more
// than limit of one that is longer.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	return b, errors.Join(err, f.Close())
}
