package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

type policyEditCmd struct {
	File      string        `arg:"" help:"A draft, or a signed policy."`
	Charter   string        `placeholder:"FILE" help:"The charter: needed with --bootstrap after policy 1, which names no domain yet."`
	Bootstrap string        `placeholder:"FILE" help:"The signed bootstrap."`
	Set       []string      `sep:"none" placeholder:"PATH=VALUE" help:"Set a member, such as enrolment/mode=open, nodes/0/name=old, operators/-=PUB (- appends). VALUE is JSON, or text as it stands. Several times for several. Without --set, --unset and --valid $EDITOR is opened."`
	Unset     []string      `sep:"none" placeholder:"PATH" help:"Remove a member or an entry."`
	Valid     time.Duration `placeholder:"DURATION" help:"Make it valid for so long from now."`
	Out       string        `short:"o" placeholder:"FILE" help:"Where the draft goes. Without it a draft is edited in place."`
	Force     bool          `help:"Replace what is there."`
}

// Help is the rest of what --help says.
func (policyEditCmd) Help() string {
	return "A draft that nobody signed is edited as it is. Of a policy that is signed the successor is drafted: the next serial, with the digest of the one before. " +
		"What comes out is valid, and says in words what changed."
}

// Run edits.
func (c *policyEditCmd) Run(s *session) error {
	old, e, err := readPolicy(c.File)
	if err != nil {
		return err
	}
	draft := *old
	if e != nil {
		if err := c.succeed(&draft, old); err != nil {
			return err
		}
	}
	out, force := c.Out, c.Force
	if out == "" && e == nil {
		out, force = c.File, true
	}
	if out == "" {
		return misusef("name a file with --out", "the draft of a successor needs a place")
	}
	if c.Valid != 0 {
		draft.ValidUntil = time.Now().Add(c.Valid).UTC().Truncate(time.Second)
	}
	next, err := c.edited(s, &draft)
	if err != nil {
		return err
	}
	if err := s.writeFile(out, draftText(next), force); err != nil || out == "-" {
		return err
	}
	return s.showEdit(old, next, out)
}

// succeed makes the draft the next policy.
func (c *policyEditCmd) succeed(draft, old *govern.Policy) error {
	draft.Serial, draft.Previous, draft.Activates = old.Serial+1, old.Digest(), time.Time{}
	if old.Serial > 1 {
		return nil
	}
	if c.Charter == "" || c.Bootstrap == "" {
		return misusef("give --charter and --bootstrap", "policy 1 was signed before there was a domain, and policy 2 names it")
	}
	g := groundFlags{Charter: c.Charter, Bootstrap: c.Bootstrap}
	standing, _, err := g.standing()
	if err != nil {
		return err
	}
	if old.Digest() != standing.Endorsed.Digest {
		return problemf("name the files of one domain", "the bootstrap names another policy 1, %s", standing.Endorsed.Digest)
	}
	draft.Domain = standing.Domain
	return nil
}

