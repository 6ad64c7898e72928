package root_test

import (
	"bytes"
	"crypto/ecdh"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// oasis are the labels of oasis-core's key manager, as its builds without SGX
// have them, which its vectors are made with. The stretching of long-term keys
// reuses the first label there.
var oasis = root.Labels{
	Checksum:  "ekiden-checksum-master-secret-insecure",
	Signing:   "ekiden-derive-signing-key-insecure",
	LongTerm:  root.PairLabels{Secret: "ekiden-derive-runtime-secret-insecure", Stretch: "ekiden-derive-runtime-secret-insecure"},
	Ephemeral: root.PairLabels{Secret: "ekiden-derive-ephemeral-secret-insecure", Stretch: "ekiden-derive-ephemeral-keys-insecure"},
}

// The vectors of oasis-core, keymanager/src/crypto/kdf.rs, test vector_test, of
// the time when they named a seed and the two labels.
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

// The first of oasis-core's present vectors, with runtime, key id and epoch in
// the place of a seed, as far as the reference quotes it.
func TestOasisRuntimeKeys(t *testing.T) {
	master := secret.New(unhex(t, "3fa39161fe106fb770503558dad41bea3221888c09477d864507e615094f5d38"))
	epochSecret := secret.New(unhex(t, "2a9d51ed0380d11b26255ecc894dfc3aa48196c9b0da463a3073ea820a65a090"))
	runtime := unhex(t, "c818f97228a53b201e2afa383b64199c732c7ba1a67ac55ea2cb3b8fba367740")
	keyID := unhex(t, "fb99076f6a5a8c52bcf562cae5152d0410f47a615fc7bc4966dc9a4f477bd217")
	longTerm, err := root.New(root.NewSet(master), kms.DomainID{}, oasis).LongTerm(0, runtime, keyID)
	if err != nil {
		t.Fatal(err)
	}
	ephemeral, err := root.DerivePair(epochSecret, oasis.Ephemeral, runtime, keyID, binary.BigEndian.AppendUint64(nil, 8935419451))
	if err != nil {
		t.Fatal(err)
	}
	private, public := pairHex(t, longTerm)
	check := func(what, got, begin, end string) {
		if !strings.HasPrefix(got, begin) || !strings.HasSuffix(got, end) {
			t.Errorf("%s is %s, want %s…%s", what, got, begin, end)
		}
	}
	check("long-term private key", private, "762c5a25ff114959", "")
	check("long-term public key", public, "66013b5ad263b4fa", "b1abc9487b")
	private, public = pairHex(t, ephemeral)
	check("ephemeral private key", private, "77b65768679884c8", "02dbf5915")
	check("ephemeral public key", public, "0b7f41d8b1896fee", "5e87eca38")
}

// A generation is neither derived from another nor equal to it, and what is
// derived for one purpose, domain or generation is not for another.
func TestDerivationsAreSeparate(t *testing.T) {
	seen := map[string]string{}
	note := func(what string, s secret.Bytes, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		_ = s.Use(func(b []byte) error {
			if len(b) != 32 {
				t.Errorf("%s has %d bytes", what, len(b))
			}
			if other, dup := seen[string(b)]; dup {
				t.Errorf("%s is %s", what, other)
			}
			seen[string(b)] = what
			return nil
		})
	}
	for _, domain := range []byte{1, 2} {
		set := root.NewSet(secret.New(bytes.Repeat([]byte{1}, 32)))
		if err := set.Hold(1, secret.New(bytes.Repeat([]byte{2}, 32))); err != nil {
			t.Fatal(err)
		}
		r := root.New(set, kms.DomainID{domain}, root.HoldfastLabels)
		for g := range uint32(2) {
			what := string('a'+rune(domain)) + string('0'+rune(g))
			seed, err := r.SigningSeed(g)
			note(what+" signing", seed, err)
			backup, err := r.BackupKey(g)
			note(what+" backup", backup, err)
			from, err := r.RuntimeRoot(g)
			note(what+" runtime", from, err)
			p, err := r.LongTerm(g, []byte("r"), []byte("k"))
			note(what+" state", p.State, err)
			note(what+" private", p.Private, err)
			wrapping, err := r.Derive(g, root.WrapKey, 32)
			note(what+" wrapping", wrapping, err)
			again, err := r.LongTerm(g, []byte("r"), []byte("k"))
			if err != nil || !equal(p.Private, again.Private) {
				t.Errorf("%s: another pair the second time: %v", what, err)
			}
		}
	}
}

// No two derivations share a label.
func TestLabelsAreUnique(t *testing.T) {
	seen := map[string]bool{}
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Struct {
				walk(f)
			} else if seen[f.String()] || f.String() == "" {
				t.Errorf("label %q is empty or there twice", f.String())
			} else {
				seen[f.String()] = true
			}
		}
	}
	walk(reflect.ValueOf(root.HoldfastLabels))
	for _, p := range []root.Purpose{root.WrapKey, root.WrapCredential, root.WrapCA, root.WrapImport} {
		if seen[string(p)] {
			t.Errorf("purpose %q is a label too", p)
		}
		seen[string(p)] = true
	}
}

