package govern_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// key is the Ed25519 key whose seed is one byte repeated.
func key(tb testing.TB, seed byte) *govern.PrivateKey {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		tb.Fatal(err)
	}
	k, err := govern.ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

// p256Key is a new ECDSA key.
func p256Key(tb testing.TB) *govern.PrivateKey {
	tb.Helper()
	k, err := govern.NewPrivateKey(govern.ECDSAP256)
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func publics(keys ...*govern.PrivateKey) []govern.PublicKey {
	var all []govern.PublicKey
	for _, k := range keys {
		all = append(all, k.Public())
	}
	return all
}

type canonical interface{ Canonical() []byte }

// signed is an envelope with doc and the signatures of keys.
func signed(tb testing.TB, t govern.PayloadType, doc canonical, keys ...*govern.PrivateKey) []byte {
	tb.Helper()
	env := govern.NewEnvelope(t, doc.Canonical())
	for _, k := range keys {
		var err error
		if env, err = govern.Sign(env, k); err != nil {
			tb.Fatal(err)
		}
	}
	return env
}

// realm is a domain with two of three signers.
type realm struct {
	tb              testing.TB
	owner, operator *govern.PrivateKey
	signers         []*govern.PrivateKey
	recovery        *govern.PrivateKey
	charter         *govern.Charter
	founding        *govern.Founding
}

func newRealm(tb testing.TB) *realm { return newRealmOf(tb, kms.NodeID{9}) }

func newRealmOf(tb testing.TB, founder kms.NodeID) *realm {
	tb.Helper()
	r := &realm{tb: tb, owner: key(tb, 1), signers: []*govern.PrivateKey{key(tb, 2), key(tb, 3), key(tb, 4)}, operator: key(tb, 5), recovery: key(tb, 6)}
	r.charter = &govern.Charter{
		Version: govern.CharterVersion, Name: "realm", Owner: r.owner.Public(), Signers: publics(r.signers...), Threshold: 2,
		RecoveryKeys: publics(r.recovery), RecoveryThreshold: 1, RestartMode: govern.Sealed, Intervals: govern.DefaultIntervals(),
	}
	p := r.policy(1)
	b := r.bootstrap(p, founder)
	f, err := govern.Found(r.charter, signed(tb, govern.BootstrapType, b, r.owner, r.signers[0], r.signers[1]), r.signed(p))
	if err != nil {
		tb.Fatal(err)
	}
	r.founding = f
	return r
}

func (r *realm) bootstrap(p *govern.Policy, founder kms.NodeID) *govern.Bootstrap {
	return &govern.Bootstrap{Version: govern.BootstrapVersion, CharterDigest: r.charter.Digest(), Founder: founder, PolicyDigest: p.Digest()}
}

// policy is a valid policy with that serial, after policy 1 where it is 2.
func (r *realm) policy(serial uint64) *govern.Policy {
	p := &govern.Policy{
		Version: govern.PolicyVersion, CharterDigest: r.charter.Digest(), Serial: serial,
		ValidUntil: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
		Nodes:      []govern.NodeEntry{{Name: "v1", Identity: enclave(0x70)}},
		Enrolment:  govern.Enrolment{Mode: govern.EnrolTicket}, Operators: publics(r.operator), Admission: govern.AdmitAttested,
		EphemeralAge: attest.Age(time.Hour), EvidenceAge: attest.Age(24 * time.Hour),
	}
	if serial > 1 {
		p.Domain, p.Previous = r.founding.Domain, r.founding.Policy.Digest()
	}
	return p
}

// after is the valid policy that follows p.
func (r *realm) after(p *govern.Policy) *govern.Policy {
	next := r.policy(p.Serial + 1)
	next.Previous = p.Digest()
	return next
}

// signed has the first two signers sign p.
func (r *realm) signed(p *govern.Policy) []byte {
	return signed(r.tb, govern.PolicyType, p, r.signers[0], r.signers[1])
}

func enclave(b byte) govern.Identity {
	return govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: bytes.Repeat([]byte{b}, 32)}}
}

func ofSigner(b byte, product, svn uint16) govern.Identity {
	return govern.Identity{SGX: &attest.SGXIdentity{MRSIGNER: bytes.Repeat([]byte{b}, 32), ISVProdID: &product, MinISVSVN: svn}}
}

func td(b byte) govern.Identity {
	register := bytes.Repeat([]byte{b}, 48)
	return govern.Identity{TDX: &attest.TDXIdentity{MRTD: register, RTMR1: register, RTMR2: register}}
}

func guest(b byte) govern.Identity {
	return govern.Identity{SNP: &attest.SNPIdentity{Measurement: bytes.Repeat([]byte{b}, 48)}}
}

var now = time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)

// claims are those of an enclave on genuine hardware.
func claims(mrenclave, mrsigner byte) attest.Claims {
	return attest.Claims{
		TEE: attest.SGX, Version: 3, ReportData: make([]byte, 64), Root: make([]byte, 32), RevocationChecked: true, Status: attest.UpToDate,
		SGX:      &attest.SGXClaims{MRENCLAVE: bytes.Repeat([]byte{mrenclave}, 32), MRSIGNER: bytes.Repeat([]byte{mrsigner}, 32), ISVSVN: 5},
		Platform: attest.Platform{FMSPC: []byte{0, 0x60, 0x6a, 0, 0, 0}, PPID: bytes.Repeat([]byte{0xbe}, 16)},
		Issued:   now.Add(-time.Hour), ValidFrom: now.Add(-time.Hour), ValidUntil: now.Add(time.Hour),
	}
}

// checkError wants a kms error of that kind and field, with text in its message.
func checkError(tb testing.TB, err error, kind kms.Kind, field, text string) {
	tb.Helper()
	var e *kms.Error
	if !errors.As(err, &e) {
		tb.Fatalf("error %v (%T), want a *kms.Error", err, err)
	}
	if e.Kind != kind || e.Field != field || !strings.Contains(err.Error(), text) {
		tb.Errorf("%v of %q: %v; want %v of %q with %q", e.Kind, e.Field, err, kind, field, text)
	}
}

func checkInvalid(tb testing.TB, err error, kind kms.Kind, field string) {
	tb.Helper()
	checkError(tb, err, kind, field, "")
}

// readJSON reads a file of testdata.
func readJSON(tb testing.TB, name string, into any) {
	tb.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		tb.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		tb.Fatal(err)
	}
}
