package main

import (
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// aliasName is an alias on the command line.
type aliasName string

// UnmarshalText reads an alias with its prefix.
func (a *aliasName) UnmarshalText(b []byte) error {
	if !kms.ValidAlias(string(b)) {
		return fmt.Errorf("%q is not an alias; one is %s and up to %d letters, digits and / _ - ., such as alias/main", b, kms.AliasPrefix, kms.MaxAlias)
	}
	*a = aliasName(b)
	return nil
}

// keyAliasCmd is `holdfast key alias …`.
type keyAliasCmd struct {
	List   keyAliasListCmd   `cmd:"" help:"List the app's aliases, or those of a key."`
	Create keyAliasCreateCmd `cmd:"" help:"Give a key a name."`
	Move   keyAliasMoveCmd   `cmd:"" help:"Have a name mean another key from now on."`
	Delete keyAliasDeleteCmd `cmd:"" help:"Take a name away; the key stays."`
}

type keyAliasListCmd struct {
	Key keyName `arg:"" optional:"" name:"key" help:"Only those of this key."`

	connection
}

// Run lists aliases.
func (c *keyAliasListCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		all := []kms.Alias{}
		for page := ""; ; {
			p, err := cl.Keys().Aliases(s.ctx, string(c.Key), page)
			if err != nil {
				return err
			}
			all = append(all, p.Aliases...)
			if page = p.Next; page == "" {
				break
			}
		}
		return s.show(map[string]any{"aliases": all}, func(w io.Writer) {
			fmt.Fprintln(w, "ALIAS\tKEY\tSINCE")
			for _, a := range all {
				fmt.Fprintf(w, "%s\t%s\t%s\n", a.Name, a.Key, timeText(a.Updated))
			}
		})
	})
}

type keyAliasCreateCmd struct {
	Alias aliasName `arg:"" name:"alias" help:"The name, such as alias/main."`
	Key   keyName   `arg:"" name:"key" help:"The key: its id or another alias."`

	connection
}

// Run makes an alias.
func (c *keyAliasCreateCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		return s.named(cl.Keys().CreateAlias(s.ctx, string(c.Alias), string(c.Key)))
	})
}

type keyAliasMoveCmd struct {
	Alias aliasName `arg:"" name:"alias" help:"The name."`
	Key   keyName   `arg:"" name:"key" help:"The key that it is to mean: its id or another alias."`

	connection
}

// Run moves an alias.
func (c *keyAliasMoveCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		return s.named(cl.Keys().UpdateAlias(s.ctx, string(c.Alias), string(c.Key)))
	})
}

func (s *session) named(a kms.Alias, err error) error {
	if err != nil {
		return err
	}
	return s.show(a, func(w io.Writer) { fmt.Fprintf(w, "%s is key %s\n", a.Name, a.Key) })
}

type keyAliasDeleteCmd struct {
	Alias aliasName `arg:"" name:"alias" help:"The name."`

	connection
}

// Run deletes an alias.
func (c *keyAliasDeleteCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		return s.deleted(map[string]any{"alias": c.Alias, "deleted": true}, string(c.Alias), cl.Keys().DeleteAlias(s.ctx, string(c.Alias)))
	})
}
