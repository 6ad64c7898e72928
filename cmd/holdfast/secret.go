package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// secretCmd is `holdfast secret …`.
type secretCmd struct {
	Create   secretCreateCmd   `cmd:"" help:"Make a secret with its first value."`
	Put      secretPutCmd      `cmd:"" help:"Give a secret another value."`
	Get      secretGetCmd      `cmd:"" help:"Read a value of a secret."`
	Describe secretDescribeCmd `cmd:"" help:"Show everything about a secret but its values, or change its description."`
	List     secretListCmd     `cmd:"" help:"List the app's secrets."`
	Versions secretVersionsCmd `cmd:"" help:"List a secret's versions, or destroy one."`

	Promote secretPromoteCmd `cmd:"" help:"Make a version the current one: an old one again, or one that was pending."`
	Label   secretLabelCmd   `cmd:"" help:"Put a label on a version, or take it away."`
	Rotate  secretRotateCmd  `cmd:"" help:"Show or say how often a secret is to get a new value."`
	Rekey   secretRekeyCmd   `cmd:"" help:"Have another key protect a secret, or all secrets that a key protects."`

	Delete  secretDeleteCmd  `cmd:"" help:"Delete a secret after some days, or at once."`
	Restore secretRestoreCmd `cmd:"" help:"Bring back a secret whose deletion is scheduled."`
}

// secretName is a secret's name on the command line.
type secretName kms.SecretName

// UnmarshalText reads a name.
func (n *secretName) UnmarshalText(b []byte) error {
	if !kms.SecretName(b).Valid() {
		return fmt.Errorf("a secret's name has 1 to %d characters", kms.MaxSecretName)
	}
	*n = secretName(b)
	return nil
}

// interval is a rotation interval on the command line.
type interval kms.RotationInterval

const never = "never"

// UnmarshalText reads an interval, or "never".
func (i *interval) UnmarshalText(b []byte) error {
	if string(b) == never {
		*i = ""
		return nil
	}
	if len(b) == 0 || kms.RotationInterval(b).Check() != nil {
		return fmt.Errorf("%q is not an interval; one is 6h to 8760h, such as 30d, or %s", b, never)
	}
	*i = interval(b)
	return nil
}

