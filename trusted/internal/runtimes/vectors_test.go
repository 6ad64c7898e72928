package runtimes_test

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"strconv"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/runtimes"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// oasis are the labels of Oasis' key manager, as its insecure builds have them,
// which its vectors are for. Its long-term XOF uses the label of the KDF again, by
// a mistake that was kept.
var oasis = runtimes.Labels{
	LongTerm:          root.PairLabels{Secret: "ekiden-derive-runtime-secret-insecure", Stretch: "ekiden-derive-runtime-secret-insecure"},
	Ephemeral:         root.PairLabels{Secret: "ekiden-derive-ephemeral-secret-insecure", Stretch: "ekiden-derive-ephemeral-keys-insecure"},
	EphemeralChecksum: "ekiden-checksum-ephemeral-secret-insecure",
}

// The vectors of oasis-core, keymanager/src/crypto/kdf.rs, vector_test: what they
// were meant to be, without the mistake, is there in comments, and here beside
// them. Private keys are printed clamped (RFC 7748, section 5).
func TestOasisVectors(t *testing.T) {
	mended := oasis
	mended.LongTerm.Stretch = "ekiden-derive-contract-keys-insecure"
	const (
		master, master2       = "3fa39161fe106fb770503558dad41bea3221888c09477d864507e615094f5d38", "54083e90f05860653161bc1575765b3311f6a55d1cab84919cb1e2b02c8351ec"
		ephemeral, ephemeral2 = "2a9d51ed0380d11b26255ecc894dfc3aa48196c9b0da463a3073ea820a65a090", "b8092ab767ddc47cb56807d4d1fd0e66eae0b02e289d1e38d4dfa900619edc47"
		runtime, runtime2     = "c818f97228a53b201e2afa383b64199c732c7ba1a67ac55ea2cb3b8fba367740", "1aa3e6d86c0779afde8a367dbbb025538fb77e410624ece8b25a6be9e1a5170d"
		id, id2               = "fb99076f6a5a8c52bcf562cae5152d0410f47a615fc7bc4966dc9a4f477bd217", "18789f16d8a8fbd75f529f0a1de3e95469eb537c283dc66eb296a6681a46c066"
	)
	for _, v := range []struct {
		name, master, ephemeral, runtime, id string
		epoch                                uint64
		longSK, longPK                       string
		mendedSK, mendedPK                   string
		shortSK, shortPK                     string
	}{
		{"a random vector", master, ephemeral, runtime, id, 8935419451,
			"702c5a25ff1149591cf7bca763fbe647a43939f43330a8fd331305d73e489b7c", "66013b5ad263b4fa504e8682371fbfa102d18cc1e1b811bc125603b1abc9487b",
			"a009036a2a796c3bf1ae498e7055b481bc5965f9ff013c25270b1a61c8da125d", "14dc0e45265d8bb23479b742b39528eb10bec264c5c9f74b8c2f51638f3a7239",
			"70b65768679884c84dc0cd406a852a15e9ab40291f23c35215d0ea402dbf5955", "0b7f41d8b1896fee21e294e1e03078ad6efd5136d1ecf8a029d83ac5e87eca38"},
		{"other secrets", master2, ephemeral2, runtime, id, 8935419451,
			"5045ff4735a1fc7cbdb729d7cfb9349a11e664bf3198e78b9b714bf7dffe984e", "ba3de0b2d206d7c8c46c3cf82bdf7ea6a6db1c768207ed54f54d08a72c65101e",
			"885c1651dc64af6965ef2ed5d690d2110cfce0353f4d263cb6e894db847d4468", "4260efb7dcc4e5655139477e991e5a124243740644e7f937680cd015e8645d1a",
			"6877eab1ce46ca610a2ca3c7d5fa560049ac55ccc6e95cad3aa2ac108c3f8659", "2b11099802017aaf256631ad309c01f35647433ace0f9eb30e0059dfb1d8773d"},
		{"another runtime", master, ephemeral, runtime2, id, 8935419451,
			"e03a8c8e86024934e84d61d789ae7b292a0124bd7cedb1ac740e750391936150", "09761afffa3ef10c7a62390e81bca3c217c7cde216c9660c0f69d3709439587b",
			"e8c587d47625d6d7b213fcc4db3ddda295cf5bf6458165aedd293afea89f7a49", "1733d7cd352941d2fad73d73e4bcc88ee9d94a6872a2c0ce0431ba20616eed75",
			"10dc53440e825f2ed1a9d584223deae2d07a0440f9dec306e7ebc81568fb6070", "f1cf258fc81c72b6bf8ce552e1f9823b0def9d0892d54083adad56a09acada61"},
		{"another key id", master, ephemeral, runtime, id2, 8935419451,
			"a82089503a2b9f2804ee61dcc8ddc3c52f49be9aa6545d235ede885597d12d7a", "a0d546af1faf39e45171830d8779b1744f1b2407b3dcad5d454d1cdcfe7b7276",
			"7034c6b9054b726286732bf6e8f0e8075e1d0ee3610a7fe9a188afba4fe97b6a", "d03ff12b41e83913433c4b57d919d05c18661ef1c6ac014568ad2efc67e48f40",
			"905bc45eb9d1b0e543f0fe37a9d9827dd21bc02e70a538ee9a95cbb18a769f68", "ec6dc8616acfedaf9ba2a2853a4eb286befab6e7e3beda3f5bce68a344ddaa13"},
		{"another epoch", master, ephemeral, runtime, id, 943032087,
			"702c5a25ff1149591cf7bca763fbe647a43939f43330a8fd331305d73e489b7c", "66013b5ad263b4fa504e8682371fbfa102d18cc1e1b811bc125603b1abc9487b",
			"a009036a2a796c3bf1ae498e7055b481bc5965f9ff013c25270b1a61c8da125d", "14dc0e45265d8bb23479b742b39528eb10bec264c5c9f74b8c2f51638f3a7239",
			"a05eaa02f85225b5618dd3bdf15984601d80558947a9a51b9c3a141f16979f6e", "026d01541e41af210cbb482de8b0a7ea772757e53bf3dbe5008e43f95db49d64"},
	} {
		t.Run(v.name, func(t *testing.T) {
			s, e := secret.New(unhex(t, v.master)), secret.New(unhex(t, v.ephemeral))
			r, k := [32]byte(unhex(t, v.runtime)), kms.RuntimeKeyID(unhex(t, v.id))
			for what, c := range map[string]struct {
				pair   *runtimes.Pair
				err    error
				sk, pk string
			}{
				"long-term": with(oasis.LongTermPair(s, r, k)).and(v.longSK, v.longPK),
				"mended":    with(mended.LongTermPair(s, r, k)).and(v.mendedSK, v.mendedPK),
				"ephemeral": with(oasis.EphemeralPair(e, r, k, v.epoch)).and(v.shortSK, v.shortPK),
			} {
				if c.err != nil {
					t.Fatal(c.err)
				}
				if got := hex.EncodeToString(c.pair.Public[:]); got != c.pk {
					t.Errorf("%s: public key %s", what, got)
				}
				private, _ := keysOf(t, c.pair)
				if got := hex.EncodeToString(clamp(private)); got != c.sk {
					t.Errorf("%s: private key %s", what, got)
				}
			}
		})
	}
}

