package replica_test

import (
	"context"
	"errors"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
)

// A domain of one leads at once, pays nothing for a read, and can grow.
func TestAlone(t *testing.T) {
	c := newCluster(t, 1)
	m := c.nodes[0]
	app := m.mustWrite()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := m.View(context.Background()); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a view takes %v allocations", n)
	}
	m.kill()
	m.restart()
	if !m.Leads() {
		t.Error("it was opened and does not lead")
	}
	m.mustRead(app)
}

// A domain without peers is as before, and stays one.
func TestWithoutPeers(t *testing.T) {
	c := &cluster{t: t, fabric: newFabric()}
	m := c.add()
	cfg := m.config(m.create())
	cfg.Peers = nil
	if _, err := replica.OpenJoining(t.Context(), cfg, nil); !errors.Is(err, kms.Invalid) {
		t.Fatalf("joining without peers: %v", err)
	}
	m = c.add()
	cfg = m.config(m.create())
	cfg.Peers, cfg.Now = nil, nil
	if err := replica.Bootstrap(cfg); err != nil {
		t.Fatal(err)
	}
	r, err := replica.Open(t.Context(), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Propose(t.Context(), &command.Command{Id: make([]byte, 16), Op: &command.Command_Tick{Tick: &command.Tick{}}}); !errors.Is(err, kms.Conflict) {
		t.Errorf("a tick before founding: %v", err)
	}
	if v, err := r.View(t.Context()); err != nil || v.Index() == 0 {
		t.Errorf("view: %v", err)
	}
	if got, err := r.Readings(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("%d readings: %v", len(got), err)
	}
}

// A store without members is of no domain.
func TestUnfounded(t *testing.T) {
	c := &cluster{t: t, fabric: newFabric()}
	m := c.add()
	if _, err := replica.Open(t.Context(), m.config(m.create()), nil); !errors.Is(err, kms.Damaged) {
		t.Errorf("opening an empty store: %v", err)
	}
}

// A store that fails ends its node, and nobody else's.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	old := c.leader()
	latched := make(chan error, 1)
	old.kill()
	cfg := old.storage()
	cfg.OnLatch = func(err error) { latched <- err }
	store, err := storage.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	old.open(store, func(ctx context.Context, rc replica.Config, _ <-chan error) (*replica.Replica, error) {
		return replica.Open(ctx, rc, latched)
	})
	c.ready(old)
	old.disk.Kill()
	app := c.others(old)[0].mustWrite()
	c.eventually("stopping", func() bool { return old.Failure() != nil })
	if _, err := old.View(t.Context()); !errors.Is(err, kms.Unavailable) {
		t.Errorf("it serves: %v", err)
	}
	if _, err := old.write(); !errors.Is(err, kms.Unavailable) {
		t.Errorf("it writes: %v", err)
	}
	old.kill()
	old.restart()
	c.ready(old)
	c.agree(app)
}
