package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/attest/tdx"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// A safeLog is a log that is read while it is written.
type safeLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *safeLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *safeLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for range 3000 {
		if so() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 30 s: %s", what)
}

// A tdxRun is the program in a TDX guest, until the test ends it.
type tdxRun struct {
	log    safeLog
	at     <-chan place
	status func() int
}

func (r *rig) tdx(command string, more ...string) *tdxRun {
	r.t.Helper()
	served, ended := make(chan place, 1), make(chan int, 1)
	run1 := &tdxRun{at: served}
	n := node{log: slog.New(slog.NewJSONHandler(&run1.log, nil)), platform: r.machine.Guest(attest.TDX, time.Now), development: true}
	n.serving = func(p place) { served <- p }
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		ended <- run(ctx, r.args(command, append([]string{"--listen", freePort, "--peer-listen", freePort}, more...)...), io.Discard, n)
		close(served)
	}()
	run1.status = sync.OnceValue(func() int { cancel(); return <-ended })
	r.t.Cleanup(func() { run1.status() })
	return run1
}

// serves waits until it serves.
func (run *tdxRun) serves(t *testing.T) place {
	t.Helper()
	at, ok := <-run.at
	if !ok {
		t.Fatalf("status %d\n%s", run.status(), &run.log)
	}
	return at
}

// foundStaying starts the founder, and returns what it shows.
func (r *rig) foundStaying() (*tdxRun, *govern.Founder) {
	r.t.Helper()
	f := r.tdx("found", "--stay", "--out", r.path("founder"), "--bootstrap", r.path("bootstrap"), "--policy", r.path("policy"))
	await(r.t, "it is prepared", func() bool { return strings.Contains(f.log.String(), `"msg":"prepared"`) })
	b, err := os.ReadFile(r.path("founder"))
	if err != nil {
		r.t.Fatal(err)
	}
	shown, err := govern.ParseFounder(b)
	if err != nil {
		r.t.Fatal(err)
	}
	return f, shown
}

// signTDX does what owner and signers do meanwhile, for some node.
func (r *rig) signTDX(f *govern.Founder, node kms.NodeID) {
	r.t.Helper()
	claims, err := tdx.Verify(f.Evidence, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	p := r.rulers.Policy(make([]byte, 32), time.Now())
	p.Nodes[0].Identity = govern.IdentityOf(claims)
	bootstrap, policy := r.rulers.Found(node, p)
	r.write("bootstrap", bootstrap)
	r.write("policy", policy)
}

// ask asks the API of a node.
func ask(t *testing.T, at place, method, path, body string) (status int, text string) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(at.ca)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://"+at.api+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	answer, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

// TestTDXAlone: TDX guests alone found a domain by the command line: one process that
// waits for what people sign, is not fooled by what they signed for another one, and
// serves apps when three nodes vote. One that is started again joins.
func TestTDXAlone(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.rulers.Charter.RestartMode = govern.Rejoin
	r.write("charter", r.rulers.Charter.Canonical())
	early, shown := r.foundStaying()
	await(t, "it says what it waits for", func() bool { return strings.Contains(early.log.String(), "waiting for what people sign") })
	if got := early.status(); got != exitOK {
		t.Errorf("status %d after Ctrl-C\n%s", got, &early.log)
	}
	r.signTDX(shown, shown.Node)
	if left := sealed(t, r.path("node")); strings.Join(left, " ") != "ephemeral" {
		t.Errorf("it left %q", left)
	}

	founder, shown := r.foundStaying() // of the same folder, where the documents of before lie
	await(t, "it refuses what was signed before", func() bool { return strings.Contains(founder.log.String(), "names another node as the founder") })
	second := newRigOn(r)
	second.must(exitFailed, "stop the process", second.node(true), "found", "--stay", "--dir", r.path("node"), "--charter", r.path("charter"),
		"--out", second.path("o"), "--bootstrap", second.path("b"), "--policy", second.path("p"), "--pcs", nothingPublished(t))
	r.write("bootstrap", []byte("half of a docu"))
	r.signTDX(shown, shown.Node)
	first := founder.serves(t)
	waits := "1 of 3 nodes vote"
	if status, text := ask(t, first, http.MethodGet, "/readyz", ""); status != http.StatusServiceUnavailable || !strings.Contains(text, waits) {
		t.Errorf("/readyz: %d %s", status, text)
	}
	if _, text := ask(t, first, http.MethodGet, "/ehsm?Action=Enroll", ""); !strings.Contains(text, `"code":503`) {
		t.Errorf("/ehsm: %s", text)
	}
	closed(t, first)
	if s := get(t, first); s.Ready || s.Voters != 1 {
		t.Errorf("%+v", s)
	}
	var others []*tdxRun
	for range 2 {
		g := r.guest(simtee.Config{})
		g.write("charter", r.rulers.Charter.Canonical())
		others = append(others, g.tdx("serve", "--join", first.peers))
	}
	at := others[0].serves(t)
	third := others[1].serves(t)
	await(t, "it serves", func() bool { return get(t, first).Ready && get(t, at).Ready && get(t, third).Ready })
	if status, text := ask(t, first, http.MethodGet, "/readyz", ""); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	if got := founder.status(); got != exitOK {
		t.Errorf("status %d\n%s", got, &founder.log)
	}
	await(t, "two go on", func() bool { return get(t, at).Ready })
	again := r.tdx("serve", "--join", at.peers, "--join", third.peers)
	await(t, "the founder is back", func() bool { return get(t, again.serves(t)).Ready })
}

// answered are the methods of the native API that answer whoever asks of a domain
// that is being founded: what it says of itself.
const answered = "AttestationService/GetChallenge PolicyService/GetPolicy PolicyService/ListPolicies NodeService/ListNodes DomainService/GetStatus"

// closed asks every method of the native API of a node.
func closed(t *testing.T, at place) {
	t.Helper()
	var all []string
	protoregistry.GlobalFiles.RangeFilesByPackage("holdfast.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for k := range methods.Len() {
				m := methods.Get(k)
				name := string(m.Parent().Name()) + "/" + string(m.Name())
				if m.IsStreamingServer() {
					continue
				}
				if status, _ := ask(t, at, http.MethodPost, "/holdfast.v1."+name, "{}"); status == http.StatusOK {
					all = append(all, name)
				}
			}
		}
		return true
	})
	slices.Sort(all)
	want := strings.Fields(answered)
	slices.Sort(want)
	if !slices.Equal(all, want) {
		t.Errorf("answered: %q, want %q", all, want)
	}
	for _, name := range []string{"EnrolmentService/Enrol", "SessionService/OpenSession", "RuntimeService/ListSigningKeys"} {
		if status, text := ask(t, at, http.MethodPost, "/holdfast.v1."+name, "{}"); status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
}

