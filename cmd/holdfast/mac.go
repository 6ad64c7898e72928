package main

import (
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// macCmd is `holdfast mac`.
type macCmd struct {
	Key          keyID  `required:"" placeholder:"ID" help:"The key, one of an HMAC spec."`
	In           string `short:"i" default:"-" placeholder:"FILE" help:"The message; - is standard input."`
	InFormat     string `enum:"raw,base64" default:"raw" help:"How the message is given: raw or base64."`
	Verify       string `placeholder:"FILE" help:"Check this MAC instead of making one."`
	VerifyFormat string `enum:"raw,base64" default:"base64" help:"How it is given: raw or base64."`
	Out          string `short:"o" default:"-" placeholder:"FILE" help:"Where to write the MAC; - is standard output."`
	OutFormat    string `enum:"raw,base64" default:"base64" help:"How to write it: raw or base64."`

	connection
}

// Run makes a MAC, or checks one. One that is not valid is a result, with status 1.
func (c *macCmd) Run(s *session) error {
	if c.Verify == "-" && c.In == "-" {
		return misusef("name the message with --in, or the MAC's file", "message and MAC cannot both be standard input")
	}
	return c.with(s, func(cl *client.Client) error {
		message, err := s.read(c.In, c.InFormat)
		if err != nil {
			return err
		}
		if c.Verify != "" {
			return c.verify(s, cl, message)
		}
		mac, err := cl.MAC(s.ctx, kms.KeyID(c.Key), message)
		if err != nil {
			return err
		}
		return s.deliver(c.Key, product{"mac", mac, c.Out, c.OutFormat})
	})
}

func (c *macCmd) verify(s *session, cl *client.Client, message []byte) error {
	mac, err := s.read(c.Verify, c.VerifyFormat)
	if err != nil {
		return err
	}
	valid, err := cl.VerifyMAC(s.ctx, kms.KeyID(c.Key), message, mac)
	if err != nil {
		return err
	}
	return s.judge(c.Key, "MAC", valid)
}
