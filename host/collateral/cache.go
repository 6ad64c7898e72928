package collateral

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/go-json-experiment/json"

	"github.com/holdfast-kms/holdfast/kms"
)

const (
	recordSuffix = ".json"
	tempPattern  = ".collateral-*" // what a crash may leave behind
)

// A cache is a folder of records. It is only a cache: what cannot be read or
// written is told of, and no error.
type cache struct {
	dir string
	log *slog.Logger
}

func openCache(dir string, log *slog.Logger) (*cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, kms.Errorf(kms.Unavailable, "making the collateral cache: %w", err).WithFile(dir)
	}
	return &cache{dir: dir, log: log}, nil
}

// path is where a record lies. Names have no characters that mean anything to a
// file system.
func (c *cache) path(name string) string { return filepath.Join(c.dir, name+recordSuffix) }

// load is the zero record if there is none that is any good.
func (c *cache) load(name string) record {
	r, err := c.read(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("a file of the collateral cache is of no use and was ignored", "folder", c.dir, "file", name+recordSuffix, "error", err)
	}
	return r
}

func (c *cache) read(name string) (record, error) {
	path := c.path(name)
	info, err := os.Stat(path) // what is no file could make Open wait for ever
	if err != nil {
		return record{}, err
	}
	if !info.Mode().IsRegular() {
		return record{}, kms.Errorf(kms.Damaged, "not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err != nil {
		return record{}, err
	}
	r, err := parseRecord(b)
	if err == nil && r.Name != name {
		return record{}, kms.Errorf(kms.Damaged, "it holds %q", r.Name)
	}
	return r, err
}

// store puts a record in the place of the one of the same name. After a crash
// one of them is there, or one that load ignores.
func (c *cache) store(r record) {
	if err := c.write(r); err != nil {
		c.log.Warn("collateral was not kept on disk", "folder", c.dir, "file", r.Name+recordSuffix, "error", err)
	}
}

func (c *cache) write(r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir, tempPattern)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), c.path(r.Name))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