func TestChain(t *testing.T) {
	set := root.NewSet(secret.New(bytes.Repeat([]byte{7}, 32)))
	r := root.New(set, kms.DomainID{9}, root.HoldfastLabels)
	sums := [][]byte{nil}
	for g := range uint32(4) {
		if g > 0 {
			if err := set.Hold(g, secret.Random(32)); err != nil {
				t.Fatal(err)
			}
		}
		sum, err := r.Checksum(g, sums[g])
		if err != nil {
			t.Fatal(err)
		}
		if g > 0 && bytes.Equal(sum, sums[g]) {
			t.Errorf("checksum %d is that of the generation before", g)
		}
		sums = append(sums, sum)
	}
	for g := range uint32(4) {
		if err := r.VerifyChecksum(g, sums[g], sums[g+1]); err != nil {
			t.Errorf("generation %d: %v", g, err)
		}
		if err := r.VerifyChecksum(g, sums[g], sums[(g+1)%4+1]); !errors.Is(err, kms.Damaged) {
			t.Errorf("generation %d with another's checksum: %v", g, err)
		}
		if g > 0 {
			if err := r.VerifyChecksum(g, sums[g-1], sums[g+1]); !errors.Is(err, kms.Damaged) {
				t.Errorf("generation %d on another link: %v", g, err)
			}
		}
	}
}

// What was wrapped under a generation that was dropped and forgotten does not
// open any more, whatever was kept of it.
func TestForget(t *testing.T) {
	set := root.NewSet(secret.Random(32))
	r := root.New(set, kms.DomainID{1}, root.HoldfastLabels)
	wrapped, err := r.Wrap(slot(), secret.New([]byte("key material")))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(set.Hold(1, secret.Random(32)), set.Use(1)); err != nil {
		t.Fatal(err)
	}
	if err := set.Hold(1, secret.Random(32)); !errors.Is(err, kms.Exists) {
		t.Errorf("held twice: %v", err)
	}
	if err := set.Use(2); !errors.Is(err, kms.NotFound) {
		t.Errorf("use of what is not held: %v", err)
	}
	if err := set.Use(0); err != nil || r.Current() != 1 {
		t.Errorf("went back to %d: %v", r.Current(), err)
	}
	to := slot()
	to.Generation = 1
	moved, err := r.Rewrap(slot(), to, wrapped)
	if err != nil {
		t.Fatal(err)
	}
	set.Drop(0)
	r.Forget(0)
	if _, err := r.Unwrap(slot(), wrapped); !errors.Is(err, kms.NotFound) {
		t.Errorf("opens under a generation that is gone: %v", err)
	}
	if got, err := r.Unwrap(to, moved); err != nil || !got.Equal([]byte("key material")) {
		t.Errorf("does not open where it was moved to: %v", err)
	}
	if _, err := r.Rewrap(to, to, wrapped); !errors.Is(err, kms.Damaged) {
		t.Errorf("re-wrapped what does not open: %v", err)
	}
}

// clamped is a private key as X25519 uses it (RFC 7748, section 5), and as the
// vectors of that time print it.
func clamped(t *testing.T, private string) string {
	b := unhex(t, private)
	b[0], b[31] = b[0]&248, b[31]&127|64
	return hex.EncodeToString(b)
}

func equal(a, b secret.Bytes) (same bool) {
	_ = b.Use(func(bytes []byte) error { same = a.Equal(bytes); return nil })
	return same
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
