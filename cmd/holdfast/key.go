package main

import (
	"bufio"
	"encoding/pem"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// keyID is a key's id on the command line and in JSON.
type keyID kms.KeyID

// UnmarshalText reads the UUID form.
func (k *keyID) UnmarshalText(b []byte) error {
	id, err := kms.ParseKeyID(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a key's id; one looks like 11111111-2222-4333-8444-555555555555", b)
	}
	*k = keyID(id)
	return nil
}

// MarshalText prints the UUID form.
func (k keyID) MarshalText() ([]byte, error) { return kms.KeyID(k).MarshalText() }

func (k keyID) String() string { return kms.KeyID(k).String() }

// keySpec is a key's spec on the command line.
type keySpec kms.Spec

// UnmarshalText reads the native name, or eHSM's.
func (k *keySpec) UnmarshalText(b []byte) error {
	if s, ok := wire.ParseSpec(string(b)); ok && s != 0 {
		*k = keySpec(s)
		return nil
	}
	s, err := kms.ParseSpec(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a key's spec; there are %s", b, strings.Join(specNames(), ", "))
	}
	*k = keySpec(s)
	return nil
}

// keyCmd is `holdfast key …`.
type keyCmd struct {
	Create  keyCreateCmd  `cmd:"" help:"Create a key and print its id."`
	Import  keyImportCmd  `cmd:"" help:"Bring a key from elsewhere and print its id."`
	Export  keyExportCmd  `cmd:"" help:"Write the secret of an exportable key to a file."`
	List    keyListCmd    `cmd:"" help:"List the app's keys."`
	Show    keyShowCmd    `cmd:"" help:"Show one key."`
	Public  keyPublicCmd  `cmd:"" help:"Print the public half of a key in PEM."`
	Enable  keyEnableCmd  `cmd:"" help:"Let a disabled key be used again."`
	Disable keyDisableCmd `cmd:"" help:"Stop every use of a key."`
	Delete  keyDeleteCmd  `cmd:"" help:"Destroy a key, or all keys of the app, for good."`

	Describe keyDescribeCmd `cmd:"" help:"Show everything about a key, or change its description."`
	Rotate   keyRotateCmd   `cmd:"" help:"Make a new version of a key, or have it made every so many days; older ones go on opening what they encrypted."`
	Versions keyVersionsCmd `cmd:"" help:"List a key's versions; enable, disable or destroy one."`
	Alias    keyAliasCmd    `cmd:"" help:"Names for keys, and which key a name means."`
	Tag      keyTagCmd      `cmd:"" help:"Show, add and take away a key's tags."`

	Agree       keyAgreeCmd       `cmd:"" help:"Derive bytes from what a key and a public key have in common (ECDH, X25519)."`
	Encapsulate keyEncapsulateCmd `cmd:"" help:"Make a secret and a ciphertext of it (ML-KEM)."`
	Decapsulate keyDecapsulateCmd `cmd:"" help:"Find the secret of a ciphertext (ML-KEM)."`

	ScheduleDeletion keyScheduleCmd `cmd:"" help:"Take a key out of use, and destroy it after some days."`
	CancelDeletion   keyCancelCmd   `cmd:"" help:"Bring back a key whose deletion is scheduled."`

	Condition keyConditionCmd `cmd:"" help:"Which attested programs may use a key."`
}

// purpose is the flags of what a new key may be used for.
type purpose struct {
	Usage      string `enum:"encrypt-decrypt,sign-verify,mac,agree,agree-raw,encapsulate,encapsulate-raw," default:"" placeholder:"USAGE" help:"What it is for: encrypt-decrypt, sign-verify, mac, agree or encapsulate; with agree-raw and encapsulate-raw it hands out shared secrets as they are, too. Without it, what the spec is for; RSA, SM2 and EC keys then sign."`
	Exportable bool   `help:"Let its secret be exported, now or ever after. It cannot be changed later."`
}

// usageSets are the sets of usages that can be asked for by name.
var usageSets = map[string]kms.Usages{"encrypt-decrypt": kms.EncryptDecrypt, "sign-verify": kms.SignVerify, "mac": kms.GenerateVerifyMAC,
	"agree": kms.KeyAgreement, "agree-raw": kms.KeyAgreement | kms.Usages(kms.UseRaw),
	"encapsulate": kms.Encapsulation, "encapsulate-raw": kms.Encapsulation | kms.Usages(kms.UseRaw)}

// request asks for a key.
func (p purpose) request(spec keySpec, o kms.Origin) kms.CreateKeyRequest {
	return kms.CreateKeyRequest{Spec: kms.Spec(spec), Usages: usageSets[p.Usage], Origin: o, Exportable: p.Exportable}
}

type keyCreateCmd struct {
	Spec keySpec `default:"AES-256-GCM" help:"Algorithm and size, such as AES-256-GCM or EC-P256; an unknown one lists all."`
	purpose
	Alias       aliasName     `placeholder:"ALIAS" help:"Give it a name, such as alias/main."`
	Description string        `placeholder:"TEXT" help:"What it is for."`
	Tag         []tag         `placeholder:"NAME=VALUE" help:"A tag. May be said several times."`
	RotateEvery uint32        `placeholder:"DAYS" help:"Make a new version every so many days, 1 to 3650. AES keys only."`
	Expires     time.Duration `placeholder:"TIME" help:"When it stops to be of use, from now, such as 8760h. Without it, never."`

	connection
}

// create makes the key: over eHSM's protocol, which every server speaks, unless
// it is to have what that has no words for.
func (c *keyCreateCmd) create(s *session, cl *client.Client) (kms.KeyID, error) {
	req := c.request(c.Spec, kms.Generated)
	if c.Alias == "" && c.Description == "" && len(c.Tag) == 0 && c.Expires == 0 && c.RotateEvery == 0 {
		return cl.CreateKey(s.ctx, req)
	}
	req.Alias, req.Description, req.Tags = string(c.Alias), c.Description, tagsOf(c.Tag)
	req.RotationPeriod = kms.RotationDays(c.RotateEvery)
	if c.Expires != 0 {
		req.Expires = time.Now().Add(c.Expires)
	}
	d, err := cl.Keys().Create(s.ctx, req)
	return d.ID, err
}

// Run creates a key.
func (c *keyCreateCmd) Run(s *session) error {
	if c.Expires < 0 {
		return misusef("such as --expires 8760h", "--expires is a time from now on")
	}
	return c.with(s, func(cl *client.Client) error {
		id, err := c.create(s, cl)
		if err != nil {
			return err
		}
		return s.show(map[string]any{"key_id": id, "spec": kms.Spec(c.Spec)}, func(w io.Writer) { fmt.Fprintln(w, id) })
	})
}

type keyListCmd struct {
	Exposed bool `help:"Only keys that others may know, since a generation of the domain's master secret was declared compromised, and what to do about them."`

	connection
}

// Run lists keys.
func (c *keyListCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		if c.Exposed {
			return s.exposedKeys(cl)
		}
		keys, err := cl.ListKeys(s.ctx)
		if err != nil {
			return err
		}
		doc := map[string]any{"keys": keys}
		if len(keys) == kms.MaxKeysPage {
			s.note("there may be more: the protocol lists the first %d keys", len(keys))
			doc["truncated"] = true
		}
		return s.show(doc, func(w io.Writer) {
			fmt.Fprintln(w, "KEY\tSPEC\tSTATE\tCREATED\tEXPIRES")
			for _, k := range keys {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.ID, specText(k.Spec), k.State, timeText(k.Created), timeText(k.Expires))
			}
		})
	})
}

