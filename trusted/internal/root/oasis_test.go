package root_test

import (
	"crypto/ecdh"
	"encoding/hex"
	"testing"

	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// The vectors of oasis-core, keymanager/src/crypto/kdf.rs, test vector_test, of
// the time when they named a seed and the two labels; those of today, which name
// a runtime, are tested where runtimes' keys are. Private keys are printed as
// X25519 uses them (RFC 7748, section 5).
func TestOasisVectors(t *testing.T) {
	const (
		runtime   = "ekiden-derive-runtime-secret-insecure"
		contract  = "ekiden-derive-contract-keys-insecure"
		ephemeral = "ekiden-derive-ephemeral-secret-insecure"
		keys      = "ekiden-derive-ephemeral-keys-insecure"
		master    = "3fa39161fe106fb770503558dad41bea3221888c09477d864507e615094f5d38"
		seed      = "2a9d51ed0380d11b26255ecc894dfc3aa48196c9b0da463a3073ea820a65a090"
	)
	for name, c := range map[string]struct{ master, seed, secret, stretch, private, public string }{
		"random": {master, seed, runtime, contract,
			"c818f97228a53b201e2afa383b64199c732c7ba1a67ac55ea2cb3b8fba367740", "fb99076f6a5a8c52bcf562cae5152d0410f47a615fc7bc4966dc9a4f477bd217"},
		"another master secret": {"54083e90f05860653161bc1575765b3311f6a55d1cab84919cb1e2b02c8351ec", seed, runtime, contract,
			"b8092ab767ddc47cb56807d4d1fd0e66eae0b02e289d1e38d4dfa900619edc47", "6782329a12e821697f1d7cc44ba5644a2d81bd827fe09208549296be51da8b66"},
		"another seed": {master, "6cc9f7dfe776c7e531331eaf5fd8717d638cae65a4ebb0d6f128b1873f0f9c22", runtime, contract,
			"f0d5bf36b424f7b168fa37e1a1407f191a260dda149d78676d4ca077b1e8614c", "9099b1e19c482927eb2785c77b34ef2c4b95f812e089e3b2cd6f2a0a743b7561"},
		"another first label": {master, seed, ephemeral, contract,
			"18789f16d8a8fbd75f529f0a1de3e95469eb537c283dc66eb296a6681a46c066", "1aa3e6d86c0779afde8a367dbbb025538fb77e410624ece8b25a6be9e1a5170d"},
		"another second label": {master, seed, runtime, keys,
			"e0e6faa3172634c8fdc47554f0541c7141f7ddfe07333b0dab1801bb5dcd755e", "455f877b6c977c51580e947a5a2ae57b4b1ec0a379cf6509be07f10aa88df735"},
		"random labels": {"b573fa13ec26d21a7a2b5117eb124dcab5883eb63ec0a5a9cc0b1d1948bcfc71",
			"774cbb9c1e8c634e7e136357d9994f65d72fc0e7d72c1e9ad766db1a74e0bb8c",
			"54761365b5a007c2bd13cf880a8a58263f56bb7057f7548b7467e871f6f4bb1f", "a0caee5ecac1a287f06ff8748cf37e809f049cf6866d668ecdbed3ce05b40f2c",
			"70c077d8bd0c5c2be66d08fbacac4f1a996001883baaf62bd933e2f7de390e5f", "2d62567e9061a7cc64df3793fbee65c863862b8f0acc992e2a39e32757f2c743"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := root.DerivePair(secret.New(unhex(t, c.master)), root.PairLabels{Secret: c.secret, Stretch: c.stretch}, unhex(t, c.seed))
			if err != nil {
				t.Fatal(err)
			}
			private, public := pairHex(t, p)
			if clamped(t, private) != c.private || public != c.public {
				t.Errorf("private %s, public %s", private, public)
			}
		})
	}
}

// clamped is a private key as X25519 uses it.
func clamped(t *testing.T, private string) string {
	b := unhex(t, private)
	b[0], b[31] = b[0]&248, b[31]&127|64
	return hex.EncodeToString(b)
}

func pairHex(t *testing.T, p root.Pair) (private, public string) {
	t.Helper()
	err := p.Private.Use(func(b []byte) error {
		k, err := ecdh.X25519().NewPrivateKey(b)
		if err == nil {
			private, public = hex.EncodeToString(b), hex.EncodeToString(k.PublicKey().Bytes())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
