package core_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/auditlog"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A sink is a host's, in memory, that can fail and hang.
type sink struct {
	mu    sync.Mutex
	lines []byte
	fail  error
	hang  chan struct{} // where not nil, Append waits until it is closed, whatever ctx says
	blind bool          // Since fails
}

func (s *sink) Append(_ context.Context, lines []byte) error {
	s.mu.Lock()
	hang := s.hang
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.lines = append(s.lines, lines...)
	}
	return s.fail
}

func (s *sink) Since(context.Context, kms.NodeID, uint64) (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.blind {
		return nil, errors.New("cannot be read")
	}
	return io.NopCloser(bytes.NewReader(slices.Clone(s.lines))), nil
}

func (s *sink) set(change func(*sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *sink) text() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.lines)
}

func (s *sink) entries(t testing.TB) (all []audit.Entry) {
	t.Helper()
	for line := range bytes.Lines(s.text()) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if audit.IsHead(line) {
			continue
		}
		e, err := audit.ParseEntry(line)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// An audited is a domain whose policy requires a sink.
type audited struct {
	*trustedtest.Domain
	*trustedtest.Node
	t testing.TB
	*sink
}

const patience = 50 * time.Millisecond

func newAudited(t testing.TB) *audited {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	a := &audited{Domain: d, Node: d.Nodes[0], t: t, sink: &sink{}}
	a.Edit = func(c *server.Config) {
		c.AuditSinks = map[string]server.AuditSink{"test": a.sink}
		c.AuditPatience = patience
	}
	a.Restart()
	a.rule("test")
	return a
}

func (a *audited) rule(sinks ...string) {
	a.t.Helper()
	envelope := a.Rulers.Next(func(p *govern.Policy) { p.AuditSinks = sinks })
	if _, err := a.Core().SubmitPolicy(context.Background(), envelope); err != nil {
		a.t.Fatal(err)
	}
}

// verify checks everything that the sink has against what the domain publishes.
func (a *audited) verify() *audit.Report {
	a.t.Helper()
	cp, err := a.Core().AuditCheckpoint(context.Background())
	if err != nil {
		a.t.Fatal(err)
	}
	if cp, err = audit.ParseCheckpoint(cp.JSON()); err != nil {
		a.t.Fatal(err)
	}
	v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
	if err := v.Read("sink", bytes.NewReader(a.text())); err != nil {
		a.t.Fatal(err)
	}
	r := v.Report()
	if !r.Good() || len(r.Chains) != 1 {
		a.t.Errorf("%d chains; %v\n%s", len(r.Chains), r.Findings, a.text())
	}
	return r
}

func (a *audited) newKey(app *trustedtest.App) kms.KeyID {
	a.t.Helper()
	k, err := app.MustCaller().CreateKey(context.Background(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		a.t.Fatal(err)
	}
	return k.ID
}

func encrypt(app *trustedtest.App, key kms.KeyID) error {
	c, err := app.Caller()
	if err != nil {
		return err
	}
	_, err = c.Encrypt(context.Background(), kms.EncryptRequest{Key: kms.KeyRef{ID: key}, Plaintext: []byte("a plaintext"), Layout: kms.LayoutNative})
	return err
}

// TestAuditEntries: who, what, which key in which version, and what came of it;
// nothing of what was sent.
func TestAuditEntries(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	app := a.Enrol()
	key := a.newKey(app)
	if err := encrypt(app, key); err != nil {
		t.Fatal(err)
	}
	_, err := app.MustCaller().Decrypt(t.Context(), kms.DecryptRequest{Key: kms.KeyRef{ID: key}, Data: append([]byte{1}, append(key[:], "\x00\x00\x00\x01a ciphertext that does not open"...)...), Layout: kms.LayoutNative})
	if !errors.Is(err, kms.DecryptFailed) {
		t.Fatal(err)
	}
	c := app.MustCaller()
	_, _ = c.FindKey(t.Context(), "alias/none")
	all := a.entries(t)
	all = all[slices.IndexFunc(all, func(e audit.Entry) bool { return e.Operation == "Enrol" }):]
	ref := kms.KeyRef{ID: key, Version: 1}
	for i, want := range []audit.Entry{
		{Operation: "Enrol", Outcome: "ok"}, {Operation: "CreateKey", Outcome: "ok", Key: ref}, {Operation: "Encrypt", Outcome: "ok", Key: ref},
		{Operation: "Decrypt", Outcome: "decrypt_failed", Key: kms.KeyRef{ID: key}}, {Operation: "FindKey", Outcome: "not_found", Name: "alias/none"},
	} {
		got := all[i]
		if got.Operation != want.Operation || got.Outcome != want.Outcome || got.Key != want.Key || got.Name != want.Name ||
			got.App != app.ID || got.Credential != kms.CredentialID(app.ID) || (i < 2) != (got.Index != 0) || got.Time.IsZero() {
			t.Errorf("entry %d is %+v", i, got)
		}
	}
	for _, secret := range []string{"plaintext", "a ciphertext", app.APIKey} {
		if bytes.Contains(a.text(), []byte(secret)) {
			t.Errorf("the log has %q", secret)
		}
	}
	a.verify()
}

// unrecorded are the operations of a caller that leave no entry of their own.
var unrecorded = map[string]string{"SignReply": "it ends VerifyQuote"}

// TestAuditOfEveryOperation calls each operation that a caller has, with nothing
// in its request, and demands an entry.
func TestAuditOfEveryOperation(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	app := a.Enrol()
	kind := reflect.TypeFor[*server.Caller]()
	for i := range kind.NumMethod() {
		m := kind.Method(i)
		if unrecorded[m.Name] != "" {
			continue
		}
		before := len(a.entries(t))
		args := []reflect.Value{reflect.ValueOf(app.MustCaller()), reflect.ValueOf(t.Context())}
		for j := 2; j < m.Type.NumIn(); j++ {
			args = append(args, reflect.Zero(m.Type.In(j)))
		}
		if m.Name == "WatchEvents" {
			args[2], args[3] = reflect.ValueOf(kms.WatchRequest{Earliest: true}), reflect.ValueOf(func(kms.Events) error { return errors.New("enough") })
		}
		m.Func.Call(args)
		fresh := a.entries(t)[before:]
		named := slices.ContainsFunc(fresh, func(e audit.Entry) bool {
			return e.App == app.ID && (e.Operation == m.Name || m.Name == "SetKeyEnabled" && e.Operation == "DisableKey")
		})
		if !named {
			t.Errorf("%s left %v", m.Name, fresh)
		}
	}
	inner := reflect.TypeFor[*core.Caller]()
	for i := range inner.NumMethod() {
		if _, ok := kind.MethodByName(inner.Method(i).Name); !ok {
			t.Errorf("%s cannot be reached: Audited lacks it", inner.Method(i).Name)
		}
	}
}

// open are the methods of the door that a Caller is not needed for.
var open = map[string]string{
	"Authenticate": "what is refused is counted, and what comes of the rest is told by its operation",
	"Enrol":        "entry", "EnrolByTicket": "entry", "EnrolAttested": "entry", "OpenSession": "entry",
	"SubmitPolicy": "entry", "Amend": "entry", "Rotate": "entry, where ordered", "Retire": "entry",

	"CheckPolicy": "changes nothing, for who could submit it", "Policy": "public", "Policies": "public", "RuntimePublicKey": "public",
	"RuntimeSigningKeys": "public", "WatchEvents": "public", "AuditCheckpoint": "public",

	"Tick": "the node's own", "TurnEpoch": "the node's own", "RotationDue": "the node's own", "NewRewrapping": "the node's own",
	"KeepSecrets": "the node's own", "RotateWorn": "the node's own", "Reckon": "the node's own", "NoteUse": "the node's own", "Worn": "the node's own",
	"DeclareCompromise": "entry", "ReplaceAuthority": "entry, where ordered", "FinishCompromise": "the node's own", "NewReplacement": "the node's own",
	"Exposed": "changes nothing, for who holds the signers' order",
	"Order":   "the node's own", "Announce": "the node's own", "MayServe": "no operation",
	"StartAudit": "the node's own", "KeepAudit": "the node's own", "StopAudit": "the node's own",
	"Now": "no operation", "Watches": "no operation", "Limited": "no operation", "ForStranger": "no operation", "Unconfirmed": "no operation",
}

// TestAuditOfTheDoor: whoever adds a method to the door says whether it leaves an
// entry.
func TestAuditOfTheDoor(t *testing.T) {
	kind := reflect.TypeFor[*core.Core]()
	for i := range kind.NumMethod() {
		if name := kind.Method(i).Name; open[name] == "" {
			t.Errorf("does %s leave an audit entry? Say so here, and see openly in audit.go", name)
		}
	}
}

// TestAuditRefusals: strangers are counted, not told one by one.
func TestAuditRefusals(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	app := a.Enrol()
	before := len(a.entries(t))
	for i := range 5 {
		bad := app.Credential(fmt.Sprint("text ", i))
		bad.MAC[0]++
		if _, err := a.Core().Authenticate(t.Context(), bad); !errors.Is(err, kms.Unauthenticated) {
			t.Fatal(err)
		}
	}
	if _, err := a.Core().SubmitPolicy(t.Context(), []byte("{}")); err == nil {
		t.Fatal("taken")
	}
	a.Restart()
	var counts []audit.Count
	for _, e := range a.entries(t)[before:] {
		if e.Operation == audit.Refused {
			counts = append(counts, e.Counts...)
		}
		if e.Operation == "SubmitPolicy" {
			t.Errorf("%+v", e)
		}
	}
	if want := []audit.Count{{Name: "SubmitPolicy invalid", N: 1}, {Name: "unauthenticated", N: 5}}; !slices.Equal(counts, want) {
		t.Errorf("counted %v, want %v", counts, want)
	}
	a.verify()
}

// TestAuditHangs: a sink that hangs, and one that fails, lead to refusals, shown in
// status, and end when it does; nothing is lost meanwhile.
func TestAuditHangs(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	app := a.Enrol()
	key := a.newKey(app)
	for name, c := range map[string]struct{ break_, mend func(*sink) }{
		"hangs": {func(s *sink) { s.hang = make(chan struct{}) }, func(s *sink) { close(s.hang); s.hang = nil }},
		"fails": {func(s *sink) { s.fail = errors.New("disk full") }, func(s *sink) { s.fail = nil }},
	} {
		a.set(c.break_)
		if err := encrypt(app, key); !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), "audit sink") {
			t.Errorf("%s: a result came out: %v", name, err)
		}
		for range 3 {
			if err := encrypt(app, key); !errors.Is(err, kms.Unavailable) {
				t.Errorf("%s: a result came out: %v", name, err)
			}
		}
		if _, err := app.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated}); !errors.Is(err, kms.Unavailable) {
			t.Errorf("%s: a key was made: %v", name, err)
		}
		if s := a.Server().Status(); s.Ready || !strings.Contains(strings.Join(s.Warnings, " "), `audit sink "test" takes nothing`) || s.Keys != 1 {
			t.Errorf("%s: status %+v", name, s)
		}
		if p := a.Server().AuditProgress(); !p.Failing || p.Refused == 0 || p.Waiting == 0 {
			t.Errorf("%s: %+v", name, p)
		}
		a.set(c.mend)
		a.recover(app, key)
		if s := a.Server().Status(); !s.Ready {
			t.Errorf("%s: %+v", name, s)
		}
	}
	a.Restart()
	lost := uint64(0)
	for _, e := range a.entries(t) {
		if e.Operation == audit.Lost {
			for _, c := range e.Counts {
				lost += c.N
			}
		}
	}
	if lost < 8 {
		t.Errorf("%d refusals are told of", lost)
	}
	a.verify()
}

