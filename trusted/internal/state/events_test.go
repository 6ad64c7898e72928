package state_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// seen is every event that app n may see, 0 for a stranger.
func seen(t testing.TB, e *state.Events, n uint64) (all []kms.Event) {
	t.Helper()
	var app kms.AppID
	if n > 0 {
		app = kms.AppID(id(n))
	}
	at := e.Earliest()
	for more := true; more; {
		var batch kms.Events
		var err error
		if batch, more, err = e.Read(at, app); err != nil {
			t.Fatal(err)
		}
		all, at = append(all, batch.Events...), batch.At
	}
	return all
}

// told is what the commands from `from` on made, as app n sees it.
func (m *machine) told(from, n uint64) string {
	var words []string
	for _, e := range seen(m.t, m.View().Events(), n) {
		if e.Index < from {
			continue
		}
		w := e.Kind.String()
		if e.Number != 0 {
			w += fmt.Sprintf(" %d", e.Number)
		}
		if e.Key != (kms.KeyID{}) {
			w += fmt.Sprintf(" key %d", e.Key[7])
		}
		if e.Credential != (kms.CredentialID{}) {
			w += fmt.Sprintf(" credential %d", e.Credential[7])
		}
		if e.Alias != "" {
			w += " " + e.Alias
		}
		if !e.At.IsZero() {
			w += " at " + e.At.Sub(time.Unix(0, start)).String()
		}
		words = append(words, w)
	}
	return strings.Join(words, ", ")
}

