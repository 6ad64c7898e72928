package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/internal/revival"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// revivalFlags are those of survey and recover, beside the usual ones.
func revivalFlags(f *flag.FlagSet, files *revival.Files, command string) {
	f.StringVar(&files.Backup, "backup", "", "`file` with a backup of the domain, where no node's log is left; default: what is left in --dir")
	if command == "survey" {
		return
	}
	f.StringVar(&files.Recovery, "recovery", "", "`file` with the recovery that owner and signers have signed")
	f.Func("share", "`file` with a share that its holder has handed to this node; may be given several times; needs --backup", func(path string) error {
		files.Shares = append(files.Shares, path)
		return nil
	})
}

// checkRecover refuses what cannot be meant.
func (s *settings) checkRecover() error {
	if err := s.revive.Check(); err != nil {
		return misuse("recover: %v", err)
	}
	if err := s.checkRecoverStaying(); err != nil {
		return err
	}
	return s.peers.check()
}

// survey writes what owner and signers look at, and holders of shares, before they
// let this node carry the domain on.
func (n *node) survey(ctx context.Context) error {
	open := disk.Open
	if n.set.revive.Backup != "" {
		open = disk.Create // a machine that was never of the domain
	}
	return n.with(ctx, open, func(cfg server.Config, _ *disk.Disk) error {
		c, text, err := n.set.revive.Survey(ctx, cfg)
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.set.out, text, 0o644); err != nil {
			return fmt.Errorf("writing what this node shows: %w", err)
		}
		n.surveyed(c)
		return nil
	})
}

// surveyed says what this node shows.
func (n *node) surveyed(c *server.Claimant) {
	n.log.Info("surveyed", "node", c.Request.Node.String(), "domain", c.Request.Domain.String(), "index", c.Request.Head.Index, "term", c.Request.Head.Term,
		"policy", c.Request.Head.PolicySerial, "digest", c.Request.Head.Digest.String(), "members_that_would_go", len(c.Lost), "shares_wanted", len(c.Request.Receiver) > 0, "out", n.set.out)
}
