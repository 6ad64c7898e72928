package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

func printCompromises(w io.Writer, all []kms.Compromise) {
	for _, c := range all {
		state := fmt.Sprintf("at work, %d keys left", c.Left)
		if !c.Finished.IsZero() {
			state = "dealt with " + timeText(c.Finished)
		}
		fmt.Fprintf(w, "compromised\tgeneration %d\tdeclared %s\tcredentials refused from %s\t%s\n", c.Generation, timeText(c.Declared), timeText(c.Refused), state)
	}
}

func (s *session) declared(cl interface {
	DeclareCompromise(ctx context.Context, order []byte) (uint32, error)
}, envelope []byte) error {
	g, err := cl.DeclareCompromise(s.ctx, envelope)
	if err != nil {
		return err
	}
	return s.show(map[string]any{"compromised": g}, func(w io.Writer) {
		fmt.Fprintf(w, "compromised\tgeneration %d\n", g)
		fmt.Fprintf(w, "next\tfollow `holdfast domain status`; have clients run `holdfast trust` again; keep the order, and see `holdfast domain compromised ORDER`\n")
	})
}

// domainReplaceCACmd is `holdfast domain replace-ca`.
type domainReplaceCACmd struct {
	orderFlags
}

// Help is the rest of what --help says.
func (domainReplaceCACmd) Help() string {
	return "It takes one signature: of an operator that the policy lists, or of the owner. The old authority ends at once: clients that have " +
		"its certificate alone run `holdfast trust` again; those that attest the domain notice nothing."
}

// Run makes an order and hands it in.
func (c *domainReplaceCACmd) Run(s *session) error {
	return c.order(s, govern.DeedReplaceCA, func(func() (client.DomainStatus, error)) (uint32, error) { return 0, nil })
}

func (s *session) replacedCA(cl interface {
	ReplaceAuthority(ctx context.Context, order []byte) ([]byte, error)
}, envelope []byte) error {
	certificate, err := cl.ReplaceAuthority(s.ctx, envelope)
	if err != nil {
		return err
	}
	return s.show(map[string]any{"certificate": string(certificate)}, func(w io.Writer) {
		fmt.Fprintf(w, "replaced\thave clients run `holdfast trust` again; this is the new certificate, to compare:\n%s", certificate)
	})
}

// domainCompromisedCmd is `holdfast domain compromised`.
type domainCompromisedCmd struct {
	File string `arg:"" help:"The order that declared the compromise, signed by the threshold."`
	connection
}

// Help is the rest of what --help says.
func (domainCompromisedCmd) Help() string {
	return "The list names keys, credentials and secrets of every app, so it is for those alone who hold such an order; it need not be good any more."
}

// Run shows the list, one item a line.
func (c *domainCompromisedCmd) Run(s *session) error {
	envelope, _, err := readOrder(c.File)
	if err != nil {
		return err
	}
	cl, err := c.dialAnonymous(s)
	if err != nil {
		return err
	}
	defer cl.Close()
	all := []kms.Exposed{}
	for x, err := range cl.Exposed(s.ctx, envelope) {
		if err != nil {
			return err
		}
		all = append(all, x)
	}
	return s.show(all, func(w io.Writer) {
		for i := range all {
			printExposed(w, &all[i])
		}
		fmt.Fprintf(w, "%d items\n", len(all))
	})
}

func printExposed(w io.Writer, x *kms.Exposed) {
	what := "credential " + x.Credential.String() + ", refused from " + timeText(x.Refused)
	switch {
	case x.Key != kms.KeyID{}:
		what = fmt.Sprintf("key %s (%s), versions %s", x.Key, x.Spec, numbers(x.Versions))
	case x.Secret != "":
		what = fmt.Sprintf("secret %s, versions %s", oneLine(string(x.Secret)), numbers(x.Values))
	}
	fmt.Fprintf(w, "app %s\t%s\t%s\n", x.App, what, oneLine(x.Advice))
}

func numbers[N ~uint32](all []N) string {
	texts := make([]string, len(all))
	for i, n := range all {
		texts[i] = fmt.Sprint(uint32(n))
	}
	return strings.Join(texts, ", ")
}
