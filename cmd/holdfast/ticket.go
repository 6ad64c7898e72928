package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// ticketCmd is `holdfast ticket …`.
type ticketCmd struct {
	Issue ticketIssueCmd `cmd:"" help:"Sign a ticket that lets its bearer enroll one app, and print it."`
}

// ticketIssueCmd needs no node: a ticket is a signed document.
type ticketIssueCmd struct {
	OperatorKey string        `required:"" placeholder:"FILE" help:"Private key, in PEM, of an operator that the domain's policy lists."`
	Passphrase  string        `name:"passphrase-file" placeholder:"FILE" help:"File with the passphrase of that key, if it has one. Without it you are asked."`
	Domain      string        `required:"" placeholder:"ID" help:"The domain, as status shows it."`
	Expires     time.Duration `default:"24h" help:"When it ends, from now."`
	Permissions permissions   `default:"use,manage,secrets,read" placeholder:"LIST" help:"What the app's first credential may do: use, manage, secrets, values and read, with commas. Without it, everything."`
}

// Run issues a ticket.
func (c *ticketIssueCmd) Run(s *session) error {
	t, err := c.ticket(time.Now())
	if err != nil {
		return err
	}
	key, err := s.openKey(c.OperatorKey, c.Passphrase)
	if err != nil {
		return err
	}
	envelope, err := signed(govern.TicketType, t.Canonical(), key)
	if err != nil {
		return err
	}
	code := govern.EncodeCode(envelope)
	doc := map[string]any{"ticket": code, "ticket_id": t.ID, "domain": t.Domain, "expires": t.Expires, "permissions": t.Permissions.Names()}
	return s.show(doc, func(w io.Writer) { fmt.Fprintln(w, code) })
}

func (c *ticketIssueCmd) ticket(now time.Time) (*govern.Ticket, error) {
	t := &govern.Ticket{Version: govern.TicketVersion, Expires: now.Add(c.Expires).UTC().Truncate(time.Second)}
	rand.Read(t.ID[:])
	if !t.Expires.After(now) {
		return nil, misusef("such as --expires 24h", "a ticket ends some time from now on")
	}
	var err error
	if t.Domain, err = parseDomain(c.Domain); err != nil {
		return nil, err
	}
	if t.Permissions, err = c.Permissions.set(); err != nil {
		return nil, err
	}
	return t, t.Validate()
}

// readPrivateKey reads a key that only its owner may read.
func readPrivateKey(path, passphrasePath string) (*govern.PrivateKey, error) {
	file, err := readPrivate(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, because(err, "`holdfast signer new` makes a key", "reading the private key")
	case err != nil && isPublic(path), err == nil && parsesPublic(file):
		return nil, problemf("name the private key: the file that --out named when it was made, without "+publicSuffix, "%s is the public half of a key", path)
	case err != nil:
		return nil, err
	}
	defer clear(file)
	var passphrase []byte
	if passphrasePath != "" {
		if passphrase, err = readPrivate(passphrasePath); err != nil {
			return nil, err
		}
		defer clear(passphrase)
	}
	key, err := govern.ParsePrivateKey(file, bytes.TrimRight(passphrase, "\r\n"))
	if err != nil {
		return nil, because(err, kms.HintOf(err), "reading "+path)
	}
	return key, nil
}

// isPublic reports whether a file that others may read holds a public key, as people
// take one for the other.
func isPublic(path string) bool {
	b, err := readBounded(path, maxCredentials)
	return err == nil && parsesPublic(b)
}

func parsesPublic(b []byte) bool {
	_, err := parsePublic(b)
	return err == nil
}

// namesFile reports whether a ticket is a file's name: most are too long for one.
func namesFile(value string) bool {
	_, err := os.Stat(value)
	return err == nil
}

// readTicket is the code that --ticket means: itself, or what a file has after
// an @, or standard input.
func (s *session) readTicket(value string) (string, error) {
	path, isFile := strings.CutPrefix(value, "@")
	switch {
	case value == "-":
		path = value
	case !isFile && namesFile(value):
		return "", misusef("write --ticket @"+value, "%s is a file, not a ticket", value)
	case !isFile:
		return value, nil
	}
	b, err := s.read(path, formRaw)
	return strings.TrimSpace(string(b)), err
}
