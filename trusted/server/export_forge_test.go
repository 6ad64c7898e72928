package server

import (
	"bytes"
	"crypto/rand"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

type fixedClock struct {
	Clock
	at time.Time
}

func (c fixedClock) Now() time.Time { return c.at }

// ForgeBackup makes, from what a genuine backup says in clear and nothing else, a
// backup of the same domain under a master secret that its maker knows. What it shows
// for evidence prove puts into the header.
func ForgeBackup(genuine []byte, term, index uint64, prove func(forged, genuine *backup.Header) error) ([]byte, error) {
	h, _, err := backup.Read(bytes.NewReader(genuine))
	if err != nil {
		return nil, err
	}
	charter, err := govern.ParseCharter(h.Charter)
	if err != nil {
		return nil, err
	}
	f := &founding{node: &Node{charter: charter}}
	if f.docs, err = govern.Found(charter, h.Bootstrap, h.Policy1); err != nil {
		return nil, err
	}
	f.who = &identity{node: f.docs.Bootstrap.Founder, domain: f.docs.Domain}
	known := secret.Copy(bytes.Repeat([]byte{0x41}, root.SecretSize))
	cfg := Config{Clock: fixedClock{at: h.Time}, Logger: slog.New(slog.DiscardHandler)}
	m, err := f.forgedState(cfg, known, h, term, index)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, root: root.New(root.NewSet(known), f.docs.Domain, root.HoldfastLabels)}
	forged := backupHeader(m.View())
	if err := prove(forged, h); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = n.writeBackup(m.View(), forged, &out)
	return out.Bytes(), err
}

// forgedState is that of a domain just founded on a secret that the forger chose.
func (f *founding) forgedState(cfg Config, known secret.Bytes, h *backup.Header, term, index uint64) (*state.Machine, error) {
	cmd, err := f.command(cfg, known, h.Bootstrap, h.Policy1)
	if err != nil {
		return nil, err
	}
	cmd.Founder = nil
	id := make([]byte, 16)
	rand.Read(id)
	b, err := proto.Marshal(&command.Command{Id: id, Time: h.Time.UnixNano(), Op: &command.Command_Found{Found: cmd}})
	if err != nil {
		return nil, err
	}
	m := state.New()
	m.Term(term)
	if r := m.Apply(index, b); r.Err != nil {
		return nil, r.Err
	}
	m.Publish()
	return m, nil
}
