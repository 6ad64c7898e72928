// Package compat runs other people's test vectors against the algorithms.
package compat_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"

	"github.com/holdfast-kms/holdfast/kms"
)

// hexBytes is bytes, as Wycheproof writes them.
type hexBytes []byte

func (h *hexBytes) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	b, err := hex.DecodeString(text)
	*h = b
	return err
}

// A file is one file of vectors, of any schema: members that a schema does not
// have stay zero.
type file struct {
	Algorithm  string
	TestGroups []*group
}

type group struct {
	Algorithm       string `json:"-"` // of the file
	Type            string
	KeySize         int
	IVSize, TagSize int // bits
	SHA, MGFSHA     string
	SLen            int // bytes of salt
	PrivateKeyPKCS8 hexBytes
	PublicKeyDER    hexBytes
	Curve           string
	ParameterSet    string
	PrivateSeed     hexBytes
	PublicKey       any
	Tests           []*vector
}

type vector struct {
	ID      int `json:"tcId"`
	Comment string
	Flags   []string
	Result  string // valid, invalid, acceptable

	Key, IV, AAD, Msg, CT, Tag, Label, Sig hexBytes

	Public, Private, Shared string   // of key agreement; hexadecimal, or PEM
	Seed, EK, C, K, Ctx     hexBytes // of lattices
}

func (v *vector) valid() bool   { return v.Result == "valid" }
func (v *vector) invalid() bool { return v.Result == "invalid" }

// A runner runs one vector. It returns skip with a reason for what is
// deliberately not supported, and any other error for a vector that fails.
type runner func(*group, *vector) error

// skip is why a vector is not run.
type skip string

func (s skip) Error() string { return string(s) }

// runners names the runner of each type of group.
var runners = map[string]runner{
	"AeadTest":            runAEAD,
	"RsaesOaepDecrypt":    runOAEP,
	"RsaesPkcs1Decrypt":   runPKCS1Decrypt,
	"RsassaPkcs1Verify":   runPKCS1Verify,
	"RsassaPkcs1Generate": runPKCS1Sign,
	"RsassaPssVerify":     runPSS,
	"EcdsaVerify":         runECDSA,
	"EcdsaBitcoinVerify":  runECDSA,
	"EddsaVerify":         runEd25519,
	"MacTest":             runHMAC,
	"KeywrapTest":         runKWP,
	"XdhAsnComp":          runAgreement,
	"EcdhTest":            runAgreement,
	"MLKEMTest":           runDecapsulation,
	"MLKEMKeyGen":         runKeyGeneration,
	"MlDsaVerify":         runMLDSA,

	"EcdsaP1363Verify":              func(*group, *vector) error { return skip("signature is not DER") },
	"RsassaPssWithParametersVerify": func(*group, *vector) error { return skip("public key has PSS parameters in it") },
}

// ours are the files that concern algorithms of ours; every file that matches is
// run, so that a new one is noticed.
var ours = []string{"aes_gcm_test.json", "aes_kwp_test.json", "rsa_*", "ecdsa_*", "ed25519_*", "hmac_*",
	"x25519_asn_test.json", "ecdh_secp256r1_test.json", "ecdh_secp384r1_test.json", "ecdh_secp521r1_test.json",
	"mlkem_768_test.json", "mlkem_1024_test.json", "mlkem_768_keygen_seed_test.json", "mlkem_1024_keygen_seed_test.json", "mldsa_*_verify_test.json"}

// tally counts what became of the vectors.
type tally struct {
	run     int
	skipped map[skip]int
}

func TestWycheproof(t *testing.T) {
	names, err := fs.Glob(wycheproof.TestVectors, "*.json")
	if err != nil {
		t.Fatal(err)
	}
	total := tally{skipped: map[skip]int{}}
	for _, name := range names {
		if !slices.ContainsFunc(ours, func(pattern string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			continue
		}
		t.Run(strings.TrimSuffix(name, "_test.json"), func(t *testing.T) {
			got := runFile(t, name)
			t.Log(got)
			total.run += got.run
			for reason, n := range got.skipped {
				total.skipped[reason] += n
			}
		})
	}
	t.Logf("in all: %s", total)
	// Fewer would mean that vectors are silently left out. The version is pinned, so
	// the number is known.
	const want = 15_511
	if total.run != want {
		t.Errorf("%d vectors were run, want %d", total.run, want)
	}
}

func (c tally) String() string {
	lines := []string{fmt.Sprintf("%d vectors run", c.run)}
	for reason, n := range c.skipped {
		lines = append(lines, fmt.Sprintf("%d skipped: %s", n, string(reason)))
	}
	slices.Sort(lines[1:])
	return strings.Join(lines, "\n\t")
}

func runFile(t *testing.T, name string) tally {
	data, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var f file
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatal(err)
	}
	got := tally{skipped: map[skip]int{}}
	for _, g := range f.TestGroups {
		g.Algorithm = f.Algorithm
		run := runners[g.Type]
		if run == nil {
			t.Fatalf("no runner for vectors of type %q", g.Type)
		}
		for _, v := range g.Tests {
			err := run(g, v)
			var why skip
			switch {
			case errors.As(err, &why):
				got.skipped[why]++
				continue
			case err != nil:
				t.Errorf("vector %d (%s, %s, %v): %v", v.ID, v.Comment, v.Result, v.Flags, err)
			}
			got.run++
		}
	}
	return got
}

// opened judges what decrypting gave.
func opened(v *vector, got []byte, err error) error {
	same := err == nil && string(got) == string(v.Msg)
	switch {
	case v.valid() && !same:
		return fmt.Errorf("opens to %x, %v", got, err)
	case v.invalid() && err == nil:
		return fmt.Errorf("opens to %x", got)
	case err != nil && !errors.Is(err, kms.DecryptFailed):
		return err
	case err == nil && !same:
		return fmt.Errorf("opens to something else: %x", got)
	}
	return nil
}

// verified judges what verifying gave.
func verified(v *vector, ok bool, err error) error {
	switch {
	case err != nil:
		return err
	case v.valid() && !ok:
		return errors.New("is not verified")
	case v.invalid() && ok:
		return errors.New("is verified")
	}
	return nil
}
