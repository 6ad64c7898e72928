// Package revival carries a domain on that has lost most of its nodes, or all, from
// the files that a person names: for `holdfastd` in a TEE and for `holdfast dev
// node` on the simulated platform, so that what is rehearsed is what is done.
//
// It decides nothing. What the files say is verified by the node: trusted/server.
package revival

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// Files name what it takes.
type Files struct {
	Recovery string   // the document that owner and signers have signed
	Backup   string   // "": from what is left on the node's disk
	Shares   []string // that their holders have handed to this node; none: its disk has the master secrets
}

// Check refuses what cannot be meant, before anything is opened. The error is
// Invalid.
func (f Files) Check() error {
	switch {
	case f.Recovery == "":
		return kms.Errorf(kms.Invalid, "it takes --recovery: owner and signers say who carries the domain on").
			WithHint("have this node surveyed, the recovery drafted from that, and signed: docs/recovery.md")
	case len(f.Shares) > 0 && f.Backup == "":
		return kms.Errorf(kms.Invalid, "--share goes with --backup: from what is left on a disk no shares are needed").
			WithHint("leave it out, or name the backup")
	}
	return nil
}

// Survey is what owner and signers look at, and holders of shares: server.Survey,
// or server.PrepareRestore where there is a backup. The text is the request's.
func (f Files) Survey(ctx context.Context, cfg server.Config) (c *server.Claimant, text []byte, err error) {
	if f.Backup == "" {
		c, err = server.Survey(ctx, cfg)
	} else {
		err = f.open(func(from *os.File) (err error) {
			c, err = server.PrepareRestore(ctx, cfg, from)
			return err
		})
	}
	if err != nil {
		return nil, nil, err
	}
	text, err = c.Request.Encode()
	return c, append(text, '\n'), err
}

// Revive has the node carry the domain on, and starts it: server.Recover, or
// server.Restore where there is a backup.
func (f Files) Revive(ctx context.Context, cfg server.Config) (n *server.Node, err error) {
	document, err := read(f.Recovery, govern.MaxEnvelope, "give the recovery that owner and signers signed")
	if err != nil {
		return nil, err
	}
	if f.Backup == "" {
		return server.Recover(ctx, cfg, document)
	}
	from := server.Restoration{Recovery: document}
	for _, path := range f.Shares {
		share, err := read(path, backup.MaxRequest, "give what `holdfast recovery open-share` wrote for this node")
		if err != nil {
			return nil, err
		}
		from.Shares = append(from.Shares, share)
	}
	err = f.open(func(b *os.File) (err error) {
		from.Backup = b
		n, err = server.Restore(ctx, cfg, from)
		return err
	})
	return n, err
}

// open opens the backup for as long as do takes.
func (f Files) open(do func(*os.File) error) error {
	b, err := OpenBackup(f.Backup)
	if err != nil {
		return err
	}
	return errors.Join(do(b), b.Close())
}

// OpenBackup opens the backup that a person names. The error is Unavailable.
func OpenBackup(path string) (*os.File, error) {
	b, err := os.Open(path)
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "%w", err).WithHint("name the backup with --backup")
	}
	return b, nil
}

func read(path string, most int64, hint string) ([]byte, error) {
	b, err := Read(path, most, hint)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "%w", err).WithHint(hint)
	}
	return b, nil
}

// Read reads a file that somebody else made any size he likes. The error is TooLarge,
// with the hint, or that of reading.
func Read(path string, most int64, hint string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err = errors.Join(err, f.Close()); err == nil && int64(len(b)) > most {
		err = kms.Errorf(kms.TooLarge, "more than %d bytes", most).WithFile(path).WithHint(hint)
	}
	return b, err
}