// edited is the draft as the flags or a person change it.
func (c *policyEditCmd) edited(s *session, draft *govern.Policy) (*govern.Policy, error) {
	if len(c.Set)+len(c.Unset) == 0 && c.Valid == 0 {
		return editPolicy(s, draft)
	}
	var doc any
	d := json.NewDecoder(bytes.NewReader(draft.Canonical()))
	d.UseNumber() // serials stay what they are
	if err := d.Decode(&doc); err != nil {
		return nil, err
	}
	for _, change := range c.Set {
		path, value, ok := strings.Cut(change, "=")
		if !ok {
			return nil, misusef("such as --set enrolment/mode=open", "%q is not PATH=VALUE", change)
		}
		var err error
		if doc, err = setMember(doc, splitPath(path), valueOf(value)); err != nil {
			return nil, misusef("`holdfast policy show FILE --json` shows the members there are", "--set %s: %v", path, err)
		}
	}
	for _, path := range c.Unset {
		var err error
		if doc, err = setMember(doc, splitPath(path), nil); err != nil {
			return nil, misusef("`holdfast policy show FILE --json` shows the members there are", "--unset %s: %v", path, err)
		}
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	next, err := govern.ParsePolicy(b)
	if err != nil {
		return nil, because(err, orElse(kms.HintOf(err), "see the member that is named"), "what comes out is no policy")
	}
	return next, nil
}

func splitPath(path string) []string { return strings.Split(strings.Trim(path, "/"), "/") }

// valueOf reads JSON, or takes text as it stands.
func valueOf(text string) any {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() || v == nil {
		return text
	}
	return v
}

// setMember returns doc with the value at path; a nil value removes what is
// there. Objects on the way are made, places in lists are not.
func setMember(doc any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch at := doc.(type) {
	case nil:
		return setMember(map[string]any{}, path, value)
	case map[string]any:
		return setField(at, path, value)
	case []any:
		return setEntry(at, path, value)
	}
	return nil, fmt.Errorf("%q is in something that has no members", path[0])
}

func setField(at map[string]any, path []string, value any) (any, error) {
	name, rest := path[0], path[1:]
	if value == nil && at[name] == nil {
		return nil, fmt.Errorf("there is no %q", name)
	}
	if value == nil && len(rest) == 0 {
		delete(at, name)
		return at, nil
	}
	inner, err := setMember(at[name], rest, value)
	at[name] = inner
	return at, err
}

func setEntry(at []any, path []string, value any) (any, error) {
	place, rest := path[0], path[1:]
	if place == "-" && value != nil {
		inner, err := setMember(nil, rest, value)
		return append(at, inner), err
	}
	i, err := strconv.Atoi(place)
	if err != nil || i < 0 || i >= len(at) {
		return nil, fmt.Errorf("a list of %d entries has no %q", len(at), place)
	}
	if value == nil && len(rest) == 0 {
		return append(at[:i], at[i+1:]...), nil
	}
	at[i], err = setMember(at[i], rest, value)
	return at, err
}

// editPolicy lets a person edit the draft. What does not come out valid is kept
// where the person can go on with it.
func editPolicy(s *session, draft *govern.Policy) (*govern.Policy, error) {
	editor := orElse(s.getenv("VISUAL"), s.getenv("EDITOR"))
	if editor == "" {
		return nil, misusef("set it, or say what is to change with --set PATH=VALUE", "there is no $EDITOR to edit the policy with")
	}
	f, err := os.CreateTemp("", "holdfast-policy-*.json")
	if err != nil {
		return nil, err
	}
	_, err = f.Write(draftText(draft))
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	args := append(strings.Fields(editor), f.Name())
	cmd := exec.CommandContext(s.ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.stdin, s.stderr, s.stderr
	if err := cmd.Run(); err != nil {
		return nil, because(err, "is $EDITOR a program that edits a file?", "running "+editor)
	}
	b, err := readRuling(f.Name())
	if err != nil {
		return nil, err
	}
	next, err := govern.ParsePolicy(b)
	if err != nil {
		return nil, because(err, "what you wrote is in "+f.Name()+": put it right there, and name it as the draft", "what you wrote is no policy")
	}
	return next, os.Remove(f.Name())
}

// showEdit says what was written, and what it changes.
func (s *session) showEdit(old, next *govern.Policy, path string) error {
	doc := struct {
		shownPolicy
		Changes []govern.Change `json:"changes"`
	}{newShownPolicy(next), append([]govern.Change{}, govern.Diff(old, next)...)}
	doc.File = path
	return s.show(doc, func(w io.Writer) {
		fmt.Fprintf(w, "draft\tpolicy %d, in %s\n", next.Serial, path)
		fmt.Fprintf(w, "digest\t%s\n", next.Digest())
		for _, c := range doc.Changes {
			fmt.Fprintf(w, "%s\n", oneLine(c.String()))
		}
	})
}
