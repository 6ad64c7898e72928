package state_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

const start = int64(1_700_000_000_000_000_000)

// A machine under test, with a log of its own.
type machine struct {
	*state.Machine
	rulers *governtest.Rulers
	t      testing.TB
	index  uint64
	time   int64
	log    [][]byte
}

func id(n uint64) []byte {
	b := make([]byte, 16)
	binary.BigEndian.PutUint64(b, n)
	return b
}

func newMachine(t testing.TB) *machine {
	r := governtest.New(t)
	bootstrap, policy := r.Found(kms.NodeID{1}, r.Policy(make([]byte, 32), time.Unix(0, start)))
	m := &machine{Machine: state.New(), rulers: r, t: t, time: start}
	m.must(m.do(nil, &command.Command{Op: &command.Command_Found{Found: &command.Found{
		Domain: r.Founding.Domain[:], FeatureLevel: 1, Charter: r.Charter.Canonical(), Bootstrap: bootstrap, Policy: policy,
		Checksum: []byte("s"), Authority: &command.Authority{Certificate: []byte("a")}}}}))
	m.must(m.do(nil, putApp(1)))
	m.must(m.do(nil, putApp(2)))
	return m
}

func putApp(n uint64) *command.Command {
	return &command.Command{Op: &command.Command_PutApp{PutApp: &command.PutApp{
		App:        &command.App{Id: id(n)},
		Credential: &command.Credential{Id: id(n), App: id(n), Permissions: 15, Wrapped: []byte("w")}}}}
}

// do applies a command of a principal, nil for the node itself.
func (m *machine) do(p *command.Principal, c *command.Command) state.Result {
	m.t.Helper()
	m.index++
	if c.Id == nil {
		c.Id = id(1_000_000 + m.index)
	}
	c.Time, c.Principal = m.time, p
	data, err := proto.Marshal(c)
	if err != nil {
		m.t.Fatal(err)
	}
	m.log = append(m.log, data)
	r := m.Apply(m.index, data)
	m.Publish()
	return r
}

func (m *machine) must(r state.Result) *state.Key {
	m.t.Helper()
	if r.Err != nil {
		m.t.Fatal(r.Err)
	}
	return r.Key
}

// by is a principal with the credential as it is now.
func (m *machine) by(app uint64) *command.Principal {
	c, ok := m.View().Credential(kms.CredentialID(id(app)))
	if !ok {
		m.t.Fatal("no such credential")
	}
	return &command.Principal{App: id(app), Credential: id(app), CredentialRevision: c.Revision}
}

func putKey(app, key uint64) *command.Command {
	return &command.Command{Op: &command.Command_PutKey{PutKey: &command.PutKey{Key: &command.Key{
		Id: id(key), App: id(app), Spec: uint32(kms.AES256GCM), Usages: uint32(kms.EncryptDecrypt),
		State: uint32(kms.Enabled), Origin: uint32(kms.Generated), Created: start, Current: 1,
		Versions: []*command.KeyVersion{{Number: 1, Created: start, Wrapped: make([]byte, 61)}}}}}}
}

func setState(key, revision uint64, s kms.KeyState) *command.Command {
	return &command.Command{Op: &command.Command_SetKeyState{SetKeyState: &command.SetKeyState{
		Key: id(key), Revision: revision, State: uint32(s)}}}
}

func deleteKey(key, revision uint64) *command.Command {
	return &command.Command{Op: &command.Command_DeleteKey{DeleteKey: &command.DeleteKey{Key: id(key), Revision: revision}}}
}

func importKey(key, revision uint64) *command.Command {
	return &command.Command{Op: &command.Command_ImportKey{ImportKey: &command.ImportKey{Key: id(key), Revision: revision,
		Version: &command.KeyVersion{Number: 1, Wrapped: []byte("material")}}}}
}

// A key that waits for its material gets it once.
func TestImport(t *testing.T) {
	m := newMachine(t)
	c := putKey(1, 100)
	c.GetPutKey().Key.State, c.GetPutKey().Key.Versions, c.GetPutKey().Key.Current = uint32(kms.PendingImport), nil, 0
	waiting := m.must(m.do(m.by(1), c))
	if r := m.do(m.by(1), setState(100, waiting.Revision, kms.Enabled)); r.Err == nil || r.Err.Kind != kms.Invalid {
		t.Errorf("enabled without material: %v", r.Err)
	}
	got := m.must(m.do(m.by(1), importKey(100, waiting.Revision)))
	if v, ok := got.Version(0); !ok || string(v.Wrapped) != "material" || got.State != kms.Enabled {
		t.Errorf("after the import: %+v", got)
	}
	for _, revision := range []uint64{waiting.Revision, got.Revision} {
		if r := m.do(m.by(1), importKey(100, revision)); r.Err == nil {
			t.Error("imported twice")
		}
	}
}

