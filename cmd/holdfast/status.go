package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// statusCmd is `holdfast status`.
type statusCmd struct {
	Watch bool `help:"Show it again whenever it changes, until Ctrl-C."`

	connection
}

// Run shows the node's status. A node that is not ready is a result, with status 1.
func (c *statusCmd) Run(s *session) error {
	cfg, err := c.config(s)
	if err != nil {
		return err
	}
	cl, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer cl.Close()
	if c.Watch {
		return watchStatus(s, cl)
	}
	st, err := cl.Status(s.ctx)
	if err != nil {
		return err
	}
	if cfg.Trust != nil { // a node that proved itself
		s.saw(st)
	}
	if err := s.show(st, func(w io.Writer) { printStatus(w, st) }); err != nil {
		return err
	}
	if !st.Ready {
		return errQuiet
	}
	return nil
}

func printStatus(w io.Writer, st kms.Status) {
	ready := "yes"
	if !st.Ready {
		ready = "NO: " + oneLine(st.Reason)
	}
	rows := []struct {
		name  string
		value any
	}{
		{"domain", oneLine(st.Domain)}, {"domain id", st.DomainID}, {"node", st.Node},
		{"initialized", yesNo(st.Initialized)}, {"ready", ready}, {"secure", yesNo(st.Secure)}, {"attestation", oneLine(st.Attestation)},
		{"restart mode", oneLine(st.RestartMode)}, {"rollback protected", yesNo(st.Protected)},
		{"time", oneLine(st.Time)}, {"domain time", timeText(st.DomainTime)},
		{"epoch", fmt.Sprintf("%d, until %s", st.Epoch, timeText(st.EpochEnds))},
		{"policy", fmt.Sprintf("%d, valid until %s", st.PolicySerial, timeText(st.PolicyUntil))}, {"policy digest", dash(st.PolicyDigest)},
		{"generation", st.Generation}, {"checksum", dash(st.Checksum)}, {"runtime signing key", dash(st.SigningKey)},
		{"last rotation", timeText(st.LastRotation)}, {"next rotation", nextText(st.NextRotation)}, {"left to re-wrap", st.Left},
		{"nodes", nodesText(st)}, {"feature level", st.Feature}, {"applied index", st.Index},
		{"head", headText(st.Head)}, {"recovery", recoveryText(st)},
		{"apps", st.Apps}, {"keys", st.Keys}, {"requests accepted for", oneLine(st.ReplayAge)},
	}
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%v\n", r.name, r.value)
	}
	for _, n := range st.Nodes {
		fmt.Fprintf(w, "node %s\t%s\n", shortNode(n.ID), nodeText(n, st.DomainTime))
	}
	for _, text := range st.Scheduled {
		fmt.Fprintf(w, "scheduled\t%s\n", oneLine(text))
	}
	for _, warning := range st.Warnings {
		fmt.Fprintf(w, "warning\t%s\n", oneLine(warning))
	}
}

// nextText is when the master secret is rotated by itself.
func nextText(t time.Time) string {
	if t.IsZero() {
		return "on demand"
	}
	return timeText(t)
}

// nodeText is a node in a line: who it is, what it proved and when, by the domain's
// time, and what is wrong with it.
func nodeText(n kms.NodeInfo, now time.Time) string {
	text := fmt.Sprintf("%s, %s: %s, TCB %s, proved %s", dash(n.Name), nodeRole(n), dash(shortProgram(n.Program)), dash(n.TCBStatus), ageText(n.Proved, now))
	if n.Trouble != "" {
		text += "; " + oneLine(n.Trouble)
	}
	return text
}

// nodesText says how many nodes there are, and who leads.
func nodesText(st kms.Status) string {
	waiting := 0
	for _, n := range st.Nodes {
		if waits(n) {
			waiting++
		}
	}
	text := fmt.Sprintf("%d vote", st.Voters)
	if others := len(st.Nodes) - waiting - st.Voters; others > 0 {
		text += fmt.Sprintf(", %d learn", others)
	}
	if waiting > 0 {
		text += fmt.Sprintf(", %d wait for an approval", waiting)
	}
	switch st.Leader {
	case kms.NodeID{}:
		return text + "; no leader is known"
	case st.Node:
		return text + "; this one leads"
	}
	return text + "; " + shortNode(st.Leader) + " leads"
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "NO"
}

// oneLine drops control characters from a node's words: they could steer the
// terminal.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || (r >= 0x7f && r < 0xa0) {
			return -1
		}
		return r
	}, s)
}

// versionCmd is `holdfast version`.
type versionCmd struct {
	Server bool `help:"Ask the node for its version too."`

	connection
}

// Run shows versions.
func (c *versionCmd) Run(s *session) error {
	v := struct {
		build
		Server *client.ServerVersion `json:"server,omitempty"`
	}{build: versionInfo()}
	if c.Server {
		cl, err := c.dialAnonymous(s)
		if err != nil {
			return err
		}
		defer cl.Close()
		sv, err := cl.Version(s.ctx)
		if err != nil {
			return err
		}
		v.Server = &sv
	}
	return s.show(v, func(w io.Writer) {
		fmt.Fprintf(w, "holdfast\t%s\t%s\t%s\t%s\n", v.Version, v.Revision, v.Go, v.Platform)
		if v.Server != nil {
			fmt.Fprintf(w, "server\t%s\t%s\n", v.Server.Version, v.Server.GitSHA)
		}
	})
}

// A build is what a program says of itself.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"` // of the source, shortened
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// versionInfo is what the Go tool noted in this program.
func versionInfo() build {
	b := build{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Revision = s.Value[:min(len(s.Value), 12)]
		}
	}
	return b
}
