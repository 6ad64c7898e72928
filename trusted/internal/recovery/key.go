// Package recovery is what brings a domain back: the recovery key, whose private
// half exists only as shares, and the stream that a backup is encrypted as. It
// does no I/O of its own.
//
// What it guarantees:
//
//   - Fewer shares than the threshold say nothing of the recovery key, so nothing
//     of a master secret (Shamir's sharing over the scalars of ristretto255).
//   - A share that is not the one that was dealt is found out by itself (Feldman's
//     commitments), so that a holder who errs or lies does not spoil the others'.
//   - The private half is there while it is dealt, and while shares are combined,
//     in a node's memory alone. The library's scalars in between are dropped, not wiped.
//   - A backup that was cut, reordered, altered or put behind another header does
//     not open (stream.go).
package recovery

import (
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// The group's elements and scalars have 32 bytes each.
var ristretto = group.Ristretto255

const (
	keyLabel        = "holdfast/v1/recovery-key"
	generationLabel = "holdfast/v1/recovery-generation"
	// keyIDSize is how much of the recovery key's digest stands in front of what is
	// sealed to it.
	keyIDSize = 16
	// SealedSize is that of a sealed generation: key id, encapsulated key, secret, tag.
	SealedSize = keyIDSize + 1120 + 32 + 16
)

// A key is the recovery key. Closures are the one thing that no print verb and no
// encoder looks into.
type key struct {
	public []byte
	open   func(info, sealed []byte) ([]byte, error)
}

// newKey makes the key that the scalar is the secret of.
func newKey(s group.Scalar) (*key, error) {
	b, err := s.MarshalBinary()
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "encoding a scalar: %w", err)
	}
	defer clear(b)
	seed, err := hkdf.Key(sha256.New, b, nil, keyLabel, 32)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "deriving the recovery key: %w", err)
	}
	defer clear(seed)
	private, err := hpke.MLKEM768X25519().DeriveKeyPair(seed)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "deriving the recovery key: %w", err)
	}
	return &key{public: private.PublicKey().Bytes(), open: func(info, sealed []byte) ([]byte, error) {
		return hpke.Open(private, hpke.HKDFSHA256(), hpke.AES256GCM(), info, sealed)
	}}, nil
}

// Deal makes a recovery key and seals a share of its private half to each holder;
// threshold of them bring it back. What it returns is public; the private half is
// gone. The error is Invalid.
func Deal(domain kms.DomainID, holders []govern.PublicKey, threshold int) (*backup.Recovery, error) {
	if threshold < 1 || threshold > len(holders) || len(holders) > govern.MaxKeys {
		return nil, kms.Errorf(kms.Invalid, "a recovery key in %d of %d shares", threshold, len(holders))
	}
	s := ristretto.RandomNonZeroScalar(rand.Reader)
	k, err := newKey(s)
	if err != nil {
		return nil, err
	}
	r := &backup.Recovery{Public: k.public, Threshold: threshold}
	sharing := secretsharing.New(rand.Reader, uint(threshold-1), s)
	for _, c := range sharing.CommitSecret() {
		b, err := c.MarshalBinaryCompress()
		if err != nil {
			return nil, kms.Errorf(kms.Internal, "encoding a commitment: %w", err)
		}
		r.Commitments = append(r.Commitments, b)
	}
	for i, share := range sharing.Share(uint(len(holders))) {
		sealed, err := sealShare(domain, k.public, i+1, holders[i], share)
		if err != nil {
			return nil, err
		}
		r.Shares = append(r.Shares, backup.Share{Key: holders[i].ID(), Sealed: sealed})
	}
	return r, nil
}

func sealShare(domain kms.DomainID, public []byte, number int, holder govern.PublicKey, share secretsharing.Share) ([]byte, error) {
	b, err := share.Value.MarshalBinary()
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "encoding a share: %w", err)
	}
	defer clear(b)
	sealed, err := holder.Seal(backup.HeldInfo(domain, public, number, holder.ID()), b)
	if err != nil {
		return nil, kms.Errorf(kms.KindOf(err), "recovery key %d of the charter: %w", number, err).WithHint(kms.HintOf(err))
	}
	return sealed, nil
}

// Check says whether a recovery has the form that Deal makes, for these holders.
// It opens nothing. The error is Invalid.
func Check(r *backup.Recovery, holders []govern.PublicKey, threshold int) error {
	if len(r.Public) != backup.ReceiverSize || r.Threshold != threshold || len(r.Commitments) != threshold || len(r.Shares) != len(holders) {
		return errForm
	}
	for _, c := range r.Commitments {
		if len(c) != backup.ShareSize {
			return errForm
		}
	}
	for i, s := range r.Shares {
		if s.Key != holders[i].ID() || len(s.Sealed) != backup.ShareSize+govern.SealedOverhead {
			return errForm
		}
	}
	return nil
}

var errForm = kms.Errorf(kms.Invalid, "the recovery key was not dealt to the recovery keys of the charter")

// keyID names a recovery key.
func keyID(public []byte) []byte {
	sum := sha256.Sum256(public)
	return sum[:keyIDSize]
}

func generationInfo(domain kms.DomainID, number uint32) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(generationLabel), domain[:]...), number)
}