func TestRefusalsChangeNothing(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	stale := m.by(1)
	stale.CredentialRevision++
	other := m.by(1)
	other.App = id(2)
	badState := setState(100, k.Revision, kms.KeyState(99))
	badSpec := putKey(1, 101)
	badSpec.GetPutKey().Key.Spec = 99
	for _, c := range []struct {
		name string
		by   *command.Principal
		cmd  *command.Command
		want kms.Kind
	}{
		{"unknown key", m.by(1), setState(999, 1, kms.KeyDisabled), kms.NotFound},
		{"another app's key", m.by(2), setState(100, k.Revision, kms.KeyDisabled), kms.Foreign},
		{"another app's key deleted", m.by(2), deleteKey(100, k.Revision), kms.Foreign},
		{"key changed meanwhile", m.by(1), setState(100, k.Revision-1, kms.KeyDisabled), kms.Conflict},
		{"delete of a changed key", m.by(1), deleteKey(100, k.Revision+1), kms.Conflict},
		{"credential changed meanwhile", stale, setState(100, k.Revision, kms.KeyDisabled), kms.Conflict},
		{"credential of another app", other, setState(100, k.Revision, kms.KeyDisabled), kms.Conflict},
		{"key id taken", m.by(1), putKey(1, 100), kms.Exists},
		{"key for another app", m.by(1), putKey(2, 101), kms.Invalid},
		{"key without a principal", nil, putKey(1, 101), kms.Invalid},
		{"unknown spec", m.by(1), badSpec, kms.Invalid},
		{"unknown state", m.by(1), badState, kms.Invalid},
		{"made to wait for an import", m.by(1), setState(100, k.Revision, kms.PendingImport), kms.Invalid},
		{"import over material", m.by(1), importKey(100, k.Revision), kms.Exists},
		{"destroyed by hand", m.by(1), setState(100, k.Revision, kms.Destroyed), kms.Invalid},
		{"founded again", nil, &command.Command{Op: &command.Command_Found{Found: &command.Found{Domain: make([]byte, 32), FeatureLevel: 1}}}, kms.Exists},
		{"app again", nil, putApp(1), kms.Exists},
		{"app over the limit", nil, func() *command.Command { c := putApp(3); c.GetPutApp().MaxApps = 2; return c }(), kms.Exhausted},
		{"all keys of nobody", nil, &command.Command{Op: &command.Command_DeleteAppKeys{DeleteAppKeys: &command.DeleteAppKeys{}}}, kms.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := contents(m.View())
			r := m.do(c.by, c.cmd)
			if r.Err == nil || r.Err.Kind != c.want {
				t.Errorf("got %v, want %v", r.Err, c.want)
			}
			if diff := cmp.Diff(before, contents(m.View())); diff != "" {
				t.Errorf("state changed: %s", diff)
			}
		})
	}
}

// contents is everything in a view that a reader can see.
func contents(v *state.View) map[string]kms.Key {
	all := map[string]kms.Key{}
	for _, app := range []uint64{1, 2, 3} {
		v.KeysOf(kms.AppID(id(app)), kms.KeyID{}, func(k *state.Key) bool {
			all[k.ID.String()] = k.Info()
			byID, ok := v.Key(k.ID)
			if !ok || byID != k {
				panic("the indexes disagree")
			}
			return true
		})
	}
	return all
}

func TestRepeatedCommandIsDoneOnce(t *testing.T) {
	m := newMachine(t)
	c := putKey(1, 100)
	c.Id = id(42)
	first := m.must(m.do(m.by(1), c))
	again := m.must(m.do(m.by(1), c)) // putKey twice would be Exists
	if again.ID != first.ID || m.View().Keys() != 1 {
		t.Errorf("done twice: %d keys", m.View().Keys())
	}
	refused := setState(999, 1, kms.KeyDisabled)
	refused.Id = id(43)
	for range 2 {
		if r := m.do(m.by(1), refused); r.Err == nil || r.Err.Kind != kms.NotFound {
			t.Errorf("got %v, want the first refusal", r.Err)
		}
	}
}

