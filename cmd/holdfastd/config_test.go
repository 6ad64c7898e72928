package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/host/config"
)

// TestConfigMembers: a file can say what flags can, and nothing else.
func TestConfigMembers(t *testing.T) {
	for _, command := range config.Commands() {
		flags := []string{"command"}
		new(settings).flags(command).VisitAll(func(f *flag.Flag) { flags = append(flags, f.Name) })
		slices.Sort(flags)
		flags = slices.DeleteFunc(flags, func(name string) bool {
			return name == "config" || command == "recover" && (name == "join" || name == "approval") // which it refuses
		})
		if names := config.Names(command); !slices.Equal(names, flags) {
			t.Errorf("%s: the file has %q, the command line %q", command, names, flags)
		}
	}
}

// TestConfig: every member reaches its flag, and the command line goes before it.
func TestConfig(t *testing.T) {
	r := newRig(t)
	r.write("config", []byte(`{"dir": "D", "charter": "C", "listen": ":1", "metrics": ":2", "peer-listen": ":3", "peer-address": "p:3", "name": "n",
"join": ["a:1", "b:2"], "approval": "f", "pcs": "https://p", "collateral-cache": "k", "audit": ["x=stdout", "y=file:z"], "log-level": "warn"}`))
	var n node
	if _, err := n.parse([]string{"serve", "--config", r.path("config")}); err != nil {
		t.Fatal(err)
	}
	want := settings{dir: "D", charter: "C", listen: ":1", metrics: ":2", pcs: "https://p", cache: "k", audit: []string{"x=stdout", "y=file:z"},
		config: r.path("config"), level: "warn", peers: peering{listen: ":3", address: "p:3", name: "n", join: []string{"a:1", "b:2"}, approval: "f"}}
	if got := fixed(&want, &n.set); len(got) > 0 || n.set.level != "warn" || n.set.pcs != want.pcs || n.set.cache != want.cache {
		t.Errorf("%+v, want %+v", n.set, want)
	}
	n = node{}
	if _, err := n.parse([]string{"serve", "--listen", ":7", "--join", "c:3", "--config", r.path("config")}); err != nil {
		t.Fatal(err)
	}
	if n.set.listen != ":7" || !slices.Equal(n.set.peers.join, []string{"c:3"}) || n.set.dir != "D" {
		t.Errorf("the command line does not go before the file: %+v", n.set)
	}
}

// TestConfigRefused: what is wrong with a file ends the program as a wrong command
// line does, before anything is opened.
func TestConfigRefused(t *testing.T) {
	for text, says := range map[string]string{
		`{"dir": "d", "charter": "c", "listn": ":1"}`: "listen",
		`{"dir": "d", "charter": "c", "dir": "e"}`:    "twice",
		`{"dir": "d"}`: "needs --dir and --charter",
		`{"dir": "d", "charter": "c", "join": ["a:1"]}`:                                       "join without peer-listen",
		`{"dir": "d", "charter": "c", "platform": "simulated"}`:                               "platform",
		`{"dir": "d", "charter": "c", "development": "true"}`:                                 "development",
		`{"dir": "d", "charter": "c", "collateral-bundle": "b", "pcs": "https://pccs.local"}`: "in place of",
		`{"dir": "d", "charter": "c", "command": "dev"}`:                                      "none of found, serve",
		`{"dir": "d", "charter": "c", "command": ["serve"]}`:                                  "command has to be a text",
		`{"dir": "d", "charter": "c", "command": "found", "listen": ":1"}`:                    "listen without stay",
		`{"dir": "d", "charter": "c", "command": "found", "join": ["a:1"]}`:                   "no setting of the command",
		`{"dir": "d", "charter": "c", "bootstrap": "b", "policy": "p"}`:                       "no setting of the command",
		`{"dir": "d", "charter": "c", "command": "serve", "command": "found"}`:                "twice",
	} {
		r := newRig(t)
		r.write("config", []byte(text))
		r.must(exitUsage, says, r.node(true), "serve", "--config", r.path("config"))
		r.must(exitUsage, says, r.node(true), "--config", r.path("config"))
	}
	r := newRig(t)
	r.must(exitUsage, "no such file", r.node(true), "serve", "--config", r.path("none"))
	r.must(exitUsage, "no such file", r.node(true), "--config="+r.path("none"))
	r.must(exitUsage, "no command", r.node(true), "--config")
	r.write("config", []byte(`{"dir": "d", "charter": "c", "command": "found", "out": "o"}`))
	r.must(exitUsage, `for the command \"found\"`, r.node(true), "serve", "--config", r.path("config"))
	for text, says := range map[string]string{
		`{"dir": "d", "charter": "c", "command": "found"}`:   "found needs --out",
		`{"dir": "d", "charter": "c", "command": "survey"}`:  "survey needs --out",
		`{"dir": "d", "charter": "c", "command": "recover"}`: "recover",
		`{"command": "recover"}`:                             "recover needs --dir and --charter",
	} {
		r.write("config", []byte(text))
		r.must(exitUsage, says, r.node(true), "--config", r.path("config"))
	}
}

