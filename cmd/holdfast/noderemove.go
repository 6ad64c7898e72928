package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// nodeRemoveCmd is `holdfast node remove`.
type nodeRemoveCmd struct {
	Node     string `arg:"" help:"The node's id, or how it begins: at least 8 digits."`
	ForCause bool   `help:"It is removed for what it did or what was done to it: the domain replaces its certificate authority, too, and clients ask for trust again."`
	operatorFlags
}

// Help is the rest of what --help says.
func (nodeRemoveCmd) Help() string {
	return "The order takes one signature: of an operator that the policy lists, or of the owner. When it was obeyed no node of the domain speaks with that one; " +
		"its id never comes back. A node that works is better drained: `holdfast node drain`. An order written with --out is handed in with `holdfast domain submit`."
}

// Run removes a node.
func (c *nodeRemoveCmd) Run(s *session) error {
	return c.depart(s, c.Node, &govern.Order{Deed: govern.DeedRemove, ForCause: c.ForCause})
}

// nodeDrainCmd is `holdfast node drain`.
type nodeDrainCmd struct {
	Node string `arg:"" help:"The node's id, or how it begins: at least 8 digits."`
	operatorFlags
}

// Help is the rest of what --help says.
func (nodeDrainCmd) Help() string {
	return "The node hands the lead over if it has it, takes on nothing new, finishes what it has begun within ten seconds, ends its audit log, and leaves; from then on its process may be stopped. " +
		"Where too few voters that answer would be left it refuses, and serves on. Any node may be asked to pass the order on.\n\n" +
		"The order takes one signature: of an operator that the policy lists, or of the owner. A node that does not answer cannot leave by itself: `holdfast node remove`."
}

// Run has a node leave.
func (c *nodeDrainCmd) Run(s *session) error {
	return c.depart(s, c.Node, &govern.Order{Deed: govern.DeedDrain})
}

// depart signs an order about a node, and hands it in.
func (f *operatorFlags) depart(s *session, node string, o *govern.Order) error {
	cl, err := f.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	n, err := s.findNode(cl, node)
	if err != nil {
		return err
	}
	st, err := cl.DomainStatus(s.ctx)
	if err != nil {
		return err
	}
	o.Version, o.Domain, o.Node = govern.OrderVersion, st.Domain, n.ID
	if o.Expires, err = f.until(time.Now()); err != nil {
		return err
	}
	rand.Read(o.Nonce[:])
	s.note("%s", orderWords(o))
	envelope, err := f.sign(s, govern.OrderType, o.Canonical())
	if err != nil {
		return err
	}
	if f.Out != "" {
		return s.writeFile(f.Out, envelope, f.Force)
	}
	return s.departed(cl, o, envelope)
}

// departed hands an order about a node in, and says what became of it.
func (s *session) departed(cl *client.Client, o *govern.Order, envelope []byte) error {
	if err := cl.RemoveNode(s.ctx, o.Node, envelope); err != nil {
		return err
	}
	done := "removed"
	if o.Deed == govern.DeedDrain {
		done = "drained"
	}
	return s.show(map[string]kms.NodeID{done: o.Node}, func(w io.Writer) {
		fmt.Fprintf(w, "%s\t%s\n", done, o.Node)
		fmt.Fprintln(w, "next\tstop its process: no node speaks with it any more, and its files are of no use")
	})
}

// orderWords say what an order is to do.
func orderWords(o *govern.Order) string {
	what := fmt.Sprintf("to %s %d", o.Deed, o.Generation)
	switch {
	case o.Deed == govern.DeedRemove, o.Deed == govern.DeedDrain:
		what = fmt.Sprintf("to %s %s", o.Deed, o.Node)
		if o.ForCause {
			what += " for cause, which replaces the certificate authority"
		}
	case o.Deed == govern.DeedReplaceCA, o.Deed == govern.DeedBackup:
		what = "to " + o.Deed.String()
	case o.Deed == govern.DeedCompromise:
		what = fmt.Sprintf("to hold generation %d for compromised, with credentials of its time refused after %v,", o.Generation, time.Duration(o.Grace))
	}
	return fmt.Sprintf("the order is %s of domain %s, until %s", what, o.Domain, timeText(o.Expires))
}
