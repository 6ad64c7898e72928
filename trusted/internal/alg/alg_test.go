package alg_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// materials are made once for all tests: RSA keys are slow to make, so those
// come of the vectors.
var materials = sync.OnceValue(func() map[kms.Spec]secret.Bytes {
	made := map[kms.Spec]secret.Bytes{}
	for _, v := range rsaVectors() {
		if spec, err := kms.ParseSpec(v.Spec); err == nil && v.Scheme == "OAEP" && made[spec].IsZero() {
			material, err := alg.Import(spec, secret.New(unhex(v.Key)))
			if err != nil {
				panic(err)
			}
			made[spec] = material
		}
	}
	for _, row := range kms.Capabilities() {
		if !row.Slow {
			material, err := alg.Generate(row.Spec)
			if err != nil {
				panic(err)
			}
			made[row.Spec] = material
		}
	}
	return made
})

type rsaVector struct{ Scheme, Spec, Digest, Key, Message, Output string }

var rsaVectors = sync.OnceValue(func() []rsaVector {
	data, err := os.ReadFile("testdata/rsa.json")
	var file struct{ Vectors []rsaVector }
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	if err != nil {
		panic(err)
	}
	return file.Vectors
})

// keyOf is one key of a spec, the same for all tests.
func keyOf(t testing.TB, s kms.Spec) alg.Key {
	t.Helper()
	k, err := alg.Parse(s, materials()[s])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// wrappable is an AES-128 key, wrapped to k where k is one to wrap to.
func wrappable(k alg.Key) []byte {
	body, _ := k.AsymmetricEncrypt(make([]byte, 16), kms.PaddingOAEP)
	return body
}

// operations is every operation of a Key with inputs that suit the row.
func operations(row kms.Capability, k alg.Key) map[string]error {
	in := kms.SigningInput{Message: []byte("message")}
	if len(row.Digests) > 0 {
		in.Digest = row.Digests[0]
	}
	if len(row.SignPaddings) > 0 {
		in.Padding = row.SignPaddings[0]
	}
	padding := kms.PaddingNone
	if len(row.EncryptPaddings) > 0 {
		padding = row.EncryptPaddings[0]
	}
	errs := map[string]error{}
	var body []byte
	body, errs["encrypt"] = k.Encrypt(nil, []byte("x"), nil)
	_, errs["decrypt"] = k.Decrypt(nil, body, nil)
	body, errs["encrypt to"] = k.AsymmetricEncrypt([]byte("x"), padding)
	_, errs["decrypt from"] = k.AsymmetricDecrypt(body, padding)
	_, errs["unwrap"] = k.Unwrap(kms.AES128GCM, wrappable(k), kms.WrapOAEP)
	_, errs["sign"] = k.Sign(in)
	_, errs["verify"] = k.Verify(in, nil)
	_, errs["mac"] = k.MAC([]byte("x"))
	_, errs["verify mac"] = k.VerifyMAC([]byte("x"), nil)
	peer, _ := k.Public()
	_, errs["agree"] = k.Agree(peer)
	_, body, errs["encapsulate"] = k.Encapsulate()
	_, errs["decapsulate"] = k.Decapsulate(body)
	_, errs["public"] = k.Public()
	return errs
}

// Every spec of the table has an algorithm that can do what its row says, and
// nothing else.
func TestEverySpecDoesWhatItsRowSays(t *testing.T) {
	for _, row := range kms.Capabilities() {
		t.Run(row.Name, func(t *testing.T) {
			symmetric, asymmetric := row.Family == kms.Symmetric, row.Family == kms.Asymmetric
			has := map[string]bool{
				"encrypt": symmetric && row.Serves(kms.UseEncrypt), "decrypt": symmetric && row.Serves(kms.UseDecrypt),
				"encrypt to": asymmetric && row.Serves(kms.UseEncrypt), "decrypt from": asymmetric && row.Serves(kms.UseDecrypt),
				"unwrap": len(row.EncryptPaddings) > 0,
				"sign":   asymmetric && row.Serves(kms.UseSign), "verify": asymmetric && row.Serves(kms.UseVerify),
				"mac": row.Serves(kms.UseMAC), "verify mac": row.Serves(kms.UseMAC),
				"public": asymmetric, "agree": row.Serves(kms.UseAgree),
				"encapsulate": row.Serves(kms.UseWrap), "decapsulate": row.Serves(kms.UseUnwrap),
			}
			for operation, err := range operations(row, keyOf(t, row.Spec)) {
				if has[operation] && err != nil {
					t.Errorf("%s: %v", operation, err)
				}
				if !has[operation] && !errors.Is(err, kms.Misused) {
					t.Errorf("%s: got %v, want Misused", operation, err)
				}
			}
			if (row.MaxPlaintext > 0) != has["encrypt to"] {
				t.Errorf("MaxPlaintext is %d", row.MaxPlaintext)
			}
		})
	}
}

// A Key of the public half does what needs no private half, and is the same key.
func TestParsePublic(t *testing.T) {
	for _, row := range kms.Capabilities() {
		if row.Family != kms.Asymmetric {
			if _, err := alg.ParsePublic(row.Spec, nil); !errors.Is(err, kms.Invalid) {
				t.Errorf("%s: got %v, want Invalid", row.Name, err)
			}
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			spki, err := keyOf(t, row.Spec).Public()
			if err != nil {
				t.Fatal(err)
			}
			k, err := alg.ParsePublic(row.Spec, spki)
			if err != nil {
				t.Fatal(err)
			}
			errs := operations(row, k)
			for _, private := range []string{"sign", "decrypt from", "unwrap", "agree", "decapsulate"} {
				if !errors.Is(errs[private], kms.Misused) {
					t.Errorf("%s: got %v, want Misused", private, errs[private])
				}
			}
			if row.Serves(kms.UseVerify) && errs["verify"] != nil || row.Serves(kms.UseEncrypt) && errs["encrypt to"] != nil || row.Serves(kms.UseWrap) && errs["encapsulate"] != nil {
				t.Errorf("public operations fail: %v", errs)
			}
			if again, err := k.Public(); err != nil || !bytes.Equal(again, spki) {
				t.Errorf("public half is %x, %v", again, err)
			}
			for _, other := range kms.Capabilities() {
				if _, err := alg.ParsePublic(other.Spec, spki); other.Spec != row.Spec && !errors.Is(err, kms.Invalid) {
					t.Errorf("taken for a key of spec %s: %v", other.Name, err)
				}
			}
			for _, bad := range [][]byte{nil, spki[:len(spki)-1], append(bytes.Clone(spki), 0), []byte("no DER")} {
				if _, err := alg.ParsePublic(row.Spec, bad); !errors.Is(err, kms.Invalid) {
					t.Errorf("%x: got %v, want Invalid", bad, err)
				}
			}
		})
	}
}

