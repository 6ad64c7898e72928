package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/audit"
	"github.com/holdfast-kms/holdfast/host/auditlog"
	"github.com/holdfast-kms/holdfast/kms"
)

// auditCmd is `holdfast audit`.
type auditCmd struct {
	Tail   auditTailCmd   `cmd:"" help:"Show the last entries of files, and what is added to them."`
	Search auditSearchCmd `cmd:"" help:"Show the entries of files that are about something."`
	Verify auditVerifyCmd `cmd:"" help:"Check files for entries that were removed, altered, moved or cut off."`
	Export auditExportCmd `cmd:"" help:"Keep what the domain publishes of its audit, to verify files by later."`
}

// auditFiles are the files of an audit log on the command line.
type auditFiles struct {
	Paths []string `arg:"" name:"file" type:"path" help:"Files, or folders of files. With audit.log come the full ones beside it."`
}

// list is every file that is meant, those of one log oldest first.
func (a auditFiles) list() (all []string, err error) {
	for _, p := range a.Paths {
		found, err := filesAt(p)
		if err != nil {
			return nil, because(err, "name audit files, or folders that hold them", "finding audit files")
		}
		for _, f := range found {
			if !slices.Contains(all, f) {
				all = append(all, f)
			}
		}
	}
	if len(all) == 0 {
		return nil, problemf("name the file that the node's audit sink writes to", "there are no audit files")
	}
	return all, nil
}

func filesAt(path string) (all []string, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir(): // the current one may just be changed for a new one
		found, listed := auditlog.Files(path)
		if listed == nil && len(found) == 0 {
			listed = err
		}
		return found, listed
	case err != nil:
		return nil, err
	}
	logs, err := filepath.Glob(filepath.Join(path, "*.log"))
	if err != nil {
		return nil, err
	}
	return inOrder(logs), nil
}

// inOrder puts full files before the one that comes after them: numbers sort
// before letters, and audit.000001.log before audit.log.
func inOrder(paths []string) []string {
	slices.Sort(paths)
	return paths
}

// auditWanted says which entries are shown.
type auditWanted struct {
	App        string    `placeholder:"ID" help:"Of this app."`
	Credential string    `placeholder:"ID" help:"By this credential."`
	Key        string    `placeholder:"ID" help:"About this key, or what came from under it."`
	Name       string    `placeholder:"NAME" help:"About this alias, secret or runtime."`
	Operation  string    `name:"op" placeholder:"NAME" help:"Of this operation, such as Decrypt."`
	Outcome    string    `placeholder:"WORD" help:"That ended so: ok, denied, decrypt_failed, … or with ! in front, that did not."`
	Identity   string    `placeholder:"TEXT" help:"Whose attested identity has this in it."`
	Node       string    `placeholder:"HEX" help:"Of the node whose id begins so."`
	Since      time.Time `placeholder:"TIME" help:"From this time on, such as 2030-01-02T03:04:05Z."`
	Until      time.Time `placeholder:"TIME" help:"Before this time."`
}

// match reports whether an entry is wanted.
func (w *auditWanted) match(e *audit.Entry) bool {
	outcome, not := strings.CutPrefix(w.Outcome, "!")
	for _, want := range []struct {
		asked string
		ok    bool
	}{
		{w.App, e.App.String() == w.App}, {w.Credential, e.Credential.String() == w.Credential},
		{w.Key, e.Key.ID.String() == w.Key || e.Source.ID.String() == w.Key}, {w.Name, e.Name == w.Name},
		{w.Operation, strings.EqualFold(e.Operation, w.Operation)}, {outcome, (e.Outcome == outcome) != not},
		{w.Identity, strings.Contains(e.Identity, w.Identity)}, {w.Node, strings.HasPrefix(e.Node.String(), w.Node)},
	} {
		if want.asked != "" && !want.ok {
			return false
		}
	}
	return (w.Since.IsZero() || !e.Time.Before(w.Since)) && (w.Until.IsZero() || e.Time.Before(w.Until))
}

// auditSearchCmd is `holdfast audit search`.
type auditSearchCmd struct {
	auditFiles
	auditWanted
}

// Run shows what matches.
func (c *auditSearchCmd) Run(s *session) error {
	paths, err := c.list()
	if err != nil {
		return err
	}
	return readEntries(paths, func(line []byte, e *audit.Entry) error {
		if !c.match(e) {
			return nil
		}
		return s.showEntry(line, e)
	})
}

// readEntries reads what entries there are; what is none is for verify to tell.
func readEntries(paths []string, take func(line []byte, e *audit.Entry) error) error {
	r, err := auditlog.Open(paths)
	if err != nil {
		return because(err, "", "opening audit files")
	}
	defer r.Close()
	in := bufio.NewReaderSize(r, audit.MaxLine)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		line = bytes.TrimSuffix(line, []byte("\n"))
		if e, err := audit.ParseEntry(line); err == nil {
			if err := take(line, &e); err != nil {
				return err
			}
		}
	}
}

// showEntry prints an entry for a person, or with --json as it stands.
func (s *session) showEntry(line []byte, e *audit.Entry) error {
	if s.json {
		_, err := s.stdout.Write(append(slices.Clone(line), '\n'))
		return err
	}
	_, err := fmt.Fprintln(s.stdout, entryText(e))
	return err
}

func entryText(e *audit.Entry) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %.8s/%d %s %s", e.Time.Format(time.RFC3339), e.Node, e.Seq, oneLine(e.Operation), oneLine(e.Outcome))
	add := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, " %s=%s", name, oneLine(value))
		}
	}
	add("reason", e.Reason)
	if e.App != (kms.AppID{}) {
		add("app", e.App.String())
	}
	if e.Credential != kms.CredentialID(e.App) {
		add("credential", e.Credential.String())
	}
	add("identity", e.Identity)
	add("key", refText(e.Key))
	add("from", refText(e.Source))
	add("name", e.Name)
	add("object", e.Object)
	if e.Index != 0 {
		fmt.Fprintf(&b, " index=%d", e.Index)
	}
	if e.Recovered {
		b.WriteString(" recovered")
	}
	for _, c := range e.Counts {
		fmt.Fprintf(&b, " %q=%d", oneLine(c.Name), c.N)
	}
	return b.String()
}

func refText(ref kms.KeyRef) string {
	switch {
	case ref.ID == (kms.KeyID{}):
		return ""
	case ref.Version == 0:
		return ref.ID.String()
	}
	return fmt.Sprintf("%s/%d", ref.ID, ref.Version)
}

// auditExportCmd is `holdfast audit export`.
type auditExportCmd struct {
	Out string `short:"o" default:"-" placeholder:"FILE" help:"Where it goes; - is standard output."`

	connection
}

// Run asks a node for the checkpoint, and verifies it.
func (c *auditExportCmd) Run(s *session) error {
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	cp, err := cl.AuditCheckpoint(s.ctx)
	if err != nil {
		return err
	}
	return s.writeFile(c.Out, cp.JSON(), true)
}

// readCheckpoint reads what export wrote.
func readCheckpoint(path string) (*audit.Checkpoint, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, because(err, "make one with `holdfast audit export -o FILE`", "reading the checkpoint")
	}
	cp, err := audit.ParseCheckpoint(b)
	if err != nil {
		return nil, because(err, "make one with `holdfast audit export -o FILE`", path)
	}
	return cp, nil
}
