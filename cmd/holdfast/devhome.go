package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"

	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/wallclock"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A devHome is the folder of a domain for development. The owner's key and the
// charter lie apart from the node's state: so state that is missing is noticed.
type devHome struct {
	dir       string
	temporary bool
	tuning    devTuning
}

// devTuning makes a node's files small, for tests of what happens at their ends.
type devTuning struct {
	SnapshotEvery int `hidden:"" help:"Log entries between snapshots. Default: as in production."`
	SegmentSize   int `hidden:"" help:"Bytes of a log file. Default: as in production."`
}

func (t devTuning) flags() []string {
	return []string{"--snapshot-every", strconv.Itoa(t.SnapshotEvery), "--segment-size", strconv.Itoa(t.SegmentSize)}
}

const (
	charterFile     = "charter.json"
	ownerFile       = "owner.key" // would sign policies; nothing reads it yet
	fusesDir        = "fuses"     // the simulated machine
	nodeDir         = "node"      // sealed state
	caFile          = "ca.pem"
	credentialsName = "credentials.json"
	logFile         = "node.log"
)

func (h *devHome) path(name string) string { return filepath.Join(h.dir, name) }

// leave removes a temporary home.
func (h *devHome) leave() error {
	if !h.temporary {
		return nil
	}
	return os.RemoveAll(h.dir)
}

// found founds the domain, unless the folder holds one. Everything is made in
// a folder beside it, which takes its place in one rename: a start that is cut
// short leaves nothing half there.
func (h *devHome) found(ctx context.Context) error {
	switch empty, err := h.empty(); {
	case err != nil:
		return err
	case !empty:
		return h.check()
	}
	parent := filepath.Dir(filepath.Clean(h.dir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return because(err, "choose another --dir", "making the folder")
	}
	draft, err := os.MkdirTemp(parent, ".holdfast-founding-")
	if err != nil {
		return because(err, "choose another --dir", "making the folder")
	}
	defer os.RemoveAll(draft) // nothing is left of it once it is renamed
	if err := (&devHome{dir: draft, tuning: h.tuning}).fill(ctx); err != nil {
		return err
	}
	if err := os.Remove(h.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return because(err, "choose another --dir", "taking the folder's place")
	}
	if err := os.Rename(draft, h.dir); err != nil {
		return because(err, "choose another --dir", "taking the folder's place")
	}
	return nil
}

func (h *devHome) empty() (bool, error) {
	entries, err := os.ReadDir(h.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, because(err, "choose another --dir", "opening the folder")
	}
	return len(entries) == 0, nil
}

// check refuses a folder that is something else, or that lacks its charter.
func (h *devHome) check() error {
	if _, err := os.Stat(h.path(charterFile)); err == nil {
		return nil
	}
	if _, err := os.Stat(h.path(nodeDir)); err == nil {
		return kms.Errorf(kms.Damaged, "the folder holds a node's state, but not the charter of its domain").
			WithFile(h.path(charterFile)).WithHint("put the charter back, or choose another --dir")
	}
	return problemf("choose an empty or new folder with --dir", "%s is not empty and holds no domain", h.dir)
}

// fill founds a domain in an empty folder.
func (h *devHome) fill(ctx context.Context) error {
	owner, err := h.newOwner()
	if err != nil {
		return err
	}
	charter := &govern.Charter{Version: govern.CharterVersion, Name: "dev", Owner: owner, RestartMode: govern.Sealed}
	if err := os.WriteFile(h.path(charterFile), charter.Canonical(), 0o644); err != nil {
		return err
	}
	platform, err := simtee.Create(h.path(fusesDir))
	if err != nil {
		return err
	}
	d, err := disk.Create(h.path(nodeDir))
	if err != nil {
		return err
	}
	err = server.Found(ctx, server.Config{Platform: platform, Disk: d, Clock: wallclock.Clock{}, Charter: charter.Canonical(),
		Mount: mount, Logger: slog.New(slog.DiscardHandler), SegmentSize: h.tuning.SegmentSize})
	return errors.Join(err, d.Close())
}

// newOwner makes the owner's key and keeps it beside the charter.
func (h *devHome) newOwner() (govern.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return govern.PublicKey{}, err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return govern.PublicKey{}, err
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	if err := os.WriteFile(h.path(ownerFile), block, 0o600); err != nil {
		return govern.PublicKey{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return govern.PublicKey{}, err
	}
	return govern.ParsePublicKey(der)
}

func (h *devHome) readCredentials() (credentialsFile, error) {
	var c credentialsFile
	b, err := readPrivate(h.path(credentialsName))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, kms.Errorf(kms.Damaged, "not a credentials file").WithFile(h.path(credentialsName))
	}
	return c, nil
}
