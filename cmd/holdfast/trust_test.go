package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// newAttestedTerminal makes a terminal before a real node, with the charter of
// its domain in charter.json and no credential.
func newAttestedTerminal(t *testing.T) (*terminal, *trustedtest.Node, string) {
	t.Helper()
	d := trustedtest.NewDomain(t, 1)
	node := d.Nodes[0]
	node.Edit = func(c *server.Config) { c.Mount = program().Handler }
	node.Restart()
	endpoint := node.Serve(listen.Config{}, nil)
	term := &terminal{t: t, dir: t.TempDir(), env: map[string]string{}}
	term.env["HOLDFAST_CREDENTIALS"] = term.path("credentials.json")
	term.write("charter.json", d.Charter, 0o644)
	return term, node, endpoint.URL
}

func TestTrust(t *testing.T) {
	term, node, url := newAttestedTerminal(t)
	args := []string{"trust", url, "--charter", term.path("charter.json"), "--out", term.path("ca.pem")}

	said := term.fails(exitFailed, "", args...)
	if !strings.Contains(said, "simulated") || !strings.Contains(said, "--allow-simulated") || exists(term.path("ca.pem")) {
		t.Errorf("a simulated node: %q", said)
	}
	printed := term.ok("", append(args, "--allow-simulated")...)
	for _, want := range []string{"SIMULATED", "serial 1", "does not attest", node.Server().Status().DomainID.String()} {
		if !strings.Contains(printed, want) {
			t.Errorf("%q is not in\n%s", want, printed)
		}
	}
	if got := term.read("ca.pem"); got != string(node.Server().CA()) {
		t.Errorf("wrote\n%s", got)
	}
	if info, err := os.Stat(term.path("ca.pem")); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if pem := term.ok("", "trust", url, "--charter", term.path("charter.json"), "--out", "-", "--allow-simulated"); pem != term.read("ca.pem") {
		t.Errorf("printed %q", pem)
	}
	doc := term.json("", append(args, "--allow-simulated")...)
	if doc["simulated"] != true || doc["domain_id"] != node.Server().Status().DomainID.String() || doc["policy"].(map[string]any)["serial"] != 1.0 ||
		doc["measurement"].(map[string]any)["mrenclave"] == "" || doc["meaning"] == "" {
		t.Errorf("%v", doc)
	}
	curl(t, url, term.path("ca.pem"))
}

// curl calls the node with the CA alone, as other programs do.
func curl(t *testing.T, url, ca string) {
	t.Helper()
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Log("SKIPPED: there is no curl on this machine, so nothing shows that it takes the CA")
		return
	}
	out, err := exec.Command(path, "--silent", "--show-error", "--noproxy", "*", "--cacert", ca, url+"/status").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(`"domain_id"`)) {
		t.Errorf("curl: %v: %s", err, out)
	}
	if out, err := exec.Command(path, "--silent", "--noproxy", "*", url+"/status").CombinedOutput(); err == nil {
		t.Errorf("curl without the CA: %s", out)
	}
}

func TestTrustRefuses(t *testing.T) {
	term, _, url := newAttestedTerminal(t)
	other := governtest.New(t)
	term.write("other.json", other.Charter.Canonical(), 0o644)
	term.write("nobody.json", []byte(`{}`), 0o644)
	term.write("mess.json", []byte(`{"name":`), 0o644)
	tests := map[string]struct {
		args []string
		want string
	}{
		"another charter":      {[]string{"--charter", term.path("other.json")}, "charter is another one"},
		"no charter":           {[]string{"--charter", term.path("none.json")}, "reading the charter"},
		"a charter that's not": {[]string{"--charter", term.path("mess.json")}, "charter"},
		"another domain":       {[]string{"--domain", strings.Repeat("0a", 32)}, "another domain"},
		"half a domain":        {[]string{"--domain", "0a"}, "not the id of a domain"},
		"a later policy":       {[]string{"--min-serial", "2"}, "policy 1, and you asked for 2"},
		"another program":      {[]string{"--policy", term.path("nobody.json")}, "no identity for sgx"},
		"no folder":            {[]string{"--out", term.path("none/ca.pem")}, "writing the CA"},
		"standard output":      {[]string{"--out", "-", "--json"}, "both want standard output"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			term.t = t
			args := append([]string{"trust", url, "--allow-simulated"}, tt.args...)
			for _, f := range [][2]string{{"--charter", term.path("charter.json")}, {"--out", term.path("ca.pem")}} {
				if !strings.Contains(strings.Join(tt.args, " "), f[0]) {
					args = append(args, f[:]...)
				}
			}
			o := term.run("", args...)
			if o.status == exitOK || !strings.Contains(o.stderr, tt.want) || !strings.Contains(o.stderr, "hint") {
				t.Errorf("%d, %q, want %q and a hint", o.status, o.stderr, tt.want)
			}
			if exists(term.path("ca.pem")) {
				t.Error("it wrote a CA all the same")
			}
		})
	}
}

