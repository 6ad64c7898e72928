package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// reviving is what it takes to carry on a domain that has lost most of its nodes,
// or all.
type reviving struct {
	recovery string   // the signed document
	backup   string   // none: from what is left on this disk
	shares   []string // none: this disk has the master secrets
}

func (r *reviving) flags(f *flag.FlagSet, command string) {
	f.StringVar(&r.backup, "backup", "", "`file` with a backup of the domain, where no node's log is left; default: what is left in --dir")
	if command == "survey" {
		return
	}
	f.StringVar(&r.recovery, "recovery", "", "`file` with the recovery that owner and signers have signed")
	f.Func("share", "`file` with a share that its holder has handed to this node; may be given several times", func(path string) error {
		r.shares = append(r.shares, path)
		return nil
	})
}

func (r *reviving) check() error {
	switch {
	case r.recovery == "":
		return misuse("recover needs --recovery")
	case len(r.shares) > 0 && r.backup == "":
		return misuse("--share goes with --backup")
	}
	return nil
}

// survey writes what owner and signers look at, and holders of shares, before they
// let this node carry the domain on.
func (n *node) survey(ctx context.Context) error {
	open, look := disk.Open, server.Survey
	if n.set.revive.backup != "" {
		open = disk.Create // a machine that was never of the domain
		look = func(ctx context.Context, cfg server.Config) (c *server.Claimant, err error) {
			f, err := os.Open(n.set.revive.backup)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			return server.PrepareRestore(ctx, cfg, f)
		}
	}
	return n.with(ctx, open, func(cfg server.Config, _ *disk.Disk) error {
		c, err := look(ctx, cfg)
		if err != nil {
			return err
		}
		b, err := c.Request.Encode()
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.set.out, append(b, '\n'), 0o644); err != nil {
			return fmt.Errorf("writing what this node shows: %w", err)
		}
		n.log.Info("surveyed", "node", c.Request.Node.String(), "domain", c.Request.Domain.String(), "index", c.Request.Head.Index, "term", c.Request.Head.Term,
			"policy", c.Request.Head.PolicySerial, "digest", c.Request.Head.Digest.String(), "members_that_would_go", len(c.Lost), "shares_wanted", len(c.Request.Receiver) > 0, "out", n.set.out)
		return nil
	})
}

// revive carries the domain on.
func (n *node) revive(ctx context.Context, cfg server.Config) (_ *server.Node, err error) {
	r := &n.set.revive
	document, err := readFile(r.recovery, govern.MaxEnvelope, "give the recovery that owner and signers signed")
	if err != nil {
		return nil, err
	}
	if r.backup == "" {
		return server.Recover(ctx, cfg, document)
	}
	from := server.Restoration{Recovery: document}
	for _, path := range r.shares {
		share, err := readFile(path, backup.MaxRequest, "give what `holdfast recovery open-share` wrote for this node")
		if err != nil {
			return nil, err
		}
		from.Shares = append(from.Shares, share)
	}
	f, err := os.Open(r.backup)
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "%w", err).WithHint("name the backup with --backup")
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	from.Backup = f
	return server.Restore(ctx, cfg, from)
}
