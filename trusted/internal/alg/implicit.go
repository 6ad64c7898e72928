package alg

import (
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"math/bits"

	"filippo.io/bigmod"

	"github.com/holdfast-kms/holdfast/kms"
)

// RSAES-PKCS1-v1_5 decryption with implicit rejection, section 7 of
// draft-irtf-cfrg-rsa-guidance: a ciphertext that is wrongly padded opens to
// bytes made of it and the private key. To whoever does not hold the key they
// are a plaintext like any other, so asking does not help (Bleichenbacher 1998),
// neither by the answer nor by its length nor by its time. OpenSSL does the same
// since 3.2 and gives the same bytes.
//
// crypto/rsa says in a branch and an error whether the padding was good, which a
// host that steps through an enclave sees; and it does not hand out the number
// under the padding. So the private operation is computed here, on the
// arithmetic that crypto/rsa itself is built on, published as a module by its
// author. It takes the same time for every number, which math/big does not.

// A implicitRejection decrypts with one RSA key. It is safe for concurrent use.
type implicitRejection struct {
	n, p, q *bigmod.Modulus
	dp, dq  []byte      // the private exponent modulo p−1 and q−1
	qInv    *bigmod.Nat // 1/q modulo p
	qN      *bigmod.Nat // q modulo n
	e       uint
	kdk     [sha256.Size]byte // key of the key derivation key: the digest of the private exponent
}

func newImplicitRejection(priv *rsa.PrivateKey) (*implicitRejection, error) {
	size := priv.Size()
	r := &implicitRejection{
		dp:  priv.Precomputed.Dp.FillBytes(make([]byte, size/2)),
		dq:  priv.Precomputed.Dq.FillBytes(make([]byte, size/2)),
		e:   uint(priv.E),
		kdk: sha256.Sum256(priv.D.FillBytes(make([]byte, size))),
	}
	var err error
	modulus := func(b []byte) (m *bigmod.Modulus) {
		if err == nil {
			m, err = bigmod.NewModulus(b)
		}
		return m
	}
	r.n, r.p, r.q = modulus(priv.N.Bytes()), modulus(priv.Primes[0].Bytes()), modulus(priv.Primes[1].Bytes())
	if err == nil {
		r.qInv, err = bigmod.NewNat().SetBytes(priv.Precomputed.Qinv.FillBytes(make([]byte, r.p.Size())), r.p)
	}
	if err != nil {
		return nil, kms.Errorf(kms.Damaged, "RSA key has a modulus that is none")
	}
	r.qN = bigmod.NewNat().Mod(r.q.Nat(), r.n)
	return r, nil
}

// decrypt opens ciphertext. Whether the padding was good must not be told, nor
// decide anything before the plaintext itself was judged (see Key.Unwrap). The
// error is DecryptFailed for what is no ciphertext of this key, which anyone can see.
func (r *implicitRejection) decrypt(ciphertext []byte) (plaintext []byte, good bool, err error) {
	if len(ciphertext) != r.n.Size() {
		return nil, false, errDecrypt
	}
	c, err := bigmod.NewNat().SetBytes(ciphertext, r.n)
	if err != nil {
		return nil, false, errDecrypt
	}
	m := r.power(c)
	// A processor that is made to miscalculate one of the two halves betrays the
	// primes by the result (Boneh, DeMillo and Lipton 1997).
	if bigmod.NewNat().ExpShortVarTime(m, r.e, r.n).Equal(c) != 1 {
		return nil, false, kms.Errorf(kms.Internal, "RSA operation was miscalculated")
	}
	padded := m.Bytes(r.n)
	defer clear(padded)
	return r.depad(padded, ciphertext)
}

// power is c to the private exponent modulo n, by the Chinese remainder theorem
// (RFC 8017, section 5.1.2, step 2b).
func (r *implicitRejection) power(c *bigmod.Nat) *bigmod.Nat {
	t := bigmod.NewNat()
	m1 := bigmod.NewNat().Exp(t.Mod(c, r.p), r.dp, r.p)
	m2 := bigmod.NewNat().Exp(t.Mod(c, r.q), r.dq, r.q)
	m1.Sub(t.Mod(m2, r.p), r.p).Mul(r.qInv, r.p)
	return m1.ExpandFor(r.n).Mul(r.qN, r.n).Add(m2.ExpandFor(r.n), r.n)
}

// minPadding is how many bytes that are not zero a good padding has at least.
const minPadding = 8

// depad returns what follows the padding 0 2 … 0, or, in the same steps, the
// end of the synthetic message.
func (r *implicitRejection) depad(padded, ciphertext []byte) ([]byte, bool, error) {
	synthetic, start := r.synthesise(ciphertext)
	good := subtle.ConstantTimeByteEq(padded[0], 0) & subtle.ConstantTimeByteEq(padded[1], 2)
	separator, looking := 0, 1
	for i := 2; i < len(padded); i++ {
		zero := subtle.ConstantTimeByteEq(padded[i], 0)
		separator = subtle.ConstantTimeSelect(looking&zero, i, separator)
		looking &= 1 ^ zero
	}
	// Where there is no separator it is 0, and too near the front as well.
	good &= subtle.ConstantTimeLessOrEq(2+minPadding, separator)

	// The bytes come into one place first: which array is read from would tell.
	subtle.ConstantTimeCopy(good, synthetic, padded)
	start = subtle.ConstantTimeSelect(good, separator+1, start)
	return synthetic[start:], good == 1, nil
}

// candidates is how many lengths the draft draws, so that one of them fits.
const candidates = 128

// synthesise makes, of the private key and the ciphertext, as many bytes as the
// modulus has, and where in them the message begins.
func (r *implicitRejection) synthesise(ciphertext []byte) (message []byte, start int) {
	mac := hmac.New(sha256.New, r.kdk[:])
	mac.Write(ciphertext)
	key := mac.Sum(nil)
	defer clear(key)

	size := len(ciphertext)
	message = expand(key, "message", size)
	lengths := expand(key, "length", 2*candidates)
	// A length is below the limit, and drawn by cutting 16 random bits to as many
	// as the limit has; the last one that fits is taken.
	limit := size - 2 - minPadding
	mask := 1<<bits.Len(uint(limit)) - 1
	length := 0
	for i := 0; i < len(lengths); i += 2 {
		candidate := int(binary.BigEndian.Uint16(lengths[i:])) & mask
		fits := subtle.ConstantTimeLessOrEq(candidate+1, limit)
		length = subtle.ConstantTimeSelect(fits, candidate, length)
	}
	return message, size - length
}

// expand is the draft's pseudorandom function: HMAC-SHA-256 of a counter, the
// label and the number of bits that are wanted.
func expand(key []byte, label string, size int) []byte {
	mac := hmac.New(sha256.New, key)
	out := make([]byte, 0, size+sha256.Size)
	for i := uint16(0); len(out) < size; i++ {
		mac.Reset()
		mac.Write(binary.BigEndian.AppendUint16(nil, i))
		mac.Write([]byte(label))
		mac.Write(binary.BigEndian.AppendUint16(nil, uint16(8*size)))
		out = mac.Sum(out)
	}
	return out[:size]
}