// TestManInTheMiddle relays genuine evidence and ends TLS himself.
func TestManInTheMiddle(t *testing.T) {
	term, _, url := newAttestedTerminal(t)
	m := newMiddle(t, strings.TrimPrefix(url, "https://"))
	charter := []string{"--charter", term.path("charter.json"), "--allow-simulated"}

	said := term.fails(exitFailed, "", append([]string{"trust", m.url, "--out", term.path("ca.pem")}, charter...)...)
	if !strings.Contains(said, "not trusted") || !strings.Contains(said, "not from the authority") || exists(term.path("ca.pem")) {
		t.Errorf("trust: %q", said)
	}
	if m.relayed.Load() == 0 {
		t.Error("nothing was relayed: the test shows nothing")
	}
	said = term.fails(exitFailed, "", append([]string{"enroll", "--url", m.url}, charter...)...)
	if !strings.Contains(said, "nothing was sent") || exists(term.path("credentials.json")) {
		t.Errorf("enroll: %q", said)
	}
	term.ok("", append([]string{"enroll", "--url", url}, charter...)...)
	term.ok("", "key", "create")
	if said := term.fails(exitFailed, "", "key", "create", "--url", m.url); !strings.Contains(said, "nothing was sent") {
		t.Errorf("key create: %q", said)
	}
	if keys := term.json("", "key", "list")["keys"].([]any); len(keys) != 1 {
		t.Errorf("%d keys, want 1", len(keys))
	}
}

// A middle ends TLS with a certificate of its own, for the name of the node, and
// passes on what it reads.
type middle struct {
	url     string
	relayed atomic.Int32 // bytes that the node answered
}

func newMiddle(t *testing.T, node string) *middle {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	m := &middle{url: "https://" + l.Addr().String()}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { m.relay(in, node) })
		}
	})
	return m
}

func (m *middle) relay(in net.Conn, node string) {
	defer in.Close()
	out, err := tls.Dial("tcp", node, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return
	}
	defer out.Close()
	back := make(chan struct{})
	go func() {
		io.Copy(io.MultiWriter(in, m), out)
		in.Close()
		close(back)
	}()
	io.Copy(out, in)
	out.Close()
	<-back
}

// Write counts what the node answers.
func (m *middle) Write(b []byte) (int, error) {
	m.relayed.Add(int32(len(b)))
	return len(b), nil
}

// TestCharterInCredentials: once enrolled under a charter, every command attests,
// and neither a variable nor a flag for a CA changes that.
func TestCharterInCredentials(t *testing.T) {
	term, node, url := newAttestedTerminal(t)
	term.ok("", "enroll", "--url", url, "--charter", term.path("charter.json"), "--allow-simulated")
	if c := term.credentials(); c.CA != "" || len(c.Charter) == 0 || !c.AllowSimulated {
		t.Errorf("wrote %+v", c)
	}
	term.ok("", "status")
	term.ok("", "bench", "--op", "mac", "--duration", "100ms", "--warmup", "10ms", "--conns", "1")
	term.env["HOLDFAST_CA"] = term.write("ca.pem", node.Server().CA(), 0o644)
	m := newMiddle(t, strings.TrimPrefix(url, "https://"))
	if said := term.fails(exitFailed, "", "status", "--url", m.url); !strings.Contains(said, "not trusted") {
		t.Errorf("%q", said)
	}
	if said := term.fails(exitUsage, "", "status", "--ca", term.path("ca.pem")); !strings.Contains(said, "leave --ca out") {
		t.Errorf("%q", said)
	}

	// From the environment, and beside a charter in a file of its own.
	bare := term.with(map[string]string{"HOLDFAST_CREDENTIALS": term.path("none/credentials.json"), "HOLDFAST_URL": url,
		"HOLDFAST_APPID": term.credentials().AppID, "HOLDFAST_APIKEY": term.credentials().APIKey, "HOLDFAST_CHARTER": term.path("charter.json")})
	if said := bare.fails(exitFailed, "", "status"); !strings.Contains(said, "simulated") {
		t.Errorf("%q", said)
	}
	bare.ok("", "status", "--allow-simulated")
	if said := bare.with(map[string]string{"HOLDFAST_CHARTER": ""}).fails(exitUsage, "", "status", "--allow-simulated"); !strings.Contains(said, "--charter") {
		t.Errorf("%q", said)
	}
	c := term.credentials()
	c.Charter = []byte(`"charter.json"`)
	if err := writeCredentials(term.path("credentials.json"), c); err != nil {
		t.Fatal(err)
	}
	term.ok("", "status")
}

