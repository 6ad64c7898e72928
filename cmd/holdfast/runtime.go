package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// runtimeCmd is `holdfast runtime …`.
type runtimeCmd struct {
	Public runtimePublicCmd `cmd:"" help:"Show a runtime's public key, verified, or seal something to it."`
	Keys   runtimeKeysCmd   `cmd:"" help:"Get a runtime's key pair, from inside its TEE."`
}

// runtimeKey is the flags that name a key pair.
type runtimeKey struct {
	Runtime string `arg:"" help:"The runtime, as the domain's policy names it."`
	ID      string `arg:"" name:"id" help:"What the runtime calls the key pair: 64 hexadecimal digits, or a text of up to 31 bytes."`

	Generation *uint32 `placeholder:"N" xor:"period" help:"The long-term pair of this generation, instead of the newest one."`
	Epoch      *uint64 `placeholder:"N" xor:"period" help:"The ephemeral pair of this epoch."`
	Ephemeral  bool    `xor:"period" help:"The ephemeral pair of the present epoch."`
}

func (k runtimeKey) request() (r kms.RuntimeKeyRequest, err error) {
	r.Runtime = k.Runtime
	if r.ID, err = client.RuntimeKeyID(k.ID); err != nil {
		return r, err
	}
	switch {
	case k.Generation != nil:
		r.Period = uint64(*k.Generation)
	case k.Epoch != nil:
		r.Ephemeral, r.Period = true, *k.Epoch
	default:
		r.Ephemeral, r.Latest = k.Ephemeral, true
	}
	return r, nil
}

// document is what every answer says of the pair.
func runtimeDocument(k kms.RuntimeKey, expires time.Time) map[string]any {
	doc := map[string]any{"runtime": k.Runtime, "key_id": k.ID.String()}
	if k.Ephemeral {
		doc["epoch"], doc["expires"] = k.Period, expires.UTC()
	} else {
		doc["generation"] = k.Period
	}
	return doc
}

type runtimePublicCmd struct {
	runtimeKey
	Seal string `placeholder:"FILE" help:"Seal this file, of up to 8192 bytes, to the key; - is standard input."`
	Out  string `short:"o" default:"-" placeholder:"FILE" help:"Where to write what was sealed; - is standard output."`

	connection
}

// Run shows the key, or seals to it.
func (c *runtimePublicCmd) Run(s *session) error {
	r, err := c.request()
	if err != nil {
		return err
	}
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	public, err := cl.RuntimePublicKey(s.ctx, r)
	if err != nil {
		return err
	}
	if c.Seal != "" {
		return c.seal(s, &public)
	}
	return s.showRuntimeKey(&public)
}

func (s *session) showRuntimeKey(p *kms.RuntimePublicKey) error {
	doc := runtimeDocument(p.RuntimeKey, p.Expires)
	doc["domain_id"], doc["public_key"], doc["checksum"] = p.Domain, p.Public[:], hex.EncodeToString(p.Checksum[:])
	doc["signed_by_generation"], doc["signature"] = p.Generation, p.Signature
	return s.show(doc, func(w io.Writer) {
		fmt.Fprintf(w, "runtime\t%s\nkey id\t%s\n", p.Runtime, p.ID)
		if p.Ephemeral {
			fmt.Fprintf(w, "epoch\t%d\nexpires\t%s\n", p.Period, p.Expires.UTC().Format(time.RFC3339))
		} else {
			fmt.Fprintf(w, "generation\t%d\n", p.Period)
		}
		fmt.Fprintf(w, "domain\t%s\npublic key\t%x\n", p.Domain, p.Public)
		fmt.Fprintf(w, "signature\tvalid, by the domain's signing key of generation %d\n", p.Generation)
	})
}

func (c *runtimePublicCmd) seal(s *session, p *kms.RuntimePublicKey) error {
	plain, err := s.read(c.Seal, formRaw)
	if err != nil {
		return err
	}
	sealed, err := client.SealToRuntime(p, plain)
	if err != nil {
		return err
	}
	if !s.json {
		return s.write(c.Out, formRaw, sealed)
	}
	doc := runtimeDocument(p.RuntimeKey, p.Expires)
	doc["sealed"] = sealed
	if c.Out != "-" {
		if err := s.write(c.Out, formRaw, sealed); err != nil {
			return err
		}
		delete(doc, "sealed")
		doc["sealed_file"] = c.Out
	}
	return s.encode(s.stdout, doc)
}

type runtimeKeysCmd struct {
	runtimeKey
	Out string `short:"o" required:"" placeholder:"FILE" help:"The file to make, for you alone, with the keys in JSON."`

	workloadFlags
	connection
}

// Run gets the keys, as the program that a TEE vouches for. It never replaces a file.
func (c *runtimeKeysCmd) Run(s *session) error {
	r, err := c.request()
	if err != nil {
		return err
	}
	w, err := c.workload(s)
	if err != nil {
		return err
	}
	cfg, err := c.config(s)
	if err != nil {
		return err
	}
	cfg.Workload = w
	cl, err := client.New(cfg)
	if err != nil {
		return err
	}
	defer cl.Close()
	file, err := reserveSecret(c.Out)
	if err != nil {
		return err
	}
	keys, err := cl.RuntimeKeys(s.ctx, r)
	if err != nil {
		file.discard()
		return err
	}
	defer keys.Wipe()
	return c.deliver(s, file, &keys)
}

func (c *runtimeKeysCmd) deliver(s *session, file *secretFile, k *kms.RuntimeKeys) error {
	doc := runtimeDocument(k.RuntimeKey, k.Expires)
	doc["public_key"] = k.Public[:]
	shown := runtimeDocument(k.RuntimeKey, k.Expires)
	shown["public_key"], shown["keys_file"] = k.Public[:], c.Out
	doc["private_key"], doc["state_key"] = k.Private, k.State
	text, err := json.Marshal(doc)
	if err != nil {
		file.discard()
		return err
	}
	text = append(text, '\n')
	defer clear(text)
	if err := file.fill(text); err != nil {
		return err
	}
	return s.show(shown, func(w io.Writer) { fmt.Fprintf(w, "public key\t%x\nkeys\t%s\n", k.Public, c.Out) })
}