// SealGeneration seals a master secret to a recovery key: SealedSize bytes. The
// error is Invalid where public is no key.
func SealGeneration(public []byte, domain kms.DomainID, number uint32, s secret.Bytes) (sealed []byte, err error) {
	to, err := hpke.MLKEM768X25519().NewPublicKey(public)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "not a recovery key")
	}
	err = s.Use(func(b []byte) error {
		sealed, err = hpke.Seal(to, hpke.HKDFSHA256(), hpke.AES256GCM(), generationInfo(domain, number), b)
		return err
	})
	return append(keyID(public), sealed...), err
}

// SealedTo reports whether a sealed generation says that it is sealed to this
// recovery key, and has the length of one.
func SealedTo(public, sealed []byte) bool {
	return len(sealed) == SealedSize && string(sealed[:keyIDSize]) == string(keyID(public))
}

// A Piece is a share in clear.
type Piece struct {
	Number int
	Value  secret.Bytes
}

// verify reads a piece and proves it against the commitments.
func (p Piece) verify(r *backup.Recovery) (share secretsharing.Share, err error) {
	share.ID = ristretto.NewScalar().SetUint64(uint64(p.Number))
	share.Value = ristretto.NewScalar()
	err = p.Value.Use(func(b []byte) error {
		if len(b) != backup.ShareSize {
			return errForm
		}
		return share.Value.UnmarshalBinary(b)
	})
	var commitments secretsharing.SecretCommitment
	for _, c := range r.Commitments {
		e := ristretto.NewElement()
		if err == nil {
			err = e.UnmarshalBinary(c)
		}
		commitments = append(commitments, e)
	}
	if err != nil || p.Number < 1 || !secretsharing.Verify(uint(r.Threshold-1), share, commitments) {
		return share, kms.Errorf(kms.Denied, "share %d is not the one that was dealt", p.Number).
			WithHint("have its holder open it again, from this backup")
	}
	return share, nil
}

// Combine brings the private half of a recovery key back. The errors are Denied: a
// share is not the one that was dealt, or there are too few.
func Combine(r *backup.Recovery, pieces []Piece) (*Opener, error) {
	var shares []secretsharing.Share
	var seen []int
	for _, p := range pieces {
		if slices.Contains(seen, p.Number) {
			continue
		}
		share, err := p.verify(r)
		if err != nil {
			return nil, err
		}
		seen, shares = append(seen, p.Number), append(shares, share)
	}
	if len(shares) < r.Threshold {
		return nil, kms.Errorf(kms.Denied, "%d different shares are there, and it takes %d", len(shares), r.Threshold).
			WithHint("ask more of those who hold recovery keys")
	}
	s, err := secretsharing.Recover(uint(r.Threshold-1), shares)
	if err != nil {
		return nil, kms.Errorf(kms.Denied, "combining the shares: %w", err)
	}
	k, err := newKey(s)
	if err != nil {
		return nil, err
	}
	if string(k.public) != string(r.Public) {
		return nil, kms.Errorf(kms.Denied, "the shares do not make the domain's recovery key")
	}
	return &Opener{k}, nil
}

// An Opener opens what was sealed to a recovery key.
type Opener struct{ key *key }

// Generation opens a master secret. The error is Denied. Whether it is the
// domain's, the chain of checksums says.
func (o *Opener) Generation(domain kms.DomainID, number uint32, sealed []byte) (secret.Bytes, error) {
	if !SealedTo(o.key.public, sealed) {
		return secret.Bytes{}, kms.Errorf(kms.Denied, "master secret %d is not sealed to this recovery key", number)
	}
	b, err := o.key.open(generationInfo(domain, number), sealed[keyIDSize:])
	if err != nil {
		return secret.Bytes{}, kms.Errorf(kms.Denied, "master secret %d does not open with the recovery key", number)
	}
	return secret.New(b), nil
}

// A Receiver is the key that holders seal their shares to.
type Receiver struct {
	public []byte
	seed   secret.Bytes
}

// NewReceiver makes one.
func NewReceiver() (*Receiver, error) { return ReceiverOf(secret.Random(32)) }

// ReceiverOf is the one that a seed of 32 bytes makes.
func ReceiverOf(seed secret.Bytes) (*Receiver, error) {
	r := &Receiver{seed: seed}
	return r, r.with(func(k hpke.PrivateKey) error { r.public = k.PublicKey().Bytes(); return nil })
}

func (r *Receiver) with(f func(hpke.PrivateKey) error) error {
	return r.seed.Use(func(seed []byte) error {
		k, err := hpke.MLKEM768X25519().DeriveKeyPair(seed)
		if err != nil {
			return kms.Errorf(kms.Internal, "making a key that receives shares: %w", err)
		}
		return f(k)
	})
}

// Public is what shares are sealed to. The caller does not change it.
func (r *Receiver) Public() []byte { return r.public }

// Seed is what ReceiverOf takes.
func (r *Receiver) Seed() secret.Bytes { return r.seed }

// Open opens a share that was handed to a node. The error is Denied, whatever the
// cause.
func (r *Receiver) Open(rec *backup.Recovery, s *backup.Handed) (p Piece, err error) {
	err = r.with(func(k hpke.PrivateKey) error {
		b, err := hpke.Open(k, hpke.HKDFSHA256(), hpke.AES256GCM(), backup.HandedInfo(s.Domain, rec.Public, s.Number, s.Node), s.Sealed)
		if err != nil {
			return kms.Errorf(kms.Denied, "share %d does not open: it was handed to another node, for another domain, or altered", s.Number).
				WithHint("have its holder open it for the request that this node shows")
		}
		p = Piece{Number: s.Number, Value: secret.New(b)}
		return nil
	})
	return p, err
}
