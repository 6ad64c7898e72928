// Package rotation_test rotates a domain's master secret while clients use its
// keys over HTTPS: nothing fails, everything opens.
package rotation_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// envKeys says how many keys there are; without it, few.
const envKeys = "HOLDFAST_ROTATION_KEYS"

const fewKeys = 2_000

func keyCount(t *testing.T) int {
	text := os.Getenv(envKeys)
	if text == "" {
		return fewKeys
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 10 {
		t.Fatalf("%s: %q", envKeys, text)
	}
	return n
}

var ctx = context.Background()

// A site is a node with clients.
type site struct {
	t       *testing.T
	domain  *trustedtest.Domain
	node    *trustedtest.Node
	app     *trustedtest.App
	anyone  *client.Client
	clients []*client.Client
	aes     []kms.KeyID
	ec      kms.KeyID
	sealed  [][]byte // by aes
}

func newSite(t *testing.T) *site {
	d := trustedtest.NewDomain(t, 1)
	s := &site{t: t, domain: d, node: d.Nodes[0]}
	s.node.Edit = func(c *server.Config) { c.Mount, c.SegmentSize = mount.Program{}.Handler, 0 }
	s.node.Restart()
	s.app = s.node.Enrol()
	end := s.node.Serve(listen.Config{}, nil)
	key := client.NewAPIKey(s.app.APIKey)
	dial := func(cfg client.Config) *client.Client {
		cfg.URL, cfg.CA, cfg.Retries = end.URL, s.node.Server().CA(), -1 // what fails once, fails
		cl, err := client.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		return cl
	}
	s.anyone = dial(client.Config{})
	for range 4 {
		s.clients = append(s.clients, dial(client.Config{AppID: s.app.ID, APIKey: key}))
	}
	return s
}

// fill makes keys, with one ciphertext under each.
func (s *site) fill(n int) {
	s.aes, s.sealed = make([]kms.KeyID, n), make([][]byte, n)
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 64 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := s.make(i); err != nil {
					s.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	var err error
	if s.ec, err = s.clients[0].CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.ECP256, Origin: kms.Generated}); err != nil {
		s.t.Error(err)
	}
	if s.t.Failed() {
		s.t.FailNow()
	}
}

func (s *site) make(i int) error {
	c, err := s.app.Caller()
	if err != nil {
		return err
	}
	key, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		return err
	}
	if c, err = s.app.Caller(); err != nil {
		return err
	}
	out, err := c.Encrypt(ctx, kms.EncryptRequest{Key: kms.KeyRef{ID: key.ID}, Plaintext: plaintext(i), Layout: kms.LayoutEHSM})
	s.aes[i], s.sealed[i] = key.ID, out.Data
	return err
}

func plaintext(i int) []byte { return fmt.Appendf(nil, "plaintext %d", i) }

// A load is clients at work.
type load struct {
	*site
	stop   chan struct{}
	wg     sync.WaitGroup
	failed atomic.Int64

	mu   sync.Mutex
	took []time.Duration
}

func (s *site) load() *load {
	l := &load{site: s, stop: make(chan struct{})}
	for w, cl := range s.clients {
		l.wg.Go(func() { l.work(w, cl) })
	}
	return l
}

func (l *load) work(w int, cl *client.Client) {
	for n := w; ; n += 7 {
		select {
		case <-l.stop:
			return
		default:
		}
		start := time.Now()
		if err := l.request(n, cl); err != nil {
			l.failed.Add(1)
			l.t.Errorf("request %d: %v", n, err)
			return
		}
		l.mu.Lock()
		l.took = append(l.took, time.Since(start))
		l.mu.Unlock()
	}
}

// request is one that an app makes, and checks the answer.
func (l *load) request(n int, cl *client.Client) error {
	i := n % len(l.aes)
	switch n % 4 {
	case 0, 1: // made before any rotation
		got, err := cl.Decrypt(ctx, l.aes[i], l.sealed[i], nil)
		if err == nil && !bytes.Equal(got, plaintext(i)) {
			err = fmt.Errorf("key %d opened to %q", i, got)
		}
		return err
	case 2:
		sealed, err := cl.Encrypt(ctx, l.aes[i], plaintext(n), nil)
		if err != nil {
			return err
		}
		got, err := cl.Decrypt(ctx, l.aes[i], sealed, nil)
		if err == nil && !bytes.Equal(got, plaintext(n)) {
			err = fmt.Errorf("key %d opened to %q", i, got)
		}
		return err
	}
	in := kms.SigningInput{Message: plaintext(n)}
	sig, err := cl.Sign(ctx, l.ec, in)
	if err != nil {
		return err
	}
	good, err := cl.Verify(ctx, l.ec, in, sig)
	if err == nil && !good {
		err = fmt.Errorf("signature %d does not verify", n)
	}
	return err
}

// end stops the load and says how long its requests took.
func (l *load) end() (requests int, p50, p99 time.Duration) {
	close(l.stop)
	l.wg.Wait()
	slices.Sort(l.took)
	if len(l.took) == 0 {
		l.t.Fatal("no request was made")
	}
	return len(l.took), l.took[len(l.took)/2], l.took[len(l.took)*99/100]
}

// rotate rotates as an operator does, and waits until everything is re-wrapped.
func (s *site) rotate(to uint32) {
	s.t.Helper()
	g, err := s.anyone.RotateMasterSecret(ctx, s.order(to))
	if err != nil || g.Number != to {
		s.t.Fatalf("rotating to %d: %+v, %v", to, g, err)
	}
	start := time.Now()
	for range 6000 {
		st, err := s.anyone.DomainStatus(ctx)
		if err != nil {
			s.t.Fatal(err)
		}
		if st.Generation != to || len(st.Generations) != int(to)+1 {
			s.t.Fatalf("status says generation %d, and knows %d", st.Generation, len(st.Generations))
		}
		if st.Left == 0 {
			s.t.Logf("generation %d: %d secrets re-wrapped in %v", to, st.Generations[to].Wrapped, time.Since(start).Round(time.Millisecond))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.t.Fatal("re-wrapping does not end")
}

// Three rotations under load. With HOLDFAST_ROTATION_KEYS=100000 it is as
// large as domains get; the times are told, not judged.
func TestRotationUnderLoad(t *testing.T) {
	s := newSite(t)
	s.fill(keyCount(t))
	calm := s.load()
	time.Sleep(2 * time.Second)
	n, p50, p99 := calm.end()
	t.Logf("before: %d requests, p50 %v, p99 %v", n, p50, p99)

	busy := s.load()
	for g := range uint32(3) {
		s.rotate(g + 1)
	}
	n, p50, p99 = busy.end()
	t.Logf("while rotating: %d requests, p50 %v, p99 %v", n, p50, p99)
	if failed := busy.failed.Load() + calm.failed.Load(); failed > 0 {
		t.Fatalf("%d requests failed", failed)
	}
	s.opens()
}
