package collateral

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// An item is one thing that a maker publishes.
type item struct {
	// name is that of the file that it is kept in: lower-case letters, digits
	// and hyphens. The same name is the same thing under the same root.
	name  string
	title string // for people
	url   string
	limit int64 // length of the answer in bytes
	// chainIn are the headers of the answer, any of which may have the issuer
	// chain; nil: there is none.
	chainIn []string
	// lasting: it never changes, so that there is nothing to be asked for before
	// it nears its end.
	lasting bool
	// read takes an answer apart, and refuses what is not what was asked for.
	// It may be given anything.
	read func(said) (*answer, error)
}

// said is an answer as it came.
type said struct {
	body  []byte
	chain string // certificates in PEM, the issuer first
	at    time.Time
}

// An answer is what was said, once it has been read. It is not changed.
type answer struct {
	said
	from, until time.Time // when verifiers will take it, both ends inclusive

	evaluation uint32   // of a statement of Intel's
	number     *big.Int // of a revocation list

	text, signature string // of a statement of Intel's
	list            []byte // DER
	certificates    []*x509.Certificate
}

func (a *answer) inForce(at time.Time) bool {
	return a != nil && !at.Before(a.from) && !at.After(a.until)
}

// half is when half of its life is over.
func (a *answer) half() time.Time { return a.from.Add(a.until.Sub(a.from) / 2) }

// narrow shortens the time that a is in force.
func (a *answer) narrow(from, until time.Time) {
	if from.After(a.from) {
		a.from = from
	}
	if a.until.IsZero() || until.Before(a.until) {
		a.until = until
	}
}

// endWithIssuers lets a end when one of its issuers' certificates does. When it
// begins has nothing to do with them: issuers are renewed.
func (a *answer) endWithIssuers() {
	for _, c := range a.certificates {
		if c.NotAfter.Before(a.until) {
			a.until = c.NotAfter
		}
	}
}

var errOlder = errors.New("older than what is kept")

// replaces says whether a may come in the place of old, which may be nil. What
// is as old may: it was confirmed.
func (a *answer) replaces(old *answer) error {
	switch {
	case old == nil:
		return nil
	case a.evaluation < old.evaluation:
		return fmt.Errorf("%w: evaluation number %d, and %d is kept", errOlder, a.evaluation, old.evaluation)
	case a.number != nil && old.number != nil && a.number.Cmp(old.number) < 0:
		return fmt.Errorf("%w: list number %d, and %d is kept", errOlder, a.number, old.number)
	case a.from.Before(old.from):
		return fmt.Errorf("%w: issued %s, and what is kept %s", errOlder, stamp(a.from), stamp(old.from))
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// setList reads a revocation list and checks who signed it.
func (a *answer) setList(der []byte, issuer *x509.Certificate) error {
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return fmt.Errorf("not a revocation list: %w", err)
	}
	if len(list.Raw) != len(der) {
		return fmt.Errorf("%d bytes after the revocation list", len(der)-len(list.Raw))
	}
	if err := list.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("revocation list: %w", err)
	}
	if list.NextUpdate.IsZero() {
		return errors.New("a revocation list without an end")
	}
	a.list, a.number = der, list.Number
	a.narrow(list.ThisUpdate, list.NextUpdate)
	return nil
}

// certificatesIn reads certificates in PEM: want of them, and nothing else but
// white space and a zero at the end.
func certificatesIn(text []byte, want int) ([]*x509.Certificate, error) {
	rest := []byte(strings.TrimSpace(strings.TrimSuffix(string(text), "\x00")))
	var all []*x509.Certificate
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != certificateBlock || len(all) == want {
			return nil, fmt.Errorf("not %d certificates in PEM", want)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all, rest = append(all, c), after
	}
	if len(all) != want {
		return nil, fmt.Errorf("%d certificates in PEM, not %d", len(all), want)
	}
	return all, nil
}

const certificateBlock = "CERTIFICATE"

// printed is certificates in PEM as verifiers take them.
func printed(certificates []*x509.Certificate) string {
	var b strings.Builder
	for _, c := range certificates {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: certificateBlock, Bytes: c.Raw}))
	}
	return b.String()
}

// signedBy checks that each certificate is signed by the next and the last by
// itself.
func signedBy(chain []*x509.Certificate) error {
	for i, c := range chain {
		if err := c.CheckSignatureFrom(chain[min(i+1, len(chain)-1)]); err != nil {
			return fmt.Errorf("certificate %q: %w", c.Subject.CommonName, err)
		}
	}
	return nil
}
