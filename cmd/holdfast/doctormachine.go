package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/config"
)

// examineMachine looks at what a configuration file names on this machine.
func examineMachine(e *examination, f config.File, now time.Time) {
	dir := f.Value("dir")
	if dir == "" || f.Value("charter") == "" {
		e.warn("config", "write both into the file, so that it is all there is", "dir or charter is left to the command line, and is not examined")
	}
	if dir != "" {
		examineFolder(e, dir)
		examineSpace(e, "disk", dir)
	}
	if charter := f.Value("charter"); charter != "" {
		examineCharter(e, charter, dir)
	}
	if cache := f.Value("collateral-cache"); cache == "" && f.Value("collateral-bundle") == "" {
		e.warn("collateral", `"collateral-cache": "/var/lib/holdfast/collateral"`, "it is kept in memory alone: a restart while the vendor's service is away does not succeed")
	}
	if bundle := f.Value("collateral-bundle"); bundle != "" {
		examineBundle(e, bundle, now)
	}
	for _, setting := range f.Values("audit") {
		_, place, _ := strings.Cut(setting, "=")
		if path, ok := strings.CutPrefix(place, "file:"); ok {
			examineSpace(e, "audit", filepath.Dir(path))
		}
	}
}

// examineFolder looks at the folder of the node's sealed state. What is in it is
// sealed, but whoever may write there may delete it.
func examineFolder(e *examination, dir string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.fail("folder", "found the domain, or have the node join one: docs/operate.md; where there was state, put it back", "%s is not there", dir)
	case err != nil:
		e.fail("folder", "run doctor as the user that holdfastd runs as", "%v", err)
	case !info.IsDir():
		e.fail("folder", "name a folder as dir", "%s is not a folder", dir)
	case info.Mode().Perm()&0o022 != 0:
		e.fail("folder", "chmod 700 "+dir, "%s can be written by others (%s): they can delete the node's state", dir, info.Mode().Perm())
	case info.Mode().Perm()&0o055 != 0:
		e.warn("folder", "chmod 700 "+dir, "%s can be read by others (%s): all in it is sealed, but it is nobody's business", dir, info.Mode().Perm())
	default:
		e.ok("folder", "%s belongs to its owner alone", dir)
	}
}

func examineCharter(e *examination, path, dir string) {
	const hint = "it is the document that the domain was founded on; ask who founded it"
	b, err := readDocument(path)
	if err != nil {
		e.fail("charter", hint, "%v", err)
		return
	}
	c, err := govern.ParseCharter(b)
	if err != nil {
		e.fail("charter", hint, "%s: %v", path, err)
		return
	}
	if rel, err := filepath.Rel(dir, path); dir != "" && err == nil && filepath.IsLocal(rel) {
		e.warn("charter", "keep it elsewhere: with both gone nobody notices that state is missing", "%s lies in the node's own folder", path)
		return
	}
	e.ok("charter", "%s is that of domain %q", path, c.Name)
}

// bundleAge is how old a bundle may be: what it holds lives a month.
const bundleAge = 14 * 24 * time.Hour

func examineBundle(e *examination, path string, now time.Time) {
	const do = "make a new one where there is a network, with `holdfast collateral bundle`, and send holdfastd SIGHUP"
	info, err := os.Stat(path)
	switch {
	case err != nil:
		e.fail("collateral", do, "%v", err)
	case now.Sub(info.ModTime()) > bundleAge:
		e.warn("collateral", do, "the bundle is of %s", timeText(info.ModTime()))
	default:
		e.ok("collateral", "the bundle is of %s", timeText(info.ModTime()))
	}
}

// Free space below which a disk is worth a word. A node writes a snapshot beside
// the one before.
const (
	spaceWarn = 2 << 30
	spaceFail = 256 << 20
)

// examineSpace looks at the disk that a folder is on.
func examineSpace(e *examination, check, dir string) {
	free, err := freeSpace(dir)
	judgeSpace(e, check, dir, free, err)
}

func judgeSpace(e *examination, check, dir string, free uint64, err error) {
	const do = "make room: a node that cannot write stops, and needs a restart"
	switch {
	case errors.Is(err, errors.ErrUnsupported), errors.Is(err, fs.ErrNotExist): // the folder has a finding of its own
	case err != nil:
		e.warn(check, "run doctor as the user that holdfastd runs as", "%s: %v", dir, err)
	case free < spaceFail:
		e.fail(check, do, "%d MiB are free under %s", free>>20, dir)
	case free < spaceWarn:
		e.warn(check, do, "%d MiB are free under %s", free>>20, dir)
	default:
		e.ok(check, "%d GiB are free under %s", free>>30, dir)
	}
}