// A v1 request that changed state is refused by every node that has the log,
// also after a snapshot; one that was refused for a conflict may be tried again.
func TestRepeatedRequestIsRefused(t *testing.T) {
	m := newMachine(t)
	k := m.must(m.do(m.by(1), putKey(1, 100)))
	p := m.by(1)
	p.RequestMac, p.RequestTime = id(7), m.time
	if r := m.do(p, setState(100, k.Revision-1, kms.KeyDisabled)); r.Err == nil || r.Err.Kind != kms.Conflict {
		t.Fatalf("got %v, want Conflict", r.Err)
	}
	m.must(m.do(p, setState(100, k.Revision, kms.KeyDisabled)))

	restored := restore(t, snapshot(t, m.Machine))
	for name, x := range map[string]*machine{"same node": m, "from a snapshot": {Machine: restored, t: t, index: m.index, time: m.time}} {
		now, _ := x.View().Key(kms.KeyID(id(100)))
		if r := x.do(p, setState(100, now.Revision, kms.Enabled)); r.Err == nil || r.Err.Kind != kms.Replayed {
			t.Errorf("%s: got %v, want Replayed", name, r.Err)
		}
	}
}

func TestDomainTimeNeverGoesBack(t *testing.T) {
	m := newMachine(t)
	m.time = start + int64(time.Hour)
	m.must(m.do(m.by(1), putKey(1, 100)))
	m.time = start
	m.must(m.do(m.by(1), putKey(1, 101)))
	if got := m.View().Time().UnixNano(); got != start+int64(time.Hour) {
		t.Errorf("domain time went back to %d", got)
	}
}

// An entry that this program cannot read stops it, rather than letting it
// serve a state that other nodes do not have.
func TestUnreadableEntryStops(t *testing.T) {
	unknown, _ := proto.Marshal(&command.Command{Id: id(5)})
	for name, data := range map[string][]byte{"garbage": []byte("\xff\xff"), "no id": {}, "unknown operation": unknown} {
		m := newMachine(t)
		if r := m.Apply(m.index+1, data); r.Err == nil || r.Err.Kind != kms.Damaged {
			t.Errorf("%s: got %v, want Damaged", name, r.Err)
		}
		if m.Fatal() == nil {
			t.Errorf("%s: machine goes on", name)
		}
		if r := m.do(m.by(1), putKey(1, 100)); r.Err == nil {
			t.Errorf("%s: a later command was applied", name)
		}
	}
}

