package simtee

import (
	"context"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// A Guest is one program on a Platform, as a node sees the machine it runs on:
// one kind of TEE, and a clock that the vendor publishes by.
type Guest struct {
	platform *Platform
	tee      attest.TEE
	now      func() time.Time
}

// Guest is p as a machine of one kind of TEE.
func (p *Platform) Guest(tee attest.TEE, now func() time.Time) *Guest {
	return &Guest{platform: p, tee: tee, now: now}
}

// Name is "simulated".
func (g *Guest) Name() string { return g.platform.Name() }

// Evidence makes the machine sign reportData, with what the vendor has
// published by now.
func (g *Guest) Evidence(_ context.Context, reportData [64]byte) (attest.Evidence, error) {
	return g.platform.Evidence(g.tee, reportData, g.now())
}

// Collateral is what the vendor has published about the machine by now.
func (g *Guest) Collateral(ctx context.Context, _ attest.Evidence) ([]byte, error) {
	ev, err := g.Evidence(ctx, [64]byte{})
	return ev.Collateral, err
}

// SealingKey is that of the machine. As TDX it has none, like the real one: the
// error is Unavailable, and its cause attest.ErrNoSealingKey.
func (g *Guest) SealingKey(ctx context.Context) ([]byte, error) {
	if g.tee == attest.TDX {
		return nil, kms.Errorf(kms.Unavailable, "deriving the sealing key: %w", attest.ErrNoSealingKey).WithHint(hintTDX)
	}
	return g.platform.SealingKey(ctx)
}

const hintTDX = `TDX has no sealing key: such a node joins a domain in restart mode "rejoin", and joins it anew at each start`
