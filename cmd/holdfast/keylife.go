package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// keyName is a key's id or alias on the command line.
type keyName string

// UnmarshalText reads an id, or an alias with its prefix.
func (k *keyName) UnmarshalText(b []byte) error {
	s := string(b)
	if _, err := kms.ParseKeyID(s); err != nil && !kms.ValidAlias(s) {
		return fmt.Errorf("%q is neither a key's id, such as 11111111-2222-4333-8444-555555555555, nor an alias, such as alias/main", s)
	}
	*k = keyName(s)
	return nil
}

// tag is NAME=VALUE, or NAME, on the command line.
type tag kms.Tag

// UnmarshalText reads a tag.
func (t *tag) UnmarshalText(b []byte) error {
	t.Name, t.Value, _ = strings.Cut(string(b), "=")
	if err := kms.CheckTags([]kms.Tag{kms.Tag(*t)}); err != nil {
		return fmt.Errorf("%q is not a tag; one looks like team=billing", b)
	}
	return nil
}

func tagsOf(tags []tag) (out []kms.Tag) {
	for _, t := range tags {
		out = append(out, kms.Tag(t))
	}
	return out
}

// described shows all of a key.
func (s *session) described(d kms.KeyDescription, err error) error {
	if err != nil {
		return err
	}
	return s.show(d, func(w io.Writer) { printKey(w, d) })
}

func printKey(w io.Writer, d kms.KeyDescription) {
	row := func(name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }
	row("key", d.ID)
	row("spec", specText(d.Spec))
	row("usages", d.Usages)
	row("state", d.State)
	row("origin", d.Origin)
	row("exportable", d.Exportable)
	row("created", timeText(d.Created))
	row("expires", timeText(d.Expires))
	if !d.Due.IsZero() {
		row("destroyed", timeText(d.Due))
	}
	row("version", d.Current)
	row("versions kept", len(d.Versions))
	if d.RotationPeriod != 0 {
		row("rotated", fmt.Sprintf("every %d days, next at %s", d.RotationPeriod/kms.Day, timeText(d.NextRotation)))
	}
	row("last used", timeText(d.LastUsed))
	for _, a := range d.Aliases {
		row("alias", a)
	}
	if d.Description != "" {
		row("description", d.Description)
	}
	for _, t := range d.Tags {
		row("tag", t.Name+"="+t.Value)
	}
	if d.Conditioned {
		row("condition", "only attested programs may use it; see `holdfast key condition get`")
	}
	for _, w := range d.Warnings {
		row("warning", w)
	}
}

type keyDescribeCmd struct {
	Key  keyName `arg:"" name:"key" help:"The key: its id or an alias."`
	Text *string `name:"set" placeholder:"TEXT" help:"Give it this description; with an empty text it has none."`

	connection
}

// Run shows a key, or changes its description first.
func (c *keyDescribeCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		if c.Text != nil {
			return s.described(cl.Keys().SetDescription(s.ctx, string(c.Key), *c.Text))
		}
		return s.described(cl.Keys().Describe(s.ctx, string(c.Key)))
	})
}

type keyRotateCmd struct {
	Key   keyName `arg:"" name:"key" help:"The key: its id or an alias."`
	Every uint32  `placeholder:"DAYS" xor:"when" help:"From now on every so many days, 1 to 3650, counted from the newest version."`
	Never bool    `xor:"when" help:"Not by itself any more."`

	connection
}

// Run makes a new version of a key, or says when it is to get one.
func (c *keyRotateCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		if c.Every != 0 || c.Never {
			return s.described(cl.Keys().SetRotation(s.ctx, string(c.Key), kms.RotationDays(c.Every)))
		}
		d, err := cl.Keys().Rotate(s.ctx, string(c.Key))
		if err != nil {
			return err
		}
		for _, w := range d.Warnings {
			s.note("%s", w)
		}
		return s.show(d, func(w io.Writer) { fmt.Fprintf(w, "%s is at version %d\n", d.ID, d.Current) })
	})
}

type keyVersionsCmd struct {
	Key     keyName `arg:"" name:"key" help:"The key: its id or an alias."`
	Enable  uint32  `placeholder:"N" xor:"change" help:"Let version N open ciphertexts again."`
	Disable uint32  `placeholder:"N" xor:"change" help:"Let version N open nothing."`
	Destroy uint32  `placeholder:"N" xor:"change" help:"Destroy version N, a disabled one, for good."`
	Yes     bool    `short:"y" help:"Do not ask."`

	connection
}

// change is the version that is to change, zero for none, and into what.
func (c *keyVersionsCmd) change() (kms.KeyVersion, kms.VersionState) {
	switch {
	case c.Enable != 0:
		return kms.KeyVersion(c.Enable), kms.VersionEnabled
	case c.Disable != 0:
		return kms.KeyVersion(c.Disable), kms.VersionDisabled
	}
	return kms.KeyVersion(c.Destroy), kms.VersionDestroyed
}

