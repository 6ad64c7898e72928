package main

import (
	"context"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
)

// fetchEvidence asks the node at address for evidence made now. That it is for
// our nonce and that connection is not asked here: without a charter nobody
// knows which domain and policy it should be for. `holdfast trust` asks.
func fetchEvidence(ctx context.Context, address string) (attest.Evidence, error) {
	shown, err := client.Inquire(ctx, client.Config{URL: address})
	if err != nil {
		return attest.Evidence{}, err
	}
	e := shown.Proof.Evidence
	return attest.Evidence{TEE: attest.TEE(e.TEE), Quote: e.Quote, Collateral: e.Collateral}, nil
}