// TestLifeByFile: a line that is always the same founds a domain in its two steps,
// and serves, as the file says; before that it says what is missing.
func TestLifeByFile(t *testing.T) {
	r := newRig(t)
	line := []string{"--config", r.path("config")}
	file := func(members map[string]any) {
		members["dir"], members["charter"], members["pcs"] = r.path("node"), r.path("charter"), nothingPublished(t)
		b, err := json.Marshal(members)
		if err != nil {
			t.Fatal(err)
		}
		r.write("config", b)
	}
	file(map[string]any{"listen": freePort})
	r.must(exitFailed, "found the domain with", r.node(true), line...)
	file(map[string]any{"command": "found", "out": r.path("founder")})
	r.must(exitOK, `"msg":"prepared"`, r.node(true), line...)
	file(map[string]any{"listen": freePort})
	r.must(exitFailed, "found --bootstrap FILE", r.node(true), line...)
	r.sign()
	file(map[string]any{"command": "found", "bootstrap": r.path("bootstrap"), "policy": r.path("policy"), "name": []string{"kms.example", "127.0.0.1"}})
	r.must(exitOK, `"msg":"founded"`, r.node(true), line...)
	r.must(exitFailed, "holds a node already", r.node(true), line...)
	file(map[string]any{"command": "serve", "listen": freePort})
	served, ended := make(chan place, 1), make(chan int, 1)
	n := r.node(true)
	n.serving = func(p place) { served <- p }
	ctx, stop := contextOf(t)
	go func() { ended <- run(ctx, line, &bytes.Buffer{}, n) }()
	select {
	case at := <-served:
		if s := get(t, at); !s.Ready {
			t.Errorf("%+v", s)
		}
	case status := <-ended:
		t.Fatalf("status %d\n%s", status, &r.log)
	}
	stop()
	if status := <-ended; status != exitOK {
		t.Errorf("status %d\n%s", status, &r.log)
	}
}

// until waits for a text in the log of a program that still runs.
func until(t *testing.T, log *lockedBuffer, text string) {
	t.Helper()
	for range 1000 {
		if strings.Contains(log.String(), text) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("no %q in:\n%s", text, log)
}

// TestReload: the log's level changes while the node serves, what waits for the
// next start is named, and a file with a fault changes nothing.
func TestReload(t *testing.T) {
	r := newRig(t)
	r.found()
	file := func(level, metrics string) {
		b, err := json.Marshal(map[string]any{"dir": r.path("node"), "charter": r.path("charter"), "pcs": nothingPublished(t), "listen": freePort, "log-level": level, "metrics": metrics})
		if err != nil {
			t.Fatal(err)
		}
		r.write("config", b)
	}
	file("info", freePort)
	var log lockedBuffer
	level, hup := new(slog.LevelVar), make(chan os.Signal, 1)
	n := r.node(true)
	n.log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: level}))
	n.hup, n.level = hup, level
	served, ended := make(chan place, 1), make(chan int, 1)
	n.serving = func(p place) { served <- p }
	ctx, stop := contextOf(t)
	go func() { ended <- run(ctx, []string{"serve", "--config", r.path("config")}, &bytes.Buffer{}, n) }()
	select {
	case <-served:
	case status := <-ended:
		t.Fatalf("status %d\n%s", status, &log)
	}
	r.write("config", []byte(`{"log-level": "debug", "listn": ":1"}`))
	hup <- syscall.SIGHUP
	until(t, &log, "nothing was reloaded")
	if level.Level() != slog.LevelInfo {
		t.Error("a file with a fault changed the level")
	}
	file("debug", "127.0.0.1:1")
	hup <- syscall.SIGHUP
	until(t, &log, `"msg":"reloaded","log_level":"debug","collateral_replaced":true,"needs_restart":["metrics"]`)
	if level.Level() != slog.LevelDebug {
		t.Errorf("level %v", level.Level())
	}
	stop()
	if status := <-ended; status != exitOK {
		t.Errorf("status %d\n%s", status, &log)
	}
}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	return ctx, stop
}

// A lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