type outcome struct {
	pair *runtimes.Pair
	err  error
}

func with(p *runtimes.Pair, err error) outcome { return outcome{p, err} }

func (o outcome) and(sk, pk string) struct {
	pair   *runtimes.Pair
	err    error
	sk, pk string
} {
	return struct {
		pair   *runtimes.Pair
		err    error
		sk, pk string
	}{o.pair, o.err, sk, pk}
}

// Our own labels give other keys than Oasis' on the same input, each time the
// same; these were taken from this program when it was written.
func TestOwnVectors(t *testing.T) {
	s := secret.New(bytes.Repeat([]byte{1}, 32))
	r := runtimes.RuntimeID(kms.DomainID{2}, "ledger")
	long, err := runtimes.HoldfastLabels.LongTermPair(s, r, kms.RuntimeKeyID{3})
	if err != nil {
		t.Fatal(err)
	}
	short, err := runtimes.HoldfastLabels.EphemeralPair(s, r, kms.RuntimeKeyID{3}, 4)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := runtimes.HoldfastLabels.Checksum(s, kms.DomainID{2}, 4)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ got, want []byte }{
		"runtime id": {r[:], unhex(t, ownID)},
		"long-term":  {long.Public[:], unhex(t, ownLongTerm)},
		"ephemeral":  {short.Public[:], unhex(t, ownEphemeral)},
		"checksum":   {sum[:], unhex(t, ownChecksum)},
	} {
		if !bytes.Equal(c.got, c.want) {
			t.Errorf("%s: %x", name, c.got)
		}
	}
}

