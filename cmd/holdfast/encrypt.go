package main

import (
	"errors"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// asymmetric is the flags of keys with a public half.
type asymmetric struct {
	Padding string `enum:"OAEP,PKCS1," default:"" placeholder:"PADDING" help:"Of an RSA key: OAEP or PKCS1. Without it, OAEP."`
}

// encryptPaddings are those that can be asked for by name.
var encryptPaddings = map[string]kms.Padding{"OAEP": kms.PaddingOAEP, "PKCS1": kms.PaddingPKCS1}

// use does it as with a symmetric key or, where the key is none, as with an
// asymmetric one: the protocol has two calls, and none that tells which to take.
func (a asymmetric) use(aad []byte, symmetric func() ([]byte, error), other func(kms.Padding) ([]byte, error)) ([]byte, error) {
	if a.Padding == "" {
		out, err := symmetric()
		if !errors.Is(err, kms.Misused) || len(aad) > 0 {
			return out, err
		}
	}
	if len(aad) > 0 {
		return nil, misusef("leave --aad or --padding out", "an asymmetric key binds to nothing")
	}
	return other(encryptPaddings[a.Padding])
}

// encryptCmd is `holdfast encrypt`.
type encryptCmd struct {
	files
	binding
	asymmetric
	Key       keyID  `required:"" placeholder:"ID" help:"The key: AES or SM4, or RSA or SM2 created to encrypt and decrypt."`
	InFormat  string `enum:"raw,base64" default:"raw" help:"How the plaintext is given: raw or base64."`
	OutFormat string `enum:"raw,base64" default:"base64" help:"How to write the ciphertext: raw or base64."`

	connection
}

// Run encrypts.
func (c *encryptCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		aad, err := c.bytes(s)
		if err != nil {
			return err
		}
		plaintext, err := s.read(c.In, c.InFormat)
		if err != nil {
			return err
		}
		id := kms.KeyID(c.Key)
		ciphertext, err := c.use(aad,
			func() ([]byte, error) { return cl.Encrypt(s.ctx, id, plaintext, aad) },
			func(p kms.Padding) ([]byte, error) { return cl.AsymmetricEncrypt(s.ctx, id, plaintext, p) })
		if err != nil {
			return err
		}
		return s.deliver(c.Key, product{"ciphertext", ciphertext, c.Out, c.OutFormat})
	})
}

// decryptCmd is `holdfast decrypt`.
type decryptCmd struct {
	files
	binding
	asymmetric
	Key       keyID  `required:"" placeholder:"ID" help:"The key that encrypted it."`
	InFormat  string `enum:"raw,base64" default:"base64" help:"How the ciphertext is given: raw or base64."`
	OutFormat string `enum:"raw,base64" default:"raw" help:"How to write the plaintext: raw or base64."`

	connection
}

// Run decrypts.
func (c *decryptCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		aad, err := c.bytes(s)
		if err != nil {
			return err
		}
		ciphertext, err := s.read(c.In, c.InFormat)
		if err != nil {
			return err
		}
		id := kms.KeyID(c.Key)
		plaintext, err := c.use(aad,
			func() ([]byte, error) { return cl.Decrypt(s.ctx, id, ciphertext, aad) },
			func(p kms.Padding) ([]byte, error) { return cl.AsymmetricDecrypt(s.ctx, id, ciphertext, p) })
		if err != nil {
			return err
		}
		return s.deliver(c.Key, product{"plaintext", plaintext, c.Out, c.OutFormat})
	})
}
