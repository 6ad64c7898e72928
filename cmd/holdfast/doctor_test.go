package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/host/config"
	"github.com/holdfast-kms/holdfast/kms"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// found reports whether an examination has a finding, with advice where it is none that is ok.
func (e *examination) found(check string, g grade, what string) error {
	for _, f := range e.Findings {
		if f.Check == check && f.Grade == g && strings.Contains(f.What, what) {
			return nil
		}
	}
	return fmt.Errorf("no %s %q with %q in %+v", g, check, what, e.Findings)
}

func members(n int) kms.Status {
	st := kms.Status{Ready: true, Secure: true, DomainTime: noon, PolicyUntil: noon.Add(300 * 24 * time.Hour), Recoverable: true, RecoveryShares: 3, RecoveryThreshold: 2,
		LastBackup: noon.Add(-time.Hour), Voters: n, Node: kms.NodeID{1}, Leader: kms.NodeID{1}}
	for i := range n {
		st.Nodes = append(st.Nodes, kms.NodeInfo{ID: kms.NodeID{byte(i + 1)}, Name: fmt.Sprint("kms-", i), Role: kms.RoleVoter, Self: i == 0, Connected: true, Socket: "h:1", ValidUntil: noon.Add(20 * 24 * time.Hour)})
	}
	return st
}

// TestDoctorStatus: each finding about a domain, and nothing where all is well.
func TestDoctorStatus(t *testing.T) {
	for _, tt := range []struct {
		name   string
		nodes  int
		change func(*kms.Status)
		check  string
		grade  grade
		what   string
	}{
		{"well", 3, func(*kms.Status) {}, "quorum", gradeOK, "3 of 3"},
		{"not ready", 3, func(s *kms.Status) { s.Ready, s.Reason = false, "aged" }, "ready", gradeFail, "aged"},
		{"simulated", 3, func(s *kms.Status) { s.Secure = false }, "secure", gradeWarn, "simulated"},
		{"clock", 3, func(s *kms.Status) { s.DomainTime = noon.Add(-time.Minute) }, "clock", gradeWarn, "-1m0s"},
		{"clock far off", 3, func(s *kms.Status) { s.DomainTime = noon.Add(time.Hour) }, "clock", gradeFail, "1h0m0s"},
		{"policy ends", 3, func(s *kms.Status) { s.PolicyUntil = noon.Add(time.Hour) }, "policy", gradeWarn, "ends"},
		{"policy ended", 3, func(s *kms.Status) { s.PolicyUntil = noon }, "policy", gradeFail, "ended"},
		{"waits", 3, func(s *kms.Status) {
			s.Nodes = append(s.Nodes, kms.NodeInfo{ID: kms.NodeID{9}, Role: kms.RoleWaiting})
		}, "peers", gradeWarn, "waits for an approval"},
		{"trouble", 3, func(s *kms.Status) { s.Nodes[2].Trouble = "its evidence is older" }, "peers", gradeWarn, "evidence is older"},
		{"no spare", 3, func(s *kms.Status) { s.Nodes[2].Trouble = "no channel" }, "quorum", gradeWarn, "2 of 3"},
		{"cut off", 3, func(s *kms.Status) { s.Nodes[1].Connected = false }, "peers", gradeWarn, "not connected"},
		{"majority lost", 3, func(s *kms.Status) { s.Nodes[1].Trouble, s.Nodes[2].Connected = "t", false }, "quorum", gradeFail, "1 of 3"},
		{"no leader", 3, func(s *kms.Status) { s.Leader = kms.NodeID{} }, "quorum", gradeFail, "no leader"},
		{"evidence ends", 3, func(s *kms.Status) { s.Nodes[1].ValidUntil = noon.Add(time.Hour) }, "peers", gradeWarn, "counts until"},
		{"one", 1, func(*kms.Status) {}, "quorum", gradeWarn, "one node"},
		{"two", 2, func(*kms.Status) {}, "quorum", gradeWarn, "two nodes"},
		{"no shares", 3, func(s *kms.Status) { s.Recoverable = false }, "recovery", gradeWarn, "no recovery shares"},
		{"no backup", 3, func(s *kms.Status) { s.LastBackup = time.Time{} }, "backup", gradeWarn, "none was ever made"},
		{"old backup", 3, func(s *kms.Status) { s.LastBackup = noon.Add(-30 * 24 * time.Hour) }, "backup", gradeWarn, "of 2026-10-23"},
		{"audit", 3, func(s *kms.Status) { s.Warnings = []string{`audit sink "main" takes nothing since noon`} }, "audit", gradeWarn, "takes nothing"},
		{"collateral", 3, func(s *kms.Status) { s.Warnings = []string{"the vendor's collateral ends soon"} }, "collateral", gradeWarn, "ends soon"},
		{"another warning", 3, func(s *kms.Status) { s.Warnings = []string{"new\x1b[2J"} }, "warning", gradeWarn, "new[2J"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, st := &examination{Worst: gradeOK}, members(tt.nodes)
			tt.change(&st)
			examineStatus(e, st, noon)
			if err := e.found(tt.check, tt.grade, tt.what); err != nil {
				t.Error(err)
			}
			if worst := map[bool]grade{true: tt.grade, false: e.Worst}[tt.name != "majority lost"]; e.Worst != worst {
				t.Errorf("worst %s, want %s: %+v", e.Worst, worst, e.Findings)
			}
			for _, f := range e.Findings {
				if f.Grade != gradeOK && f.Do == "" && len(st.Warnings) == 0 {
					t.Errorf("no advice: %+v", f)
				}
			}
		})
	}
}