// nameText shows a name on one line: quoted, where it has anything in it that a
// terminal obeys or a reader could take for something else.
func nameText(n kms.SecretName) string {
	s := string(n)
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` || strings.ContainsAny(s, " ") {
		return quoted
	}
	return s
}

func keyOrDomain(id kms.KeyID) string {
	if id == (kms.KeyID{}) {
		return "the domain's own"
	}
	return id.String()
}

// secretDoc is a secret in JSON.
type secretDoc struct {
	kms.SecretInfo
	KeyID string `json:"key_id,omitempty"`
}

func docOfSecret(i kms.SecretInfo) secretDoc {
	d := secretDoc{SecretInfo: i}
	if i.Key != (kms.KeyID{}) {
		d.KeyID = i.Key.String()
	}
	return d
}

// toldSecret shows all of a secret.
func (s *session) toldSecret(i kms.SecretInfo, err error) error {
	if err != nil {
		return err
	}
	return s.show(docOfSecret(i), func(w io.Writer) { printSecret(w, i) })
}

func printSecret(w io.Writer, i kms.SecretInfo) {
	row := func(name string, value any) { fmt.Fprintf(w, "%s\t%v\n", name, value) }
	row("secret", nameText(i.Name))
	row("created", timeText(i.Created))
	row("changed", timeText(i.Changed))
	if !i.Due.IsZero() {
		row("deleted", timeText(i.Due))
	}
	row("key", keyOrDomain(i.Key))
	row("versions kept", i.Versions)
	for _, l := range i.Labels {
		row(l.Name, fmt.Sprintf("version %d", l.Version))
	}
	if i.Rotation != "" {
		row("rotation", "every "+string(i.Rotation))
		row("last rotation", timeText(i.Rotated))
		row("next rotation", timeText(i.NextRotated))
	}
	if i.Description != "" {
		row("description", oneLine(i.Description))
	}
}

type secretCreateCmd struct {
	Name        secretName `arg:"" name:"name" help:"Its name."`
	In          string     `short:"i" default:"-" placeholder:"FILE" help:"Where to read the value; - is standard input. It is taken as it is, with its line end if it has one."`
	Key         keyName    `placeholder:"KEY" help:"Protect it by this key: an id or alias. Without it, the domain takes a key of its own."`
	Description string     `placeholder:"TEXT" help:"What it is for."`
	Rotate      interval   `placeholder:"TIME" help:"How often it is to get a new value, such as 30d."`

	connection
}

// Run makes a secret.
func (c *secretCreateCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		value, err := s.secretValue(c.In)
		if err != nil {
			return err
		}
		defer clear(value)
		i, err := cl.Secrets().Create(s.ctx, client.NewSecret{Name: kms.SecretName(c.Name), Value: value, Key: string(c.Key),
			Description: c.Description, Rotation: kms.RotationInterval(c.Rotate)})
		if err != nil {
			return err
		}
		return s.show(docOfSecret(i), func(w io.Writer) { fmt.Fprintf(w, "%s is made, version %d\n", nameText(i.Name), i.Current) })
	})
}

// secretValue reads a value, of any bytes.
func (s *session) secretValue(path string) ([]byte, error) {
	value, err := s.read(path, formRaw)
	switch {
	case err != nil:
		return nil, err
	case len(value) == 0:
		return nil, problemf("`printf %s VALUE | holdfast secret put NAME`", "%s is empty", nameOf(path, "standard input"))
	}
	return value, nil
}

type secretPutCmd struct {
	Name    secretName `arg:"" name:"name" help:"The secret."`
	In      string     `short:"i" default:"-" placeholder:"FILE" help:"Where to read the value; - is standard input."`
	Pending bool       `help:"Do not make it the current one yet; promote does."`
	Label   []string   `placeholder:"LABEL" sep:"none" help:"Give the version a label. May be said several times."`

	connection
}

// Run puts a value.
func (c *secretPutCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		value, err := s.secretValue(c.In)
		if err != nil {
			return err
		}
		defer clear(value)
		v, err := cl.Secrets().Put(s.ctx, kms.PutSecretRequest{Name: kms.SecretName(c.Name), Value: value, Pending: c.Pending, Labels: c.Label})
		if err != nil {
			return err
		}
		what := "current"
		if c.Pending {
			what = "pending"
		}
		return s.show(v, func(w io.Writer) {
			fmt.Fprintf(w, "version %d of %s is %s\n", v.Number, nameText(kms.SecretName(c.Name)), what)
		})
	})
}

type secretGetCmd struct {
	Name    secretName `arg:"" name:"name" help:"The secret."`
	Version uint32     `placeholder:"N" xor:"which" help:"Version N, not the current one."`
	Label   string     `placeholder:"LABEL" xor:"which" help:"The version with this label, such as previous."`
	Out     string     `short:"o" default:"-" placeholder:"FILE" help:"Where to write; - is standard output."`

	connection
}

// Run writes a value as it is; in JSON in base64.
func (c *secretGetCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		v, err := cl.Secrets().Get(s.ctx, kms.GetSecretRequest{Name: kms.SecretName(c.Name), Version: kms.SecretVersion(c.Version), Label: c.Label})
		if err != nil {
			return err
		}
		defer clear(v.Data)
		if !s.json {
			return s.write(c.Out, formRaw, v.Data)
		}
		doc := map[string]any{"name": v.Name, "version": v.Number, "created": v.Created, "labels": v.Labels}
		if c.Out == "-" {
			doc["value"] = v.Data
			return s.encode(s.stdout, doc)
		}
		if err := s.write(c.Out, formRaw, v.Data); err != nil {
			return err
		}
		doc["value_file"] = c.Out
		return s.encode(s.stdout, doc)
	})
}

type secretDescribeCmd struct {
	Name secretName `arg:"" name:"name" help:"The secret."`
	Text *string    `name:"set" placeholder:"TEXT" help:"Give it this description; with an empty text it has none."`

	connection
}

// Run shows a secret, or changes its description first.
func (c *secretDescribeCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		if c.Text != nil {
			return s.toldSecret(cl.Secrets().Update(s.ctx, kms.UpdateSecretRequest{Name: kms.SecretName(c.Name), Description: c.Text}))
		}
		return s.toldSecret(cl.Secrets().Describe(s.ctx, kms.SecretName(c.Name)))
	})
}

type secretListCmd struct {
	Key     keyName `placeholder:"KEY" help:"Only those that this key protects."`
	Overdue bool    `help:"Only those that should have had a new value by now."`

	connection
}

// Run lists secrets.
func (c *secretListCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		all, err := allSecrets(s, cl, client.SecretFilter{Key: string(c.Key), Overdue: c.Overdue})
		if err != nil {
			return err
		}
		docs := []secretDoc{}
		for _, i := range all {
			docs = append(docs, docOfSecret(i))
		}
		return s.show(map[string]any{"secrets": docs}, func(w io.Writer) {
			fmt.Fprintln(w, "SECRET\tVERSION\tCHANGED\tNEXT ROTATION\tDELETED")
			for _, i := range all {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", nameText(i.Name), i.Current, timeText(i.Changed), timeText(i.NextRotated), timeText(i.Due))
			}
		})
	})
}

// allSecrets goes through all pages.
func allSecrets(s *session, cl *client.Client, f client.SecretFilter) (all []kms.SecretInfo, err error) {
	for {
		page, err := cl.Secrets().List(s.ctx, f)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Secrets...)
		if f.Page = page.Next; f.Page == "" {
			return all, nil
		}
	}
}

type secretVersionsCmd struct {
	Name    secretName `arg:"" name:"name" help:"The secret."`
	Destroy uint32     `placeholder:"N" help:"Destroy version N, not the current one, for good."`
	Yes     bool       `short:"y" help:"Do not ask."`

	connection
}

// Run lists versions, or destroys one first.
func (c *secretVersionsCmd) Run(s *session) error {
	name := kms.SecretName(c.Name)
	return c.with(s, func(cl *client.Client) error {
		if c.Destroy != 0 {
			if err := confirmSecret(s, c.Yes, fmt.Sprintf("version %d of secret %s", c.Destroy, nameText(name))); err != nil {
				return err
			}
			if _, err := cl.Secrets().DestroyVersion(s.ctx, name, kms.SecretVersion(c.Destroy)); err != nil {
				return err
			}
		}
		all, err := cl.Secrets().Versions(s.ctx, name)
		if err != nil {
			return err
		}
		return s.show(map[string]any{"name": name, "versions": all}, func(w io.Writer) {
			fmt.Fprintln(w, "VERSION\tCREATED\tLABELS")
			for _, v := range all {
				fmt.Fprintf(w, "%d\t%s\t%s\n", v.Number, timeText(v.Created), strings.Join(v.Labels, ", "))
			}
		})
	})
}

// confirmSecret asks a person; where there is none, --yes must have been said.
func confirmSecret(s *session, yes bool, what string) error {
	if yes {
		return nil
	}
	if !isTerminal(s.stdin) {
		return problemf("add --yes", "deleting cannot be undone, and there is nobody to ask")
	}
	agreed, err := s.agree(fmt.Sprintf("Delete %s for good?", what))
	if err == nil && !agreed {
		err = problemf("", "nothing was deleted")
	}
	return err
}

type secretPromoteCmd struct {
	Name    secretName `arg:"" name:"name" help:"The secret."`
	Version uint32     `arg:"" name:"version" help:"The version that is to be current."`

	connection
}

// Run promotes a version.
func (c *secretPromoteCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		i, err := cl.Secrets().Promote(s.ctx, kms.SecretName(c.Name), kms.SecretVersion(c.Version))
		if err != nil {
			return err
		}
		return s.show(docOfSecret(i), func(w io.Writer) { fmt.Fprintf(w, "version %d of %s is current\n", i.Current, nameText(i.Name)) })
	})
}

type secretLabelCmd struct {
	Name    secretName `arg:"" name:"name" help:"The secret."`
	Label   string     `arg:"" name:"label" help:"The label: letters, digits and / _ - . : +"`
	Version uint32     `placeholder:"N" xor:"what" help:"Put it on version N, wherever it was before."`
	Remove  bool       `xor:"what" help:"Take it away."`

	connection
}

// Run moves a label.
func (c *secretLabelCmd) Run(s *session) error {
	switch {
	case (c.Version != 0) == c.Remove:
		return misusef("such as --version 2, or --remove", "say which version the label is to be on")
	case !kms.OwnSecretLabel(c.Label):
		return misusef("letters, digits and / _ - . : +; `holdfast secret promote` makes a version current", "%q is not a label of the app's own", c.Label)
	}
	return c.with(s, func(cl *client.Client) error {
		return s.toldSecret(cl.Secrets().Label(s.ctx, kms.LabelSecretRequest{Name: kms.SecretName(c.Name), Label: c.Label, Version: kms.SecretVersion(c.Version)}))
	})
}

type secretRotateCmd struct {
	Name  secretName `arg:"" name:"name" help:"The secret."`
	Every *interval  `placeholder:"TIME" help:"How often: 6h to 8760h, such as 30d; or never."`

	connection
}

// Run shows or changes the interval.
func (c *secretRotateCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		if c.Every == nil {
			return s.rotation(cl.Secrets().Describe(s.ctx, kms.SecretName(c.Name)))
		}
		return s.rotation(cl.Secrets().Update(s.ctx, kms.UpdateSecretRequest{Name: kms.SecretName(c.Name), Rotation: (*kms.RotationInterval)(c.Every)}))
	})
}

func (s *session) rotation(i kms.SecretInfo, err error) error {
	if err != nil {
		return err
	}
	return s.show(docOfSecret(i), func(w io.Writer) {
		if i.Rotation == "" {
			fmt.Fprintf(w, "%s has no interval\n", nameText(i.Name))
			return
		}
		fmt.Fprintf(w, "%s is to get a new value every %s, next at %s\n", nameText(i.Name), i.Rotation, i.NextRotated.Format(time.RFC3339))
	})
}

type secretRekeyCmd struct {
	Name secretName `arg:"" optional:"" name:"name" help:"The secret."`
	From keyName    `placeholder:"KEY" help:"All secrets that this key protects."`
	To   keyName    `placeholder:"KEY" help:"The key that is to protect them: an id or alias. Without it, the domain takes a key of its own."`

	connection
}

// Run has another key protect secrets.
func (c *secretRekeyCmd) Run(s *session) error {
	if (c.Name == "") == (c.From == "") {
		return misusef("`holdfast secret rekey NAME --to KEY`, or `holdfast secret rekey --from KEY --to KEY`", "name a secret, or the key that protects them now")
	}
	return c.with(s, func(cl *client.Client) error {
		names := []kms.SecretName{kms.SecretName(c.Name)}
		if c.From != "" {
			all, err := allSecrets(s, cl, client.SecretFilter{Key: string(c.From)})
			if err != nil {
				return err
			}
			names = names[:0]
			for _, i := range all {
				names = append(names, i.Name)
			}
		}
		for _, n := range names {
			if _, err := cl.Secrets().SetKey(s.ctx, n, string(c.To)); err != nil {
				return err
			}
		}
		return s.show(map[string]any{"secrets": names}, func(w io.Writer) {
			for _, n := range names {
				fmt.Fprintf(w, "%s is protected by another key\n", nameText(n))
			}
		})
	})
}

type secretDeleteCmd struct {
	Name  secretName `arg:"" name:"name" help:"The secret."`
	Days  int        `default:"30" help:"How long it can still be had back: 1 to 365 days."`
	Force bool       `help:"Delete it at once, with all versions, for good."`
	Yes   bool       `short:"y" help:"Do not ask."`

	connection
}

// Run deletes a secret.
func (c *secretDeleteCmd) Run(s *session) error {
	name := kms.SecretName(c.Name)
	if c.Days < kms.MinRecoveryDays || c.Days > kms.MaxRecoveryDays {
		return misusef("such as --days 7", "a deletion waits %d to %d days", kms.MinRecoveryDays, kms.MaxRecoveryDays)
	}
	return c.with(s, func(cl *client.Client) error {
		if c.Force {
			if err := confirmSecret(s, c.Yes, "secret "+nameText(name)+", with all its versions,"); err != nil {
				return err
			}
		}
		i, err := cl.Secrets().Delete(s.ctx, kms.DeleteSecretRequest{Name: name, Days: c.Days, Force: c.Force})
		if c.Force {
			return s.deleted(map[string]any{"name": name, "deleted": true}, nameText(name), err)
		}
		if err != nil {
			return err
		}
		return s.show(docOfSecret(i), func(w io.Writer) {
			fmt.Fprintf(w, "%s is deleted at %s\n", nameText(name), i.Due.Format(time.RFC3339))
			fmt.Fprintf(w, "until then `holdfast secret restore %s` brings it back\n", shellQuote(oneLine(string(name))))
		})
	})
}

type secretRestoreCmd struct {
	Name secretName `arg:"" name:"name" help:"The secret."`

	connection
}

// Run restores a secret.
func (c *secretRestoreCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		i, err := cl.Secrets().Restore(s.ctx, kms.SecretName(c.Name))
		if err != nil {
			return err
		}
		return s.show(docOfSecret(i), func(w io.Writer) { fmt.Fprintf(w, "%s is back, version %d\n", nameText(i.Name), i.Current) })
	})
}
