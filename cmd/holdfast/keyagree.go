package main

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// derivation is the flags of what is made of a shared secret.
type derivation struct {
	Info   string `placeholder:"TEXT" help:"What the derived bytes are for. The other side has to say the same."`
	Length int    `placeholder:"N" help:"How many bytes to derive, 1 to 1024. Without it, 32."`
	Raw    bool   `help:"The secret as it is. The key must have been made for that (--usage agree-raw, encapsulate-raw)."`

	SecretOut string `short:"o" placeholder:"FILE" help:"Write the secret here instead of showing it; - is standard output."`
	OutFormat string `enum:"raw,base64" default:"base64" help:"How to write files, and how a ciphertext is given: raw or base64."`
}

func (d derivation) request() kms.Derivation {
	return kms.Derivation{Info: []byte(d.Info), Length: d.Length, Raw: d.Raw}
}

func (d derivation) check() error {
	what := d.request()
	if err := what.Check(); err != nil || d.Length < 0 {
		return misusef("such as --info session --length 32; --raw goes with neither", "1 to %d bytes are derived, and a secret as it is has no info and no length", kms.MaxDataKey)
	}
	return nil
}

// sharedResult is what is shown; what went to a file has the file's name instead.
type sharedResult struct {
	KeyID          keyID  `json:"key_id"`
	Version        uint32 `json:"version"`
	Secret         []byte `json:"secret,omitempty"`
	SecretFile     string `json:"secret_file,omitempty"`
	Ciphertext     []byte `json:"ciphertext,omitempty"`
	CiphertextFile string `json:"ciphertext_file,omitempty"`
}

// share shows a secret, or writes it where it was asked for. Alone, on standard
// output, it is nothing but itself.
func (d derivation) share(s *session, got kms.SharedSecret, ciphertextOut string) error {
	r := sharedResult{KeyID: keyID(got.Key.ID), Version: uint32(got.Key.Version), Secret: got.Secret, Ciphertext: got.Ciphertext}
	if ciphertextOut != "" {
		if err := s.write(ciphertextOut, d.OutFormat, got.Ciphertext); err != nil {
			return err
		}
		r.Ciphertext, r.CiphertextFile = nil, ciphertextOut
	}
	if d.SecretOut != "" {
		if err := s.write(d.SecretOut, d.OutFormat, got.Secret); err != nil || d.SecretOut == "-" {
			return err
		}
		r.Secret, r.SecretFile = nil, d.SecretOut
	}
	return s.show(r, func(w io.Writer) {
		fmt.Fprintf(w, "secret\t%s\n", shownOr(r.Secret, r.SecretFile))
		if got.Ciphertext != nil {
			fmt.Fprintf(w, "ciphertext\t%s\n", shownOr(r.Ciphertext, r.CiphertextFile))
		}
	})
}

type keyAgreeCmd struct {
	derivation
	Key    keyName `arg:"" name:"key" help:"The key, of a NIST curve or X25519: its id or an alias."`
	Peer   string  `required:"" placeholder:"FILE" help:"The other side's public key, in PEM or DER; - is standard input."`
	PeerID *keyID  `name:"peer-id" placeholder:"ID" help:"Its id, where it is a key of Holdfast too; the other side then names this key's."`

	connection
}

// Run agrees on a secret.
func (c *keyAgreeCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.with(s, func(cl *client.Client) error {
		spki, err := s.readPublic(c.Peer)
		if err != nil {
			return err
		}
		peer := client.Peer{Public: spki}
		if c.PeerID != nil {
			peer.Key = kms.KeyID(*c.PeerID)
		}
		got, err := cl.Keys().Agree(s.ctx, string(c.Key), peer, c.request())
		if err != nil {
			return err
		}
		return c.share(s, got, "")
	})
}

// readPublic reads a public key in PEM or DER.
func (s *session) readPublic(path string) ([]byte, error) {
	data, err := s.read(path, formRaw)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(data)
	switch {
	case block == nil && bytes.HasPrefix(data, []byte{0x30}): // SEQUENCE
		return data, nil
	case block == nil, block.Type != "PUBLIC KEY", len(bytes.TrimSpace(rest)) > 0:
		return nil, problemf("`openssl pkey -pubout` writes one", "%s is not one public key (SubjectPublicKeyInfo) in PEM or DER", nameOf(path, "standard input"))
	}
	return block.Bytes, nil
}

type keyEncapsulateCmd struct {
	derivation
	Key           keyName `arg:"" name:"key" help:"The key, of ML-KEM: its id or an alias."`
	CiphertextOut string  `placeholder:"FILE" help:"Write the ciphertext here instead of showing it."`

	connection
}

// Run makes a secret and its ciphertext.
func (c *keyEncapsulateCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	if c.SecretOut == "-" && c.CiphertextOut == "" {
		return misusef("add --ciphertext-out FILE", "without its ciphertext the secret is of no use")
	}
	return c.with(s, func(cl *client.Client) error {
		got, err := cl.Keys().Encapsulate(s.ctx, string(c.Key), c.request())
		if err != nil {
			return err
		}
		return c.share(s, got, c.CiphertextOut)
	})
}

type keyDecapsulateCmd struct {
	derivation
	Key keyName `arg:"" name:"key" help:"The key, of ML-KEM: its id or an alias."`
	In  string  `short:"i" default:"-" placeholder:"FILE" help:"The ciphertext; - is standard input."`

	connection
}

// Run finds the secret of a ciphertext.
func (c *keyDecapsulateCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	return c.with(s, func(cl *client.Client) error {
		ciphertext, err := s.read(c.In, c.OutFormat)
		if err != nil {
			return err
		}
		got, err := cl.Keys().Decapsulate(s.ctx, string(c.Key), ciphertext, c.request())
		if err != nil {
			return err
		}
		return c.share(s, got, "")
	})
}