// TestDoctorToldOnce: what doctor finds itself it does not repeat in the node's words.
func TestDoctorToldOnce(t *testing.T) {
	e, st := &examination{Worst: gradeOK}, members(2)
	st.Warnings = []string{"two nodes: the domain stops when either does; have a third one join"}
	examineStatus(e, st, noon)
	if e.found("warning", gradeWarn, "two nodes") == nil || e.found("quorum", gradeWarn, "two nodes") != nil {
		t.Errorf("%+v", e.Findings)
	}
}

func TestDoctorSecrets(t *testing.T) {
	for _, tt := range []struct {
		st    client.DomainStatus
		grade grade
		what  string
	}{
		{client.DomainStatus{Generation: 3}, gradeOK, "generation 3"},
		{client.DomainStatus{LastRotation: noon.Add(-time.Minute), MasterSecrets: kms.MasterSecrets{Left: 7}}, gradeOK, "7 secrets are still"},
		{client.DomainStatus{LastRotation: noon.Add(-2 * time.Hour), MasterSecrets: kms.MasterSecrets{Left: 7}}, gradeWarn, "7 secrets are not"},
		{client.DomainStatus{MasterSecrets: kms.MasterSecrets{NextAt: noon.Add(-2 * time.Hour)}}, gradeWarn, "overdue"},
		{client.DomainStatus{MasterSecrets: kms.MasterSecrets{Troubles: []string{"stuck"}}}, gradeWarn, "stuck"},
	} {
		e := &examination{Worst: gradeOK}
		examineSecrets(e, tt.st, noon)
		if err := e.found("master secrets", tt.grade, tt.what); err != nil {
			t.Error(err)
		}
	}
}

func TestDoctorProof(t *testing.T) {
	for _, tt := range []struct {
		change func(*attest.Claims)
		check  string
		grade  grade
		what   string
	}{
		{func(*attest.Claims) {}, "attestation", gradeOK, "policy 4"},
		{func(*attest.Claims) {}, "TCB", gradeOK, "up to date"},
		{func(c *attest.Claims) { c.Simulated = true }, "attestation", gradeWarn, "SIMULATED"},
		{func(c *attest.Claims) { c.Status, c.Advisories = attest.OutOfDate, []string{"SA-1"} }, "TCB", gradeWarn, "SA-1"},
		{func(c *attest.Claims) { c.ValidUntil = noon.Add(time.Hour) }, "collateral", gradeWarn, "ends"},
		{func(c *attest.Claims) { c.ValidUntil = noon }, "collateral", gradeFail, "ended"},
	} {
		v := &client.Verified{Policy: &govern.Policy{Serial: 4}, Claims: attest.Claims{TEE: attest.SGX, Status: attest.UpToDate, ValidFrom: noon.Add(-24 * time.Hour), ValidUntil: noon.Add(20 * 24 * time.Hour)}}
		tt.change(&v.Claims)
		e := &examination{Worst: gradeOK}
		examineProof(e, v, noon)
		if err := e.found(tt.check, tt.grade, tt.what); err != nil {
			t.Error(err)
		}
	}
}

func TestDoctorProbe(t *testing.T) {
	cert := func(from, until time.Duration) *x509.Certificate {
		return &x509.Certificate{NotBefore: noon.Add(from), NotAfter: noon.Add(until)}
	}
	day := 24 * time.Hour
	for _, tt := range []struct {
		p     probed
		check string
		grade grade
		what  string
	}{
		{probed{clock: noon, asked: noon}, "clock", gradeOK, "0s"},
		{probed{clock: noon.Add(time.Hour), asked: noon}, "clock", gradeFail, "1h"},
		{probed{certs: []*x509.Certificate{cert(-day, day)}}, "certificate", gradeOK, ""},
		{probed{certs: []*x509.Certificate{cert(-day, time.Hour)}}, "certificate", gradeWarn, "ends"},
		{probed{certs: []*x509.Certificate{cert(-day, -time.Hour)}}, "certificate", gradeFail, "ended"},
		{probed{certs: []*x509.Certificate{cert(time.Hour, day)}}, "certificate", gradeFail, "begins"},
		{probed{certs: []*x509.Certificate{cert(-day, day), cert(-day, 9000*day)}}, "CA", gradeOK, ""},
		{probed{certs: []*x509.Certificate{cert(-day, day), cert(-day, 30*day)}}, "CA", gradeWarn, "ends"},
	} {
		e := &examination{Worst: gradeOK}
		tt.p.examine(e, nil, noon)
		if err := e.found(tt.check, tt.grade, tt.what); err != nil {
			t.Error(err)
		}
	}
}

