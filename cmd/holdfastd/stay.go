package main

import (
	"context"
	"strings"

	"github.com/holdfast-kms/holdfast/internal/staying"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// checkStaying refuses what cannot be meant.
func (s *settings) checkStaying() error {
	if s.out == "" || s.bootstrap == "" || s.policy == "" {
		return misuse("found --stay needs --out, --bootstrap and --policy: it writes the first, and waits for the others")
	}
	return s.peers.check()
}

// checkRecoverStaying refuses what cannot be meant.
func (s *settings) checkRecoverStaying() error {
	switch {
	case !s.stay && s.out != "":
		return misuse("recover: --out goes with --stay; without it `survey` writes what this node shows")
	case s.stay && (s.out == "" || s.revive.Backup == ""):
		return misuse("recover --stay needs --out and --backup: it writes the first, and restores the other")
	}
	return nil
}

// servesInVain is a flag for serving that was given to a step that does not serve.
func (s *settings) servesInVain() string {
	for _, name := range []string{"listen", "peer-listen", "peer-address", "node-name", "metrics", "audit", "drain-on-term"} {
		if s.given[name] {
			return name
		}
	}
	return ""
}

// foundStaying founds the domain in this process once people have signed.
func (n *node) foundStaying(ctx context.Context, cfg server.Config) (*server.Node, error) {
	s := &n.set
	return staying.Founding{Out: s.out, Bootstrap: s.bootstrap, Policy: s.policy, Tell: n.waiting,
		Shown: func(f *server.Founder) {
			n.log.Info("prepared", "node", f.Node.String(), "tee", f.Claims.TEE, "evidence", s.out)
		}}.Found(ctx, cfg)
}

// restoreStaying restores the domain in this process once people have signed and
// handed over their shares.
func (n *node) restoreStaying(ctx context.Context, cfg server.Config) (*server.Node, error) {
	s := &n.set
	return staying.Restoration{Backup: s.revive.Backup, Out: s.out, Recovery: s.revive.Recovery, Shares: s.revive.Shares, Tell: n.waiting,
		Shown: n.surveyed}.Restore(ctx, cfg)
}

// waiting says what the process waits for.
func (n *node) waiting(missing []string, refused error) {
	if refused != nil {
		n.log.Warn("what was signed is not taken: waiting for other files", "cause", refused.Error(), "hint", kms.HintOf(refused))
		return
	}
	n.log.Info("waiting for what people sign", "files", strings.Join(missing, ", "),
		"hint", "keep this process up: have what it shows in --out looked at and signed, and put the signed files there")
}
