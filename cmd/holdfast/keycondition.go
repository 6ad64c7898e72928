package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// keyConditionCmd is `holdfast key condition …`.
type keyConditionCmd struct {
	Get keyConditionGetCmd `cmd:"" help:"Show which attested programs may use a key, and for what."`
	Set keyConditionSetCmd `cmd:"" help:"Say which attested programs may use a key, and for what."`
}

type keyConditionGetCmd struct {
	Key keyID `arg:"" name:"id" help:"The key."`

	connection
}

// Run shows the condition.
func (c *keyConditionGetCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		got, err := cl.GetCondition(s.ctx, kms.KeyID(c.Key))
		if err != nil {
			return err
		}
		return s.showCondition(c.Key, got)
	})
}

// showCondition shows a condition, which a person sees as it was written.
func (s *session) showCondition(id keyID, got kms.Condition) error {
	doc := map[string]any{"key_id": id, "revision": got.Revision, "condition": nil}
	if len(got.Condition) > 0 {
		doc["condition"] = json.RawMessage(got.Condition)
	}
	return s.show(doc, func(w io.Writer) {
		fmt.Fprintf(w, "key\t%s\n", id)
		fmt.Fprintf(w, "revision\t%d\n", got.Revision)
		if len(got.Condition) == 0 {
			fmt.Fprintf(w, "condition\tnone: its app may use it from anywhere\n")
			return
		}
		fmt.Fprintf(w, "condition\t%s\n", got.Condition)
	})
}

type keyConditionSetCmd struct {
	Key   keyID  `arg:"" name:"id" help:"The key."`
	In    string `short:"i" placeholder:"FILE" xor:"what" required:"" help:"The condition, in JSON; - is standard input."`
	None  bool   `xor:"what" required:"" help:"No condition: the app may use the key from anywhere again."`
	Order string `placeholder:"FILE" help:"An operator's signed document that orders just this. Without it a condition can only be narrowed."`

	connection
}

// Run sets the condition.
func (c *keyConditionSetCmd) Run(s *session) error {
	req := kms.SetConditionRequest{Key: kms.KeyID(c.Key)}
	var err error
	if c.In != "" {
		if req.Condition, err = s.readCondition(c.In); err != nil {
			return err
		}
	}
	if c.Order != "" {
		if req.Order, err = s.read(c.Order, formRaw); err != nil {
			return err
		}
	}
	return c.with(s, func(cl *client.Client) error {
		revision, err := cl.SetCondition(s.ctx, req)
		if err != nil {
			return err
		}
		return s.showCondition(c.Key, kms.Condition{Condition: req.Condition, Revision: revision})
	})
}

// readCondition reads a condition, so that a slip in it is told where it was
// made, and returns its canonical form.
func (s *session) readCondition(path string) ([]byte, error) {
	b, err := s.read(path, formRaw)
	if err != nil {
		return nil, err
	}
	cond, err := govern.ParseCondition(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", nameOf(path, "standard input"), err)
	}
	return cond.Canonical(), nil
}
