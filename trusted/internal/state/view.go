package state

import (
	"bytes"
	"sync"
	"time"

	"github.com/tidwall/btree"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/kms"
)

// A View is the state after some command, and never changes. The zero View is
// the state before the first command.
type View struct {
	index    uint64
	time     int64
	revision uint64
	feature  uint32
	founding *Founding
	rule     *Rule
	// simulated: evidence that proves nothing was admitted, now or ever.
	simulated bool
	gathering bool // see Gathering

	quotePolicies      btree.Map[string, *quotePolicy] // by id
	quotePoliciesByApp btree.Map[string, struct{}]     // by app and id

	apps        btree.Map[string, *App] // by id
	credentials btree.Map[string, *Credential]
	admissions  btree.Map[string, *Admission]
	keys        *btree.BTreeG[*Key] // by id
	byApp       *btree.BTreeG[*Key] // by app, then id

	aliases      btree.Map[string, *Alias]   // by app and name
	aliasesByKey btree.Map[string, struct{}] // by key and name
	deletions    btree.Map[string, struct{}] // of keys, by due time and id

	secrets      btree.Map[string, *Secret]  // by app and name
	secretsByKey btree.Map[string, string]   // their places, by key, its version, app and name
	secretTimes  btree.Map[string, string]   // their places, by when something becomes of them
	secretBytes  btree.Map[string, int]      // by app; follows from secrets
	rotations    btree.Map[string, struct{}] // of keys, by due time and id

	calendar   Calendar
	ephemerals []Ephemeral // by epoch; shared by views, so never changed in place

	generations  []Generation             // by number; a change makes a new slice
	authority    *Authority               // as it is wrapped now
	compromises  []Compromise             // by generation; a change makes a new slice
	authorityDue bool                     // it is to be replaced, whatever it was wrapped under
	orders       btree.Map[string, int64] // that were obeyed, or refused for good: expiry by nonce

	usage       btree.Map[string, Usage] // by app; follows from keys and secrets
	secretCount int

	auditChains      btree.Map[string, *AuditChain] // by node
	auditKeys        []audit.Key                    // by generation; a change makes a new slice
	nodes            []*Node                        // by id; a change makes a new slice
	removed          btree.Map[string, Removal]     // by id
	voters, learners []kms.NodeID                   // of the log's configuration, by id; never changed in place
	waitingUntil     int64                          // when the first of those who wait is forgotten; 0: nobody waits
	checkpoints      []Checkpoint                   // the last ones, oldest first; a change makes a new slice
	tally            tally                          // of the records that there can be many of
	results          [32]byte                       // digest over the results of all commands

	term       uint64           // of the entry at index
	backupAt   int64            // when the last backup was ordered; 0: never
	recovery   *backup.Recovery // nil: none; a change makes a new one
	recoveries []PastRecovery   // oldest first; a change makes a new slice

	replayFloor int64

	events *Events // the Machine's
}

// degree of the key trees: measured here, 32 costs the least memory per record
// among 16, 32, 64 and 128 at equal speed.
const degree = 32

func newKeyTrees() (byID, byApp *btree.BTreeG[*Key]) {
	// Without locks of their own: a View is immutable and the Machine has one writer.
	opts := btree.Options{NoLocks: true, Degree: degree}
	byID = btree.NewBTreeGOptions(func(a, b *Key) bool { return bytes.Compare(a.ID[:], b.ID[:]) < 0 }, opts)
	byApp = btree.NewBTreeGOptions(func(a, b *Key) bool {
		if c := bytes.Compare(a.App[:], b.App[:]); c != 0 {
			return c < 0
		}
		return bytes.Compare(a.ID[:], b.ID[:]) < 0
	}, opts)
	return byID, byApp
}

// Index is the log index of the last command in the view.
func (v *View) Index() uint64 { return v.index }

// Time is domain time as of the last command.
func (v *View) Time() time.Time { return time.Unix(0, v.time).UTC() }

// Feature is the feature level of the domain.
func (v *View) Feature() uint32 { return v.feature }

// Founding is how the domain was founded, nil before it was.
func (v *View) Founding() *Founding { return v.founding }

// ReplayFloor is the oldest second whose state-changing v1 requests are accepted.
func (v *View) ReplayFloor() int64 { return v.replayFloor }

// Apps and Keys are how many there are.
func (v *View) Apps() int { return v.apps.Len() }

// Keys is how many keys there are.
func (v *View) Keys() int { return v.keys.Len() }

// Credential finds a credential.
func (v *View) Credential(id kms.CredentialID) (*Credential, bool) {
	return v.credentials.Get(string(id[:]))
}

// Key finds a key of any app.
func (v *View) Key(id kms.KeyID) (*Key, bool) {
	probe := probes.Get().(*Key)
	probe.ID = id
	k, ok := v.keys.Get(probe)
	probes.Put(probe)
	return k, ok
}

// probes are keys that are nothing but ids, to look for others: a Key is large,
// and each use of one looks for it.
var probes = sync.Pool{New: func() any { return new(Key) }}

// KeysOf calls f with the keys of an app in order of their ids, from the first
// one after `after`, until f returns false.
func (v *View) KeysOf(app kms.AppID, after kms.KeyID, f func(*Key) bool) {
	v.byApp.Ascend(&Key{App: app, ID: after}, func(k *Key) bool {
		if k.App != app {
			return false
		}
		if k.ID == after {
			return true
		}
		return f(k)
	})
}

// copy makes a View that the Machine goes on to change while v stays as it is.
func (v *View) copy() *View {
	c := *v
	c.apps = *v.apps.Copy()
	c.credentials = *v.credentials.Copy()
	c.quotePolicies = *v.quotePolicies.Copy()
	c.quotePoliciesByApp = *v.quotePoliciesByApp.Copy()
	c.admissions = *v.admissions.Copy()
	c.orders = *v.orders.Copy()
	c.removed = *v.removed.Copy()
	c.aliases = *v.aliases.Copy()
	c.aliasesByKey = *v.aliasesByKey.Copy()
	c.deletions = *v.deletions.Copy()
	c.auditChains = *v.auditChains.Copy()
	c.secrets = *v.secrets.Copy()
	c.secretsByKey = *v.secretsByKey.Copy()
	c.secretTimes = *v.secretTimes.Copy()
	c.secretBytes = *v.secretBytes.Copy()
	c.usage = *v.usage.Copy()
	c.rotations = *v.rotations.Copy()
	c.keys = v.keys.Copy()
	c.byApp = v.byApp.Copy()
	return &c
}
