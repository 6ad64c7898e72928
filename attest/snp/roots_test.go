package snp_test

import (
	"crypto/sha256"
	"encoding/pem"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-sev-guest/verify/trust"

	"github.com/holdfast-kms/holdfast/attest/snp"
)

// genuineRootDER is AMD's root for Milan, as the library has it compiled in.
func genuineRootDER(t *testing.T) []byte {
	t.Helper()
	_, rest := pem.Decode(trust.AskArkMilanVcekBytes)
	block, _ := pem.Decode(rest)
	if block == nil {
		t.Fatal("no second certificate")
	}
	return block.Bytes
}

// TestRoots: the library still carries the roots that are pinned here, for both
// kinds of keys. If an update of it changes one, reports of that product are
// refused until someone has looked.
func TestRoots(t *testing.T) {
	for product, bundles := range map[string][2][]byte{
		"Milan": {trust.AskArkMilanVcekBytes, trust.AskArkMilanVlekBytes},
		"Genoa": {trust.AskArkGenoaVcekBytes, trust.AskArkGenoaVlekBytes},
		"Turin": {trust.AskArkTurinVcekBytes, trust.AskArkTurinVlekBytes},
	} {
		want, ok := snp.RootFingerprint(product)
		if !ok || want == ([32]byte{}) {
			t.Errorf("%s: fingerprint %x, %v", product, want, ok)
		}
		for _, bundle := range bundles {
			_, rest := pem.Decode(bundle)
			block, _ := pem.Decode(rest)
			if got := sha256.Sum256(block.Bytes); got != want {
				t.Errorf("%s: the library has root %x, pinned is %x", product, got, want)
			}
		}
	}
	products := snp.Products()
	slices.Sort(products)
	if diff := cmp.Diff([]string{"Genoa", "Milan", "Turin"}, products); diff != "" {
		t.Errorf("roots in use: %s", diff)
	}
	if _, ok := snp.RootFingerprint("Naples"); ok {
		t.Error("a root for a product that has none")
	}
}
