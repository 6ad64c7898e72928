package main

import (
	"context"
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// enrollCmd is `holdfast enroll`.
type enrollCmd struct {
	URL string `name:"url" required:"" placeholder:"https://HOST:PORT" help:"The node to enroll at."`
	CA  string `name:"ca" placeholder:"FILE" help:"Certificates in PEM to trust. Without it, those that this machine trusts."`
	Out string `placeholder:"FILE" help:"The file to make, for you alone. Without it, where the other commands look."`
}

// Run enrolls. The APIKey goes into the file and nowhere else.
func (c *enrollCmd) Run(s *session) error {
	path, err := c.path(s)
	if err != nil {
		return err
	}
	app, err := c.enroll(s.ctx, path)
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

func (c *enrollCmd) path(s *session) (string, error) {
	if c.Out != "" {
		return c.Out, nil
	}
	return defaultCredentials(s)
}

// enroll makes an app whose credential ends up at path, or none.
func (c *enrollCmd) enroll(ctx context.Context, path string) (kms.AppID, error) {
	ca, err := readCA(c.CA, ".")
	if err != nil {
		return kms.AppID{}, err
	}
	cl, err := client.New(client.Config{URL: c.URL, CA: ca})
	if err != nil {
		return kms.AppID{}, err
	}
	defer cl.Close()
	file, err := reserveCredentials(path)
	if err != nil {
		return kms.AppID{}, err
	}
	cred, err := cl.Enroll(ctx)
	if err != nil {
		file.discard()
		return kms.AppID{}, err
	}
	text, err := credentialsText(c.URL, ca, cred)
	if err == nil {
		err = file.fill(text)
	}
	if err != nil {
		return cred.AppID, because(err, "the app's APIKey is lost with it: enroll again", "writing "+path)
	}
	return cred.AppID, nil
}
