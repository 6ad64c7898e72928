package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// credentialsFile is the form in which a credential is kept.
type credentialsFile struct {
	URL    string `json:"url"`
	CA     string `json:"ca,omitempty"` // certificates in PEM, or the path of a file with them; empty: the system's roots
	AppID  string `json:"appid"`
	APIKey string `json:"apikey"`

	Credential string `json:"credential,omitempty"` // which of the app's APIKey is of; empty: the first

	// Charter is the domain's, or the path of a file with it. Where it is given the
	// node has to prove itself, and CA is not used.
	Charter        json.RawMessage `json:"charter,omitempty"`
	Domain         string          `json:"domain,omitempty"`          // as --domain
	AllowSimulated bool            `json:"allow_simulated,omitempty"` // as --allow-simulated

	Unbound     bool `json:"unbound,omitempty"`      // as --unbound
	SignatureV1 bool `json:"signature_v1,omitempty"` // as --signature-v1
}

// maxCredentials bounds a credentials file, and a CA file.
const maxCredentials = 1 << 20

// defaultCredentials is where enroll puts the credential, and where it is
// looked for when nothing else is said.
func defaultCredentials(s *session) (string, error) {
	if path := s.getenv("HOLDFAST_CREDENTIALS"); path != "" {
		return path, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", because(err, "name one with --credentials or HOLDFAST_CREDENTIALS", "no folder for the credentials")
	}
	return filepath.Join(dir, "holdfast", "credentials.json"), nil
}

// loadCredentials reads a credentials file, which others must not be able to read.
func loadCredentials(path string) (client.Config, error) {
	raw, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return client.Config{}, because(err, "`holdfast enroll --out` makes such a file; which one is used say --credentials and HOLDFAST_CREDENTIALS", "reading the credentials")
	}
	if err != nil {
		return client.Config{}, err
	}
	var doc credentialsFile
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if d.Decode(&doc) != nil || d.More() {
		// The decoder's words are not repeated: they may quote the file.
		return client.Config{}, problemf(`it is one JSON object with "url", "ca", "appid" and "apikey"`, "%s is not a credentials file", path)
	}
	return doc.config(path)
}

func (doc credentialsFile) config(path string) (client.Config, error) {
	cfg := client.Config{URL: doc.URL, Unbound: doc.Unbound, SignatureV1: doc.SignatureV1}
	var err error
	if cfg.CA, err = readCA(doc.CA, filepath.Dir(path)); err != nil {
		return cfg, err
	}
	if cfg.Trust, err = doc.trust().read(filepath.Dir(path), seenBeside(nil, path)); err != nil {
		return cfg, err
	}
	if cfg.Trust != nil {
		cfg.CA = nil
	}
	if doc.Credential != "" {
		if cfg.CredentialID, err = kms.ParseCredentialID(doc.Credential); err != nil {
			return cfg, problemf("it looks like 11111111-2222-4333-8444-555555555555", "the credential's id in %s is not one", path)
		}
	}
	return withCredential(cfg, doc.AppID, doc.APIKey, path)
}

// trust is what the file says of attestation. A charter in it is the document
// itself or, as a text, the name of a file.
func (doc credentialsFile) trust() trustSettings {
	t := trustSettings{Charter: string(doc.Charter), Domain: doc.Domain, AllowSimulated: doc.AllowSimulated}
	var path string
	if json.Unmarshal(doc.Charter, &path) == nil {
		t.Charter = path
	}
	return t
}

// withCredential adds an app's credential that was found in where.
func withCredential(cfg client.Config, app, key, where string) (client.Config, error) {
	id, err := kms.ParseAppID(app)
	if err != nil {
		return cfg, problemf("it looks like 11111111-2222-4333-8444-555555555555", "the AppID in %s is not one", where)
	}
	if key == "" {
		return cfg, problemf("enroll hands out AppID and APIKey together", "there is no APIKey in %s", where)
	}
	cfg.AppID, cfg.APIKey = id, client.NewAPIKey(key)
	return cfg, nil
}

// readPrivate reads a file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	// The open file is asked, not the path: it cannot be exchanged in between.
	if err := checkPrivate(f); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, maxCredentials))
}

// readCA returns ca itself where it is PEM, else what the file of that name
// holds; a relative one lies in dir.
func readCA(ca, dir string) ([]byte, error) {
	if ca == "" || strings.HasPrefix(strings.TrimSpace(ca), "-----BEGIN") {
		return []byte(ca), nil
	}
	f, err := os.Open(inFolder(dir, ca))
	if err != nil {
		return nil, because(err, "it is the file that the node calls its CA", "reading the CA")
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxCredentials))
}

// inFolder is path where that is absolute, else path in dir.
func inFolder(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// A secretFile is a file for a secret, being made. It exists, empty and readable
// by its owner alone, before there is anything to put into it: so an app is
// never enrolled whose key then finds no place.
type secretFile struct {
	f *os.File
}

// reserveSecret creates the file. It never replaces one.
func reserveSecret(path string) (*secretFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, problemf("it may hold the only copy of a key: move it away, or name another file with --out", "%s exists already", path)
	}
	if err != nil {
		return nil, because(err, "", "making the file")
	}
	return &secretFile{f: f}, nil
}

// reserveCredentials creates a credentials file, and its folder.
func reserveCredentials(path string) (*secretFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, because(err, "", "making the folder of the credentials")
	}
	return reserveSecret(path)
}

// fill writes the secret for good.
func (n *secretFile) fill(secret []byte) error {
	_, err := n.f.Write(secret)
	return errors.Join(err, n.f.Sync(), n.f.Close())
}

// discard removes the file that was not filled.
func (n *secretFile) discard() {
	n.f.Close()
	os.Remove(n.f.Name())
}

// credentialsText is what a credentials file holds.
func credentialsText(cfg client.Config, cred client.Credential) ([]byte, error) {
	doc := credentialsFile{URL: cfg.URL, CA: string(cfg.CA), AppID: cred.AppID.String(), APIKey: cred.APIKey.Reveal()}
	if t := cfg.Trust; t != nil {
		doc.Charter, doc.AllowSimulated = t.Charter, t.AllowSimulated
		if t.Domain != (kms.DomainID{}) {
			doc.Domain = t.Domain.String()
		}
	}
	if cfg.CredentialID != (kms.CredentialID{}) {
		doc.Credential = cfg.CredentialID.String()
	}
	b, err := json.MarshalIndent(doc, "", "  ")
	return append(b, '\n'), err
}
