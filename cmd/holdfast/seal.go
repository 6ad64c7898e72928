package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// sealedSuffix is what the name of a sealed file ends in.
const sealedSuffix = ".sealed"

// transfer is the flags of what is read and written as a stream.
type transfer struct {
	File string `arg:"" name:"file" help:"What to read; - is standard input."`
	Out  string `short:"o" placeholder:"FILE" help:"Where to write; - is standard output. Without it FILE.sealed for FILE, and back again, and standard output for standard input. A file that is named here is replaced, once all went well."`

	connection
}

// sealCmd is `holdfast seal`.
type sealCmd struct {
	Key *keyID `placeholder:"ID" help:"The key to seal under, an AES one. Without it, the only one that the app has."`
	transfer
}

// Run seals.
func (c *sealCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		var key kms.KeyID
		if c.Key != nil {
			key = kms.KeyID(*c.Key)
		} else {
			var err error
			if key, err = onlyKey(s, cl); err != nil {
				return err
			}
		}
		out, err := c.place(s, c.File+sealedSuffix)
		if err != nil {
			return err
		}
		return c.run(s, key, out, func(dst io.Writer, src io.Reader) error {
			w, err := cl.Seal(s.ctx, key, dst)
			if err != nil {
				return err
			}
			if _, err := io.CopyBuffer(w, src, make([]byte, copySize)); err != nil {
				return err
			}
			return w.Close()
		})
	})
}

// copySize is how much is read at a time.
const copySize = 256 << 10

// onlyKey finds the one key that can only be meant.
func onlyKey(s *session, cl *client.Client) (kms.KeyID, error) {
	keys, err := cl.ListKeys(s.ctx)
	if err != nil {
		return kms.KeyID{}, err
	}
	var fit []kms.KeyID
	for _, k := range keys {
		if spec, ok := k.Spec.Capability(); ok && spec.DataKeys && spec.Binds && k.State == kms.Enabled {
			fit = append(fit, k.ID)
		}
	}
	switch len(fit) {
	case 0:
		return kms.KeyID{}, problemf("`holdfast key create` makes one", "the app has no AES key to seal under")
	case 1:
		return fit[0], nil
	}
	return kms.KeyID{}, problemf("name it with --key; `holdfast key list` lists them", "the app has %d keys to seal under", len(fit))
}

// openCmd is `holdfast open`.
type openCmd struct {
	transfer
}

// Help is more about it.
func (*openCmd) Help() string {
	return `A file that was cut short, extended or altered does not open. A file that is written to is there only once all has
verified. Standard output gets what has verified so far: if the rest does not, the status is 3, and what came out is genuine
but not all.`
}

// Run opens, as Help says.
func (c *openCmd) Run(s *session) error {
	name, sealed := strings.CutSuffix(c.File, sealedSuffix)
	if (!sealed || name == "") && c.Out == "" && c.File != "-" {
		return misusef("name a file with --out", "%s does not end in %s, so there is no name for what is in it", c.File, sealedSuffix)
	}
	return c.with(s, func(cl *client.Client) error {
		out, err := c.place(s, name)
		if err != nil {
			return err
		}
		return c.run(s, kms.KeyID{}, out, func(dst io.Writer, src io.Reader) error {
			r, err := cl.Open(s.ctx, src)
			if err != nil {
				return err
			}
			_, err = io.CopyBuffer(dst, r, make([]byte, copySize))
			return err
		})
	})
}

// place makes the output, at the usual place where none is named; what is there
// is not replaced unless it was named.
func (t *transfer) place(s *session, usual string) (*output, error) {
	path := t.Out
	if path == "" {
		path = usual
		if t.File == "-" {
			path = "-"
		} else if exists(path) {
			return nil, problemf("move it away, or name it with --out", "%s exists already", path)
		}
	}
	if path == "-" && s.json {
		return nil, misusef("name a file with --out", "--json and the data cannot both go to standard output")
	}
	return s.newOutput(path)
}

// run reads, does its work, and puts the output in its place.
func (t *transfer) run(s *session, key kms.KeyID, out *output, work func(io.Writer, io.Reader) error) error {
	src, err := t.source(s)
	if err != nil {
		out.discard()
		return err
	}
	defer src.close()
	dst := &counter{Writer: out}
	if err := work(dst, src); err != nil {
		src.end()
		out.discard()
		return incomplete(out, dst.n, err)
	}
	src.end()
	if err := out.commit(); err != nil {
		return err
	}
	if out.streams() {
		return nil
	}
	doc := map[string]any{"file": out.path, "bytes": dst.n}
	if key != (kms.KeyID{}) {
		doc["key_id"] = key
	}
	return s.show(doc, func(w io.Writer) { fmt.Fprintln(w, out.path) })
}

// incomplete tells whoever takes a stream that it is not all. What open wrote is
// genuine as far as it goes.
func incomplete(out *output, n int64, err error) error {
	if !out.streams() || n == 0 {
		return err
	}
	return &problem{what: fmt.Sprintf("INCOMPLETE: only the first %d bytes were written", n), err: err, status: exitIncomplete,
		hint: "to get all or nothing, name a file with --out"}
}

// A counter counts what is written.
type counter struct {
	io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

// A source is what is read, with a line that tells how far it is. Reading ends
// when the session does.
type source struct {
	s     *session
	r     io.Reader
	close func()
	total int64 // -1: not known
	n     int64
	begun time.Time
	shown time.Time
}

func (t *transfer) source(s *session) (*source, error) {
	src := &source{s: s, r: s.stdin, close: func() {}, total: -1, begun: time.Now()}
	src.shown = src.begun
	if t.File == "-" {
		return src, nil
	}
	f, err := os.Open(t.File)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = problemf("a folder can be piped: tar c FOLDER | holdfast seal - --out FILE", "%s is a folder", t.File)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if info.Mode().IsRegular() {
		src.total = info.Size()
	}
	src.r, src.close = f, func() { f.Close() }
	return src, nil
}

// Read reads, and is left behind where nothing comes and the session ends: then
// nobody looks at p again.
func (src *source) Read(p []byte) (int, error) {
	n, err := await(src.s, func() (int, error) { return src.r.Read(p) })
	src.n += int64(n)
	if isTerminal(src.s.stderr) && !src.s.json && time.Since(src.shown) > 200*time.Millisecond {
		src.shown = time.Now()
		fmt.Fprintf(src.s.stderr, "\r\x1b[K%s", progressText(src.n, src.total, src.shown.Sub(src.begun)))
	}
	return n, err
}

// end leaves an empty line for what follows.
func (src *source) end() {
	if src.shown != src.begun {
		fmt.Fprint(src.s.stderr, "\r\x1b[K")
	}
}

// progressText is "1.5 of 2.0 GiB, 75%, 900 MiB/s".
func progressText(n, total int64, elapsed time.Duration) string {
	text := sizeText(n)
	if total > 0 {
		text = fmt.Sprintf("%s of %s, %d%%", text, sizeText(total), 100*n/total)
	}
	if s := elapsed.Seconds(); s > 0 {
		text += fmt.Sprintf(", %s/s", sizeText(int64(float64(n)/s)))
	}
	return text
}

// sizeText prints a size in a unit that fits.
func sizeText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1000 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.3g %s", f, units[i])
}