// TestDoctorMachine: what a configuration file names on this machine.
func TestDoctorMachine(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	charter := governtest.New(t).Charter.Canonical()
	for name, mode := range map[string]os.FileMode{"good": 0o700, "open": 0o777, "read": 0o755} {
		if err := os.Mkdir(at(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string][]byte{"charter": charter, "good/charter": charter, "bad": []byte("{}"), "bundle": nil} {
		if err := os.WriteFile(at(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := func(pairs ...string) (f config.File) {
		for i := 0; i < len(pairs); i += 2 {
			f = append(f, config.Setting{Name: pairs[i], Values: []string{pairs[i+1]}})
		}
		return f
	}
	for _, tt := range []struct {
		file  config.File
		now   time.Time
		check string
		grade grade
		what  string
	}{
		{set("dir", at("good"), "charter", at("charter")), time.Now(), "folder", gradeOK, "good"},
		{set("dir", at("good"), "charter", at("charter")), time.Now(), "charter", gradeOK, "domain"},
		{set("dir", at("good"), "charter", at("charter")), time.Now(), "collateral", gradeWarn, "memory alone"},
		{set(), time.Now(), "config", gradeWarn, "left to the command line"},
		{set("dir", at("none")), time.Now(), "folder", gradeFail, "is not there"},
		{set("dir", at("bad")), time.Now(), "folder", gradeFail, "not a folder"},
		{set("dir", at("open")), time.Now(), "folder", gradeFail, "written by others"},
		{set("dir", at("read")), time.Now(), "folder", gradeWarn, "read by others"},
		{set("dir", at("good"), "charter", at("good/charter")), time.Now(), "charter", gradeWarn, "own folder"},
		{set("charter", at("none")), time.Now(), "charter", gradeFail, "no such file"},
		{set("charter", at("bad")), time.Now(), "charter", gradeFail, "bad"},
		{set("collateral-bundle", at("bundle")), time.Now(), "collateral", gradeOK, "the bundle is of"},
		{set("collateral-bundle", at("bundle")), time.Now().Add(15 * 24 * time.Hour), "collateral", gradeWarn, "the bundle is of"},
		{set("collateral-bundle", at("none")), time.Now(), "collateral", gradeFail, "no such file"},
	} {
		e := &examination{Worst: gradeOK}
		examineMachine(e, tt.file, tt.now)
		if err := e.found(tt.check, tt.grade, tt.what); err != nil {
			t.Error(err)
		}
	}
}

func TestDoctorSpace(t *testing.T) {
	for _, tt := range []struct {
		free  uint64
		err   error
		grade grade
	}{{1 << 40, nil, gradeOK}, {spaceWarn - 1, nil, gradeWarn}, {spaceFail - 1, nil, gradeFail}, {0, nil, gradeFail}, {0, errors.New("denied"), gradeWarn}} {
		e := &examination{Worst: gradeOK}
		judgeSpace(e, "disk", "/d", tt.free, tt.err)
		if e.Worst != tt.grade {
			t.Errorf("%d, %v: %+v", tt.free, tt.err, e.Findings)
		}
	}
	e := &examination{Worst: gradeOK}
	judgeSpace(e, "disk", "/d", 0, fs.ErrNotExist)
	if len(e.Findings) > 0 {
		t.Errorf("%+v", e.Findings)
	}
	if free, err := freeSpace(t.TempDir()); err != nil && !errors.Is(err, errors.ErrUnsupported) || err == nil && free == 0 {
		t.Errorf("%d bytes, %v", free, err)
	}
}

// TestDoctorNode examines a real node, and one that is not there.
func TestDoctorNode(t *testing.T) {
	term := newNodeTerminal(t)
	o := term.run("", "doctor")
	for _, want := range []string{"ok    reach", "WARN  attestation", "give --charter", "ok    ready", "ok    clock", "ok    certificate", "ok    CA", "WARN  quorum", "ok    master secrets"} {
		if !strings.Contains(o.stdout, want) {
			t.Errorf("no %q in:\n%s%s", want, o.stdout, o.stderr)
		}
	}
	if o.status != exitFailed {
		t.Errorf("status %d with warnings, want 1", o.status)
	}
	j := term.run("", "doctor", "--json")
	if doc := term.document(j.stdout); doc["worst"] != "warn" || len(doc["findings"].([]any)) < 8 || j.status != exitFailed {
		t.Errorf("status %d: %v", j.status, doc)
	}
	gone := term.run("", "doctor", "--url", "https://127.0.0.1:1")
	if gone.status != 2 || !strings.Contains(gone.stdout, "FAIL  reach") || !strings.Contains(gone.stdout, "→ see that holdfastd runs") {
		t.Errorf("%+v", gone)
	}
	bad := term.write("bad.json", []byte("{\"listn\": 1}"), 0o600)
	if o := term.run("", "doctor", "--config", bad); o.status != 2 || !strings.Contains(o.stdout, `FAIL  config`) || !strings.Contains(o.stdout, "listen") {
		t.Errorf("%+v", o)
	}
}