// TestEventsOfCommands: what each command makes. Refused ones make nothing.
func TestEventsOfCommands(t *testing.T) {
	m := newMachine(t)
	if got := m.told(0, 0); got != "domain_founded 1, app_enrolled 1, app_enrolled 2" {
		t.Errorf("at first: %s", got)
	}
	rev := func(n uint64) uint64 {
		k, ok := m.View().Key(kms.KeyID(id(n)))
		if !ok {
			t.Fatalf("no key %d", n)
		}
		return k.Revision
	}
	alias := func(name string) uint64 {
		a, _ := m.View().Alias(kms.AppID(id(1)), name)
		return a.Revision
	}
	named := putKey(1, 101)
	named.GetPutKey().Alias = "alias/x"
	waiting := putKey(1, 102)
	waiting.GetPutKey().Key.State, waiting.GetPutKey().Key.Versions, waiting.GetPutKey().Key.Current = uint32(kms.PendingImport), nil, 0
	scheduled := time.Unix(0, start).Add(2 * time.Hour).UTC().Truncate(time.Second)
	first := m.View().Policy()
	for _, step := range []struct {
		name  string
		stage func() (*command.Principal, *command.Command)
		want  string // as app 1 sees it
	}{
		{"a key", func() (*command.Principal, *command.Command) { return m.by(1), putKey(1, 100) }, "key_created 1 key 100"},
		{"it again, refused", func() (*command.Principal, *command.Command) { return m.by(1), putKey(1, 100) }, ""},
		{"another app's", func() (*command.Principal, *command.Command) { return m.by(2), putKey(2, 200) }, ""},
		{"with a name", func() (*command.Principal, *command.Command) { return m.by(1), named }, "key_created 1 key 101, alias_set key 101 alias/x"},
		{"that waits", func() (*command.Principal, *command.Command) { return m.by(1), waiting }, "key_created key 102"},
		{"imported", func() (*command.Principal, *command.Command) { return m.by(1), importKey(102, rev(102)) }, "key_imported 1 key 102"},
		{"disabled", func() (*command.Principal, *command.Command) {
			return m.by(1), setState(100, rev(100), kms.KeyDisabled)
		}, "key_disabled key 100"},
		{"again", func() (*command.Principal, *command.Command) {
			return m.by(1), setState(100, rev(100), kms.KeyDisabled)
		}, ""},
		{"enabled", func() (*command.Principal, *command.Command) { return m.by(1), setState(100, rev(100), kms.Enabled) }, "key_enabled key 100"},
		{"deactivated", func() (*command.Principal, *command.Command) {
			return m.by(1), setState(102, rev(102), kms.Deactivated)
		}, "key_state_changed key 102"},
		{"rotated", func() (*command.Principal, *command.Command) { return m.by(1), putVersion(100, rev(100), 2) }, "key_rotated 2 key 100"},
		{"a version", func() (*command.Principal, *command.Command) {
			return m.by(1), setVersion(100, rev(100), 1, kms.VersionDisabled)
		}, "key_version_changed 1 key 100"},
		{"and its end", func() (*command.Principal, *command.Command) {
			return m.by(1), setVersion(100, rev(100), 1, kms.VersionDestroyed)
		}, "key_version_changed 1 key 100"},
		{"labels", func() (*command.Principal, *command.Command) { return m.by(1), setLabels(100, rev(100), "text") }, "key_labels_changed key 100"},
		{"condition", func() (*command.Principal, *command.Command) {
			return m.by(1), setCondition(102, rev(102), programs(1), nil)
		}, "key_condition_changed key 102"},
		{"scheduled", func() (*command.Principal, *command.Command) {
			return m.by(1), schedule(100, rev(100), start+10*day)
		}, "key_deletion_scheduled key 100 at 240h0m0s"},
		{"cancelled", func() (*command.Principal, *command.Command) { return m.by(1), cancel(100, rev(100)) }, "key_deletion_cancelled key 100"},
		{"name moved", func() (*command.Principal, *command.Command) {
			return m.by(1), putAlias("alias/x", 100, alias("alias/x"))
		}, "alias_set key 100 alias/x"},
		{"name gone", func() (*command.Principal, *command.Command) {
			return m.by(1), deleteAlias("alias/x", alias("alias/x"))
		}, "alias_deleted alias/x"},
		{"deleted", func() (*command.Principal, *command.Command) { return m.by(1), deleteKey(101, rev(101)) }, "key_deleted key 101"},
		{"credential", func() (*command.Principal, *command.Command) { return m.by(1), putCred(cred(1, 50, kms.PermAll, 0)) }, "credential_created credential 50"},
		{"ends", func() (*command.Principal, *command.Command) { return m.by(1), m.setCred(50, hour) }, "credential_changed credential 50 at 1h0m0s"},
		{"rotated with grace", func() (*command.Principal, *command.Command) {
			return m.by(1), m.rotate(cred(1, 51, kms.PermAll, 0), 50, hour)
		}, "credential_created credential 51, credential_changed credential 50 at 1h0m0s"},
		{"rotated at once", func() (*command.Principal, *command.Command) {
			return m.by(1), m.rotate(cred(1, 52, kms.PermAll, 0), 51, -hour)
		}, "credential_created credential 52, credential_revoked credential 51"},
		{"revoked", func() (*command.Principal, *command.Command) { return m.by(1), m.revoke(52) }, "credential_revoked credential 52"},
		{"epoch", func() (*command.Principal, *command.Command) { return nil, putEphemeral(startEpoch, 1) }, fmt.Sprintf("ephemeral_published %d", startEpoch)},
		{"generation", func() (*command.Principal, *command.Command) {
			return nil, putGeneration(1, m.orderTo(govern.DeedRotate, 1, 1))
		}, "generation_accepted 1"},
		{"re-wrapped", func() (*command.Principal, *command.Command) {
			return nil, rewrapKeys(1, &command.Rewrapped{Id: id(100), Revision: rev(100), Version: 2, Wrapped: []byte("w")})
		}, "rotation_progress"},
		{"time", func() (*command.Principal, *command.Command) { return nil, pass() }, ""},
		{"a policy that waits", func() (*command.Principal, *command.Command) {
			return nil, setPolicy(m.rulers.Next(func(p *govern.Policy) { p.Activates = scheduled }))
		}, "policy_scheduled 2 at 2h0m0s"},
		{"its time", func() (*command.Principal, *command.Command) { m.time += 3 * hour; return nil, pass() }, "policy_activated 2"},
		{"a policy", func() (*command.Principal, *command.Command) { return nil, setPolicy(m.rulers.Next(nil)) }, "policy_activated 3"},
		{"all of another's", func() (*command.Principal, *command.Command) {
			return m.by(2), &command.Command{Op: &command.Command_DeleteAppKeys{DeleteAppKeys: &command.DeleteAppKeys{}}}
		}, ""},
	} {
		from := m.index + 1
		by, c := step.stage()
		r := m.do(by, c)
		if got := m.told(from, 1); !strings.HasPrefix(got, step.want) || step.want == "" && got != "" {
			t.Errorf("%s: %q, want %q (%v)", step.name, got, step.want, r.Err)
		}
	}
	if m.View().Policy().Serial != first.Serial+2 {
		t.Error("the policies were not accepted")
	}
	if got := m.told(0, 2); !strings.HasSuffix(got, "keys_deleted 1") || strings.Contains(got, "key 100") {
		t.Errorf("app 2 sees %s", got)
	}
}

