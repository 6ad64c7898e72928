package main

import (
	"context"
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

// domainCmd is `holdfast domain …`.
type domainCmd struct {
	Status      domainStatusCmd      `cmd:"" help:"Show the domain's master secrets, and how far re-wrapping is."`
	Rotate      domainRotateCmd      `cmd:"" help:"Have the domain make the next generation of its master secret."`
	Retire      domainRetireCmd      `cmd:"" name:"retire-generation" help:"Have the domain end all use of an old generation."`
	Compromised domainCompromisedCmd `cmd:"" help:"List what others may know since a master secret was compromised, and what to do about it."`
	ReplaceCA   domainReplaceCACmd   `cmd:"" name:"replace-ca" help:"Have the domain make another certificate authority, and end the one there is."`
	Sign        domainSignCmd        `cmd:"" help:"Add a signature to an order that was written with --out."`
	Submit      domainSubmitCmd      `cmd:"" help:"Hand a signed order to a node: to rotate, retire, replace the CA, or drain or remove a node."`
	Backup      domainBackupCmd      `cmd:"" help:"Make a backup of the domain, encrypted to it."`
}

// domainStatusCmd is `holdfast domain status`.
type domainStatusCmd struct {
	connection
}

// Run shows the status.
func (c *domainStatusCmd) Run(s *session) error {
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	st, err := cl.DomainStatus(s.ctx)
	if err != nil {
		return err
	}
	return s.show(st, func(w io.Writer) { printDomain(w, st) })
}

func printDomain(w io.Writer, st client.DomainStatus) {
	defer printCompromises(w, st.Compromises)
	next := "on demand"
	if !st.NextAt.IsZero() {
		next = timeText(st.NextAt)
	}
	fmt.Fprintf(w, "domain\t%s\ndomain id\t%s\n", oneLine(st.Name), st.Domain)
	fmt.Fprintf(w, "generation\t%d\nlast rotation\t%s\nnext rotation\t%s\n", st.Generation, timeText(st.LastRotation), next)
	fmt.Fprintf(w, "left to re-wrap\t%d\n", st.Left)
	for _, g := range st.Generations {
		state := "in use"
		if !g.Retired.IsZero() {
			state = "retired " + timeText(g.Retired)
		}
		fmt.Fprintf(w, "generation %d\t%s\tmade %s\twraps %d\tchecksum %s\tsigning key %s\n", g.Number, state, timeText(g.Created), g.Wrapped,
			hex.EncodeToString(g.Checksum), hex.EncodeToString(g.SigningKey))
	}
	for _, text := range append(st.Scheduled, st.Warnings...) {
		fmt.Fprintf(w, "note\t%s\n", oneLine(text))
	}
}

// orderFlags are those of every command that makes an order.
type orderFlags struct {
	Key        []string      `sep:"none" placeholder:"FILE" help:"Private key to sign the order with; several times for several."`
	Passphrase string        `name:"passphrase-file" placeholder:"FILE" help:"File with the passphrase of the keys, if they have one. Without it you are asked."`
	Expires    time.Duration `default:"24h" help:"When the order ends, from now."`
	Out        string        `short:"o" placeholder:"FILE" help:"Write the order, with these signatures, instead of submitting it: for others to sign, or on a machine without a network."`
	Force      bool          `help:"Replace what is there."`
	connection

	grace time.Duration
}

// domainRotateCmd is `holdfast domain rotate`.
type domainRotateCmd struct {
	Generation uint32 `placeholder:"N" help:"The generation to make: the newest and 1. Without it the node is asked."`
	orderFlags
}

// Help is the rest of what --help says.
func (domainRotateCmd) Help() string {
	return "It takes one signature: of an operator that the policy lists, or of the owner."
}

// Run makes an order and hands it in.
func (c *domainRotateCmd) Run(s *session) error {
	return c.order(s, govern.DeedRotate, func(st func() (client.DomainStatus, error)) (uint32, error) {
		if c.Generation != 0 {
			return c.Generation, nil
		}
		now, err := st()
		return now.Generation + 1, err
	})
}

// domainRetireCmd is `holdfast domain retire-generation`.
type domainRetireCmd struct {
	Generation  uint32        `arg:"" help:"The generation that ends."`
	Compromised bool          `help:"Others know it: the domain also replaces all that ever hung on it, and makes the next generation first where it is the newest."`
	Grace       time.Duration `default:"24h" help:"With --compromised: how long credentials that hung on it are good, for apps to make others; 0: no longer."`
	orderFlags
}

// Help is the rest of what --help says.
func (domainRetireCmd) Help() string {
	return "It takes the signatures of the threshold. Where the signers are not at one machine, write the order with --out, have each " +
		"add a signature with `holdfast domain sign`, and hand it in with `holdfast domain submit`."
}

// Run makes an order and hands it in.
func (c *domainRetireCmd) Run(s *session) error {
	deed := govern.DeedRetire
	if c.Compromised {
		deed, c.grace = govern.DeedCompromise, c.Grace
	}
	return c.order(s, deed, func(func() (client.DomainStatus, error)) (uint32, error) { return c.Generation, nil })
}

// order makes an order, signs it, and writes it to a file or hands it in.
func (c *orderFlags) order(s *session, d govern.Deed, generation func(func() (client.DomainStatus, error)) (uint32, error)) error {
	if len(c.Key) == 0 && c.Out == "" {
		return misusef("give --key FILE, or --out FILE to have others sign it", "nobody would obey an order that nobody signed")
	}
	ask := func() (client.DomainStatus, error) {
		cl, err := c.dialAnonymous(s)
		if err != nil {
			return client.DomainStatus{}, err
		}
		defer cl.Close()
		return cl.DomainStatus(s.ctx)
	}
	doc, err := c.draft(d, ask, generation)
	if err != nil {
		return err
	}
	envelope := govern.NewEnvelope(govern.OrderType, doc.Canonical())
	for _, path := range c.Key {
		if envelope, err = s.addSignature(envelope, path, c.Passphrase); err != nil {
			return err
		}
	}
	if c.Out != "" {
		return s.writeFile(c.Out, envelope, c.Force)
	}
	return c.connection.obey(s, envelope, doc)
}

func (c *orderFlags) draft(d govern.Deed, ask func() (client.DomainStatus, error), generation func(func() (client.DomainStatus, error)) (uint32, error)) (*govern.Order, error) {
	doc := &govern.Order{Version: govern.OrderVersion, Deed: d, Expires: time.Now().Add(c.Expires).UTC().Truncate(time.Second)}
	rand.Read(doc.Nonce[:])
	if d == govern.DeedCompromise {
		doc.Grace = attest.Age(c.grace)
	}
	var err error
	if doc.Generation, err = generation(ask); err != nil {
		return nil, err
	}
	if c.Domain != "" {
		doc.Domain, err = parseDomain(c.Domain)
	} else {
		var st client.DomainStatus
		st, err = ask()
		doc.Domain = st.Domain
	}
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate()
}

func (s *session) addSignature(envelope []byte, path, passphraseFile string) ([]byte, error) {
	key, err := s.openKey(path, passphraseFile)
	if err != nil {
		return nil, err
	}
	return govern.Sign(envelope, key)
}

// obey hands an order to a node and shows what became of it.
func (c connection) obey(s *session, envelope []byte, doc *govern.Order) error {
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	switch doc.Deed {
	case govern.DeedRemove, govern.DeedDrain:
		return s.departed(cl, doc, envelope)
	case govern.DeedRetire:
		return s.retired(cl, envelope)
	case govern.DeedCompromise:
		return s.declared(cl, envelope)
	case govern.DeedReplaceCA:
		return s.replacedCA(cl, envelope)
	}
	return s.rotated(cl, envelope)
}

func (s *session) rotated(cl interface {
	RotateMasterSecret(ctx context.Context, order []byte) (kms.Generation, error)
}, envelope []byte) error {
	g, err := cl.RotateMasterSecret(s.ctx, envelope)
	if err != nil {
		return err
	}
	return s.show(g, func(w io.Writer) {
		fmt.Fprintf(w, "generation\t%d\nchecksum\t%s\nsigning key\t%s\n", g.Number, hex.EncodeToString(g.Checksum), hex.EncodeToString(g.SigningKey))
	})
}

func (s *session) retired(cl interface {
	RetireGeneration(ctx context.Context, order []byte) (kms.Retirement, error)
}, envelope []byte) error {
	done, err := cl.RetireGeneration(s.ctx, envelope)
	if err != nil {
		return err
	}
	doc := map[string]any{"retired": done.Generation, "remains": done.Remains}
	return s.show(doc, func(w io.Writer) {
		fmt.Fprintf(w, "retired\t%d\n", done.Generation)
		for _, text := range done.Remains {
			fmt.Fprintf(w, "not reached\t%s\n", oneLine(text))
		}
	})
}

// readOrder reads a file with an order.
func readOrder(path string) ([]byte, *govern.Order, error) {
	envelope, e, err := readEnvelope(path, govern.OrderType)
	if err != nil {
		return nil, nil, err
	}
	doc, err := govern.ParseOrder(e.Payload)
	if err != nil {
		return nil, nil, because(err, kms.HintOf(err), path)
	}
	return envelope, doc, nil
}

// domainSignCmd is `holdfast domain sign`.
type domainSignCmd struct {
	File       string `arg:"" help:"The order."`
	Key        string `required:"" placeholder:"FILE" help:"Your private key."`
	Passphrase string `name:"passphrase-file" placeholder:"FILE" help:"File with the passphrase of the key, if it has one. Without it you are asked."`
}

// Run adds a signature, in place. What is signed is shown first.
func (c *domainSignCmd) Run(s *session) error {
	envelope, doc, err := readOrder(c.File)
	if err != nil {
		return err
	}
	s.note("%s", orderWords(doc))
	if envelope, err = s.addSignature(envelope, c.Key, c.Passphrase); err != nil {
		return err
	}
	return s.writeFile(c.File, envelope, true)
}

// domainSubmitCmd is `holdfast domain submit`.
type domainSubmitCmd struct {
	File string `arg:"" help:"The signed order."`
	connection
}

// Run hands in an order.
func (c *domainSubmitCmd) Run(s *session) error {
	envelope, doc, err := readOrder(c.File)
	if err != nil {
		return err
	}
	return c.obey(s, envelope, doc)
}
