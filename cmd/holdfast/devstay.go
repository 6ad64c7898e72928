package main

import (
	"context"
	"strings"

	"github.com/holdfast-kms/holdfast/internal/staying"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// devFoundStaying are the flags of founding in one process.
type devFoundStaying struct {
	Stay        bool   `help:"Do both steps in this process: write --out, wait until --bootstrap and --policy are there, found the domain, and serve."`
	Charter     string `placeholder:"FILE" help:"With --stay: the charter; a copy stays beside the node's state."`
	Out         string `placeholder:"FILE" help:"With --stay: where the evidence goes that owner and signers look at."`
	Listen      string `placeholder:"HOST:PORT" help:"With --stay: address to serve the API at. Default: 127.0.0.1:9000."`
	PeerListen  string `placeholder:"HOST:PORT" help:"With --stay: address to listen at for other nodes. Default: any free port of 127.0.0.1."`
	PeerAddress string `placeholder:"HOST:PORT" help:"With --stay: address that the other nodes dial. Default: that of --peer-listen."`
	NodeName    string `placeholder:"NAME" help:"With --stay: what people call the node."`
}

// stay founds the domain in this process, and serves until Ctrl-C.
func (c *devFoundCmd) stay(s *session) error {
	if c.Charter == "" || c.Out == "" {
		return misusef("add --charter FILE and --out FILE", "--stay makes the node's key, and writes evidence for it")
	}
	charter, err := readCharterFile(c.Charter)
	if err != nil {
		return err
	}
	at := devPlacing{devListening: devListening{Listen: c.Listen, PeerListen: c.PeerListen, PeerAddress: c.PeerAddress, Name: c.NodeName}}
	if err := at.check(); err != nil {
		return err
	}
	if err := c.validate(); err != nil {
		return err
	}
	home := &devHome{dir: c.Dir, tuning: c.devTuning}
	if err := home.settle(charter); err != nil {
		return err
	}
	found := staying.Founding{Out: c.Out, Bootstrap: c.Bootstrap, Policy: c.Policy, Tell: s.awaits,
		Shown: func(f *server.Founder) { s.note("node %s: its evidence is in %s", f.Node, c.Out) }}
	return s.serveDev(&devRun{home: home, at: at, begin: func(ctx context.Context, cfg server.Config) (*server.Node, error) {
		cfg.Names = c.Name
		return found.Found(ctx, cfg)
	}})
}

// stay restores the domain in the process that serves.
func (c *devRecoverCmd) stay(s *session) func(context.Context, server.Config) (*server.Node, error) {
	return staying.Restoration{Backup: c.Backup, Out: c.Out, Recovery: c.Recovery, Shares: c.Share, Tell: s.awaits,
		Shown: func(shown *server.Claimant) { s.note("node %s: what it shows is in %s", shown.Request.Node, c.Out) }}.Restore
}

// awaits tells a person what a process waits for that stays up meanwhile.
func (s *session) awaits(missing []string, refused error) {
	if refused != nil {
		s.note("not taken: %s; %s", oneLine(refused.Error()), orElse(kms.HintOf(refused), "waiting for other files"))
		return
	}
	s.note("waiting for %s: leave this running, have what it shows signed, and put the signed files there", strings.Join(missing, ", "))
}
