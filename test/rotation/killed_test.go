package rotation_test

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// envVictim has this program be the process that is killed.
const envVictim = "HOLDFAST_ROTATION_VICTIM"

// A victim is what the process to be killed is told.
type victim struct {
	Machine trustedtest.Machine
	Dir     string
	Order   []byte
}

// TestVictim is no test: it is that process. It begins to re-wrap and says how
// much is left, until it is killed.
func TestVictim(t *testing.T) {
	path := os.Getenv(envVictim)
	if path == "" {
		t.Skip("it is run by TestRotationKilled")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var v victim
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatal(err)
	}
	n := trustedtest.On(t, v.Machine, v.Dir)
	n.Edit = func(c *server.Config) { c.SegmentSize = 0 }
	n.MustStart()
	if _, err := n.Server().RotateMasterSecret(ctx, v.Order); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := n.Server().MasterSecrets(ctx)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("left %d\n", m.Left)
		time.Sleep(10 * time.Millisecond)
	}
}

// SIGKILL in the middle of re-wrapping: the node that starts again goes on where
// it was, by itself, loses nothing and opens everything. With
// HOLDFAST_ROTATION_KEYS=100000 it is as large as domains get.
func TestRotationKilled(t *testing.T) {
	s := newSite(t)
	n := keyCount(t)
	s.fill(n)
	order := s.order(1)
	if err := s.node.Stop(); err != nil {
		t.Fatal(err)
	}
	left := s.kill(victim{Machine: s.node.Machine(), Dir: s.node.Dir, Order: order}, n/2)
	t.Logf("killed with %d of %d secrets to be re-wrapped", left, n)

	start := time.Now()
	s.node.MustStart()
	t.Logf("serves after %v", time.Since(start).Round(time.Millisecond))
	m, err := s.node.Server().MasterSecrets(ctx)
	if err != nil || len(m.Generations) != 2 {
		t.Fatalf("after the kill: %+v, %v", m, err)
	}
	first := m.Left
	for end := time.Now().Add(10 * time.Minute); m.Left > 0; time.Sleep(20 * time.Millisecond) {
		if m, err = s.node.Server().MasterSecrets(ctx); err != nil || time.Now().After(end) {
			t.Fatalf("re-wrapping does not go on: %d left, %v", m.Left, err)
		}
	}
	t.Logf("the other %d were re-wrapped %v after the start", first, time.Since(start).Round(time.Millisecond))
	if first > left {
		t.Errorf("%d were left when it was killed, and %d when it started", left, first)
	}
	s.opens()
}

// kill runs a victim until at most so many are left, and not none, and kills it.
func (s *site) kill(v victim, most int) (left int) {
	s.t.Helper()
	path := s.t.TempDir() + "/victim"
	b, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	var told bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$", "-test.timeout=10m")
	cmd.Env, cmd.Stderr = append(os.Environ(), envVictim+"="+path), &told
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = cmd.Process.Kill() })
	left = -1
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text := lines.Text()
		if _, err := fmt.Sscanf(text, "left %d", &left); err != nil && strings.TrimSpace(text) != "" {
			told.WriteString(text + "\n")
		}
		if left >= 0 && left <= most {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		s.t.Fatal(err)
	}
	_ = cmd.Wait() // "killed" is no news
	if left <= 0 {
		s.t.Fatalf("the victim was not at work when it was killed: %d left\n%s", left, told.String())
	}
	return left
}

// order is an operator's, for the generation that follows.
func (s *site) order(to uint32) []byte {
	doc := &govern.Order{Version: govern.OrderVersion, Domain: s.domain.Rulers.Founding.Domain, Deed: govern.DeedRotate, Generation: to,
		Expires: s.node.Clock.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	rand.Read(doc.Nonce[:])
	return s.domain.Rulers.Sign(govern.OrderType, doc.Canonical(), s.domain.Rulers.Operator)
}

// opens opens every ciphertext that was made in the beginning.
func (s *site) opens() {
	s.t.Helper()
	for i := range s.aes {
		c, err := s.app.Caller()
		if err != nil {
			s.t.Fatal(err)
		}
		out, err := c.Decrypt(ctx, kms.DecryptRequest{Key: kms.KeyRef{ID: s.aes[i]}, Data: s.sealed[i], Layout: kms.LayoutEHSM})
		if err != nil || !bytes.Equal(out.Data, plaintext(i)) {
			s.t.Fatalf("key %d: %v", i, err)
		}
	}
}
