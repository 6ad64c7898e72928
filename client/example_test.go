package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// Enrol once, keep the credential where secrets belong, and use it from then on.
func Example() {
	ctx := context.Background()
	ca, err := os.ReadFile("ca.pem")
	if err != nil {
		log.Fatal(err)
	}
	cfg := client.Config{URL: "https://127.0.0.1:9000", CA: ca}
	stranger, err := client.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	cred, err := stranger.Enroll(ctx)
	if err != nil {
		log.Fatal(err)
	}
	cfg.AppID, cfg.APIKey = cred.AppID, cred.APIKey
	c, err := client.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	key, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM})
	if err != nil {
		log.Fatal(err)
	}
	ciphertext, err := c.Encrypt(ctx, key, []byte("attack at dawn"), []byte("orders/7"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d bytes under key %s\n", len(ciphertext), key)
}

// Envelope encryption: the data stays here, the key that it is encrypted with
// is kept beside it in wrapped form, and only that goes to the node.
func ExampleClient_GenerateDataKey() {
	ctx := context.Background()
	var c *client.Client // from client.New
	var key kms.KeyID    // from CreateKey, of an AES spec

	dk, err := c.GenerateDataKey(ctx, key, 32, []byte("backup/2026-01"))
	if err != nil {
		log.Fatal(err)
	}
	// Encrypt with dk.Plaintext, store dk.Wrapped beside the result, forget
	// dk.Plaintext. Later:
	again, err := c.Decrypt(ctx, key, dk.Wrapped, []byte("backup/2026-01"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(again))
}

// A signature that is not valid is an answer, not an error.
func ExampleClient_Verify() {
	ctx := context.Background()
	var c *client.Client // from client.New
	var key kms.KeyID    // from CreateKey, of spec kms.ECP256

	release := kms.SigningInput{Message: []byte("release 1.0")}
	signature, err := c.Sign(ctx, key, release)
	if err != nil {
		log.Fatal(err)
	}
	valid, err := c.Verify(ctx, key, release, signature)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(valid)
}

// Kinds say what a program can do about an error; hints are for people.
func ExampleError() {
	var err error // from a call
	var refused *client.Error
	switch {
	case errors.Is(err, kms.NotFound):
		fmt.Println("no such key")
	case errors.Is(err, kms.Unavailable):
		fmt.Println("not now")
	case errors.As(err, &refused):
		fmt.Println(refused.Message, refused.Hint)
	}
}

// Files and streams of any length: a data key for each, kept wrapped in front
// of the data. Nothing but that key goes to the node.
func ExampleClient_Seal() {
	ctx := context.Background()
	var c *client.Client // from client.New
	var key kms.KeyID    // from CreateKey, of an AES spec

	w, err := c.Seal(ctx, key, os.Stdout)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(w, os.Stdin); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil { // without it the end is missing, and nobody opens it
		log.Fatal(err)
	}
}

// A key from elsewhere. It leaves this process only wrapped to the node.
func ExampleClient_ImportKey() {
	ctx := context.Background()
	var c *client.Client // from client.New

	pkcs8, err := os.ReadFile("release-key.der")
	if err != nil {
		log.Fatal(err)
	}
	key, err := c.CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.RSA3072, Origin: kms.Imported})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.ImportKey(ctx, key, pkcs8); err != nil {
		log.Fatal(err)
	}
}
