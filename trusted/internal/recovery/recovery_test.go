package recovery_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/recovery"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

var domain = kms.DomainID{1, 2, 3}

// holders makes keys that hold shares.
func holders(t testing.TB, n int) (private []*govern.PrivateKey, public []govern.PublicKey) {
	t.Helper()
	for range n {
		k, err := govern.NewPrivateKey(govern.ECDSAP256)
		if err != nil {
			t.Fatal(err)
		}
		private, public = append(private, k), append(public, k.Public())
	}
	return private, public
}

// hand has a holder hand his share to a receiver.
func hand(t testing.TB, rec *backup.Recovery, key *govern.PrivateKey, node kms.NodeID, to *recovery.Receiver) *backup.Handed {
	t.Helper()
	h := &backup.Header{Domain: domain, Recovery: rec}
	s, err := h.Hand(key, &backup.Request{Domain: domain, Node: node, Receiver: to.Public()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Any two of three shares bring a master secret back, in the node that they were
// handed to; one does not, nor one that is there twice, and nothing opens elsewhere.
func TestShares(t *testing.T) {
	keys, public := holders(t, 3)
	rec, err := recovery.Deal(domain, public, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := recovery.Check(rec, public, 2); err != nil {
		t.Error(err)
	}
	master := bytes.Repeat([]byte{7}, 32)
	sealed, err := recovery.SealGeneration(rec.Public, domain, 3, secret.Copy(master))
	if err != nil || !recovery.SealedTo(rec.Public, sealed) {
		t.Fatal(err)
	}
	node := kms.NodeID{9}
	to, err := recovery.NewReceiver()
	if err != nil {
		t.Fatal(err)
	}
	var pieces []recovery.Piece
	for _, k := range keys {
		p, err := to.Open(rec, hand(t, rec, k, node, to))
		if err != nil {
			t.Fatal(err)
		}
		pieces = append(pieces, p)
	}
	for _, pair := range [][]recovery.Piece{{pieces[0], pieces[1]}, {pieces[2], pieces[0]}, {pieces[1], pieces[2]}, pieces} {
		o, err := recovery.Combine(rec, pair)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.Generation(domain, 3, sealed)
		if err != nil || !got.Equal(master) {
			t.Errorf("shares %d and %d: %v", pair[0].Number, pair[1].Number, err)
		}
		if _, err := o.Generation(domain, 2, sealed); !errors.Is(err, kms.Denied) {
			t.Errorf("as another generation: %v", err)
		}
		if _, err := o.Generation(kms.DomainID{}, 3, sealed); !errors.Is(err, kms.Denied) {
			t.Errorf("as another domain's: %v", err)
		}
	}
	other, err := recovery.Deal(domain, public, 2)
	if err != nil {
		t.Fatal(err)
	}
	wrong := recovery.Piece{Number: 1, Value: secret.Random(32)}
	for name, few := range map[string][]recovery.Piece{
		"one":                        {pieces[0]},
		"one twice":                  {pieces[0], pieces[0]},
		"one under another's number": {pieces[0], {Number: 2, Value: pieces[0].Value}},
		"one that is made up":        {pieces[1], wrong},
		"none":                       nil,
	} {
		if _, err := recovery.Combine(rec, few); !errors.Is(err, kms.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := recovery.Combine(other, pieces); !errors.Is(err, kms.Denied) {
		t.Errorf("shares of another recovery key: %v", err)
	}
	stranger, err := recovery.NewReceiver()
	if err != nil {
		t.Fatal(err)
	}
	handed := hand(t, rec, keys[0], node, to)
	if _, err := stranger.Open(rec, handed); !errors.Is(err, kms.Denied) {
		t.Errorf("opened by another node: %v", err)
	}
	handed.Node = kms.NodeID{8}
	if _, err := to.Open(rec, handed); !errors.Is(err, kms.Denied) {
		t.Errorf("handed to another node's name: %v", err)
	}
}

func TestDealRefuses(t *testing.T) {
	_, public := holders(t, 2)
	signer, err := govern.NewPrivateKey(govern.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	for name, deal := range map[string]func() (*backup.Recovery, error){
		"no threshold":      func() (*backup.Recovery, error) { return recovery.Deal(domain, public, 0) },
		"more than holders": func() (*backup.Recovery, error) { return recovery.Deal(domain, public, 3) },
		"a key that only signs": func() (*backup.Recovery, error) {
			return recovery.Deal(domain, []govern.PublicKey{public[0], signer.Public()}, 1)
		},
	} {
		if _, err := deal(); !errors.Is(err, kms.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func sealedStream(t testing.TB, content []byte, key secret.Bytes, header [32]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := recovery.NewWriter(&out, key, header)
	if err != nil {
		t.Fatal(err)
	}
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 1+rand.IntN(100_000))
		if _, err := w.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func open(sealed []byte, key secret.Bytes, header [32]byte) ([]byte, error) {
	r, err := recovery.NewReader(bytes.NewReader(sealed), key, header)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

const sealedChunk = 64<<10 + 16

// What a stream held comes back, whatever its length; what was done to it is found.
func TestStream(t *testing.T) {
	key, header := secret.Random(32), [32]byte{5}
	content := make([]byte, 3*(64<<10)+1)
	for i := range content {
		content[i] = byte(i >> 8)
	}
	for _, n := range []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 2 * 64 << 10, len(content)} {
		sealed := sealedStream(t, content[:n], key, header)
		got, err := open(sealed, key, header)
		if err != nil || !bytes.Equal(got, content[:n]) {
			t.Fatalf("%d bytes: %d came back, %v", n, len(got), err)
		}
	}
	sealed := sealedStream(t, content, key, header)
	chunk := func(i int) []byte { return sealed[i*sealedChunk : min((i+1)*sealedChunk, len(sealed))] }
	flipped := bytes.Clone(sealed)
	flipped[2*sealedChunk+5] ^= 1
	for name, altered := range map[string][]byte{
		"empty":               nil,
		"cut in a chunk":      sealed[:sealedChunk+9],
		"cut behind a chunk":  sealed[:2*sealedChunk],
		"the last chunk lost": sealed[:3*sealedChunk],
		"two chunks swapped":  bytes.Join([][]byte{chunk(1), chunk(0), chunk(2), chunk(3)}, nil),
		"a chunk twice":       bytes.Join([][]byte{chunk(0), chunk(0), chunk(1), chunk(2), chunk(3)}, nil),
		"a chunk left out":    bytes.Join([][]byte{chunk(0), chunk(2), chunk(3)}, nil),
		"a bit flipped":       flipped,
		"something behind it": append(bytes.Clone(sealed), 0),
	} {
		if got, err := open(altered, key, header); !errors.Is(err, kms.Damaged) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := open(sealed, key, [32]byte{6}); !errors.Is(err, kms.Damaged) {
		t.Errorf("behind another header: %v", err)
	}
	if _, err := open(sealed, secret.Random(32), header); !errors.Is(err, kms.Damaged) {
		t.Errorf("under another key: %v", err)
	}
}