// TestEveryOperationIsTold: a new operation must be looked at here: does
// state.Machine.tellOperation tell of it, or its traces, or is it nobody's concern?
func TestEveryOperationIsTold(t *testing.T) {
	known := strings.Fields(`found put_app put_key set_key_state delete_key delete_app_keys import_key set_policy put_credential
		set_credential revoke_credential put_quote_policy set_condition tick set_amendment put_ephemeral put_generation rewrap
		retire_generation put_key_version put_alias delete_alias set_labels schedule_deletion cancel_deletion set_version_state
		reserve set_rotation rotate_due note_use
		declare_compromise replace_authority replace_exposed finish_compromise
		audit_head put_node approve_node announce_node remove_node raise_feature checkpoint note_refusal spend_order recover_domain put_recovery order_backup
		put_secret put_secret_version set_secret label_secret destroy_secret_version set_secret_key delete_secret restore_secret rewrap_secrets`)
	ops := (&command.Command{}).ProtoReflect().Descriptor().Oneofs().ByName("op").Fields()
	for i := range ops.Len() {
		name := string(ops.Get(i).Name())
		if !strings.Contains(" "+strings.Join(known, " ")+" ", " "+name+" ") {
			t.Errorf("operation %s: say what events it makes, in events.go", name)
		}
	}
}

// TestEventsAreDeterministic: the same log, the same events, also behind a snapshot.
func TestEventsAreDeterministic(t *testing.T) {
	for seed := range uint64(4) {
		m := newMachine(t)
		m.lives(rand.New(rand.NewPCG(seed, 7)), 200)
		half := uint64(len(m.log) / 2)
		again, restored := state.New(), (*state.Machine)(nil)
		for i, data := range m.log {
			again.Apply(uint64(i+1), data)
			if uint64(i+1) == half {
				restored = restore(t, snapshot(t, again))
			} else if restored != nil {
				restored.Apply(uint64(i+1), data)
			}
		}
		again.Publish()
		restored.Publish()
		for app := range uint64(3) {
			want := seen(t, m.View().Events(), app)
			if got := seen(t, again.View().Events(), app); !cmp.Equal(want, got) {
				t.Errorf("seed %d, app %d: %s", seed, app, cmp.Diff(want, got))
			}
			var late []kms.Event
			last := kms.Position{}
			for _, e := range want {
				if !last.Before(e.Position) {
					t.Fatalf("%v after %v", e.Position, last)
				}
				if last = e.Position; e.Index > half {
					late = append(late, e)
				}
			}
			if got := seen(t, restored.View().Events(), app); !cmp.Equal(late, got) {
				t.Errorf("seed %d, app %d, from the snapshot on: %s", seed, app, cmp.Diff(late, got))
			}
		}
		if _, _, err := restored.View().Events().Read(kms.After(half-1), kms.AppID{}); kms.KindOf(err) != kms.Expired || !strings.Contains(kms.HintOf(err), fmt.Sprint(half)) {
			t.Errorf("from before the snapshot: %v, %s", err, kms.HintOf(err))
		}
	}
}

