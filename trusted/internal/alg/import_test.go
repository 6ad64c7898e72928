package alg_test

import (
	"bytes"
	"crypto/aes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"math/big"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// reveal copies a secret out, which tests alone do.
func reveal(t testing.TB, s secret.Bytes) (out []byte) {
	t.Helper()
	if err := s.Use(func(b []byte) error { out = bytes.Clone(b); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// What is exported is imported again, to the same stored material; what is
// stored is imported as well.
func TestExportImport(t *testing.T) {
	for _, row := range kms.Capabilities() {
		stored := materials()[row.Spec]
		out, err := alg.Export(row.Spec, stored)
		if err != nil {
			t.Errorf("%s: %v", row.Name, err)
			continue
		}
		for _, form := range []secret.Bytes{out, stored} {
			again, err := alg.Import(row.Spec, form)
			if err != nil || !again.Equal(reveal(t, stored)) {
				t.Errorf("%s: comes back as something else: %v", row.Name, err)
			}
		}
		if row.Family != kms.Asymmetric {
			if !out.Equal(reveal(t, stored)) {
				t.Errorf("%s: the raw key is exported otherwise", row.Name)
			}
			continue
		}
		for _, other := range kms.Capabilities() {
			if other.Spec == row.Spec || other.Family == kms.MAC {
				continue
			}
			if _, err := alg.Import(other.Spec, out); !errors.Is(err, kms.Invalid) {
				t.Errorf("%s is taken for %s: %v", row.Name, other.Name, err)
			}
		}
	}
	if _, err := alg.Export(kms.ECP256, secret.Random(31)); !errors.Is(err, kms.Damaged) {
		t.Errorf("damaged material: %v", err)
	}
	if _, err := alg.Import(99, secret.Random(32)); !errors.Is(err, kms.Misused) {
		t.Errorf("unknown spec: %v", err)
	}
}

// Keys as the standard library writes them, in each of its formats.
func TestImportFormats(t *testing.T) {
	curves := map[kms.Spec]elliptic.Curve{kms.ECP224: elliptic.P224(), kms.ECP256: elliptic.P256(), kms.ECP384: elliptic.P384(), kms.ECP521: elliptic.P521()}
	same := func(s kms.Spec, form string, der []byte, public any) {
		t.Helper()
		spki, err := imported(t, s, der).Public()
		if err != nil {
			t.Fatal(err)
		}
		want, err := x509.MarshalPKIXPublicKey(public)
		if err != nil || !bytes.Equal(spki, want) {
			t.Errorf("%s, %s: another public half: %v", s, form, err)
		}
	}
	for s, curve := range curves {
		priv, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		pkcs8, _ := x509.MarshalPKCS8PrivateKey(priv)
		sec1, _ := x509.MarshalECPrivateKey(priv)
		raw, _ := priv.Bytes()
		same(s, "PKCS #8", pkcs8, priv.Public())
		same(s, "SEC 1", sec1, priv.Public())
		same(s, "raw", raw, priv.Public())

		out, err := alg.Export(s, secret.New(raw))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := x509.ParsePKCS8PrivateKey(reveal(t, out))
		if err != nil || !priv.Equal(parsed) {
			t.Errorf("%s: the library does not read what is exported: %v", s, err)
		}
	}
	pub, priv, _ := ed25519.GenerateKey(rand.Reader)
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(priv)
	same(kms.Ed25519, "PKCS #8", pkcs8, pub)
	same(kms.Ed25519, "seed", priv.Seed(), pub)

	key, err := x509.ParsePKCS1PrivateKey(reveal(t, materials()[kms.RSA2048]))
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, _ = x509.MarshalPKCS8PrivateKey(key)
	same(kms.RSA2048, "PKCS #8", pkcs8, key.Public())
	same(kms.RSA2048, "PKCS #1", x509.MarshalPKCS1PrivateKey(key), key.Public())
}

// Numbers that are written shorter or longer than they should be are the same numbers.
func TestImportTolerates(t *testing.T) {
	type private struct {
		Version int
		Scalar  []byte
	}
	scalar := append(make([]byte, 2), bytes.Repeat([]byte{7}, 30)...)
	for name, written := range map[string][]byte{"short": scalar[2:], "long": append(make([]byte, 5), scalar...), "exact": scalar} {
		for _, s := range []kms.Spec{kms.ECP256, kms.ECSecp256k1, kms.SM2} {
			der, err := asn1.Marshal(private{1, written})
			if err != nil {
				t.Fatal(err)
			}
			got, err := alg.Import(s, secret.New(der))
			if err != nil || !got.Equal(scalar) {
				t.Errorf("%s, %s: %v", s, name, err)
			}
		}
	}
}

func TestImportRefuses(t *testing.T) {
	messages := map[string]bool{}
	refused := func(s kms.Spec, what string, material []byte) {
		t.Helper()
		out, err := alg.Import(s, secret.Copy(material))
		if !errors.Is(err, kms.Invalid) || !out.IsZero() {
			t.Errorf("%s, %s: %v", s, what, err)
			return
		}
		messages[err.Error()] = true
	}
	for _, row := range kms.Capabilities() {
		for n := range 70 {
			if row.Family == kms.MAC && n >= 14 || row.Family != kms.MAC && n == materials()[row.Spec].Len() {
				continue
			}
			refused(row.Spec, "size", bytes.Repeat([]byte{1}, n))
		}
		if row.Family == kms.MAC {
			refused(row.Spec, "too long", bytes.Repeat([]byte{1}, 257))
		}
		if row.Family == kms.Asymmetric {
			out, err := alg.Export(row.Spec, materials()[row.Spec])
			if err != nil {
				t.Fatal(err)
			}
			der := reveal(t, out)
			refused(row.Spec, "trailing byte", append(bytes.Clone(der), 0))
			refused(row.Spec, "cut", der[:len(der)-1])
		}
	}
	for s, order := range map[kms.Spec]string{
		kms.ECP224: "ffffffffffffffffffffffffffff16a2e0b8f03e13dd29455c5c2a3d",
		kms.ECP256: "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
		kms.ECP384: "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
		kms.ECP521: "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409",
		kms.SM2:    "fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123",

		kms.ECSecp256k1: "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
	} {
		n := new(big.Int).SetBytes(unhex(order))
		size := len(order) / 2
		at := func(delta int64) []byte { return new(big.Int).Add(n, big.NewInt(delta)).FillBytes(make([]byte, size)) }
		refused(s, "zero", make([]byte, size))
		refused(s, "the order", at(0))
		refused(s, "the order and one", at(1))
		if s == kms.SM2 {
			refused(s, "the order less one", at(-1)) // GB/T 32918.1, 6.1: its 1/(d+1) is none
		} else {
			imported(t, s, at(-1))
		}
		imported(t, s, at(-2))
	}
	if len(messages) != 1 {
		t.Errorf("what was wrong with the material is told: %v", messages)
	}
}

// A public point may be written compressed, and is the key's own all the same.
func TestImportCompressedPoint(t *testing.T) {
	type private struct {
		Version int
		Scalar  []byte
		Point   asn1.BitString `asn1:"optional,explicit,tag:1"`
	}
	for _, s := range []kms.Spec{kms.ECP224, kms.ECP521, kms.ECSecp256k1, kms.SM2} {
		spki, err := keyOf(t, s).Public()
		if err != nil {
			t.Fatal(err)
		}
		scalar := reveal(t, materials()[s])
		point := spki[len(spki)-2*len(scalar):]
		compressed := append([]byte{2 | point[len(point)-1]&1}, point[:len(scalar)]...)
		sec1 := func(scalar, point []byte) secret.Bytes {
			der, err := asn1.Marshal(private{1, scalar, asn1.BitString{Bytes: point, BitLength: 8 * len(point)}})
			if err != nil {
				t.Fatal(err)
			}
			return secret.New(der)
		}
		if got, err := alg.Import(s, sec1(scalar, compressed)); err != nil || !got.Equal(scalar) {
			t.Errorf("%s: %v", s, err)
		}
		opposite := bytes.Clone(compressed)
		opposite[0] ^= 1
		for what, bad := range map[string]secret.Bytes{
			"the opposite point": sec1(scalar, opposite), "half a point": sec1(scalar, point[:len(scalar)]),
			"a longer number": sec1(append([]byte{1}, scalar...), compressed),
		} {
			if _, err := alg.Import(s, bad); !errors.Is(err, kms.Invalid) {
				t.Errorf("%s, %s: got %v, want Invalid", s, what, err)
			}
		}
	}
}

// A key that names a public point names its own.
func TestImportRefusesForeignPoint(t *testing.T) {
	for _, s := range []kms.Spec{kms.ECP256, kms.ECSecp256k1, kms.SM2} {
		out, err := alg.Export(s, materials()[s])
		if err != nil {
			t.Fatal(err)
		}
		der := reveal(t, out)
		der[len(der)-1] ^= 1
		if _, err := alg.Import(s, secret.New(der)); !errors.Is(err, kms.Invalid) {
			t.Errorf("%s: got %v, want Invalid", s, err)
		}
	}
}

// rsaNumbers is PKCS #1 (RFC 8017, appendix A.1.2).
type rsaNumbers struct {
	Version              int
	N, E, D, P, Q        *big.Int
	DP, DQ, QInv         *big.Int
	AdditionalPrimeInfos []struct{ R, D, T *big.Int } `asn1:"optional,omitempty"`
}

// makeRSA is a key of two numbers that need not be prime. It is nil where there
// is none.
func makeRSA(p, q *big.Int, e int64) []byte {
	one := big.NewInt(1)
	p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
	lambda := new(big.Int).Mul(p1, q1)
	lambda.Div(lambda, new(big.Int).GCD(nil, nil, p1, q1))
	d := new(big.Int).ModInverse(big.NewInt(e), lambda)
	qInv := new(big.Int).ModInverse(q, p)
	if d == nil || qInv == nil {
		return nil
	}
	der, err := asn1.Marshal(rsaNumbers{N: new(big.Int).Mul(p, q), E: big.NewInt(e), D: d, P: p, Q: q,
		DP: new(big.Int).Mod(d, p1), DQ: new(big.Int).Mod(d, q1), QInv: qInv})
	if err != nil {
		panic(err)
	}
	return der
}

func TestImportRefusesBadRSA(t *testing.T) {
	good, err := x509.ParsePKCS1PrivateKey(reveal(t, materials()[kms.RSA2048]))
	if err != nil {
		t.Fatal(err)
	}
	p, q := good.Primes[0], good.Primes[1]
	if k := makeRSA(p, q, 65537); k == nil {
		t.Fatal("the key cannot be made again")
	} else {
		imported(t, kms.RSA2048, k)
	}
	if k := makeRSA(p, q, 65539); k != nil {
		imported(t, kms.RSA2048, k) // odd and large enough
	}
	cases := map[string][]byte{}
	for _, e := range []int64{3, 17, 257, 65535} {
		if k := makeRSA(p, q, e); k != nil {
			cases["small exponent"] = k
		}
	}
	if len(cases) == 0 {
		t.Fatal("no key with a small exponent")
	}
	// A composite that the library takes for a prime: it checks that the numbers
	// belong together, not that they are prime.
	composite := new(big.Int).Sub(p, big.NewInt(2))
	for ; cases["composite"] == nil; composite.Sub(composite, big.NewInt(2)) {
		k := makeRSA(composite, q, 65537)
		if k == nil || composite.ProbablyPrime(20) {
			continue
		}
		if _, err := x509.ParsePKCS1PrivateKey(k); err == nil {
			cases["composite"] = k
		}
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	cases["1024 bits"] = x509.MarshalPKCS1PrivateKey(small)
	cases["lopsided primes"] = makeRSA(p, small.Primes[0], 65537)
	cases["one prime twice"] = makeRSA(p, p, 65537)
	for name, k := range cases {
		if _, err := alg.Import(kms.RSA2048, secret.Copy(k)); !errors.Is(err, kms.Invalid) {
			t.Errorf("%s: got %v, want Invalid", name, err)
		}
	}
}

// wrapKWP is AES key wrap with padding, RFC 5649, for more than eight bytes.
func wrapKWP(t *testing.T, key, plain []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	out := binary.BigEndian.AppendUint32([]byte{0xa6, 0x59, 0x59, 0xa6}, uint32(len(plain)))
	out = append(append(out, plain...), make([]byte, -len(plain)&7)...)
	n := len(out)/8 - 1
	buf := bytes.Clone(out[:16])
	for step := 1; step <= 6*n; step++ {
		half := out[8*(1+(step-1)%n):][:8]
		copy(buf[8:], half)
		block.Encrypt(buf, buf)
		copy(half, buf[8:])
		binary.BigEndian.PutUint64(buf, binary.BigEndian.Uint64(buf)^uint64(step))
	}
	copy(out, buf[:8])
	return out
}

// rsaAES puts an AES key and what is wrapped under it behind each other.
func rsaAES(t *testing.T, k alg.Key, kek, wrapped []byte) []byte {
	t.Helper()
	head, err := k.AsymmetricEncrypt(kek, kms.PaddingOAEP)
	if err != nil {
		t.Fatal(err)
	}
	return append(head, wrapped...)
}

// Every wrapping brings in every spec that it has room for.
func TestUnwrap(t *testing.T) {
	k := keyOf(t, kms.RSA2048)
	room := map[kms.Padding]int{kms.PaddingPKCS1: 256 - 11, kms.PaddingOAEP: 256 - 66}
	for _, row := range kms.Capabilities() {
		stored := materials()[row.Spec]
		out, err := alg.Export(row.Spec, stored)
		if err != nil {
			t.Fatal(err)
		}
		plain := reveal(t, out)
		check := func(how string, wrapped []byte, w kms.Wrapping) {
			t.Helper()
			got, err := k.Unwrap(row.Spec, wrapped, w)
			if err != nil || !got.Equal(reveal(t, stored)) {
				t.Errorf("%s, %s: %v", row.Name, how, err)
			}
		}
		for w, p := range map[kms.Wrapping]kms.Padding{kms.WrapPKCS1: kms.PaddingPKCS1, kms.WrapOAEP: kms.PaddingOAEP} {
			if len(plain) > room[p] {
				continue
			}
			wrapped, err := k.AsymmetricEncrypt(plain, p)
			if err != nil {
				t.Fatal(err)
			}
			check(p.String(), wrapped, w)
		}
		for _, n := range []int{16, 24, 32} {
			kek := random(n)
			check("AES", rsaAES(t, k, kek, wrapKWP(t, kek, plain)), kms.WrapOAEPAES)
		}
	}
	// RFC 5649, section 6: a wrapped key of 20 bytes.
	kek := unhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	wrapped := rsaAES(t, k, kek, unhex("138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a"))
	if got, err := k.Unwrap(kms.HMACSHA256, wrapped, kms.WrapOAEPAES); err != nil || !got.Equal(unhex("c37b7e6492584340bed12207808941155068f738")) {
		t.Errorf("RFC 5649: %v", err)
	}
}

// S23 for imports: what was wrapped wrongly, altered, cut or is no material of the
// spec is one and the same error.
func TestUnwrapFailuresLookAlike(t *testing.T) {
	k := keyOf(t, kms.RSA2048)
	kek, material := random(32), random(32)
	oaep, _ := k.AsymmetricEncrypt(material, kms.PaddingOAEP)
	pkcs1, _ := k.AsymmetricEncrypt(material, kms.PaddingPKCS1)
	both := rsaAES(t, k, kek, wrapKWP(t, kek, material))
	var all failures
	trySpec := func(s kms.Spec, what string, wrapped []byte, w kms.Wrapping) {
		t.Helper()
		out, err := k.Unwrap(s, wrapped, w)
		var leaked []byte
		if !out.IsZero() {
			leaked = reveal(t, out)
		}
		all.add(t, what, leaked, err)
	}
	try := func(what string, wrapped []byte, w kms.Wrapping) {
		t.Helper()
		trySpec(kms.AES256GCM, what, wrapped, w)
	}
	for name, c := range map[string]struct {
		wrapped []byte
		w       kms.Wrapping
	}{
		"PKCS #1": {pkcs1, kms.WrapPKCS1}, "OAEP": {oaep, kms.WrapOAEP}, "RSA-AES": {both, kms.WrapOAEPAES},
	} {
		for i := 0; i < len(c.wrapped); i += 5 {
			bad := bytes.Clone(c.wrapped)
			bad[i] ^= 1
			try(name+" altered", bad, c.w)
			try(name+" cut", c.wrapped[:i], c.w)
		}
		try(name+" lengthened", append(bytes.Clone(c.wrapped), 0), c.w)
		try(name+" lengthened by eight", append(bytes.Clone(c.wrapped), make([]byte, 8)...), c.w)
		try("nothing", nil, c.w)
		trySpec(kms.AES128GCM, name+" for another spec", c.wrapped, c.w)
		trySpec(kms.RSA2048, name+" for another family", c.wrapped, c.w)
	}
	try("OAEP as PKCS #1", oaep, kms.WrapPKCS1)
	try("PKCS #1 as OAEP", pkcs1, kms.WrapOAEP)
	try("OAEP as RSA-AES", oaep, kms.WrapOAEPAES)
	try("RSA-AES as OAEP", both, kms.WrapOAEP)
	short, _ := k.AsymmetricEncrypt(random(20), kms.PaddingOAEP)
	try("not an AES key", append(short, both[256:]...), kms.WrapOAEPAES)
	all.check(t)
	if _, err := k.Unwrap(kms.AES256GCM, oaep, 0); !errors.Is(err, kms.Misused) {
		t.Errorf("unknown wrapping: %v", err)
	}
}

// A wrongly padded ciphertext opens to bytes of any length, and once in some two
// hundred to as many as the spec's key has. None of them becomes a key.
func TestUnwrapTakesNoSyntheticKey(t *testing.T) {
	k := keyOf(t, kms.RSA2048)
	fits := 0
	for i := range 3000 {
		bad := make([]byte, 256)
		binary.BigEndian.PutUint32(bad[252:], uint32(i+2))
		out, err := k.AsymmetricDecrypt(bad, kms.PaddingPKCS1)
		if err != nil {
			t.Fatal(err)
		}
		if len(out) != 32 {
			continue
		}
		fits++
		if _, err := k.Unwrap(kms.AES256GCM, bad, kms.WrapPKCS1); !errors.Is(err, kms.DecryptFailed) {
			t.Errorf("ciphertext %d is taken for a key: %v", i+2, err)
		}
		if fits == 3 {
			return
		}
	}
	t.Error("no synthetic plaintext has the length of a key")
}