// What is generated parses, and two are not the same.
func TestGenerate(t *testing.T) {
	for _, row := range kms.Capabilities() {
		if testing.Short() && row.Bits > 2048 {
			continue
		}
		first, err := alg.Generate(row.Spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := alg.Parse(row.Spec, first); err != nil {
			t.Errorf("%s: %v", row.Name, err)
		}
		if same := func() (same bool) {
			_ = first.Use(func(b []byte) error { same = materials()[row.Spec].Equal(b); return nil })
			return same
		}(); same {
			t.Errorf("%s: the same key twice", row.Name)
		}
	}
}

func TestParseRefusesWrongMaterial(t *testing.T) {
	for _, row := range kms.Capabilities() {
		for _, n := range []int{0, 1, 13, 15, 27, 29, 31, 33, 47, 49, 64, 65, 67, 257, 1190} {
			if row.Family == kms.MAC && 14 <= n && n <= 256 || n == materials()[row.Spec].Len() {
				continue // a key, or a seed, like any other
			}
			if _, err := alg.Parse(row.Spec, secret.New(bytes.Repeat([]byte{0xff}, n))); !errors.Is(err, kms.Damaged) {
				t.Errorf("%s with %d bytes: got %v, want Damaged", row.Name, n, err)
			}
		}
		for _, other := range kms.Capabilities() {
			if other.Family != kms.Asymmetric || !other.Slow || other.Spec == row.Spec || row.Family == kms.MAC {
				continue
			}
			if _, err := alg.Parse(row.Spec, materials()[other.Spec]); !errors.Is(err, kms.Damaged) {
				t.Errorf("%s takes material of %s: %v", row.Name, other.Name, err)
			}
		}
	}
	if _, err := alg.Parse(99, secret.Random(32)); !errors.Is(err, kms.Damaged) {
		t.Errorf("unknown spec: %v", err)
	}
	if _, err := alg.Generate(99); !errors.Is(err, kms.Misused) {
		t.Errorf("unknown spec: %v", err)
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// flips calls f with a byte of b altered, for some 64 bytes of it in turn.
func flips(b []byte, f func(bad []byte)) {
	for i := 0; i < len(b); i += 1 + len(b)/64 {
		bad := bytes.Clone(b)
		bad[i] ^= 0x40
		f(bad)
	}
}
