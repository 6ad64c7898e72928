package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// enrollCmd is `holdfast enroll`.
type enrollCmd struct {
	URL string `name:"url" required:"" placeholder:"https://HOST:PORT" help:"The node to enroll at."`
	CA  string `name:"ca" placeholder:"FILE" help:"Certificates in PEM to trust. Without it, those that this machine trusts."`
	trustFlags
	Ticket   string `xor:"way" placeholder:"CODE" help:"An operator's ticket, @FILE with one, or - for standard input: where enrolment is not open to everybody."`
	Attested bool   `xor:"way" help:"Prove what this program is, for a domain whose policy names it. It must run in a TEE."`
	workloadFlags
	Out string `placeholder:"FILE" help:"The file to make, for you alone. Without it, where the other commands look."`
}

// Run enrolls. The APIKey goes into the file and nowhere else.
func (c *enrollCmd) Run(s *session) error {
	path, err := c.path(s)
	if err != nil {
		return err
	}
	cfg, err := c.config(s, path)
	if err != nil {
		return err
	}
	in, err := c.way(s, &cfg)
	if err != nil {
		return err
	}
	app, err := enroll(s.ctx, cfg, path, in)
	if errors.Is(err, kms.Denied) {
		return because(err, c.refusedHint(), "the domain makes no app")
	}
	if err != nil {
		return err
	}
	doc := map[string]string{"appid": app.String(), "url": c.URL, "credentials": path}
	return s.show(doc, func(w io.Writer) {
		fmt.Fprintf(w, "app\t%s\n", app)
		fmt.Fprintf(w, "credentials\t%s\n", path)
		if c.Out != "" {
			fmt.Fprintf(w, "to use them\texport HOLDFAST_CREDENTIALS=%s\n", shellQuote(path))
		}
	})
}

// refusedHint is what to do where the domain does not let the caller enrol.
func (c *enrollCmd) refusedHint() string {
	switch {
	case c.Attested:
		return "the policy has to name this program as one that may enrol"
	case c.Ticket != "":
		return "see that the ticket is for this domain, has not expired, and that an operator signed it whom the policy names; or ask for another one"
	}
	return "ask an operator for a ticket (holdfast ticket issue), and say --ticket @FILE"
}

func (c *enrollCmd) path(s *session) (string, error) {
	if c.Out != "" {
		return c.Out, nil
	}
	return defaultCredentials(s)
}

// config is how to connect, for the credential that ends up at path.
func (c *enrollCmd) config(s *session, path string) (client.Config, error) {
	cfg := client.Config{URL: c.URL}
	if c.CA != "" && c.Charter != "" {
		return cfg, misusef("leave --ca out: the node's proof names the CA", "a charter takes the place of a CA")
	}
	var err error
	if cfg.CA, err = readCA(c.CA, "."); err != nil {
		return cfg, err
	}
	return cfg, c.trustFlags.add(s, path, &cfg)
}

// A way is one of those to enroll.
type way = func(*client.Client, context.Context) (client.Credential, error)

func (c *enrollCmd) way(s *session, cfg *client.Config) (way, error) {
	switch {
	case c.Attested:
		w, err := c.workload(s)
		cfg.Workload = w
		return (*client.Client).EnrolAttested, err
	case c.Ticket == "":
		return (*client.Client).Enroll, nil
	}
	code, err := s.readTicket(c.Ticket)
	return func(cl *client.Client, ctx context.Context) (client.Credential, error) {
		return cl.EnrolByTicket(ctx, code)
	}, err
}

// enroll makes an app whose credential ends up at path, or none.
func enroll(ctx context.Context, cfg client.Config, path string, in way) (kms.AppID, error) {
	cl, err := client.New(cfg)
	if err != nil {
		return kms.AppID{}, err
	}
	defer cl.Close()
	file, err := reserveCredentials(path)
	if err != nil {
		return kms.AppID{}, err
	}
	cred, err := in(cl, ctx)
	if err != nil {
		file.discard()
		return kms.AppID{}, err
	}
	text, err := credentialsText(cfg, cred)
	if err == nil {
		err = file.fill(text)
	}
	if err != nil {
		return cred.AppID, because(err, "the app's APIKey is lost with it: enroll again", "writing "+path)
	}
	return cred.AppID, nil
}
