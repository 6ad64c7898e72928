package main

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
)

// TestSockets: a node listens where it did before, unless it is told otherwise.
func TestSockets(t *testing.T) {
	home := &devHome{dir: t.TempDir()}
	open := func(r devRun) devAddresses {
		t.Helper()
		r.home, r.logger = home, slog.New(slog.DiscardHandler)
		s, err := r.openSockets()
		if err != nil {
			t.Fatal(err)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
		return s.at
	}
	first := open(devRun{child: true, at: devPlacing{devListening: devListening{Name: "one"}}})
	for _, addr := range []string{first.API, first.Peers} {
		if host, port, err := net.SplitHostPort(addr); err != nil || host != "127.0.0.1" || port == "0" {
			t.Errorf("%+v", first)
		}
	}
	if again := open(devRun{}); again != first {
		t.Errorf("listens at %+v, and did at %+v", again, first)
	}
	moved := open(devRun{at: devPlacing{devListening: devListening{Listen: "127.0.0.1:0", PeerListen: "127.0.0.1:0", PeerAddress: "kms-1.example:9001", Name: "two"}}})
	if moved.API == first.API || moved.Peers == first.Peers || moved.PeerAddress != "kms-1.example:9001" || moved.Name != "two" {
		t.Errorf("listens at %+v, and did at %+v", moved, first)
	}
	if again := open(devRun{}); again != moved {
		t.Errorf("listens at %+v, and did at %+v", again, moved)
	}

	taken, err := net.Listen("tcp", moved.Peers)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := devRun{home: home, logger: slog.New(slog.DiscardHandler)}
	if _, err := r.openSockets(); !errors.Is(err, kms.Unavailable) || !strings.Contains(hintOf(err), "--peer-listen") {
		t.Errorf("on a port that is taken: %v", err)
	}
	if other := open(devRun{child: true}); other.Peers == moved.Peers || other.API != moved.API {
		t.Errorf("listens at %+v, and did at %+v", other, moved)
	}
	if err := os.WriteFile(home.path(addressesFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.openSockets(); !errors.Is(err, kms.Damaged) || hintOf(err) == "" {
		t.Errorf("on a file that is none: %v", err)
	}
}

// TestDevDomain: which nodes there are, and which are to be.
func TestDevDomain(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".", "node2", "node3"} {
		h := devHome{dir: filepath.Join(dir, name)}
		if err := os.MkdirAll(h.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := h.writeDocument(charterFile, []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	for want, names := range map[int][]string{
		0: {".", "node2", "node3"},
		2: nil,
		3: {".", "node2", "node3"},
		5: {".", "node2", "node3", "node4", "node5"},
	} {
		d, err := newDevDomain(nil, &devHome{dir: dir}, want, freeListen)
		if (err != nil) != (names == nil) || err != nil && (statusOf(err) != exitUsage || hintOf(err) == "") {
			t.Errorf("%d nodes: %v", want, err)
		}
		if err != nil {
			continue
		}
		var got []string
		for _, h := range d.homes {
			name, err := filepath.Rel(dir, h.dir)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, name)
		}
		if diff := cmp.Diff(names, got); diff != "" {
			t.Errorf("%d nodes: %s", want, diff)
		}
	}
}
