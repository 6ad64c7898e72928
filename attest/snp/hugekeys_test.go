package snp_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/attest/snp"
)

// TestHugeKeys: to verify a signature by a key of a hundred thousand bits takes
// a second. A stranger's certificate does not make us.
func TestHugeKeys(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p, err := simtee.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	ev, err := p.Evidence(attest.SNP, [64]byte{}, at)
	if err != nil {
		t.Fatal(err)
	}
	var out []byte
	for i, rest := 0, ev.Collateral; ; i++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if i == 2 {
			block.Bytes = inflate(t, block.Bytes, 130_000)
		}
		out = append(out, pem.EncodeToMemory(block)...)
	}
	ev.Collateral = out
	t.Logf("%d bytes of collateral", len(out))
	began := time.Now()
	_, err = snp.Verify(ev, at)
	t.Logf("%v: %v", time.Since(began), err)
	if !errors.Is(err, attest.BadCertificate) {
		t.Errorf("%v, want BadCertificate", err)
	}
}

// inflate gives a certificate another key, of so many bits, and a signature of
// that length; both are junk.
func inflate(t *testing.T, der []byte, bits uint) []byte {
	t.Helper()
	var c struct {
		TBS struct {
			Version   int `asn1:"optional,explicit,default:0,tag:0"`
			Serial    *big.Int
			Algorithm asn1.RawValue
			Issuer    asn1.RawValue
			Validity  asn1.RawValue
			Subject   asn1.RawValue
			Key       struct {
				Algorithm asn1.RawValue
				Key       asn1.BitString
			}
			Extensions asn1.RawValue `asn1:"optional,explicit,tag:3"`
		}
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &c); err != nil {
		t.Fatal(err)
	}
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), bits))
	if err != nil {
		t.Fatal(err)
	}
	n.SetBit(n.SetBit(n, int(bits)-1, 1), 0, 1)
	key := x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: n, E: 1<<31 - 1})
	c.TBS.Key.Key = asn1.BitString{Bytes: key, BitLength: 8 * len(key)}
	c.Signature = asn1.BitString{Bytes: make([]byte, bits/8), BitLength: int(bits)}
	out, err := asn1.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x509.ParseCertificate(out); err != nil {
		t.Fatal(err)
	}
	return out
}