// recover waits until the node serves again.
func (a *audited) recover(app *trustedtest.App, key kms.KeyID) {
	a.t.Helper()
	for range 2000 {
		if encrypt(app, key) == nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	a.t.Fatal("the node does not go on")
}

// TestAuditOwedChange: a change that was applied has its entry, though the node
// ended before it could write it and the sink never got it.
func TestAuditOwedChange(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	app := a.Enrol()
	var had int
	a.set(func(s *sink) { had = len(s.lines); s.fail = errors.New("gone") })
	k, err := app.MustCaller().CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if !errors.Is(err, kms.Unavailable) || k.Versions != nil {
		t.Fatalf("%+v, %v", k, err)
	}
	_ = a.Stop()
	if len(a.text()) != had {
		t.Fatal("the sink took something")
	}
	a.set(func(s *sink) { s.fail = nil })
	a.MustStart()
	a.Restart()
	var found []audit.Entry
	for _, e := range a.entries(t) {
		if e.Operation == "CreateKey" {
			found = append(found, e)
		}
	}
	if len(found) != 1 || !found[0].Recovered || found[0].App != app.ID || found[0].Index == 0 || found[0].Key.ID == (kms.KeyID{}) {
		t.Errorf("%+v", found)
	}
	if a.Server().Status().Keys != 1 {
		t.Error("the key is not there")
	}
	a.verify()
}

// TestAuditRestarts: the chain goes on over restarts, with sinks that can be read
// and that cannot, and with one that lost its end.
func TestAuditRestarts(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	app := a.Enrol()
	key := a.newKey(app)
	for _, blind := range []bool{false, true, false} {
		a.set(func(s *sink) { s.blind = blind })
		a.Restart()
		if err := encrypt(app, key); err != nil {
			t.Fatal(err)
		}
	}
	a.Restart()
	r := a.verify()
	if c := r.Chains[0]; len(c.Doubts) != 0 || c.Abandoned != 0 || c.Repeated != 0 || c.Last < 10 {
		t.Errorf("%+v", c)
	}
	_ = a.Stop()
	lines := bytes.SplitAfter(a.text(), []byte("\n"))
	a.set(func(s *sink) { s.lines = bytes.Join(lines[:len(lines)-4], nil) })
	last := a.entries(t)[len(a.entries(t))-1].Seq
	a.MustStart()
	a.Restart()
	cp, _ := a.Core().AuditCheckpoint(t.Context())
	v := audit.NewVerifier(audit.VerifyConfig{Checkpoint: cp})
	_ = v.Read("sink", bytes.NewReader(a.text()))
	if f := v.Report().Findings; len(f) != 1 || f[0].Fault != audit.Removed || f[0].From != last+1 {
		t.Errorf("after the end was lost: %v", f)
	}
}

// TestAuditPolicy: the policy says which sinks are required; a node without one
// refuses everything, and a policy that would make it is refused.
func TestAuditPolicy(t *testing.T) {
	t.Parallel()
	a := newAudited(t)
	app := a.Enrol()
	key := a.newKey(app)
	wanting := a.Rulers.Next(func(p *govern.Policy) { p.AuditSinks = []string{"other"} })
	if _, err := a.Core().SubmitPolicy(t.Context(), wanting); !errors.Is(err, kms.Denied) {
		t.Errorf("a policy that would stop the node: %v", err)
	}
	a.Edit = nil // the host drops its configuration
	a.Restart()
	if err := encrypt(app, key); !errors.Is(err, kms.Unavailable) {
		t.Errorf("without the sink: %v", err)
	}
	if _, err := a.Core().Enrol(t.Context()); !errors.Is(err, kms.Unavailable) {
		t.Errorf("without the sink: %v", err)
	}
	if s := a.Server().Status(); s.Ready {
		t.Errorf("ready without the sink")
	}
}

// BenchmarkAuditedEncrypt is Encrypt at 64 callers at the door, with and without an
// audit log: what it adds is the difference of the two CPU figures.
func BenchmarkAuditedEncrypt(b *testing.B) {
	for _, on := range []bool{false, true} {
		b.Run(fmt.Sprintf("audit=%t", on), func(b *testing.B) { benchmarkEncrypt(b, on) })
	}
}

func benchmarkEncrypt(b *testing.B, on bool) {
	d := trustedtest.NewDomain(b, 1)
	n := d.Nodes[0]
	if on {
		f, err := auditlog.OpenFile(auditlog.FileConfig{Path: filepath.Join(b.TempDir(), "audit.log")})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = f.Close() })
		n.Edit = func(c *server.Config) { c.AuditSinks = map[string]server.AuditSink{"test": f} }
		n.Restart()
		if _, err := n.Core().SubmitPolicy(b.Context(), d.Rulers.Next(func(p *govern.Policy) { p.AuditSinks = []string{"test"} })); err != nil {
			b.Fatal(err)
		}
	}
	app := n.Enrol()
	k, err := app.MustCaller().CreateKey(b.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(32)
	start := cpuTime()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := encrypt(app, k.ID); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64((cpuTime()-start).Nanoseconds())/float64(b.N), "cpu-ns/op")
}
