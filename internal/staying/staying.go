// Package staying is where a process that stays up meets the people who sign: it
// puts a file in their way, and waits for those that they put in its own. It is for
// `holdfastd` in a TEE and for `holdfast dev node` on the simulated platform.
//
// It decides nothing, and what it hands out is what it has read: who changes a file
// afterwards, or while it is read, changes nothing of that. The node verifies it, and
// what is refused is waited on: the right files may still come.
package staying

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/internal/revival"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

const (
	// glance is how often the files are looked at. What is handed out was the same at
	// two looks: a file is seldom taken that is being written.
	glance = 500 * time.Millisecond
	// again is after how long the same files are tried once more: what refused them
	// may have been for a time, as a vendor's service that does not answer.
	again = 30 * time.Second
)

// A File is one that is waited for.
type File struct {
	Path string
	Most int64 // bytes
}

// A Wait waits for files, again and again.
type Wait struct {
	Files []File
	// Tell is told, whenever it changes, which files are waited for, or why those that
	// are there were not taken.
	Tell func(missing []string, refused error)

	seen, handed [][]byte
	at           time.Time // when they were handed out
	told         string
}

// Next returns what the files hold once all are there and differ from what was
// handed out before, or that was long ago. refused is why that was not taken. The
// error is Unavailable: ctx has ended.
func (w *Wait) Next(ctx context.Context, refused error) ([][]byte, error) {
	for {
		now, missing, err := w.look()
		stands := w.handed != nil && slices.EqualFunc(now, w.handed, bytes.Equal)
		switch whole := len(missing) == 0 && err == nil; {
		case whole && stands && time.Since(w.at) < again:
			w.tell(nil, refused)
		case whole && w.seen != nil && slices.EqualFunc(now, w.seen, bytes.Equal):
			w.handed, w.at = now, time.Now()
			return now, nil
		case !whole:
			w.tell(missing, err)
		}
		if w.seen = now; len(missing) > 0 || err != nil {
			w.seen = nil
		}
		select {
		case <-ctx.Done():
			return nil, kms.Errorf(kms.Unavailable, "gave up waiting for what people sign: %w", ctx.Err()).WithHint("nothing is lost: begin again")
		case <-time.After(glance):
		}
	}
}

// look reads all files. One that is empty is about to be written.
func (w *Wait) look() (all [][]byte, missing []string, err error) {
	for _, f := range w.Files {
		b, err := f.read()
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(b) == 0 {
			missing = append(missing, f.Path)
		} else if err != nil {
			return nil, nil, err
		}
		all = append(all, b)
	}
	return all, missing, nil
}

func (f File) read() ([]byte, error) {
	const hint = "put the signed document there"
	info, err := os.Stat(f.Path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for who writes it
		return nil, kms.Errorf(kms.Invalid, "%s is no plain file", f.Path).WithHint(hint)
	}
	return revival.Read(f.Path, f.Most, hint)
}

func (w *Wait) tell(missing []string, refused error) {
	if said := fmt.Sprint(missing, refused); said != w.told && w.Tell != nil {
		w.told = said
		w.Tell(missing, refused)
	}
}

// Put writes a file for people, whole or not at all.
func Put(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".draft-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone once it is renamed
	_, err = f.Write(b)
	if err := errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func put(path string, b []byte, what string) error {
	if err := Put(path, b); err != nil {
		return kms.Errorf(kms.Unavailable, "writing %s: %w", what, err).WithHint("name a file that can be written with --out")
	}
	return nil
}

// A Founding names the files of a founding in one process.
type Founding struct {
	Out               string // what owner and signers look at
	Bootstrap, Policy string // what they signed
	Tell              func(missing []string, refused error)
	Shown             func(*server.Founder)
}

// Found founds the domain once the files are there that people sign, and starts the
// node: server.FoundStaying.
func (f Founding) Found(ctx context.Context, cfg server.Config) (*server.Node, error) {
	charter, err := govern.ParseCharter(cfg.Charter)
	if err != nil {
		return nil, err
	}
	wait := Wait{Files: []File{{f.Bootstrap, govern.MaxEnvelope}, {f.Policy, govern.MaxEnvelope}}, Tell: f.Tell}
	return server.FoundStaying(ctx, cfg, server.Ceremony[server.Founder, server.SignedFounding]{
		Show: func(s *server.Founder) error {
			if err := put(f.Out, s.Text(charter), "the founder's evidence"); err != nil {
				return err
			}
			if f.Shown != nil {
				f.Shown(s)
			}
			return nil
		},
		Await: func(ctx context.Context, refused error) (*server.SignedFounding, error) {
			got, err := wait.Next(ctx, refused)
			if err != nil {
				return nil, err
			}
			return &server.SignedFounding{Bootstrap: got[0], Policy: got[1]}, nil
		},
	})
}

// A Restoration names the files of a restoration in one process.
type Restoration struct {
	Backup, Out string   // what owner, signers and holders of shares look at
	Recovery    string   // what owner and signers signed
	Shares      []string // what holders handed to this node
	Tell        func(missing []string, refused error)
	Shown       func(*server.Claimant)
}

// Restore restores the domain once the files are there that people sign and hand over,
// and starts the node: server.RestoreStaying.
func (r Restoration) Restore(ctx context.Context, cfg server.Config) (*server.Node, error) {
	wait := Wait{Files: []File{{r.Recovery, govern.MaxEnvelope}}, Tell: r.Tell}
	for _, path := range r.Shares {
		wait.Files = append(wait.Files, File{path, backup.MaxRequest})
	}
	open := func() (io.ReadCloser, error) { return revival.OpenBackup(r.Backup) }
	return server.RestoreStaying(ctx, cfg, open, server.Ceremony[server.Claimant, server.SignedRestoration]{
		Show: func(c *server.Claimant) error {
			text, err := c.Request.Encode()
			if err != nil {
				return err
			}
			if err := put(r.Out, append(text, '\n'), "what this node shows"); err != nil {
				return err
			}
			if r.Shown != nil {
				r.Shown(c)
			}
			return nil
		},
		Await: func(ctx context.Context, refused error) (*server.SignedRestoration, error) {
			got, err := wait.Next(ctx, refused)
			if err != nil {
				return nil, err
			}
			return &server.SignedRestoration{Recovery: got[0], Shares: got[1:]}, nil
		},
	})
}