func specText(s kms.Spec) string {
	if s == 0 {
		return "unknown"
	}
	return s.String()
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format(time.RFC3339)
}

type keyShowCmd struct {
	Key keyID `arg:"" name:"id" help:"The key."`

	connection
}

// Run shows a key.
func (c *keyShowCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		k, whole, err := findKey(s, cl, c.Key)
		switch {
		case err != nil:
			return err
		case k != nil:
			return c.show(s, *k)
		case whole:
			return errNoKey(c.Key)
		}
		return problemf("use it; the answer tells", "%s is not among the first %d keys of the app", c.Key, kms.MaxKeysPage)
	})
}

// findKey looks for a key in the list, since the protocol has no call for one
// key. It returns nil where the key is not listed, and whether the list was the
// whole one.
func findKey(s *session, cl *client.Client, id keyID) (k *client.Key, whole bool, err error) {
	keys, err := cl.ListKeys(s.ctx)
	for i := range keys {
		if keys[i].ID == kms.KeyID(id) {
			return &keys[i], true, nil
		}
	}
	return nil, len(keys) < kms.MaxKeysPage, err
}

func errNoKey(id keyID) error {
	return problemf("`holdfast key list` lists what there is; a deleted key does not come back", "the app has no key %s", id)
}

func (c *keyShowCmd) show(s *session, k client.Key) error {
	return s.show(k, func(w io.Writer) {
		fmt.Fprintf(w, "key\t%s\n", k.ID)
		fmt.Fprintf(w, "spec\t%s\n", specText(k.Spec))
		fmt.Fprintf(w, "state\t%s\n", k.State)
		fmt.Fprintf(w, "created\t%s\n", timeText(k.Created))
		fmt.Fprintf(w, "expires\t%s\n", timeText(k.Expires))
	})
}

