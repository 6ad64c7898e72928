package main

import (
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// digests are the hash functions that can be asked for by name.
var digests = []kms.Digest{kms.SHA224, kms.SHA256, kms.SHA384, kms.SHA512, kms.SM3}

// signPaddings are those that can be asked for by name.
var signPaddings = map[string]kms.Padding{"PSS": kms.PaddingPSS, "PKCS1": kms.PaddingPKCS1}

func digestNames() []string {
	var names []string
	for _, d := range digests {
		names = append(names, d.String())
	}
	return names
}

// message is the flags of what is signed.
type message struct {
	Key       keyID  `required:"" placeholder:"ID" help:"The key: RSA, EC, SM2 or Ed25519."`
	In        string `short:"i" default:"-" placeholder:"FILE" help:"The message; - is standard input."`
	InFormat  string `enum:"raw,base64" default:"raw" help:"How the message is given: raw or base64."`
	Digest    string `enum:"${digests}," default:"" placeholder:"DIGEST" help:"The hash function that is signed: ${digests}. Without it, the key's own: SHA-256, or SM3 for SM2."`
	Prehashed bool   `help:"The message is already the digest."`
	Padding   string `enum:"PSS,PKCS1," default:"" placeholder:"PADDING" help:"Of an RSA key: PSS or PKCS1. Without it, PSS."`
}

func (m message) input(s *session) (kms.SigningInput, error) {
	data, err := s.read(m.In, m.InFormat)
	in := kms.SigningInput{Message: data, Prehashed: m.Prehashed, Padding: signPaddings[m.Padding]}
	for _, d := range digests {
		if d.String() == m.Digest {
			in.Digest = d
		}
	}
	return in, err
}

// signCmd is `holdfast sign`.
type signCmd struct {
	message
	Out       string `short:"o" default:"-" placeholder:"FILE" help:"Where to write the signature; - is standard output."`
	OutFormat string `enum:"raw,base64" default:"base64" help:"How to write it: raw or base64. ECDSA and SM2: ASN.1 DER."`

	connection
}

// Run signs.
func (c *signCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		in, err := c.input(s)
		if err != nil {
			return err
		}
		sig, err := cl.Sign(s.ctx, kms.KeyID(c.Key), in)
		if err != nil {
			return err
		}
		return s.deliver(c.Key, product{"signature", sig, c.Out, c.OutFormat})
	})
}

// verifyCmd is `holdfast verify`.
type verifyCmd struct {
	message
	Signature       string `required:"" placeholder:"FILE" help:"The signature."`
	SignatureFormat string `enum:"raw,base64" default:"base64" help:"How it is given: raw or base64."`

	connection
}

// Run verifies. A signature that is not valid is a result, with status 1.
func (c *verifyCmd) Run(s *session) error {
	if c.Signature == "-" && c.In == "-" {
		return misusef("name the message with --in, or the signature's file", "message and signature cannot both be standard input")
	}
	return c.with(s, func(cl *client.Client) error {
		sig, err := s.read(c.Signature, c.SignatureFormat)
		if err != nil {
			return err
		}
		in, err := c.input(s)
		if err != nil {
			return err
		}
		valid, err := cl.Verify(s.ctx, kms.KeyID(c.Key), in, sig)
		if err != nil {
			return err
		}
		return s.judge(c.Key, "signature", valid)
	})
}

// judge shows whether something is valid. What is not fails the command.
func (s *session) judge(key keyID, what string, valid bool) error {
	verdict := what + " is NOT valid"
	if valid {
		verdict = what + " is valid"
	}
	err := s.show(map[string]any{"key_id": key, "valid": valid}, func(w io.Writer) {
		fmt.Fprintln(w, verdict)
	})
	if err == nil && !valid {
		err = errQuiet
	}
	return err
}
