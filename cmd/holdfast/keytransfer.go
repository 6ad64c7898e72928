package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// keyImportCmd is `holdfast key import`.
type keyImportCmd struct {
	File     string  `arg:"" name:"file" help:"The key: raw bytes of an AES, SM4 or HMAC key; a private key in PEM (PKCS #8, PKCS #1, SEC 1) or in DER. - is standard input."`
	Spec     keySpec `required:"" placeholder:"SPEC" help:"What key it is, such as AES-256-GCM or RSA-3072; an unknown one lists all."`
	InFormat string  `enum:"raw,base64" default:"raw" help:"How the file is encoded: raw or base64. PEM is told from raw."`
	purpose

	connection
}

// Run makes a key that waits for material, and brings that wrapped to the node.
func (c *keyImportCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		material, err := c.material(s)
		if err != nil {
			return err
		}
		defer clear(material)
		id, err := cl.CreateKey(s.ctx, c.request(c.Spec, kms.Imported))
		if err != nil {
			return err
		}
		if err := cl.ImportKey(s.ctx, id, material); err != nil {
			forget(s, cl, id)
			return err
		}
		return s.show(map[string]any{"key_id": id, "spec": kms.Spec(c.Spec), "origin": kms.Imported},
			func(w io.Writer) { fmt.Fprintln(w, id) })
	})
}

// forget deletes a key that nobody is to find, also after Ctrl-C.
func forget(s *session, cl *client.Client, id kms.KeyID) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), 5*time.Second)
	defer cancel()
	if err := cl.DeleteKey(ctx, id); err != nil {
		s.note("key %s was made and is of no use, but could not be deleted: %v", id, err)
	}
}

// material reads the key.
func (c *keyImportCmd) material(s *session) ([]byte, error) {
	raw, err := s.read(c.File, c.InFormat)
	if err != nil {
		return nil, err
	}
	name := nameOf(c.File, "standard input")
	if text := bytes.TrimSpace(raw); bytes.HasPrefix(text, []byte("-----BEGIN ")) {
		return privateKey(text, name)
	}
	spec, _ := kms.Spec(c.Spec).Capability()
	if want := spec.Bits / 8; spec.Family == kms.Symmetric && len(raw) != want {
		return nil, problemf("is it base64 (--in-format base64), or is there a line feed at its end?",
			"%s has %d bytes; a key of spec %s has %d", name, len(raw), spec.Name, want)
	}
	return raw, nil
}

// privateKey finds the private key in a PEM file, which may have other blocks
// beside it. What is in the file is not repeated.
func privateKey(text []byte, name string) ([]byte, error) {
	for {
		block, rest := pem.Decode(text)
		switch {
		case block == nil:
			return nil, problemf("a private key's block says PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY", "there is no private key in %s", name)
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, problemf("decrypt it first: openssl pkey -in FILE | holdfast key import --spec SPEC -", "the private key in %s is encrypted", name)
		case block.Type == "PRIVATE KEY" || strings.HasSuffix(block.Type, " PRIVATE KEY"):
			return block.Bytes, nil
		}
		text = rest
	}
}

// keyExportCmd is `holdfast key export`.
type keyExportCmd struct {
	Key       keyID  `arg:"" name:"id" help:"The key, one that was created with --exportable."`
	Out       string `short:"o" required:"" placeholder:"FILE" help:"The file to make, for you alone; - is standard output, if it must be."`
	OutFormat string `enum:"pem,raw,base64," default:"" placeholder:"FORMAT" help:"How to write it: pem, raw or base64. Without it pem for a private key (PKCS #8), raw for a secret one."`

	connection
}

// Run exports. It never replaces a file: that might be the only copy of a key.
func (c *keyExportCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		var file *secretFile
		if c.Out != "-" {
			var err error
			if file, err = reserveSecret(c.Out); err != nil {
				return err
			}
		}
		material, err := c.export(s, cl)
		if err != nil {
			if file != nil {
				file.discard()
			}
			return err
		}
		defer clear(material)
		return c.deliver(s, file, material)
	})
}

// export returns the key in the form that was asked for.
func (c *keyExportCmd) export(s *session, cl *client.Client) ([]byte, error) {
	key, err := cl.ExportKey(s.ctx, kms.KeyID(c.Key))
	if err != nil {
		return nil, err
	}
	private := isPrivateKey(&key)
	switch format := c.OutFormat; {
	case format == "pem" && !private:
		return nil, problemf("leave --out-format out, or say raw or base64", "a secret key has no PEM form")
	case format == "pem" || format == "" && private:
		return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key.Material}), nil
	case format == formBase64:
		return append(base64.StdEncoding.AppendEncode(nil, key.Material), '\n'), nil
	}
	return key.Material, nil
}

// isPrivateKey reports whether a key has a public half. One of a spec that is
// not known here leaves as it came.
func isPrivateKey(k *kms.ExportedKey) bool {
	row, ok := k.Spec.Capability()
	return ok && row.Family == kms.Asymmetric
}

func (c *keyExportCmd) deliver(s *session, file *secretFile, data []byte) error {
	s.note("what was exported is the key itself: whoever reads it can do all that the key can, and nobody can take that back")
	if file == nil {
		return s.deliver(c.Key, product{"key_material", data, c.Out, formRaw})
	}
	if err := file.fill(data); err != nil {
		return err
	}
	return s.show(map[string]any{"key_id": c.Key, "key_material_file": c.Out}, func(io.Writer) {})
}