type keyPublicCmd struct {
	Key       keyID  `arg:"" name:"id" help:"The key, an asymmetric one."`
	Out       string `short:"o" default:"-" placeholder:"FILE" help:"Where to write; - is standard output."`
	OutFormat string `enum:"pem,der" default:"pem" help:"SubjectPublicKeyInfo in pem or der."`

	connection
}

// Run prints the public key.
func (c *keyPublicCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		pub, err := cl.PublicKey(s.ctx, kms.KeyID(c.Key))
		if err != nil {
			return err
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub.DER})
		if s.json && c.Out == "-" {
			return s.encode(s.stdout, map[string]any{"key_id": c.Key, "spec": specText(pub.Spec), "pem": string(text)})
		}
		data := text
		if c.OutFormat == "der" {
			data = pub.DER
		}
		return s.deliver(c.Key, product{"public_key", data, c.Out, formRaw})
	})
}

type keyEnableCmd struct {
	Key keyID `arg:"" name:"id" help:"The key."`

	connection
}

// Run enables a key.
func (c *keyEnableCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		return s.changed(c.Key, kms.Enabled, cl.EnableKey(s.ctx, kms.KeyID(c.Key)))
	})
}

type keyDisableCmd struct {
	Key keyID `arg:"" name:"id" help:"The key."`

	connection
}

// Run disables a key.
func (c *keyDisableCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		return s.changed(c.Key, kms.KeyDisabled, cl.DisableKey(s.ctx, kms.KeyID(c.Key)))
	})
}

// changed shows the state that a key is in now.
func (s *session) changed(key keyID, to kms.KeyState, err error) error {
	if err != nil {
		return err
	}
	return s.show(map[string]any{"key_id": key, "state": to}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is %s\n", key, to)
	})
}

type keyDeleteCmd struct {
	Key *keyID `arg:"" name:"id" optional:"" help:"The key."`
	All bool   `help:"Every key of the app."`
	Yes bool   `short:"y" help:"Do not ask."`

	connection
}

// Run deletes.
func (c *keyDeleteCmd) Run(s *session) error {
	if (c.Key == nil) != c.All {
		return misusef("`holdfast key delete ID`, or `holdfast key delete --all`", "name a key, or say --all")
	}
	return c.with(s, func(cl *client.Client) error {
		if c.All {
			return c.deleteAll(s, cl)
		}
		return c.deleteOne(s, cl)
	})
}

func (c *keyDeleteCmd) deleteAll(s *session, cl *client.Client) error {
	const what = "every key of the app"
	if err := c.confirm(s, what); err != nil {
		return err
	}
	return s.deleted(map[string]any{"deleted": "all"}, what, cl.DeleteAllKeys(s.ctx))
}

// deleteOne looks first whether there is such a key: the node calls it a
// success to delete one that does not exist, and so would hide a slip.
func (c *keyDeleteCmd) deleteOne(s *session, cl *client.Client) error {
	k, whole, err := findKey(s, cl, *c.Key)
	if err != nil {
		return err
	}
	if k == nil && whole {
		return errNoKey(*c.Key)
	}
	what := "key " + c.Key.String()
	if err := c.confirm(s, what); err != nil {
		return err
	}
	return s.deleted(map[string]any{"key_id": c.Key, "state": kms.Destroyed}, what, cl.DeleteKey(s.ctx, kms.KeyID(*c.Key)))
}

func (s *session) deleted(doc any, what string, err error) error {
	if err != nil {
		return err
	}
	return s.show(doc, func(w io.Writer) { fmt.Fprintf(w, "%s is deleted\n", what) })
}

// confirm asks a person; where there is none, --yes must have been said.
func (c *keyDeleteCmd) confirm(s *session, what string) error {
	if c.Yes {
		return nil
	}
	if !isTerminal(s.stdin) {
		return problemf("add --yes", "deleting cannot be undone, and there is nobody to ask")
	}
	agreed, err := s.agree(fmt.Sprintf("Delete %s for good? What was encrypted under it can never be opened again.", what))
	if err == nil && !agreed {
		err = problemf("", "nothing was deleted")
	}
	return err
}

// agree asks a question at the terminal; only "yes" is a yes.
func (s *session) agree(question string) (bool, error) {
	fmt.Fprintf(s.stderr, "%s\nType yes: ", question)
	answer, err := await(s, func() (string, error) {
		line, err := bufio.NewReader(s.stdin).ReadString('\n')
		if err == io.EOF {
			err = nil // what was typed before it counts
		}
		return line, err
	})
	return strings.TrimSpace(answer) == "yes", err
}
