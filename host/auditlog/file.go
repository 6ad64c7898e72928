package auditlog

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
	"strings"
	"sync"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/kms"
)

// FileConfig says where a File is.
type FileConfig struct {
	// Path is that of the file that is written to. Full ones lie beside it, with a
	// number of six digits and more in front of the extension, the oldest with the
	// smallest.
	Path string
	// Size is from how many bytes on a file is full; zero means DefaultFileSize.
	Size int64
}

// DefaultFileSize is some 250,000 entries.
const DefaultFileSize = 100 << 20

// A File is lines in a file, with older ones beside it. Nothing is ever deleted:
// who needs the room takes the files elsewhere, oldest first. It is safe for
// concurrent use.
type File struct {
	cfg FileConfig

	mu   sync.Mutex
	file *os.File
	size int64 // of whole batches: what lies behind is cut off before more is written
	torn bool  // something may lie behind
	next int   // number of the next full file
}

// OpenFile opens the file, made with mode 0600 where it is not there. What a
// process left that ended in the middle of a line is cut off.
func OpenFile(cfg FileConfig) (*File, error) {
	if cfg.Size <= 0 {
		cfg.Size = DefaultFileSize
	}
	f := &File{cfg: cfg, next: 1}
	full, err := Files(cfg.Path)
	if err != nil {
		return nil, err
	}
	for _, path := range full {
		f.next = max(f.next, number(cfg.Path, path)+1)
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// open begins, or goes on with, the file at its place. On error all stays as it was.
func (f *File) open() error {
	file, err := os.OpenFile(f.cfg.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	size, err := wholeLines(file)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.size, f.torn = file, size, true
	return nil
}

// wholeLines is where the last whole line ends.
func wholeLines(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := info.Size()
	var buf [4096]byte
	for end > 0 {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, nil
		}
		end -= n
	}
	return 0, nil
}

// Append writes the lines in one piece. After an error it begins again where it
// did, so that no line stands there in part.
func (f *File) Append(_ context.Context, lines []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return fs.ErrClosed
	}
	if err := f.mend(); err != nil {
		return err
	}
	if f.size > 0 && f.size+int64(len(lines)) > f.cfg.Size {
		if err := f.rotate(); err != nil {
			return err
		}
	}
	if _, err := f.file.WriteAt(lines, f.size); err != nil {
		f.torn = true
		return err
	}
	f.size += int64(len(lines))
	return nil
}

// mend cuts off what was written in part.
func (f *File) mend() error {
	if !f.torn {
		return nil
	}
	err := f.file.Truncate(f.size)
	f.torn = err != nil
	return err
}

// rotate puts the full file aside and begins another. Where it was cut short the
// next try finds the file aside already.
func (f *File) rotate() error {
	err := os.Rename(f.cfg.Path, numbered(f.cfg.Path, f.next))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	old := f.file
	if err := f.open(); err != nil {
		return err
	}
	f.next++
	return errors.Join(old.Close(), f.mend())
}

// Since returns the whole files from the one on that has the entry behind a
// number: the newest in which an entry of the node comes at or before it.
func (f *File) Since(_ context.Context, node kms.NodeID, seq uint64) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	full, err := Files(f.cfg.Path)
	if err != nil {
		return nil, err
	}
	from := len(full) - 1
	for from > 0 && !reaches(full[from], node, seq) {
		from--
	}
	return Open(full[max(from, 0):])
}

// reaches reports whether a file begins, for a node, no later than an entry.
func reaches(path string, node kms.NodeID, seq uint64) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, 1<<20))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(b) {
		e, err := audit.ParseEntry(bytes.TrimSuffix(line, []byte("\n")))
		if err == nil && e.Node == node {
			return e.Seq <= seq+1
		}
	}
	return false
}

// Close closes the file.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

// Files lists a File's files, oldest first, the one that is written to last.
func Files(path string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listing audit files: %w", err)
	}
	var all []string
	current := false
	for _, e := range entries {
		p := filepath.Join(filepath.Dir(path), e.Name())
		if number(path, p) > 0 {
			all = append(all, p)
		}
		current = current || e.Name() == filepath.Base(path)
	}
	slices.SortFunc(all, func(a, b string) int { return number(path, a) - number(path, b) })
	if current {
		all = append(all, filepath.Join(filepath.Dir(path), filepath.Base(path)))
	}
	return all, nil
}

// Open reads files one after the other.
func Open(paths []string) (io.ReadCloser, error) {
	all := &files{}
	for _, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			return nil, errors.Join(err, all.Close())
		}
		all.open = append(all.open, f)
	}
	readers := make([]io.Reader, len(all.open))
	for i, f := range all.open {
		readers[i] = f
	}
	all.Reader = io.MultiReader(readers...)
	return all, nil
}

type files struct {
	io.Reader
	open []*os.File
}

func (f *files) Close() (err error) {
	for _, file := range f.open {
		err = errors.Join(err, file.Close())
	}
	return err
}

// numbered is where a full file goes: audit.000001.log for audit.log.
func numbered(path string, n int) string {
	ext := filepath.Ext(path)
	return fmt.Sprintf("%s.%06d%s", strings.TrimSuffix(path, ext), n, ext)
}

// number is that of a full file, 0 for any other.
func number(path, full string) int {
	ext := filepath.Ext(path)
	var n int
	middle, ok := strings.CutPrefix(full, strings.TrimSuffix(filepath.Join(filepath.Dir(path), filepath.Base(path)), ext)+".")
	middle, suffixed := strings.CutSuffix(middle, ext)
	if _, err := fmt.Sscanf(middle, "%d", &n); !ok || !suffixed || err != nil || fmt.Sprintf("%06d", n) != middle {
		return 0
	}
	return n
}
