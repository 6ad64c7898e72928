package crash_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/host/auditlog"
	"github.com/holdfast-kms/holdfast/kms"
)

// auditKills is how often the node of TestAuditKill is killed.
const auditKills = 6

// A witness remembers what was acknowledged.
type witness struct {
	mu       sync.Mutex
	made     map[kms.KeyID]bool
	encrypts map[kms.KeyID]int
}

// work uses and makes keys until the node is gone.
func (w *witness) work(t *testing.T, c *client.Client, stop <-chan struct{}) {
	ctx := t.Context()
	for {
		key, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM})
		if err != nil {
			return
		}
		w.mu.Lock()
		w.made[key] = true
		w.mu.Unlock()
		for range 10 {
			if _, err := c.Encrypt(ctx, key, []byte("plaintext"), nil); err != nil {
				return
			}
			w.mu.Lock()
			w.encrypts[key]++
			w.mu.Unlock()
		}
		select {
		case <-stop:
			return
		default:
		}
	}
}

// TestAuditKill: a node that is killed at any moment has the entry of every
// operation that it acknowledged, and of every change that it made; and what it
// wrote verifies.
func TestAuditKill(t *testing.T) {
	seed := newSeed(t)
	rng := rand.New(rand.NewPCG(seed, seed))
	h := home(filepath.Join(t.TempDir(), "domain"))
	if out, err := exec.Command(program, smallFiles("dev", "--dir", string(h), "--exit", "--audit")...).CombinedOutput(); err != nil {
		t.Fatalf("holdfast dev: %v\n%s", err, out)
	}
	w := &witness{made: map[kms.KeyID]bool{}, encrypts: map[kms.KeyID]int{}}
	for range auditKills {
		node := h.start(t)
		c := h.client(t, node.ready(t))
		stop := make(chan struct{})
		var workers sync.WaitGroup
		for range 4 {
			workers.Go(func() { w.work(t, c, stop) })
		}
		time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		node.kill(t)
		close(stop)
		workers.Wait()
	}
	node := h.start(t)
	node.ready(t)
	node.stop(t) // its last head covers everything
	node = h.start(t)
	cp, err := h.client(t, node.ready(t)).AuditCheckpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w.compare(t, h, cp)
}

func (w *witness) compare(t *testing.T, h home, cp *audit.Checkpoint) {
	t.Helper()
	files, err := auditlog.Files(h.path("audit/audit.log"))
	if err != nil {
		t.Fatal(err)
	}
	v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
	created, encrypts := map[kms.KeyID]bool{}, map[kms.KeyID]int{}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		eachLine(b, func(line []byte) {
			v.Line(line)
			e, err := audit.ParseEntry(line)
			switch {
			case err != nil || e.Outcome != audit.OK:
			case e.Operation == "CreateKey":
				created[e.Key.ID] = true
			case e.Operation == "Encrypt":
				encrypts[e.Key.ID]++
			}
		})
	}
	r := v.Report()
	if !r.Good() || len(r.Chains) != 1 || r.Chains[0].Abandoned != 0 {
		t.Errorf("%v", r.Findings)
	}
	acknowledged := 0
	for id := range w.made {
		if !created[id] {
			t.Errorf("no entry says that key %s was made", id)
		}
	}
	for id, n := range w.encrypts {
		if acknowledged += n; encrypts[id] < n {
			t.Errorf("key %s: %d entries of %d acknowledged operations", id, encrypts[id], n)
		}
	}
	t.Logf("%d keys made, %d operations acknowledged, %d entries, proven up to %d, %d starts after a kill",
		len(w.made), acknowledged, r.Chains[0].Last, r.Chains[0].Proven, len(r.Chains[0].Doubts))
	if len(w.made) == 0 || acknowledged == 0 {
		t.Error("nothing was done")
	}
}

func eachLine(b []byte, take func([]byte)) {
	start := 0
	for i, c := range b {
		if c == '\n' {
			take(b[start:i])
			start = i + 1
		}
	}
}

// client is one of the app that `dev` enrolled.
func (h home) client(t *testing.T, url string) *client.Client {
	t.Helper()
	b, err := os.ReadFile(h.path("credentials.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cred struct{ AppID, APIKey string }
	if err := json.Unmarshal(b, &cred); err != nil {
		t.Fatal(err)
	}
	id, err := kms.ParseAppID(cred.AppID)
	if err != nil {
		t.Fatal(err)
	}
	return newClient(t, h, url, client.Credential{AppID: id, APIKey: client.NewAPIKey(cred.APIKey)})
}
