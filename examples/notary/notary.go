// Package notary is a demo runtime that has no key of its own in memory: it asks
// the domain to authenticate and to open things with keys that stay there. The
// program that the domain's policy lists as runtime "notary" can do so, and no
// other.
package notary

import (
	"context"
	"crypto/subtle"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// Runtime is what policies name the program by.
const Runtime = "notary"

// stamps is the id of the key pair whose state key makes stamps, and whose public
// key deposits are sealed to.
var stamps = kms.RuntimeKeyID{'s', 't', 'a', 'm', 'p', 's'}

// A Stamp says that the notary has seen a document.
type Stamp struct {
	Generation uint64 // of the master secret that the stamp rests on
	MAC        []byte
}

// A Notary is the runtime: its client has a Workload.
type Notary struct{ Client *client.Client }

// Stamp stamps a document.
func (n Notary) Stamp(ctx context.Context, document []byte) (Stamp, error) {
	m, err := n.Client.RuntimeMAC(ctx, latest(), document)
	return Stamp{m.Period, m.MAC}, err
}

// Check reports whether the notary has stamped a document, in whatever generation.
func (n Notary) Check(ctx context.Context, document []byte, s Stamp) (bool, error) {
	key := latest()
	key.Latest, key.Period = false, s.Generation
	m, err := n.Client.RuntimeMAC(ctx, key, document)
	return err == nil && subtle.ConstantTimeCompare(m.MAC, s.MAC) == 1, err
}

// Deposit seals a document to the notary. Anyone can.
func Deposit(ctx context.Context, c *client.Client, document []byte) ([]byte, error) {
	public, err := c.RuntimePublicKey(ctx, latest())
	if err != nil {
		return nil, err
	}
	return client.SealToRuntime(&public, document)
}

// Accept opens a deposit, inside the domain.
func (n Notary) Accept(ctx context.Context, deposit []byte) ([]byte, error) {
	return n.Client.RuntimeDecrypt(ctx, Runtime, deposit)
}

func latest() kms.RuntimeKeyRequest {
	return kms.RuntimeKeyRequest{RuntimeKey: kms.RuntimeKey{Runtime: Runtime, ID: stamps}, Latest: true}
}