// TestEventsOfManyApps: keys of several apps fall due in one entry, and positions
// tell none of them of the others.
func TestEventsOfManyApps(t *testing.T) {
	m := newMachine(t)
	for n := range uint64(6) {
		k := m.must(m.do(m.by(1+n%2), putKey(1+n%2, 100+n)))
		m.must(m.do(m.by(1+n%2), schedule(100+n, k.Revision, start+10*day)))
	}
	m.time += 11 * day
	from := m.index
	m.must(m.do(nil, setPolicy(m.rulers.Next(func(p *govern.Policy) { p.ValidUntil = p.ValidUntil.Add(1000 * time.Hour) }))))
	for app := range uint64(3) {
		var subs, kinds []string
		for _, e := range seen(t, m.View().Events(), app) {
			if e.Index > from {
				subs, kinds = append(subs, fmt.Sprint(e.Sub)), append(kinds, e.Kind.String())
			}
		}
		want, wantKinds := "0 1 2 3", "policy_activated key_deleted key_deleted key_deleted"
		if app == 0 {
			want, wantKinds = "0", "policy_activated"
		}
		if strings.Join(subs, " ") != want || strings.Join(kinds, " ") != wantKinds {
			t.Errorf("app %d: %v at %v", app, kinds, subs)
		}
	}
}

// TestEventsAreBounded: the oldest go, and who wants them is told from where he
// can go on.
func TestEventsAreBounded(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	events, before := m.View().Events(), kms.After(m.index)
	to := []kms.KeyState{kms.KeyDisabled, kms.Enabled}
	for i := range state.EventLimit + 500 {
		k = m.must(m.do(m.by(1), setState(100, k.Revision, to[i%2])))
	}
	_, _, err := events.Read(before, kms.AppID(id(1)))
	if kms.KindOf(err) != kms.Expired || !strings.Contains(kms.HintOf(err), fmt.Sprintf("entry %d,", events.Earliest().Index)) {
		t.Errorf("%v, hint %q", err, kms.HintOf(err))
	}
	all := seen(t, events, 1)
	if len(all) != state.EventLimit {
		t.Errorf("%d are kept", len(all))
	}
	for i, e := range all {
		if e.Index != all[0].Index+uint64(i) || e.Sub != 0 {
			t.Fatalf("%d is %v", i, e.Position)
		}
	}
	if _, _, err := events.Read(kms.After(m.index+1), kms.AppID{}); kms.KindOf(err) != kms.Conflict {
		t.Errorf("from the future: %v", err)
	}
}

// TestEventsWhileTheyCome reads at several places while they are written: each
// reader finds all, and is woken for what is its own.
func TestEventsWhileTheyCome(t *testing.T) {
	m := newMachine(t)
	events := m.View().Events()
	const n = 500
	start := events.Head()
	var wg sync.WaitGroup
	for app := uint64(1); app <= 2; app++ {
		wg.Go(func() {
			c := make(chan struct{}, 1)
			defer events.Subscribe(kms.AppID(id(app)), c)()
			at := kms.After(start)
			for got := 0; got < n; {
				batch, more, err := events.Read(at, kms.AppID(id(app)))
				if err != nil {
					t.Error(err)
					return
				}
				got, at = got+len(batch.Events), batch.At
				if !more && got < n {
					<-c
				}
			}
		})
	}
	for i := range uint64(n) {
		m.must(m.do(m.by(1), putKey(1, 1000+i)))
		m.must(m.do(m.by(2), putKey(2, 5000+i)))
	}
	wg.Wait()
}
