package main

import (
	"context"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/host/collateral"
	"github.com/holdfast-kms/holdfast/host/config"
	"github.com/holdfast-kms/holdfast/kms"
)

// A supply is where collateral comes from while the node runs: a reload puts
// another source in the place of the one before.
type supply struct {
	current atomic.Pointer[collateral.Client]

	mu   sync.Mutex
	stop context.CancelFunc // of the current one's work; nil: it does not run
	work sync.WaitGroup
}

// Collateral is what the current source has. It is verified like all evidence,
// so a source that a reload brought can keep the node from serving and no more.
func (s *supply) Collateral(ctx context.Context, ev attest.Evidence) ([]byte, error) {
	return s.current.Load().Collateral(ctx, ev)
}

// use puts a source in the place of the one before, and has it work until ctx
// ends or the next one comes.
func (s *supply) use(ctx context.Context, c *collateral.Client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
	s.current.Store(c)
	ctx, s.stop = context.WithCancel(ctx)
	s.work.Go(func() { c.Run(ctx) })
}

// close ends all work and waits for it.
func (s *supply) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
	s.work.Wait()
}

// obeyReloads reloads whenever the program is told to, until ctx ends.
func (n *node) obeyReloads(ctx context.Context, vendor *supply) {
	if n.hup == nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.hup:
		}
		if err := n.reload(ctx, vendor); err != nil {
			n.log.Error("nothing was reloaded", "cause", err, "hint", kms.HintOf(err))
		}
	}
}

// reload reads the configuration file again and takes up what can change while the
// node serves: the level of the log, and where collateral comes from. The rest is
// fixed until the next start, and what of it changed is told. A file with a fault
// changes nothing.
func (n *node) reload(ctx context.Context, vendor *supply) error {
	next, err := n.reread()
	if err != nil {
		return err
	}
	source, err := n.renew(ctx, next, vendor)
	if err != nil {
		return err
	}
	if source != nil {
		vendor.use(ctx, source)
	}
	n.setLevel(next.level)
	n.log.Info("reloaded", "log_level", next.level, "collateral_replaced", source != nil, "needs_restart", fixed(&n.running, next))
	n.running.level, n.running.pcs, n.running.bundle, n.running.cache = next.level, next.pcs, next.bundle, next.cache
	return nil
}

// reread is the command line again, with what the file says now.
func (n *node) reread() (*settings, error) {
	again := node{log: n.log}
	if _, err := again.parse(n.args); err != nil {
		return nil, err
	}
	if again.command != n.command {
		return nil, kms.Errorf(kms.Invalid, "the file is for the command %q now, and this is %q", again.command, n.command).WithFile(n.set.config).
			WithHint("stop the node, and start it again")
	}
	return &again.set, nil
}

// renew makes a new source of collateral where the settings name another one, or
// a bundle, which may be a newer one of the same name. Without either, the source
// is asked for news.
func (n *node) renew(ctx context.Context, next *settings, vendor *supply) (*collateral.Client, error) {
	was := &n.running
	if next.bundle != "" || next.bundle != was.bundle || next.pcs != was.pcs || next.cache != was.cache {
		return next.collateral(n.log)
	}
	if err := vendor.current.Load().Refresh(ctx); err != nil && ctx.Err() == nil {
		n.log.Warn("refreshing collateral", "cause", err, "hint", kms.HintOf(err))
	}
	return nil, nil
}

// fixed names the settings that differ and that only a start takes up.
func fixed(was, next *settings) []string {
	changed := []string{}
	for name, differs := range map[string]bool{
		"dir": was.dir != next.dir, "charter": was.charter != next.charter, "listen": was.listen != next.listen,
		"metrics": was.metrics != next.metrics, "drain-on-term": was.drain != next.drain, "audit": !slices.Equal(was.audit, next.audit),
		"peer-listen, peer-address, name, join or approval": !reflect.DeepEqual(was.peers, next.peers),
	} {
		if differs {
			changed = append(changed, name)
		}
	}
	slices.Sort(changed)
	return changed
}

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

func (n *node) setLevel(name string) {
	if n.level != nil {
		n.level.Set(levels[name])
	}
}

// setLogLevel is the flag.
func (s *settings) setLogLevel(name string) error {
	s.level = name
	return config.Level(name)
}

// A reloading is what a reload needs of the node: it is apart from what the
// command line fills in.
type reloading struct {
	hup     <-chan os.Signal // nil: nobody tells it to
	level   *slog.LevelVar   // of the log; nil: it has none to set
	args    []string         // the command line
	command string           // that it is, or that its file names
	running settings         // what the node runs by
}
