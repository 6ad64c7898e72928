package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/holdfast-kms/holdfast/client"
)

// The forms in which data goes in and out.
const (
	formRaw    = "raw"
	formBase64 = "base64"
)

// files is the flags of commands that read one thing and write one.
type files struct {
	In  string `short:"i" default:"-" placeholder:"FILE" help:"Where to read; - is standard input."`
	Out string `short:"o" default:"-" placeholder:"FILE" help:"Where to write; - is standard output."`
}

// binding is the flags of additional data.
type binding struct {
	AAD     string `name:"aad" placeholder:"TEXT" xor:"aad" help:"Additional data to bind to; not secret, and needed again to decrypt."`
	AADFile string `name:"aad-file" placeholder:"FILE" xor:"aad" help:"The same from a file, as bytes."`
}

func (b binding) bytes(s *session) ([]byte, error) {
	if b.AADFile == "" {
		return []byte(b.AAD), nil
	}
	return s.read(b.AADFile, formRaw)
}

// maxInput is more than any call takes, so that what is too long is told by
// its length and not by running out of memory.
const maxInput = 64 << 10

// read reads path, - being standard input, and decodes it.
func (s *session) read(path, form string) ([]byte, error) {
	raw, err := await(s, func() ([]byte, error) { return s.readAll(path) })
	if err != nil {
		return nil, err
	}
	if len(raw) > maxInput {
		return nil, problemf("`holdfast seal` takes any length", "%s is too long for one call", nameOf(path, "standard input"))
	}
	if form == formRaw {
		return raw, nil
	}
	return decodeBase64(raw, path)
}

func (s *session) readAll(path string) ([]byte, error) {
	in := s.stdin
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	} else if isTerminal(s.stdin) {
		s.note("reading from the terminal; Ctrl-D ends it")
	}
	return io.ReadAll(io.LimitReader(in, maxInput+1))
}

func nameOf(path, standard string) string {
	if path == "-" {
		return standard
	}
	return path
}

// decodeBase64 accepts line feeds wherever tools put them, and nothing else
// that is not standard base64. What does not decode is not repeated.
func decodeBase64(raw []byte, path string) ([]byte, error) {
	text := bytes.Join(bytes.Fields(raw), nil)
	out, err := base64.StdEncoding.Strict().AppendDecode(nil, text)
	if err != nil {
		return nil, problemf("say so where it is not base64: --in-format raw, or --signature-format raw", "%s is not base64", nameOf(path, "standard input"))
	}
	return out, nil
}

// write writes data to path, - being standard output. A new file is for its
// owner alone.
func (s *session) write(path, form string, data []byte) error {
	if form == formBase64 {
		data = append(base64.StdEncoding.AppendEncode(nil, data), '\n')
	}
	if path == "-" {
		_, err := s.stdout.Write(data)
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// A product is a command's result that is data: a field of the JSON document,
// or bytes in a file.
type product struct {
	field string // its name in the document
	data  []byte
	path  string // where it goes, - being standard output
	form  string
}

// deliver writes a product, with a key's id beside it in the document.
func (s *session) deliver(key keyID, p product) error {
	if !s.json {
		return s.write(p.path, p.form, p.data)
	}
	doc := map[string]any{"key_id": key}
	if p.path == "-" {
		doc[p.field] = p.data // base64, as JSON has it
		return s.encode(s.stdout, doc)
	}
	if err := s.write(p.path, p.form, p.data); err != nil {
		return err
	}
	doc[p.field+"_file"] = p.path
	return s.encode(s.stdout, doc)
}

// with dials, runs use, and closes the connections.
func (c connection) with(s *session, use func(*client.Client) error) error {
	cl, err := c.dial(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	return use(cl)
}

// shellQuote quotes a path for a shell where it needs that.
func shellQuote(s string) string {
	plain := strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:\\") == ""
	if plain && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
