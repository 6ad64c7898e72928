package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// listRuntime puts a policy in force that lists a program as a runtime.
func listRuntime(t *testing.T, d *trustedtest.Domain) {
	t.Helper()
	m := sha256.Sum256([]byte("program"))
	envelope := d.Rulers.Next(func(p *govern.Policy) {
		p.Nodes = slices.Clone(p.Nodes)
		p.Nodes[0].MayQuery = []govern.RuntimeEntry{{Runtime: "ledger", Identities: []govern.Identity{{SGX: &attest.SGXIdentity{MRENCLAVE: m[:]}}}}}
	})
	if _, err := d.Nodes[0].Core().SubmitPolicy(context.Background(), envelope); err != nil {
		t.Fatal(err)
	}
}

func turn(t *testing.T, n *trustedtest.Node) {
	t.Helper()
	if err := n.Server().TurnEpoch(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestEpochSecretsLeaveNoTrace: the secrets of epochs are in no file of the node
// and in no line of its log, however often it snapshots and restarts. Files are
// sealed: what goes into them is looked at where core proposes it.
func TestEpochSecretsLeaveNoTrace(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	n.Edit = func(c *server.Config) { c.SnapshotEvery = 4 }
	n.Restart()
	listRuntime(t, d)
	var secrets [][]byte
	for range 6 {
		turn(t, n)
		epoch, _ := n.Server().Epoch()
		s := n.Server().EpochSecret(epoch)
		if len(s) != 32 || slices.ContainsFunc(secrets, func(other []byte) bool { return bytes.Equal(s, other) }) {
			t.Fatalf("epoch %d has a secret of %d bytes, or that of another one", epoch, len(s))
		}
		secrets = append(secrets, s)
		d.Log.Plant(s) // the log is searched at the end of the test
		n.Clock.Move(time.Hour)
		n.Enrol()
	}
	n.Restart()
	listed := 0
	err := filepath.WalkDir(n.Dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // the node serves: a snapshot takes another's place
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		listed++
		for _, s := range secrets {
			for _, form := range trustedtest.Forms(s) {
				if bytes.Contains(b, form) {
					t.Errorf("a secret is in %s", path)
				}
			}
		}
		return err
	})
	if err != nil || listed < 3 {
		t.Errorf("%d files were looked at: %v", listed, err)
	}
}

// TestEpochWithoutRuntimes: where nobody may ask, nothing is made.
func TestEpochWithoutRuntimes(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	before := n.Server().Status().Index
	turn(t, n)
	if _, published := n.Server().Epoch(); published.Epoch != 0 || n.Server().Status().Index != before {
		t.Errorf("a secret was published: %+v", published)
	}
	listRuntime(t, d)
	turn(t, n)
	if epoch, published := n.Server().Epoch(); published.Epoch != epoch {
		t.Errorf("no secret for epoch %d: %+v", epoch, published)
	}
}

// TestEpochAhead: the next epoch's secret is there when it begins, and not long before.
func TestEpochAhead(t *testing.T) {
	d := trustedtest.NewDomain(t, 1)
	n := d.Nodes[0]
	now := n.Clock.Now()
	n.Clock.Move(now.Truncate(time.Hour).Add(61 * time.Minute).Sub(now))
	listRuntime(t, d)
	turn(t, n)
	epoch, first := n.Server().Epoch()
	if n.Server().EpochSecret(epoch) == nil || n.Server().EpochSecret(epoch+1) != nil {
		t.Fatal("no secret for the epoch, or one for the next already")
	}
	n.Clock.Move(58*time.Minute + 30*time.Second)
	turn(t, n)
	next := n.Server().EpochSecret(epoch + 1)
	if next == nil {
		t.Fatal("none for the next epoch half a minute before it begins")
	}
	n.Clock.Move(time.Minute)
	if _, second := n.Server().Epoch(); second.Epoch != first.Epoch+1 || !bytes.Equal(n.Server().EpochSecret(second.Epoch), next) {
		t.Errorf("epoch %d began with another secret", second.Epoch)
	}
	for range 3 {
		n.Clock.Move(time.Hour)
		turn(t, n)
	}
	if n.Server().EpochSecret(epoch) != nil || n.Server().EpochSecret(epoch+1) != nil {
		t.Error("secrets whose age has passed are still there")
	}
}
