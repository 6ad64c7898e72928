package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"sync"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/collateral"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/wallclock"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A node is what one run of the program works with.
type node struct {
	log     *slog.Logger
	set     settings
	metrics *mount.Metrics
	reloading

	// The rest is for tests: no flag reaches it.
	platform    server.Platform // nil: the TEE of this machine
	development bool            // take evidence under a root that is no vendor's
	serving     func(place)
}

const (
	charterHint = "give the charter that the domain is founded on"
	folderHint  = "a charter is there, so the node's state should be: name its folder with --dir, or found the domain with `holdfastd found`"
	inUseHint   = "stop the process that uses this folder, or name another with --dir"
)

// prepare is the first step of founding.
func (n *node) prepare(ctx context.Context) error {
	return n.with(ctx, disk.Create, func(cfg server.Config, _ *disk.Disk) error {
		f, err := server.Prepare(ctx, cfg)
		if err != nil {
			return err
		}
		charter, err := govern.ParseCharter(cfg.Charter)
		if err != nil {
			return err
		}
		if err := os.WriteFile(n.set.out, f.Text(charter), 0o644); err != nil {
			return fmt.Errorf("writing the founder's evidence: %w", err)
		}
		n.log.Info("prepared", "node", f.Node.String(), "tee", f.Claims.TEE, "evidence", n.set.out)
		return nil
	})
}

// found is the second step of founding.
func (n *node) found(ctx context.Context) error {
	bootstrap, err := readFile(n.set.bootstrap, govern.MaxEnvelope, "give the bootstrap that owner and signers signed")
	if err != nil {
		return err
	}
	policy, err := readFile(n.set.policy, govern.MaxEnvelope, "give policy 1, as the signers signed it")
	if err != nil {
		return err
	}
	return n.with(ctx, disk.Open, func(cfg server.Config, _ *disk.Disk) error {
		if err := server.Found(ctx, cfg, bootstrap, policy); err != nil {
			return err
		}
		n.log.Info("founded", "dir", n.set.dir)
		return nil
	})
}

// with does something with everything that a node touches the machine through.
func (n *node) with(ctx context.Context, openDisk func(string) (*disk.Disk, error), do func(server.Config, *disk.Disk) error) (err error) {
	charter, err := readFile(n.set.charter, govern.MaxDocument, charterHint)
	if err != nil {
		return err
	}
	source, err := n.set.collateral(n.log)
	if err != nil {
		return err
	}
	d, err := openDisk(n.set.dir)
	switch {
	case errors.Is(err, disk.ErrInUse):
		return kms.Errorf(kms.Unavailable, "opening the node's state: %w", err).WithHint(inUseHint)
	case err != nil:
		return kms.Errorf(kms.Unavailable, "opening the node's state: %w", err).WithHint(folderHint)
	}
	ctx, stop := context.WithCancel(ctx)
	var vendor supply
	vendor.use(ctx, source)
	n.running = n.set
	n.setLevel(n.set.level)
	var work sync.WaitGroup
	work.Go(func() { n.obeyReloads(ctx, &vendor) })
	defer func() {
		stop()
		work.Wait()
		vendor.close()
		err = errors.Join(err, d.Close())
	}()
	return do(server.Config{Platform: n.platform, Development: n.development, Disk: d, Clock: wallclock.Clock{},
		Charter: charter, Collateral: vendor.Collateral, Names: n.set.names,
		Mount: program().Handler, ConnContext: signature.ConnContext, Logger: n.log}, d)
}

// collateral is where the vendor's word on this machine comes from.
func (s *settings) collateral(log *slog.Logger) (*collateral.Client, error) {
	cfg := collateral.Config{IntelURL: s.pcs, CacheDir: s.cache, Logger: log}
	if s.bundle != "" {
		var err error
		if cfg.Bundle, err = readFile(s.bundle, collateral.MaxBundle, "give a bundle of collateral"); err != nil {
			return nil, err
		}
	}
	return collateral.New(cfg)
}

// readFile reads a file that somebody else made any size he likes.
func readFile(path string, max int64, hint string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "%w", err).WithHint(hint)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	switch {
	case err != nil:
		return nil, kms.Errorf(kms.Invalid, "%w", err).WithHint(hint)
	case int64(len(b)) > max:
		return nil, kms.Errorf(kms.TooLarge, "more than %d bytes", max).WithFile(path).WithHint(hint)
	}
	return b, nil
}

// program is what the API says of this program, as the Go tool noted it.
func program() mount.Program {
	p := mount.Program{Version: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return p
	}
	p.Version = info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			p.Revision = s.Value[:min(len(s.Value), 12)]
		}
	}
	return p
}
