package snp

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"sync"

	"github.com/google/go-sev-guest/verify/trust"
)

// fingerprints are the SHA-256 of AMD's root certificates by line of products.
// They are what makes a platform AMD's: the certificates come from the library,
// and one that is not listed here is not used.
var fingerprints = map[string]string{
	"Milan": "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
	"Genoa": "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
	"Turin": "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
}

// RootFingerprint is the SHA-256 of AMD's root certificate for a line of
// products, and whether there is one.
func RootFingerprint(product string) (sum [sha256.Size]byte, ok bool) {
	text, ok := fingerprints[product]
	if ok {
		hex.Decode(sum[:], []byte(text)) // 64 digits, as a test checks
	}
	return sum, ok
}

// An amdRoot is AMD's root of a line of products with the two keys that sign
// for it: the ones of chips, and the ones of clouds.
type amdRoot struct{ ark, ask, asvk *x509.Certificate }

// roots are AMD's, by line of products.
var roots = sync.OnceValue(func() map[string]amdRoot {
	all := map[string]amdRoot{}
	for product, bundles := range map[string]struct{ chips, clouds []byte }{
		"Milan": {trust.AskArkMilanVcekBytes, trust.AskArkMilanVlekBytes},
		"Genoa": {trust.AskArkGenoaVcekBytes, trust.AskArkGenoaVlekBytes},
		"Turin": {trust.AskArkTurinVcekBytes, trust.AskArkTurinVlekBytes},
	} {
		ask, ark := parseBundle(bundles.chips)
		asvk, same := parseBundle(bundles.clouds)
		want, known := RootFingerprint(product)
		if known && ask != nil && asvk != nil && fingerprint(ark) == want && fingerprint(same) == want {
			all[product] = amdRoot{ark: ark, ask: ask, asvk: asvk}
		}
	}
	return all
})

// parseBundle reads two certificates as AMD's service answers them. Nil: it
// does not hold two.
func parseBundle(bundle []byte) (signing, root *x509.Certificate) {
	certificates, _, err := parsePEM(bundle)
	if err != nil || len(certificates) != 2 {
		return nil, nil
	}
	return certificates[0], certificates[1]
}
