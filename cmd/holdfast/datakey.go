package main

import (
	"encoding/base64"
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// dataKeyCmd is `holdfast datakey`.
type dataKeyCmd struct {
	binding
	Key          keyID  `required:"" placeholder:"ID" help:"The key to wrap it under, an AES or SM4 key."`
	Length       int    `default:"32" help:"Bytes of the data key, 1 to 1024."`
	NoPlaintext  bool   `help:"Give out the wrapped form alone."`
	PlaintextOut string `placeholder:"FILE" help:"Write the data key here instead of showing it."`
	WrappedOut   string `placeholder:"FILE" help:"Write its wrapped form here instead of showing it."`
	To           *keyID `placeholder:"ID" help:"Encrypt the data key to this RSA or SM2 key as well. The data key itself is then not given out."`
	Wrapped      string `placeholder:"FILE" help:"With --to: take this wrapped data key instead of making one; - is standard input."`
	ExportedOut  string `placeholder:"FILE" help:"With --to: write here what is encrypted to that key, instead of showing it."`
	OutFormat    string `enum:"raw,base64" default:"base64" help:"How to write those files, and how --wrapped is given: raw or base64."`

	connection
}

// Run makes a data key.
func (c *dataKeyCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.with(s, func(cl *client.Client) error {
		aad, err := c.bytes(s)
		if err != nil {
			return err
		}
		dk, err := c.obtain(s, cl, aad)
		if err != nil {
			return err
		}
		var exported []byte
		if c.To != nil {
			exported, err = cl.Rewrap(s.ctx, kms.KeyID(c.Key), dk.Wrapped, aad, kms.KeyID(*c.To))
		}
		if err != nil {
			return err
		}
		return c.deliver(s, dk, exported)
	})
}

func (c *dataKeyCmd) check() error {
	switch {
	case c.PlaintextOut != "" && (c.NoPlaintext || c.To != nil):
		return misusef("leave one of them out", "--plaintext-out contradicts --no-plaintext and --to")
	case c.To == nil && (c.Wrapped != "" || c.ExportedOut != ""):
		return misusef("name the key with --to", "--wrapped and --exported-out are for a data key that goes to another key")
	}
	return nil
}

// obtain makes a data key, or reads the wrapped one that was given.
func (c *dataKeyCmd) obtain(s *session, cl *client.Client, aad []byte) (client.DataKey, error) {
	if c.Wrapped != "" {
		wrapped, err := s.read(c.Wrapped, c.OutFormat)
		return client.DataKey{Wrapped: wrapped}, err
	}
	if !c.NoPlaintext && c.To == nil {
		return cl.GenerateDataKey(s.ctx, kms.KeyID(c.Key), c.Length, aad)
	}
	wrapped, err := cl.GenerateDataKeyWithoutPlaintext(s.ctx, kms.KeyID(c.Key), c.Length, aad)
	return client.DataKey{Wrapped: wrapped}, err
}

// dataKeyResult is what is shown; what went to a file has the file's name instead.
type dataKeyResult struct {
	KeyID         keyID  `json:"key_id"`
	Plaintext     []byte `json:"plaintext,omitempty"`
	PlaintextFile string `json:"plaintext_file,omitempty"`
	Wrapped       []byte `json:"wrapped,omitempty"`
	WrappedFile   string `json:"wrapped_file,omitempty"`
	To            *keyID `json:"to_key_id,omitempty"`
	Exported      []byte `json:"exported,omitempty"`
	ExportedFile  string `json:"exported_file,omitempty"`
}

func (c *dataKeyCmd) deliver(s *session, dk client.DataKey, exported []byte) error {
	r := dataKeyResult{KeyID: c.Key, Plaintext: dk.Plaintext, Wrapped: dk.Wrapped, To: c.To, Exported: exported}
	for _, out := range []struct {
		path string
		data *[]byte
		file *string
	}{
		{c.WrappedOut, &r.Wrapped, &r.WrappedFile},
		{c.PlaintextOut, &r.Plaintext, &r.PlaintextFile},
		{c.ExportedOut, &r.Exported, &r.ExportedFile},
	} {
		if out.path == "" {
			continue
		}
		if err := s.write(out.path, c.OutFormat, *out.data); err != nil {
			return err
		}
		*out.data, *out.file = nil, out.path
	}
	return s.show(r, func(w io.Writer) {
		if dk.Plaintext != nil {
			fmt.Fprintf(w, "plaintext\t%s\n", shownOr(r.Plaintext, r.PlaintextFile))
		}
		fmt.Fprintf(w, "wrapped\t%s\n", shownOr(r.Wrapped, r.WrappedFile))
		if c.To != nil {
			fmt.Fprintf(w, "exported\t%s\n", shownOr(r.Exported, r.ExportedFile))
		}
	})
}

// shownOr prints data, or that it is in file.
func shownOr(data []byte, file string) string {
	if file != "" {
		return "in " + file
	}
	return base64.StdEncoding.EncodeToString(data)
}