// newRigOn is a rig with a log of its own, on the machine of another one.
func newRigOn(r *rig) *rig {
	return &rig{t: r.t, dir: r.t.TempDir(), machine: r.machine, rulers: r.rulers}
}

// TestStayingWithASealingKey: the same flag founds and serves where nothing needs it.
func TestStayingWithASealingKey(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.must(exitOK, `"msg":"prepared"`, r.node(true), r.args("found", "--out", r.path("founder"))...)
	r.sign()
	at, stop := r.startAs("found", "--stay", "--out", r.path("founder"), "--bootstrap", r.path("bootstrap"), "--policy", r.path("policy"))
	p, ok := <-at
	if !ok || !get(t, p).Ready {
		t.Fatalf("status %d\n%s", stop(), &r.log)
	}
	stop()
	p, stop = r.serve()
	if !get(t, p).Ready {
		t.Error("not ready")
	}
	stop()
	r.must(exitFailed, "holds a node already", r.node(true), r.args("found", "--stay", "--listen", freePort, "--out", r.path("founder"), "--bootstrap", r.path("bootstrap"), "--policy", r.path("policy"))...)
}

// TestTDXRestores: one process restores a domain that has lost all its nodes from the
// files that people put there meanwhile.
func TestTDXRestores(t *testing.T) {
	t.Parallel()
	d := trustedtest.NewForgetful(t, 3, governtest.Recoverable(t))
	saved := d.Nodes[0].Backup()
	for _, n := range d.Nodes {
		_ = n.Stop()
	}
	machine, err := simtee.Open(d.Nodes[0].Machine().Fuses)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: t.TempDir(), machine: machine, rulers: d.Rulers}
	r.write("charter", d.Charter)
	r.write("backup", saved)
	run := r.tdx("recover", "--stay", "--backup", r.path("backup"), "--out", r.path("shown"), "--recovery", r.path("recovery"),
		"--share", r.path("one"), "--share", r.path("two"))
	await(t, "it shows itself", func() bool { return strings.Contains(run.log.String(), `"msg":"surveyed"`) })
	b, err := os.ReadFile(r.path("shown"))
	if err != nil {
		t.Fatal(err)
	}
	shown, err := backup.ParseRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	c := &server.Claimant{Request: *shown}
	r.write("recovery", r.recovery(d.Rulers))
	r.write("one", d.Hand(saved, c, d.Rulers.Holders[0]))
	await(t, "it waits for a share", func() bool { return strings.Contains(run.log.String(), `"files":"`+r.path("two")+`"`) })
	r.write("two", d.Hand(saved, c, d.Rulers.Holders[1]))
	at := run.serves(t)
	if s := get(t, at); s.Ready || s.Voters != 1 || s.DomainID != shown.Domain.String() {
		t.Errorf("%+v", s)
	}
	if _, text := ask(t, at, http.MethodGet, "/ehsm?Action=Enroll", ""); !strings.Contains(text, `"code":503`) {
		t.Errorf("/ehsm: %s", text)
	}
}
