package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// nodeCmd is `holdfast node …`.
type nodeCmd struct {
	List    nodeListCmd    `cmd:"" help:"List the nodes of the domain, and those that wait to join."`
	Show    nodeShowCmd    `cmd:"" help:"Show one node."`
	Approve nodeApproveCmd `cmd:"" help:"Sign an operator's approval of a node that waits, and hand it in."`
	Drain   nodeDrainCmd   `cmd:"" help:"Order that a node finishes what it has begun, and leaves the domain for good."`
	Remove  nodeRemoveCmd  `cmd:"" help:"Order that a node is out of the domain, at once and for good, whether or not it answers."`
}

// A shownNode is what --json prints of a node: its identity as a document.
type shownNode struct {
	kms.NodeInfo
	Identity json.RawMessage `json:"identity,omitempty"`
}

func shown(n kms.NodeInfo) shownNode { return shownNode{n, json.RawMessage(n.Identity)} }

// nodeListCmd is `holdfast node list`.
type nodeListCmd struct {
	All bool `help:"Those who left as well: the last thousand."`
	connection
}

// Help is the rest of what --help says.
func (nodeListCmd) Help() string {
	return "It is the word of the node that is asked: with --charter it proves itself first. Node, program and machine are shortened; show has all of them."
}

// Run lists nodes.
func (c *nodeListCmd) Run(s *session) error {
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	nodes, gone, err := cl.Nodes(s.ctx, c.All)
	if err != nil {
		return err
	}
	doc := struct {
		Nodes    []shownNode       `json:"nodes"`
		Departed []client.Departed `json:"departed,omitempty"`
	}{[]shownNode{}, gone}
	for _, n := range nodes {
		doc.Nodes = append(doc.Nodes, shown(n))
	}
	return s.show(doc, func(w io.Writer) { printNodes(w, nodes, gone, time.Now()) })
}

func printNodes(w io.Writer, nodes []kms.NodeInfo, gone []client.Departed, now time.Time) {
	fmt.Fprintln(w, "NODE\tNAME\tROLE\tPROGRAM\tMACHINE\tTCB\tPROVED\tSECRETS\tTROUBLE")
	for _, n := range nodes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", shortNode(n.ID), dash(n.Name), nodeRole(n), dash(shortProgram(n.Program)), dash(shorten(n.Platform)),
			dash(n.TCBStatus), ageText(n.Proved, now), n.Generations, dash(n.Trouble))
	}
	for _, n := range nodes {
		if waits(n) {
			fmt.Fprintf(w, "\nNode %s waits since %s:\n%s\n`holdfast node approve %s --operator FILE` approves of it.\n",
				n.ID, timeText(n.Joined), approvalWords(n), shortNode(n.ID))
		}
	}
	for _, d := range gone {
		fmt.Fprintf(w, "%s\tgone\t%s\t%s\n", shortNode(d.ID), timeText(d.Time), dash(d.Reason))
	}
}

// waits reports whether a node has no part in the domain yet.
func waits(n kms.NodeInfo) bool { return n.Role == kms.RoleWaiting }

// approvalWords say what an approval of a node has to name.
func approvalWords(n kms.NodeInfo) string {
	machine := n.Platform
	if machine == "" {
		machine = "hidden by its platform, so that no approval can name it"
	}
	return fmt.Sprintf("  program  %s\n  machine  %s", dash(n.Program), machine)
}

func nodeRole(n kms.NodeInfo) string {
	role := n.Role.String()
	if !n.Role.Valid() {
		role = "unknown"
	}
	if n.Leader {
		role = "leader"
	}
	if n.Self {
		role += ", asked"
	}
	return role
}

// shortNode is enough of a node's id to tell it from others on a screen, and to
// name it by.
func shortNode(id kms.NodeID) string { return shorten(id.String()) }

func shorten(s string) string { return s[:min(len(s), 16)] }

// shortProgram shortens the measurement of "SGX 83d7…".
func shortProgram(s string) string {
	tee, m, _ := strings.Cut(s, " ")
	return strings.TrimSpace(tee + " " + shorten(m))
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return oneLine(s)
}

// ageText is how long ago something was, in its two largest units at most.
func ageText(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return max(now.Sub(t), 0).Truncate(time.Second).String() + " ago"
}

// nodeShowCmd is `holdfast node show`.
type nodeShowCmd struct {
	Node string `arg:"" help:"The node's id, or how it begins: at least 8 digits."`
	connection
}

// Run shows a node.
func (c *nodeShowCmd) Run(s *session) error {
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	n, err := s.findNode(cl, c.Node)
	if err != nil {
		return err
	}
	return s.show(shown(n), func(w io.Writer) { printNode(w, n) })
}

func printNode(w io.Writer, n kms.NodeInfo) {
	rows := []struct {
		name  string
		value any
	}{
		{"node", n.ID}, {"name", dash(n.Name)}, {"role", nodeRole(n)}, {"trouble", dash(n.Trouble)},
		{"other nodes reach it at", dash(n.Socket)}, {"clients reach it at", dash(n.API)}, {"channel to it", yesNo(n.Connected)},
		{"program", dash(n.Program)}, {"machine", dash(n.Platform)}, {"simulated", n.Simulated}, {"TCB status", dash(n.TCBStatus)},
		{"TCB evaluation", n.EvaluationNumber}, {"proved", timeText(n.Proved)}, {"evidence good until", timeText(n.ValidUntil)},
		{"feature level", n.FeatureLevel}, {"master secrets below", n.Generations}, {"first seen", timeText(n.Joined)},
	}
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%v\n", r.name, r.value)
	}
	if n.Replaces != (kms.NodeID{}) {
		fmt.Fprintf(w, "goes for\t%s\n", n.Replaces)
	}
}

// minNodeDigits is how much of a node's id names it: enough that nobody makes
// another one that begins so by the way.
const minNodeDigits = 8

// findNode is the one node whose id begins so.
func (s *session) findNode(cl *client.Client, begins string) (n kms.NodeInfo, err error) {
	begins = strings.ToLower(begins)
	if len(begins) < minNodeDigits || strings.Trim(begins, "0123456789abcdef") != "" {
		return n, misusef("`holdfast node list` shows the ids", "%q is not the id of a node, nor %d digits or more of how one begins", begins, minNodeDigits)
	}
	all, _, err := cl.Nodes(s.ctx, false)
	if err != nil {
		return n, err
	}
	found := 0
	for _, one := range all {
		if strings.HasPrefix(one.ID.String(), begins) {
			n, found = one, found+1
		}
	}
	switch found {
	case 1:
		return n, nil
	case 0:
		return n, problemf("`holdfast node list` shows who is there; --all who left", "no node begins with %s", begins)
	}
	return n, problemf("give more of it", "%d nodes begin with %s", found, begins)
}
