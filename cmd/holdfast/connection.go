package main

import (
	"errors"
	"io/fs"

	"github.com/holdfast-kms/holdfast/client"
)

// connection is the flags of every command that talks to a node.
type connection struct {
	Credentials string `group:"node" placeholder:"FILE" help:"File with url, ca, appid and apikey that only you can read. When given, the environment is not read."`
	URL         string `group:"node" name:"url" placeholder:"https://HOST:PORT" help:"The node to talk to, instead of the one that the credentials name."`
	CA          string `group:"node" name:"ca" placeholder:"FILE" help:"Certificates in PEM to trust, instead of those that the credentials name."`
	trustFlags
	Unbound     bool `group:"node" help:"Do not tie requests to the TLS connection: for a proxy in between that ends TLS."`
	SignatureV1 bool `group:"node" name:"signature-v1" help:"Sign requests as eHSM does: for an eHSM server."`
}

// dial makes a client with a credential.
func (c connection) dial(s *session) (*client.Client, error) {
	cfg, err := c.asApp(s)
	if err != nil {
		return nil, err
	}
	return client.New(cfg)
}

// asApp is config with a credential.
func (c connection) asApp(s *session) (client.Config, error) {
	cfg, err := c.config(s)
	if err == nil && cfg.APIKey.IsZero() {
		err = problemf("run `holdfast enroll --url https://HOST:PORT --ca FILE`, or set HOLDFAST_CREDENTIALS", "there is no credential")
	}
	return cfg, err
}

// dialAnonymous makes a client, with a credential or without.
func (c connection) dialAnonymous(s *session) (*client.Client, error) {
	cfg, err := c.config(s)
	if err != nil {
		return nil, err
	}
	return client.New(cfg)
}

// config puts together where to connect and as whom. A flag goes before the
// environment, that before the file; but AppID and APIKey are never taken from
// two places.
func (c connection) config(s *session) (client.Config, error) {
	cfg, err := c.found(s)
	if err != nil {
		return cfg, err
	}
	if c.URL != "" {
		cfg.URL = c.URL
	}
	if c.CA != "" {
		if cfg.CA, err = readCA(c.CA, "."); err != nil {
			return cfg, err
		}
	}
	if err := c.trustFlags.add(s, c.Credentials, &cfg); err != nil {
		return cfg, err
	}
	if cfg.Trust != nil && c.CA != "" {
		return cfg, misusef("leave --ca out: the node's proof names the CA", "a charter is named, which takes the place of a CA")
	}
	cfg.Unbound = cfg.Unbound || c.Unbound
	cfg.SignatureV1 = cfg.SignatureV1 || c.SignatureV1
	if cfg.URL == "" {
		return cfg, problemf("give --url https://HOST:PORT, or enroll first", "no node to talk to")
	}
	return cfg, nil
}

// found is what file and environment say.
func (c connection) found(s *session) (client.Config, error) {
	if c.Credentials != "" {
		return loadCredentials(c.Credentials)
	}
	cfg, err := credentialOf(s)
	if err != nil {
		return cfg, err
	}
	if url := s.getenv("HOLDFAST_URL"); url != "" {
		cfg.URL = url
	}
	if charter := s.getenv("HOLDFAST_CHARTER"); charter != "" {
		settings := trustSettings{Charter: charter}
		if cfg.Trust, err = settings.read(".", seenBeside(s, "")); err != nil {
			return cfg, err
		}
	}
	if ca := s.getenv("HOLDFAST_CA"); ca != "" {
		cfg.CA, err = readCA(ca, ".")
	}
	return cfg, err
}

// credentialOf takes the credential from the environment or, where that has
// none, from the file. That there is no file at the default place is no error.
func credentialOf(s *session) (client.Config, error) {
	app, key := s.getenv("HOLDFAST_APPID"), s.getenv("HOLDFAST_APIKEY")
	if app != "" || key != "" {
		return withCredential(client.Config{}, app, key, "the environment")
	}
	path, err := defaultCredentials(s)
	if err != nil {
		return client.Config{}, nil // no such folder on this machine: nothing to read
	}
	cfg, err := loadCredentials(path)
	if errors.Is(err, fs.ErrNotExist) && s.getenv("HOLDFAST_CREDENTIALS") == "" {
		return client.Config{}, nil
	}
	return cfg, err
}
