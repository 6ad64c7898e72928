package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// A proof shows, over HTTPS against a node in another process, that a domain
// works and that it loses nothing when the process is killed.
type proof struct {
	s    *session
	home *devHome
	node *devNode

	client    *client.Client
	status    kms.Status
	cipherKey kms.KeyID
	signKey   kms.KeyID
	plaintext []byte
	sealed    []byte
	signature []byte
}

func (p *proof) begin() {
	p.plaintext = make([]byte, 64)
	rand.Read(p.plaintext)
}

func (p *proof) say(format string, args ...any) {
	if !p.s.json {
		fmt.Fprintf(p.s.stdout, format, args...)
	}
}

// A step is one thing that a proof shows, and says in a few words.
type step struct {
	name string
	do   func(context.Context) (seen string, err error)
}

// take takes the steps in order and stops at the first that does not hold.
func (p *proof) take(steps []step) error {
	p.say("%-12s %-52s %10s\n", "STEP", "WHAT WAS SEEN", "TOOK")
	for _, step := range steps {
		ctx, cancel := context.WithTimeout(p.s.ctx, patience)
		began := time.Now()
		seen, err := step.do(ctx)
		cancel()
		if err != nil {
			return because(err, hintOf(err), "proof failed at "+step.name)
		}
		p.say("%-12s %-52s %7.1f ms\n", step.name, seen, float64(time.Since(began).Microseconds())/1000)
	}
	return nil
}

func (p *proof) start(ctx context.Context) (string, error) {
	c, err := p.connect(true)
	if err != nil {
		return "", err
	}
	p.status, err = c.Status(ctx)
	return "node serves at " + p.node.URL, err
}

// connect makes a client that holds the node to the charter, by its evidence.
func (p *proof) connect(allowSimulated bool) (*client.Client, error) {
	charter, err := os.ReadFile(p.home.path(charterFile))
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{URL: p.node.URL, Trust: &client.Trust{Charter: charter, AllowSimulated: allowSimulated}})
}

// attest has the node prove what it is. It is a simulated one, which a client
// that does not ask for that must refuse.
func (p *proof) attest(ctx context.Context) (string, error) {
	c, err := p.connect(true)
	if err != nil {
		return "", err
	}
	v, err := c.Attest(ctx)
	if err != nil {
		return "", err
	}
	strict, err := p.connect(false)
	if err != nil {
		return "", err
	}
	if _, err := strict.Attest(ctx); !errors.Is(err, attest.NotHardware) {
		return "", fmt.Errorf("a client that wants hardware: %v, want a refusal", err)
	}
	return fmt.Sprintf("MRENCLAVE %x…, policy %d; simulated, and says so", []byte(v.Claims.SGX.MRENCLAVE[:4]), v.Policy.Serial), nil
}

// enrol takes the credential in the folder, or enrols a first app.
func (p *proof) enrol(ctx context.Context) (string, error) {
	path := p.home.path(credentialsName)
	cred, err := p.home.readCredentials()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c, err := p.connect(true)
		if err != nil {
			return "", err
		}
		e, err := c.Enroll(ctx)
		if err != nil {
			return "", err
		}
		cred = credentialsFile{AppID: e.AppID.String(), APIKey: e.APIKey.Reveal()}
	case err != nil:
		return "", err
	}
	// The port may be another one this time.
	cred.URL, cred.CA, cred.AllowSimulated = p.node.URL, "", true
	cred.Charter = json.RawMessage(strconv.Quote(charterFile))
	if err := writeCredentials(path, cred); err != nil {
		return "", err
	}
	p.client, err = p.clientOf(p.node)
	return "app " + cred.AppID, err
}

// clientOf makes a client of a node, with the credential in the folder.
func (p *proof) clientOf(n *devNode) (*client.Client, error) {
	cred, err := p.home.readCredentials()
	if err != nil {
		return nil, err
	}
	cred.URL = n.URL
	cfg, err := cred.config(p.home.path(credentialsName))
	if err != nil {
		return nil, err
	}
	return client.New(cfg)
}

func (p *proof) create(ctx context.Context) (string, error) {
	aes, err := p.client.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		return "", err
	}
	ec, err := p.client.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.ECP256, Origin: kms.Generated})
	p.cipherKey, p.signKey = aes, ec
	return "AES-256-GCM and EC-P256 keys, on disk", err
}