// TestSuperseded: what one command saw, the next one knows.
func TestSuperseded(t *testing.T) {
	term, node, url := newAttestedTerminal(t)
	term.ok("", "enroll", "--url", url, "--charter", term.path("charter.json"), "--allow-simulated")
	charter, err := govern.ParseCharter([]byte(term.read("charter.json")))
	if err != nil {
		t.Fatal(err)
	}
	known := seen{term.path("domains")}
	marks, err := known.Recall(charter.Digest())
	if err != nil || len(marks) != 1 || marks[0].Domain != node.Server().Status().DomainID || marks[0].Serial != 1 {
		t.Fatalf("%+v, %v", marks, err)
	}
	later := marks[0]
	later.Serial, later.Policy = 9, govern.Digest{9}
	if err := known.Remember(later); err != nil {
		t.Fatal(err)
	}
	if said := term.fails(exitFailed, "", "status"); !strings.Contains(said, "policy 9 was seen before") || !strings.Contains(said, "hint: ") {
		t.Errorf("%q", said)
	}
}

func TestSeen(t *testing.T) {
	k := seen{filepath.Join(t.TempDir(), "domains")}
	if marks, err := k.Recall(govern.Digest{1}); len(marks) != 0 || err != nil {
		t.Errorf("nothing seen: %v, %v", marks, err)
	}
	want := []client.Mark{
		{Charter: govern.Digest{1}, Domain: kms.DomainID{2}, Serial: 1, Policy: govern.Digest{3}},
		{Charter: govern.Digest{1}, Domain: kms.DomainID{2}, Serial: govern.MaxSerial, Policy: govern.Digest{0xab}, Amendments: 7, LastAmendment: govern.Digest{9}},
	}
	for _, m := range append(want, want...) {
		if err := k.Remember(m); err != nil {
			t.Fatal(err)
		}
	}
	marks, err := k.Recall(govern.Digest{1})
	if err != nil || len(marks) != 2 || marks[0] != want[0] || marks[1] != want[1] {
		t.Errorf("%v, %v", marks, err)
	}
	if marks, err := k.Recall(govern.Digest{5}); len(marks) != 0 || err != nil {
		t.Errorf("another charter: %v, %v", marks, err)
	}
	folder := filepath.Join(k.dir, govern.Digest{1}.String())
	for _, name := range []string{"x", "0-0-0", markName(want[0]) + "0", strings.ToUpper(markName(want[1])), strings.Replace(markName(want[0]), "-1-", "-01-", 1)} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := k.Recall(govern.Digest{1}); kms.KindOf(err) != kms.Damaged || kms.HintOf(err) == "" {
			t.Errorf("%s: %v, want %v", name, err, kms.Damaged)
		}
		os.Remove(path)
	}
	blocked := seen{filepath.Join(folder, markName(want[0]))} // a file
	if err := blocked.Remember(want[0]); kms.KindOf(err) != kms.Unavailable {
		t.Errorf("%v, want %v", err, kms.Unavailable)
	}
	if _, err := blocked.Recall(govern.Digest{1}); err == nil {
		t.Error("a folder that is a file was read")
	}
}

func TestFetchEvidence(t *testing.T) {
	_, _, url := newAttestedTerminal(t)
	ev, err := fetchEvidence(t.Context(), url)
	if err != nil || ev.TEE != attest.SGX {
		t.Fatalf("%s, %v", ev.TEE, err)
	}
	if claims, err := teeVerifiers.Prove(ev, time.Now()); err != nil || !claims.Simulated {
		t.Errorf("%+v, %v", claims, err)
	}
	if _, err := fetchEvidence(t.Context(), "https://127.0.0.1:1"); kms.KindOf(err) != kms.Unavailable {
		t.Errorf("nobody there: %v", err)
	}
}