// Run lists the versions of a key, or changes the state of one first.
func (c *keyVersionsCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		n, to := c.change()
		if n == 0 {
			return s.versions(cl.Keys().Describe(s.ctx, string(c.Key)))
		}
		if to == kms.VersionDestroyed {
			ask := keyDeleteCmd{Yes: c.Yes}
			if err := ask.confirm(s, fmt.Sprintf("version %d of key %s", n, c.Key)); err != nil {
				return err
			}
		}
		return s.versions(cl.Keys().SetVersionState(s.ctx, string(c.Key), n, to))
	})
}

func (s *session) versions(d kms.KeyDescription, err error) error {
	if err != nil {
		return err
	}
	doc := map[string]any{"key_id": d.ID, "current_version": d.Current, "versions": d.Details}
	return s.show(doc, func(w io.Writer) {
		fmt.Fprintln(w, "VERSION\tSTATE\tCREATED")
		for _, v := range d.Details {
			state := v.State.String()
			if v.Number == d.Current {
				state += " (current)"
			}
			if v.Exposed {
				state += ", others may know it"
			}
			fmt.Fprintf(w, "%d\t%s\t%s\n", v.Number, state, timeText(v.Created))
		}
	})
}

// exposedKeys lists the app's keys that others may know, all pages of them.
func (s *session) exposedKeys(cl *client.Client) error {
	keys := []kms.KeyDescription{}
	for f := (client.KeyFilter{Exposed: true, PageSize: 1000}); ; {
		page, err := cl.Keys().List(s.ctx, f)
		if err != nil {
			return err
		}
		if keys, f.Page = append(keys, page.Keys...), page.Next; f.Page == "" {
			break
		}
	}
	return s.show(map[string]any{"keys": keys}, func(w io.Writer) {
		fmt.Fprintln(w, "KEY\tSPEC\tSTATE\tVERSIONS\tWHAT TO DO")
		for _, k := range keys {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.ID, specText(k.Spec), k.State, numbers(exposedVersions(k)), strings.Join(k.Warnings, "; "))
		}
	})
}

func exposedVersions(k kms.KeyDescription) (all []kms.KeyVersion) {
	for _, v := range k.Details {
		if v.Exposed {
			all = append(all, v.Number)
		}
	}
	return all
}

type keyScheduleCmd struct {
	Key  keyName `arg:"" name:"key" help:"The key: its id or an alias."`
	Days int     `default:"30" help:"How long it can still be had back: 1 to 30 days."`

	connection
}

// Run schedules a deletion.
func (c *keyScheduleCmd) Run(s *session) error {
	if c.Days < kms.MinDeletionDays || c.Days > kms.MaxDeletionDays {
		return misusef("such as --days 7", "a deletion waits %d to %d days", kms.MinDeletionDays, kms.MaxDeletionDays)
	}
	return c.with(s, func(cl *client.Client) error {
		d, err := cl.Keys().ScheduleDeletion(s.ctx, string(c.Key), c.Days)
		if err != nil {
			return err
		}
		return s.show(d, func(w io.Writer) {
			fmt.Fprintf(w, "%s is out of use, and is destroyed at %s\n", d.ID, d.Due.Format(time.RFC3339))
			fmt.Fprintf(w, "until then `holdfast key cancel-deletion %s` brings it back\n", d.ID)
		})
	})
}

type keyCancelCmd struct {
	Key keyName `arg:"" name:"key" help:"The key: its id or an alias."`

	connection
}

// Run cancels a deletion.
func (c *keyCancelCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		d, err := cl.Keys().CancelDeletion(s.ctx, string(c.Key))
		return s.changed(keyID(d.ID), d.State, err)
	})
}

type keyTagCmd struct {
	Key    keyName  `arg:"" name:"key" help:"The key: its id or an alias."`
	Tags   []tag    `arg:"" optional:"" name:"tag" help:"NAME=VALUE, or NAME alone: added, or given another value."`
	Remove []string `placeholder:"NAME" sep:"none" help:"Take a tag away. May be said several times."`

	connection
}

// Run changes a key's tags, or shows them.
func (c *keyTagCmd) Run(s *session) error {
	if len(c.Tags) > 0 && len(c.Remove) > 0 {
		return misusef("use two commands", "tags are either added or taken away")
	}
	return c.with(s, func(cl *client.Client) error {
		switch {
		case len(c.Tags) > 0:
			return s.tags(cl.Keys().Tag(s.ctx, string(c.Key), tagsOf(c.Tags)...))
		case len(c.Remove) > 0:
			return s.tags(cl.Keys().Untag(s.ctx, string(c.Key), c.Remove...))
		}
		return s.tags(cl.Keys().Describe(s.ctx, string(c.Key)))
	})
}

func (s *session) tags(d kms.KeyDescription, err error) error {
	if err != nil {
		return err
	}
	tags := append([]kms.Tag{}, d.Tags...) // [] in JSON, not null
	return s.show(map[string]any{"key_id": d.ID, "tags": tags}, func(w io.Writer) {
		fmt.Fprintln(w, "TAG\tVALUE")
		for _, t := range tags {
			fmt.Fprintf(w, "%s\t%s\n", t.Name, t.Value)
		}
	})
}