const (
	ownID        = "488e0f25e8928f7ef4fb1b0abdb0a0f77277031ca4cb9b78375ceac79310821e"
	ownLongTerm  = "af50c4d73cfff3f4a0c2c058f1f388bab2dfc7735611f8a41b6f1db759881c3c"
	ownEphemeral = "d0b119c9bf114bb0c3ab6d5163dac21fecd72ee9874b2f902812b9f5a88f1c67"
	ownChecksum  = "9f0c3f21536b31771b4c6a7833f8e70c6c7683ec426d55db763d11fc08776c49"
)

// TestLabelsAreUnique: no two derivations share a label.
func TestLabelsAreUnique(t *testing.T) {
	l := runtimes.HoldfastLabels
	seen := map[string]bool{}
	for _, label := range []string{l.LongTerm.Secret, l.LongTerm.Stretch, l.Ephemeral.Secret, l.Ephemeral.Stretch, l.EphemeralChecksum} {
		if label == "" || seen[label] {
			t.Errorf("%q is there twice, or empty", label)
		}
		seen[label] = true
	}
}

// TestPairsAreUnique: over kind, secret, domain, runtime, key id and period; and
// each is the same when it is derived again.
func TestPairsAreUnique(t *testing.T) {
	seen := map[[32]byte]string{}
	note := func(what string, of func() (*runtimes.Pair, error)) {
		t.Helper()
		p, err := of()
		if err != nil {
			t.Fatal(err)
		}
		again, err := of()
		if err != nil || again.Public != p.Public {
			t.Errorf("%s: derived again it is another one: %v", what, err)
		}
		private, state := keysOf(t, p)
		if key, err := ecdh.X25519().NewPrivateKey(private); err != nil || !bytes.Equal(key.PublicKey().Bytes(), p.Public[:]) {
			t.Errorf("%s: the public key is not the private key's", what)
		}
		for _, k := range [][32]byte{[32]byte(private), [32]byte(state), p.Public} {
			if other, dup := seen[k]; dup {
				t.Errorf("%s and %s share a key", what, other)
			}
			seen[k] = what
		}
	}
	l := runtimes.HoldfastLabels
	for s := range byte(2) {
		from := secret.New(bytes.Repeat([]byte{s + 1}, 32))
		for d := range byte(2) {
			for _, name := range []string{"a", "b", "ab"} {
				for id := range byte(2) {
					r, k := runtimes.RuntimeID(kms.DomainID{d}, name), kms.RuntimeKeyID{id}
					what := name + strconv.Itoa(int(s)*100+int(d)*10+int(id))
					note("long-term "+what, func() (*runtimes.Pair, error) { return l.LongTermPair(from, r, k) })
					for e := range uint64(2) {
						note("ephemeral "+what+strconv.Itoa(int(e)), func() (*runtimes.Pair, error) { return l.EphemeralPair(from, r, k, e) })
					}
				}
			}
		}
	}
}

func keysOf(t *testing.T, p *runtimes.Pair) (private, state []byte) {
	t.Helper()
	if err := p.Use(func(a, b []byte) error { private, state = bytes.Clone(a), bytes.Clone(b); return nil }); err != nil {
		t.Fatal(err)
	}
	return private, state
}

func clamp(b []byte) []byte {
	b = bytes.Clone(b)
	b[0] &= 248
	b[31] = b[31]&127 | 64
	return b
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
