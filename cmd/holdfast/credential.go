package main

import (
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// credentialID is a credential's id on the command line.
type credentialID kms.CredentialID

// UnmarshalText reads the UUID form.
func (c *credentialID) UnmarshalText(b []byte) error {
	id, err := kms.ParseCredentialID(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a credential's id; one looks like 11111111-2222-4333-8444-555555555555", b)
	}
	*c = credentialID(id)
	return nil
}

// permissions is a set of permissions on the command line.
type permissions []string

func (p permissions) set() (kms.Permissions, error) {
	set, err := kms.ParsePermissions(p)
	if err != nil {
		return 0, misusef("such as --permissions use,read", "a permission is use, manage, secrets or read, each at most once")
	}
	return set, nil
}

// credentialCmd is `holdfast credential …`.
type credentialCmd struct {
	List   credentialListCmd   `cmd:"" help:"List the app's credentials."`
	Create credentialCreateCmd `cmd:"" help:"Make another credential of the app, in a file of its own."`
	Rotate credentialRotateCmd `cmd:"" help:"Replace a credential by one that can do the same."`
	Revoke credentialRevokeCmd `cmd:"" help:"End a credential at once."`
}

type credentialListCmd struct {
	connection
}

// credentialDoc is a credential in JSON.
type credentialDoc struct {
	ID          kms.CredentialID `json:"credential_id"`
	Name        string           `json:"name"`
	Permissions []string         `json:"permissions"`
	Created     time.Time        `json:"created"`
	Expires     time.Time        `json:"expires,omitzero"`
	Own         bool             `json:"own,omitempty"`         // it is the one that this command used
	File        string           `json:"credentials,omitempty"` // where it is, with its secret
}

func credentialDocOf(c kms.CredentialInfo) credentialDoc {
	return credentialDoc{ID: c.ID, Name: c.Name, Permissions: c.Permissions.Names(), Created: c.Created, Expires: c.Expires}
}

// Run lists credentials.
func (c *credentialListCmd) Run(s *session) error {
	cfg, err := c.asApp(s)
	if err != nil {
		return err
	}
	return withClient(cfg, func(cl *client.Client) error {
		all, err := cl.ListCredentials(s.ctx)
		if err != nil {
			return err
		}
		docs := make([]credentialDoc, len(all))
		for i, info := range all {
			docs[i] = credentialDocOf(info)
			docs[i].Own = info.ID == ownCredential(cfg)
		}
		return s.show(map[string]any{"credentials": docs}, func(w io.Writer) { printCredentials(w, docs) })
	})
}

func printCredentials(w io.Writer, docs []credentialDoc) {
	fmt.Fprintln(w, "CREDENTIAL\tPERMISSIONS\tCREATED\tEXPIRES\tNAME")
	for _, d := range docs {
		name := d.Name
		if d.Own {
			name += " (this one)"
		}
		p, _ := kms.ParsePermissions(d.Permissions)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", d.ID, p, timeText(d.Created), timeText(d.Expires), name)
	}
}

// ownCredential is the id of the credential that cfg is with.
func ownCredential(cfg client.Config) kms.CredentialID {
	if cfg.CredentialID != (kms.CredentialID{}) {
		return cfg.CredentialID
	}
	return kms.CredentialID(cfg.AppID)
}

func withClient(cfg client.Config, do func(*client.Client) error) error {
	cl, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer cl.Close()
	return do(cl)
}

type credentialCreateCmd struct {
	Name        string        `placeholder:"TEXT" help:"What it is for; shown in lists."`
	Permissions permissions   `required:"" placeholder:"LIST" help:"What it may do: use, manage, secrets, values (read secrets alone) and read, with commas. No more than the credential that makes it."`
	Expires     time.Duration `placeholder:"TIME" help:"When it ends, from now, such as 720h. Without it, never."`
	Out         string        `required:"" placeholder:"FILE" help:"The credentials file to make, for whoever is to have it."`

	connection
}

// Run makes a credential. Its APIKey goes into the file and nowhere else.
func (c *credentialCreateCmd) Run(s *session) error {
	set, err := c.Permissions.set()
	if err != nil {
		return err
	}
	r := kms.CreateCredentialRequest{Name: c.Name, Permissions: set}
	if c.Expires < 0 {
		return misusef("such as --expires 720h", "--expires is a time from now on")
	}
	if c.Expires > 0 {
		r.Expires = time.Now().Add(c.Expires)
	}
	return c.keep(s, c.Out, func(cl *client.Client) (client.NewCredential, error) { return cl.CreateCredential(s.ctx, r) })
}

// keep makes a credential that ends up in a file, or none.
func (c connection) keep(s *session, path string, create func(*client.Client) (client.NewCredential, error)) error {
	cfg, err := c.asApp(s)
	if err != nil {
		return err
	}
	return withClient(cfg, func(cl *client.Client) error {
		file, err := reserveSecret(path)
		if err != nil {
			return err
		}
		made, err := create(cl)
		if err != nil {
			file.discard()
			return err
		}
		cfg.CredentialID, cfg.APIKey = made.ID, made.APIKey
		text, err := credentialsText(cfg, client.Credential{AppID: cfg.AppID, APIKey: made.APIKey})
		if err == nil {
			err = file.fill(text)
		}
		if err != nil {
			return because(err, "its APIKey is lost with it: revoke credential "+made.ID.String(), "writing "+path)
		}
		doc := credentialDocOf(made.CredentialInfo)
		doc.File = path
		return s.show(doc, func(w io.Writer) {
			fmt.Fprintf(w, "credential\t%s\n", made.ID)
			fmt.Fprintf(w, "permissions\t%s\n", made.Permissions)
			fmt.Fprintf(w, "expires\t%s\n", timeText(made.Expires))
			fmt.Fprintf(w, "credentials\t%s\n", path)
		})
	})
}

type credentialRotateCmd struct {
	ID    credentialID  `arg:"" optional:"" name:"id" help:"The credential. Without it, the one that this command uses."`
	Grace time.Duration `default:"1h" help:"For how long the old one stays good; 0s ends it at once."`
	Out   string        `required:"" placeholder:"FILE" help:"The credentials file to make."`

	connection
}

// Run rotates a credential.
func (c *credentialRotateCmd) Run(s *session) error {
	if c.Grace < 0 || c.Grace > kms.MaxGrace || c.Grace%time.Second != 0 {
		return misusef("such as --grace 1h", "a grace time is in whole seconds, and at most %s", kms.MaxGrace)
	}
	id := kms.CredentialID(c.ID)
	if id == (kms.CredentialID{}) {
		cfg, err := c.asApp(s)
		if err != nil {
			return err
		}
		id = ownCredential(cfg)
	}
	return c.keep(s, c.Out, func(cl *client.Client) (client.NewCredential, error) { return cl.RotateCredential(s.ctx, id, c.Grace) })
}

type credentialRevokeCmd struct {
	ID credentialID `arg:"" name:"id" help:"The credential."`

	connection
}

// Run revokes a credential.
func (c *credentialRevokeCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		id := kms.CredentialID(c.ID)
		if err := cl.RevokeCredential(s.ctx, id); err != nil {
			return err
		}
		return s.show(map[string]any{"credential_id": id, "revoked": true}, func(w io.Writer) { fmt.Fprintf(w, "%s revoked\n", id) })
	})
}