func (p *proof) encrypt(ctx context.Context) (_ string, err error) {
	p.sealed, err = p.client.Encrypt(ctx, p.cipherKey, p.plaintext, []byte("proof"))
	if err == nil && bytes.Contains(p.sealed, p.plaintext) {
		err = errors.New("the ciphertext shows the plaintext")
	}
	return fmt.Sprintf("%d bytes → %d", len(p.plaintext), len(p.sealed)), err
}

// decrypt opens the ciphertext, and sees that an altered one does not open.
func (p *proof) decrypt(ctx context.Context) (string, error) {
	got, err := p.client.Decrypt(ctx, p.cipherKey, p.sealed, []byte("proof"))
	if err != nil {
		return "", err
	}
	if !bytes.Equal(got, p.plaintext) {
		return "", errors.New("another plaintext came back")
	}
	bad := bytes.Clone(p.sealed)
	bad[0] ^= 1
	if _, err := p.client.Decrypt(ctx, p.cipherKey, bad, []byte("proof")); !errors.Is(err, kms.DecryptFailed) {
		return "", fmt.Errorf("an altered ciphertext: %v, want a refusal", err)
	}
	return "same plaintext; one bit altered: refused", nil
}

func (p *proof) dataKey(ctx context.Context) (string, error) {
	dk, err := p.client.GenerateDataKey(ctx, p.cipherKey, 32, nil)
	if err != nil {
		return "", err
	}
	opened, err := p.client.Decrypt(ctx, p.cipherKey, dk.Wrapped, nil)
	if err == nil && (len(opened) != 32 || !bytes.Equal(opened, dk.Plaintext)) {
		err = errors.New("the wrapped data key opens to another one")
	}
	return "32 bytes, and the wrapped copy opens to them", err
}

func (p *proof) sign(ctx context.Context) (_ string, err error) {
	p.signature, err = p.client.Sign(ctx, p.signKey, kms.SigningInput{Message: p.plaintext, Digest: kms.SHA256})
	return fmt.Sprintf("ECDSA signature of %d bytes", len(p.signature)), err
}

// verify asks the node, and checks with the public key that it gives out.
func (p *proof) verify(ctx context.Context) (string, error) {
	ok, err := p.client.Verify(ctx, p.signKey, kms.SigningInput{Message: p.plaintext, Digest: kms.SHA256}, p.signature)
	if err != nil || !ok {
		return "", errors.Join(err, errNot(ok, "the node does not accept its signature"))
	}
	other, err := p.client.Verify(ctx, p.signKey, kms.SigningInput{Message: []byte("another"), Digest: kms.SHA256}, p.signature)
	if err != nil || other {
		return "", errors.Join(err, errNot(!other, "the node accepts the signature for another message"))
	}
	public, err := p.client.PublicKey(ctx, p.signKey)
	if err != nil {
		return "", err
	}
	parsed, err := x509.ParsePKIXPublicKey(public.DER)
	if err != nil {
		return "", err
	}
	key, isEC := parsed.(*ecdsa.PublicKey)
	digest := sha256.Sum256(p.plaintext)
	if !isEC || !ecdsa.VerifyASN1(key, digest[:], p.signature) {
		return "", errors.New("the public key does not verify the signature")
	}
	return "by the node, and here with the public key", nil
}

func errNot(ok bool, what string) error {
	if ok {
		return nil
	}
	return errors.New(what)
}

// cleanUp deletes the keys of the proof and sees that they are gone.
func (p *proof) cleanUp(ctx context.Context) (string, error) {
	for _, id := range []kms.KeyID{p.cipherKey, p.signKey} {
		if err := p.client.DeleteKey(ctx, id); err != nil {
			return "", err
		}
	}
	if _, err := p.client.Decrypt(ctx, p.cipherKey, p.sealed, []byte("proof")); !errors.Is(err, kms.NotFound) {
		return "", fmt.Errorf("a deleted key: %v, want not found", err)
	}
	return "both keys deleted, and refused from then on", nil
}

// writeCredentials replaces the credentials file, readable by its owner only.
func writeCredentials(path string, c credentialsFile) error { return writeJSON(path, c) }
