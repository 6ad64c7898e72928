package perf_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// kills is how often the leader is killed.
const kills = 10

// failOver kills the leader of three nodes, again and again, while callers write
// and read at the others, and tells how long it takes each time until a write
// that began after the kill is acknowledged, and a read that did is answered.
func (f *figures) failOver(t *testing.T) {
	c := f.newCluster(t, 3)
	defer c.end()
	key, err := c.nodes[0].client.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	write := func(ctx context.Context, at *client.Client) error {
		_, err := at.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
		return err
	}
	read := func(ctx context.Context, at *client.Client) error {
		_, err := at.Encrypt(ctx, key, []byte("plaintext"), nil)
		return err
	}
	var writes, reads []time.Duration
	for range kills {
		lead := c.leader(t)
		var others []*client.Client
		for i, p := range c.nodes {
			if i != lead {
				others = append(others, p.client)
			}
		}
		w, r := newProbe(t, write, others), newProbe(t, read, others)
		time.Sleep(500 * time.Millisecond) // they write and read all the while
		killed := time.Now()
		c.nodes[lead].kill()
		gone := time.Now()
		w.dead.Store(&gone)
		reads = append(reads, r.since(t, killed, gone))
		writes = append(writes, w.since(t, killed, gone))
		c.again(t, lead)
		c.await(t, 3)
	}
	heading("Kill -9 of the leader, "+fmt.Sprint(kills)+" times", "median", "max", "each")
	for i, all := range [][]time.Duration{writes, reads} {
		what, each := []string{"first write acknowledged", "first read answered"}[i], ""
		for _, d := range all {
			each += fmt.Sprintf("%.2f ", d.Seconds())
		}
		slices.Sort(all)
		row(what, seconds(all[len(all)/2]), seconds(all[len(all)-1]), each+"s")
	}
}

// A probe calls nodes without pause, from a caller at each.
type probe struct {
	end     context.CancelFunc
	callers sync.WaitGroup
	dead    atomic.Pointer[time.Time] // calls that began later count
	good    chan time.Time            // when the first of them succeeded
}

func newProbe(t *testing.T, call func(context.Context, *client.Client) error, at []*client.Client) *probe {
	ctx, cancel := context.WithCancel(t.Context())
	p := &probe{end: cancel, good: make(chan time.Time, 1)}
	for _, c := range at {
		p.callers.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				if call(ctx, c) != nil {
					time.Sleep(5 * time.Millisecond)
					continue
				}
				if dead := p.dead.Load(); dead != nil && begun.After(*dead) {
					select {
					case p.good <- time.Now():
					default: // it is not the first
					}
				}
			}
		})
	}
	return p
}

// since ends the probe with the time from killed to the first success of a call
// that began after the process was gone.
func (p *probe) since(t *testing.T, killed, gone time.Time) time.Duration {
	t.Helper()
	defer p.callers.Wait()
	defer p.end()
	p.dead.Store(&gone)
	select {
	case at := <-p.good:
		return at.Sub(killed)
	case <-time.After(30 * time.Second):
		t.Error("nothing succeeded in 30 s")
		return 30 * time.Second
	}
}
