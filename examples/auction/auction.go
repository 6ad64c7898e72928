// Package auction is a demo runtime: an auction with sealed bids. Bidders seal
// their bids to the auction's public key, which anyone gets from the domain; only
// the program that the domain's policy lists as runtime "auction" opens them, and
// it does so inside its TEE, with keys that it asks the domain for.
//
// The bids of one auction are sealed to the ephemeral key of an epoch: when the
// epoch's secret is past its age, nobody ever reads them again.
package auction

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// Runtime is what policies name the program by.
const Runtime = "auction"

// keyOf is the id of a lot's key pair: each lot has its own.
func keyOf(lot string) kms.RuntimeKeyID { return sha256.Sum256([]byte(lot)) }

// A Bid is what a bidder seals.
type Bid struct {
	Bidder string `json:"bidder"`
	Amount uint64 `json:"amount"`
}

// Seal is the bidder's side. It takes no credential and no TEE: c may be anyone's.
func Seal(ctx context.Context, c *client.Client, lot string, bid Bid) ([]byte, error) {
	key := kms.RuntimeKey{Runtime: Runtime, ID: keyOf(lot), Ephemeral: true}
	public, err := c.RuntimePublicKey(ctx, kms.RuntimeKeyRequest{RuntimeKey: key, Latest: true})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(bid)
	if err != nil {
		return nil, err
	}
	return client.SealToRuntime(&public, text)
}

// A House is the runtime's side: c has a Workload.
type House struct{ Client *client.Client }

// Winner opens the bids for a lot and returns the highest, the first of equal
// ones. One that does not open is no bid.
func (h House) Winner(ctx context.Context, lot string, sealed [][]byte) (best Bid, err error) {
	for _, b := range sealed {
		bid, err := h.open(ctx, lot, b)
		if errors.Is(err, kms.DecryptFailed) || errors.Is(err, kms.Invalid) {
			continue
		}
		if err != nil {
			return Bid{}, err
		}
		if bid.Amount > best.Amount {
			best = bid
		}
	}
	return best, nil
}

func (h House) open(ctx context.Context, lot string, sealed []byte) (bid Bid, err error) {
	key, _, err := kms.ParseRuntimeSealed(sealed)
	if err != nil {
		return bid, err
	}
	key.Runtime, key.ID = Runtime, keyOf(lot) // the epoch is the bidder's, the lot is ours
	keys, err := h.Client.RuntimeKeys(ctx, kms.RuntimeKeyRequest{RuntimeKey: key})
	if err != nil {
		return bid, err
	}
	defer keys.Wipe()
	text, err := client.OpenAsRuntime(&keys, sealed)
	if err != nil {
		return bid, err
	}
	if json.Unmarshal(text, &bid) != nil {
		return bid, kms.Errorf(kms.Invalid, "not a bid")
	}
	return bid, nil
}