func snapshot(t testing.TB, m *state.Machine) []byte {
	var b bytes.Buffer
	if err := m.Snapshot().Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restore(t testing.TB, b []byte) *state.Machine {
	m := state.New()
	if err := m.Restore(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	return m
}

// others applies the machine's log on another machine in one go, and from a snapshot
// on, and restores it: all of them have to arrive at the same bytes and digest.
func (m *machine) others(t testing.TB) map[string]*state.Machine {
	t.Helper()
	whole, half := state.New(), (*state.Machine)(nil)
	for i, entry := range m.log {
		replay(whole, uint64(i+1), entry)
		if i == len(m.log)/2 {
			half = restore(t, snapshot(t, whole))
		} else if half != nil {
			replay(half, uint64(i+1), entry)
		}
	}
	want := snapshot(t, m.Machine)
	all := map[string]*state.Machine{"another machine": whole, "from a snapshot": half, "restored": restore(t, want)}
	for name, o := range all {
		if !bytes.Equal(want, snapshot(t, o)) || o.Digest() != m.Digest() {
			t.Errorf("%s: arrives at another state", name)
		}
	}
	return all
}

// random applies n random commands, some of which are refused.
func (m *machine) random(r *rand.Rand, n int) {
	for range n {
		m.time += int64(r.IntN(int(time.Second)))
		app, key := 1+r.Uint64N(2), 100+r.Uint64N(40)
		p := m.by(app)
		if r.IntN(2) == 0 {
			p.RequestMac, p.RequestTime = id(r.Uint64N(200)), m.time-int64(r.IntN(int(time.Minute)))
		}
		var revision uint64
		if k, ok := m.View().Key(kms.KeyID(id(key))); ok {
			revision = k.Revision - r.Uint64N(2)
		}
		switch r.IntN(8) {
		case 0, 1, 2, 3:
			m.do(p, putKey(app, key))
		case 4, 5:
			m.do(p, setState(key, revision, kms.KeyState(1+r.IntN(8))))
		case 6:
			m.do(p, deleteKey(key, revision))
		case 7:
			if r.IntN(20) == 0 {
				m.do(p, &command.Command{Op: &command.Command_DeleteAppKeys{DeleteAppKeys: &command.DeleteAppKeys{}}})
			}
		}
	}
}

// The same log gives the same bytes, whether it is applied in one go, by
// another machine, or from a snapshot on.
func TestDeterminism(t *testing.T) {
	for seed := range uint64(5) {
		a := newMachine(t)
		a.random(rand.New(rand.NewPCG(seed, 1)), 500)
		half := len(a.log) / 2

		b := state.New()
		var c *state.Machine
		for i, data := range a.log {
			b.Apply(uint64(i+1), data)
			if i == half {
				c = restore(t, snapshot(t, b))
			} else if i > half {
				c.Apply(uint64(i+1), data)
			}
		}
		want := snapshot(t, a.Machine)
		if !bytes.Equal(want, snapshot(t, b)) {
			t.Errorf("seed %d: another machine arrives at another state", seed)
		}
		if !bytes.Equal(want, snapshot(t, c)) {
			t.Errorf("seed %d: a machine from a snapshot arrives at another state", seed)
		}
		if !bytes.Equal(want, snapshot(t, restore(t, want))) {
			t.Errorf("seed %d: a restored snapshot writes other bytes", seed)
		}
	}
}

func TestViewsDoNotChange(t *testing.T) {
	m := newMachine(t)
	m.random(rand.New(rand.NewPCG(9, 9)), 300)
	v := m.View()
	before := contents(v)
	m.random(rand.New(rand.NewPCG(10, 10)), 300)
	if diff := cmp.Diff(before, contents(v)); diff != "" {
		t.Error(diff)
	}
}

// A cut or altered snapshot never restores to something else. (Storage seals
// snapshots; this is the second line.)
func TestDamagedSnapshotDoesNotRestore(t *testing.T) {
	m := newMachine(t)
	m.random(rand.New(rand.NewPCG(3, 3)), 60)
	good := snapshot(t, m.Machine)
	stride := 1
	if testing.Short() {
		stride = 23
	}
	for n := 0; n < len(good); n += stride {
		x := state.New()
		if err := x.Restore(bytes.NewReader(good[:n])); err == nil {
			t.Fatalf("cut to %d of %d bytes: restored", n, len(good))
		}
		if x.Fatal() == nil {
			t.Fatalf("cut to %d bytes: the machine goes on", n)
		}
	}
	if err := state.New().Restore(bytes.NewReader(append(bytes.Clone(good), 0))); err == nil {
		t.Error("trailing byte: restored")
	}
	if err := state.New().Restore(io.MultiReader(bytes.NewReader(good), failing{})); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a failing reader: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrClosedPipe }

func FuzzRestore(f *testing.F) {
	m := newMachine(f)
	m.random(rand.New(rand.NewPCG(4, 4)), 20)
	f.Add(snapshot(f, m.Machine))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := state.New()
		if x.Restore(bytes.NewReader(b)) != nil {
			return
		}
		var out bytes.Buffer
		if err := x.Snapshot().Write(&out); err != nil {
			t.Error(err)
		}
		if err := state.New().Restore(bytes.NewReader(out.Bytes())); err != nil {
			t.Errorf("its own snapshot does not restore: %v", err)
		}
	})
}

func FuzzApply(f *testing.F) {
	m := newMachine(f)
	m.random(rand.New(rand.NewPCG(5, 5)), 10)
	for _, data := range m.log {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newMachine(t)
		m.Apply(m.index+1, data)
		m.Publish()
		contents(m.View())
	})
}

// TestHeapPerKey holds the promise of at most 0.5 KB of live heap per AES key.
func TestHeapPerKey(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: 100,000 keys take long, and the race detector's are larger")
	}
	const n = 100_000
	m := newMachine(t)
	live := func() uint64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	r := rand.New(rand.NewPCG(1, 1))
	before := live()
	for range n {
		var raw [16]byte
		binary.BigEndian.PutUint64(raw[:], r.Uint64())
		binary.BigEndian.PutUint64(raw[8:], r.Uint64())
		c := putKey(1, 0)
		c.GetPutKey().Key.Id = raw[:]
		c.Id = id(r.Uint64())
		m.index++
		c.Time, c.Principal = m.time, m.by(1)
		data, _ := proto.Marshal(c)
		m.must(m.Apply(m.index, data))
		if m.index%64 == 0 {
			m.Publish()
		}
	}
	m.Publish()
	per := float64(live()-before) / n
	t.Logf("%.0f bytes of live heap per key", per)
	if per > 500 {
		t.Errorf("%.0f bytes per key, at most 500", per)
	}
	runtime.KeepAlive(m)
}
