package alg_test

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
)

// openssl runs the openssl command in a folder of its own.
type openssl struct {
	t   *testing.T
	dir string
}

func newOpenSSL(t *testing.T) openssl {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("SKIPPED: the openssl command is not installed, so nothing was crossed with another implementation")
	}
	return openssl{t, t.TempDir()}
}

func (o openssl) file(name string, content []byte) {
	o.t.Helper()
	if err := os.WriteFile(filepath.Join(o.dir, name), content, 0o600); err != nil {
		o.t.Fatal(err)
	}
}

func (o openssl) read(name string) []byte {
	o.t.Helper()
	content, err := os.ReadFile(filepath.Join(o.dir, name))
	if err != nil {
		o.t.Fatal(err)
	}
	return content
}

// try runs a command line that holds no spaces but between its words.
func (o openssl) try(line string) (string, error) {
	cmd := exec.Command("openssl", strings.Fields(line)...)
	cmd.Dir = o.dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (o openssl) run(line string) string {
	o.t.Helper()
	out, err := o.try(line)
	if err != nil {
		o.t.Fatalf("openssl %s: %v\n%s", line, err, out)
	}
	return out
}

// keys writes the private and public half of the key of a spec.
func (o openssl) keys(s kms.Spec) alg.Key {
	o.t.Helper()
	out, err := alg.Export(s, materials()[s])
	if err != nil {
		o.t.Fatal(err)
	}
	k := keyOf(o.t, s)
	spki, err := k.Public()
	if err != nil {
		o.t.Fatal(err)
	}
	o.file("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: reveal(o.t, out)}))
	o.file("public.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))
	return k
}

// Exported keys are keys to OpenSSL, with our public half; keys that OpenSSL
// makes are imported, from PKCS #8 and, of curves and RSA, from the older formats.
func TestOpenSSLKeys(t *testing.T) {
	newOpenSSL(t)
	options := map[kms.Spec]string{
		kms.RSA2048: "-algorithm RSA -pkeyopt rsa_keygen_bits:2048",
		kms.ECP224:  "-algorithm EC -pkeyopt ec_paramgen_curve:P-224", kms.ECP256: "-algorithm EC -pkeyopt ec_paramgen_curve:P-256",
		kms.ECP384: "-algorithm EC -pkeyopt ec_paramgen_curve:P-384", kms.ECP521: "-algorithm EC -pkeyopt ec_paramgen_curve:P-521",
		kms.ECSecp256k1: "-algorithm EC -pkeyopt ec_paramgen_curve:secp256k1", kms.SM2: "-algorithm SM2", kms.Ed25519: "-algorithm ED25519",
		kms.X25519: "-algorithm X25519", kms.MLKEM768: "-algorithm ML-KEM-768", kms.MLKEM1024: "-algorithm ML-KEM-1024",
		kms.MLDSA44: "-algorithm ML-DSA-44", kms.MLDSA65: "-algorithm ML-DSA-65", kms.MLDSA87: "-algorithm ML-DSA-87",
	}
	for _, row := range kms.Capabilities() {
		if row.Family != kms.Asymmetric {
			continue
		}
		t.Run(row.Name, func(t *testing.T) {
			o := newOpenSSL(t)
			k := o.keys(row.Spec)
			o.knows(row.Spec)
			o.run("pkey -in key.pem -pubout -outform DER -out public.der")
			spki, _ := k.Public()
			if got := o.read("public.der"); !bytes.Equal(got, spki) {
				t.Errorf("OpenSSL's public half is %x, ours %x", got, spki)
			}
			if row.Spec != kms.SM2 { // OpenSSL checks SM2 keys by a rule of its own
				o.run("pkey -in key.pem -check -noout")
			}
			if options[row.Spec] == "" {
				return
			}
			o.run("genpkey " + options[row.Spec] + " -outform DER -out made.der")
			o.run("pkey -inform DER -in made.der -pubout -outform DER -out made-public.der")
			forms := []string{"made.der"}
			if row.Slow || len(row.Digests) > 0 {
				if _, err := o.try("pkey -inform DER -in made.der -traditional -outform DER -out old.der"); err == nil {
					forms = append(forms, "old.der")
				}
			}
			for _, form := range forms {
				spki, err := imported(t, row.Spec, o.read(form)).Public()
				if err != nil || !bytes.Equal(spki, o.read("made-public.der")) {
					t.Errorf("%s: the public half is another one: %v", form, err)
				}
			}
		})
	}
}

// knows skips what the installed OpenSSL is too old for: lattices came with 3.5.
func (o openssl) knows(s kms.Spec) {
	o.t.Helper()
	if name := s.String(); strings.HasPrefix(name, "ML-") {
		if out, err := o.try("genpkey -algorithm " + name + " -out probe.pem"); err != nil {
			o.t.Skipf("SKIPPED: the installed OpenSSL does not know %s, so nothing was crossed with another implementation: %s", name, out)
		}
	}
}

// What is agreed on with a key of OpenSSL's is what OpenSSL agrees on with ours.
func TestOpenSSLAgreement(t *testing.T) {
	for s, algorithm := range map[kms.Spec]string{kms.X25519: "X25519", kms.ECP256: "EC -pkeyopt ec_paramgen_curve:P-256",
		kms.ECP384: "EC -pkeyopt ec_paramgen_curve:P-384", kms.ECP521: "EC -pkeyopt ec_paramgen_curve:P-521"} {
		t.Run(s.String(), func(t *testing.T) {
			o := newOpenSSL(t)
			k := o.keys(s)
			o.run("genpkey -algorithm " + algorithm + " -out peer.pem")
			o.run("pkey -in peer.pem -pubout -outform DER -out peer.der")
			o.run("pkeyutl -derive -inkey peer.pem -peerkey public.pem -out theirs")
			got, err := k.Agree(o.read("peer.der"))
			if err != nil || !bytes.Equal(got, o.read("theirs")) {
				t.Errorf("we agree on %x, %v; OpenSSL on %x", got, err, o.read("theirs"))
			}
		})
	}
}

// Ciphertexts of secrets cross both ways.
func TestOpenSSLEncapsulation(t *testing.T) {
	for _, s := range []kms.Spec{kms.MLKEM768, kms.MLKEM1024} {
		t.Run(s.String(), func(t *testing.T) {
			o := newOpenSSL(t)
			k := o.keys(s)
			o.knows(s)
			shared, ciphertext, err := k.Encapsulate()
			if err != nil {
				t.Fatal(err)
			}
			o.file("ours", ciphertext)
			o.run("pkeyutl -decap -inkey key.pem -in ours -secret opened")
			if got := o.read("opened"); !bytes.Equal(got, shared) {
				t.Errorf("OpenSSL finds %x in ours, want %x", got, shared)
			}
			o.run("pkeyutl -encap -pubin -inkey public.pem -secret secret -out theirs")
			if got, err := k.Decapsulate(o.read("theirs")); err != nil || !bytes.Equal(got, o.read("secret")) {
				t.Errorf("OpenSSL's is %x, %v", got, err)
			}
		})
	}
}

var opensslDigests = map[kms.Digest]string{kms.SHA224: "-sha224", kms.SHA256: "-sha256", kms.SHA384: "-sha384", kms.SHA512: "-sha512", kms.SM3: "-sm3"}

// signatureOptions is how OpenSSL is told what the spec and padding mean.
func signatureOptions(s kms.Spec, p kms.Padding) string {
	switch {
	case p == kms.PaddingPSS:
		return " -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest"
	case s == kms.SM2:
		return " -sigopt distid:1234567812345678"
	}
	return ""
}

// Signatures of every spec, padding and digest cross both ways, SM2 included.
func TestOpenSSLSignatures(t *testing.T) {
	newOpenSSL(t)
	message := []byte("crosses both ways")
	for _, row := range signers() {
		for _, in := range inputs(row, message) {
			t.Run(fmt.Sprintf("%s/%s/%s", row.Name, in.Padding, in.Digest), func(t *testing.T) {
				o := newOpenSSL(t)
				k := o.keys(row.Spec)
				o.knows(row.Spec)
				sign := "dgst " + opensslDigests[in.Digest] + signatureOptions(row.Spec, in.Padding) + " -sign key.pem -out theirs message"
				verify := "dgst " + opensslDigests[in.Digest] + signatureOptions(row.Spec, in.Padding) + " -verify public.pem -signature ours message"
				if len(row.Digests) == 0 {
					sign = "pkeyutl -sign -rawin -inkey key.pem -in message -out theirs"
					verify = "pkeyutl -verify -rawin -pubin -inkey public.pem -in message -sigfile ours"
				}
				ours, err := k.Sign(in)
				if err != nil {
					t.Fatal(err)
				}
				o.file("message", message)
				o.file("ours", ours)
				o.run(verify)
				o.run(sign)
				if ok, err := k.Verify(in, o.read("theirs")); !ok || err != nil {
					t.Errorf("OpenSSL's signature: %t, %v", ok, err)
				}
				o.file("message", []byte("another message"))
				if out, err := o.try(verify); err == nil {
					t.Errorf("OpenSSL verifies another message: %s", out)
				}
			})
		}
	}
}

// Asymmetric ciphertexts cross both ways, SM2 included.
func TestOpenSSLAsymmetric(t *testing.T) {
	newOpenSSL(t)
	for _, row := range encrypters() {
		paddings := map[kms.Padding]string{0: ""}
		if row.Slow {
			paddings = map[kms.Padding]string{kms.PaddingPKCS1: " -pkeyopt rsa_padding_mode:pkcs1",
				kms.PaddingOAEP: " -pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:sha256 -pkeyopt rsa_mgf1_md:sha256"}
		}
		for p, options := range paddings {
			for _, n := range []int{2, 32, longest(row, p)} {
				t.Run(fmt.Sprintf("%s/%s/%d", row.Name, p, n), func(t *testing.T) {
					o := newOpenSSL(t)
					k := o.keys(row.Spec)
					plain := random(n)
					o.file("plain", plain)
					ours, err := k.AsymmetricEncrypt(plain, p)
					if err != nil {
						t.Fatal(err)
					}
					o.file("ours", ours)
					o.run("pkeyutl -decrypt -inkey key.pem -in ours -out opened" + options)
					if got := o.read("opened"); !bytes.Equal(got, plain) {
						t.Errorf("OpenSSL opens ours to %x, want %x", got, plain)
					}
					o.run("pkeyutl -encrypt -pubin -inkey public.pem -in plain -out theirs" + options)
					if got, err := k.AsymmetricDecrypt(o.read("theirs"), p); err != nil || !bytes.Equal(got, plain) {
						t.Errorf("OpenSSL's opens to %x, %v", got, err)
					}
				})
			}
		}
	}
}

// SM4 bodies are OpenSSL's ciphertext and the vector that it was given.
func TestOpenSSLSM4(t *testing.T) {
	newOpenSSL(t)
	for s, cipher := range map[kms.Spec]string{kms.SM4CTR: "-sm4-ctr", kms.SM4CBC: "-sm4-cbc"} {
		t.Run(s.String(), func(t *testing.T) {
			o := newOpenSSL(t)
			k := keyOf(t, s)
			key := hex.EncodeToString(reveal(t, materials()[s]))
			for _, n := range []int{1, 15, 16, 17, 1000} {
				plain := random(n)
				body, err := k.Encrypt(nil, plain, nil)
				if err != nil {
					t.Fatal(err)
				}
				at := len(body) - 16
				vector := " -K " + key + " -iv " + hex.EncodeToString(body[at:])
				o.file("ours", body[:at])
				o.run("enc -d " + cipher + vector + " -in ours -out opened")
				if got := o.read("opened"); !bytes.Equal(got, plain) {
					t.Errorf("%d bytes: OpenSSL opens ours to %x", n, got)
				}
				o.file("plain", plain)
				o.run("enc " + cipher + vector + " -in plain -out theirs")
				if got, err := k.Decrypt(nil, append(o.read("theirs"), body[at:]...), nil); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%d bytes: OpenSSL's opens to %x, %v", n, got, err)
				}
			}
		})
	}
}

func TestOpenSSLMAC(t *testing.T) {
	newOpenSSL(t)
	for s, digest := range map[kms.Spec]string{kms.HMACSHA224: "-sha224", kms.HMACSHA256: "-sha256", kms.HMACSHA384: "-sha384", kms.HMACSHA512: "-sha512"} {
		o := newOpenSSL(t)
		o.file("message", []byte("crosses"))
		mac, err := keyOf(t, s).MAC([]byte("crosses"))
		if err != nil {
			t.Fatal(err)
		}
		out := o.run("dgst " + digest + " -mac HMAC -macopt hexkey:" + hex.EncodeToString(reveal(t, materials()[s])) + " message")
		if !strings.Contains(out, hex.EncodeToString(mac)) {
			t.Errorf("%s: OpenSSL says %s, we say %x", s, out, mac)
		}
	}
}
