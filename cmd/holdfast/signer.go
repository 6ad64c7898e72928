package main

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// signerCmd is `holdfast signer …`.
type signerCmd struct {
	New  signerNewCmd  `cmd:"" help:"Make a key that signs documents of governance."`
	Show signerShowCmd `cmd:"" help:"Show the public half of a key."`
}

// publicSuffix is what the file of a public key ends in.
const publicSuffix = ".pub"

type signerNewCmd struct {
	Out          string `required:"" placeholder:"FILE" help:"Where the private key goes, for you alone; the public one goes to FILE.pub. Nothing is replaced."`
	Type         string `default:"ed25519" enum:"ed25519,p256" help:"ed25519 or p256."`
	Passphrase   string `name:"passphrase-file" xor:"passphrase" placeholder:"FILE" help:"File with the passphrase that is to protect it. Without it you are asked."`
	NoPassphrase bool   `name:"no-passphrase" xor:"passphrase" help:"Leave the key in clear: whoever reads the file is the signer. For trying things out."`
}

// Run makes the key.
func (c *signerNewCmd) Run(s *session) error {
	passphrase, err := c.passphrase(s)
	if err != nil {
		return err
	}
	defer clear(passphrase)
	algorithm := govern.Ed25519
	if c.Type == "p256" {
		algorithm = govern.ECDSAP256
	}
	key, err := govern.NewPrivateKey(algorithm)
	if err != nil {
		return err
	}
	text, err := key.EncodePEM(passphrase)
	if err != nil {
		return err
	}
	defer clear(text)
	public := c.Out + publicSuffix
	if exists(public) {
		return taken(public)
	}
	file, err := reserveSecret(c.Out)
	if err != nil {
		return err
	}
	if err := file.fill(text); err != nil {
		return because(err, "", "writing the key")
	}
	if err := s.writeFile(public, []byte(key.Public().String()+"\n"), false); err != nil {
		return err
	}
	if c.NoPassphrase {
		s.note("the key lies in clear: whoever reads the file can sign with it, or open what is sealed to it")
	}
	return s.showKey(key.Public(), c.Out)
}

// passphrase is what protects the new key; nil: nothing does.
func (c *signerNewCmd) passphrase(s *session) ([]byte, error) {
	switch {
	case c.NoPassphrase:
		return nil, nil
	case c.Passphrase != "":
		return readPassphrase(c.Passphrase)
	case !canAsk(s):
		return nil, misusef("give --passphrase-file FILE, or --no-passphrase to try things out", "there is no terminal to ask for a passphrase at")
	}
	first, err := s.ask("Passphrase for the new key: ")
	if err != nil {
		return nil, err
	}
	again, err := s.ask("The same again: ")
	defer clear(again)
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(first, again):
		return nil, problemf("begin again", "the two passphrases differ")
	case len(first) == 0:
		return nil, problemf("--no-passphrase leaves the key in clear", "an empty passphrase protects nothing")
	}
	return first, nil
}

// readPassphrase reads a file that only its owner may read, up to the end of
// its line.
func readPassphrase(path string) ([]byte, error) {
	b, err := readPrivate(path)
	if err != nil {
		return nil, because(err, hintOf(err), "reading the passphrase")
	}
	passphrase := bytes.TrimRight(b, "\r\n")
	if len(passphrase) == 0 {
		return nil, problemf("put the passphrase into it", "%s is empty", path)
	}
	return passphrase, nil
}

// canAsk reports whether a person sits there who can be asked for a secret.
func canAsk(s *session) bool {
	f, ok := s.stdin.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// ask asks for a secret at the terminal, without showing what is typed.
func (s *session) ask(question string) ([]byte, error) {
	fmt.Fprint(s.stderr, question)
	defer fmt.Fprintln(s.stderr)
	return await(s, func() ([]byte, error) { return term.ReadPassword(int(s.stdin.(*os.File).Fd())) })
}

// openKey reads a private key, and asks for its passphrase where it has one and
// no file is named.
func (s *session) openKey(path, passphraseFile string) (*govern.PrivateKey, error) {
	if passphraseFile != "" || !sealedKey(path) {
		return readPrivateKey(path, passphraseFile)
	}
	if !canAsk(s) {
		return nil, problemf("name a file with it: --passphrase-file", "%s has a passphrase, and there is no terminal to ask for it at", path)
	}
	file, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	defer clear(file)
	passphrase, err := s.ask("Passphrase of " + path + ": ")
	if err != nil {
		return nil, err
	}
	defer clear(passphrase)
	key, err := govern.ParsePrivateKey(file, passphrase)
	if err != nil {
		return nil, because(err, kms.HintOf(err), "reading "+path)
	}
	return key, nil
}

// sealedKey reports whether a file looks like a key with a passphrase.
func sealedKey(path string) bool {
	file, err := readPrivate(path)
	defer clear(file)
	block, _ := pem.Decode(file)
	return err == nil && block != nil && strings.HasPrefix(block.Type, "ENCRYPTED")
}

type signerShowCmd struct {
	File       string `arg:"" help:"A private key, or a public one."`
	Passphrase string `name:"passphrase-file" placeholder:"FILE" help:"File with the passphrase of a private key, if it has one. Without it you are asked."`
}

// Run shows the public half.
func (c *signerShowCmd) Run(s *session) error {
	if b, err := readDocument(c.File); err == nil && !bytes.Contains(b, []byte("PRIVATE KEY")) {
		key, err := parsePublic(b)
		if err != nil {
			return because(err, "", c.File)
		}
		return s.showKey(key, c.File)
	}
	key, err := s.openKey(c.File, c.Passphrase)
	if err != nil {
		return err
	}
	return s.showKey(key.Public(), c.File)
}

// A shownKey is what --json prints of a key.
type shownKey struct {
	File   string           `json:"file"`
	Public govern.PublicKey `json:"public_key"`
	KeyID  string           `json:"key_id"`
}

func (s *session) showKey(key govern.PublicKey, path string) error {
	return s.show(shownKey{path, key, key.ID()}, func(w io.Writer) {
		fmt.Fprintf(w, "public key\t%s\n", key)
		fmt.Fprintf(w, "key id\t%s\n", key.ID())
	})
}

// A publicKey is a flag: the key in base64, as `holdfast signer` prints it, or a
// file that holds it so or in PEM.
type publicKey struct{ govern.PublicKey }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *publicKey) UnmarshalText(text []byte) error {
	if k.PublicKey.UnmarshalText(text) == nil {
		return nil
	}
	b, err := readDocument(string(text))
	if err != nil {
		return fmt.Errorf("neither a public key in base64 nor a file with one: %w", err)
	}
	k.PublicKey, err = parsePublic(b)
	return err
}

// parsePublic reads what a file of a public key holds.
func parsePublic(b []byte) (key govern.PublicKey, err error) {
	if block, rest := pem.Decode(b); block != nil {
		if block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
			return key, errors.New("not one public key in PEM")
		}
		return govern.ParsePublicKey(block.Bytes)
	}
	return key, key.UnmarshalText(bytes.TrimSpace(b))
}

// publicKeys are the keys of several flags.
func publicKeys(flags []publicKey) []govern.PublicKey {
	var all []govern.PublicKey
	for _, k := range flags {
		all = append(all, k.PublicKey)
	}
	return all
}

// shortID is enough of a key's id to tell it from others on a screen.
func shortID(k govern.PublicKey) string { return k.ID()[:16] }
