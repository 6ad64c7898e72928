package session

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
)

// A challenge is a nonce that nobody has to remember: any node of the domain
// knows another's by its MAC. Layout:
//
//	format ‖ id (16) ‖ time (ms since 1970, 8) ‖ generation (4) ‖ HMAC-SHA-256 (32)
const (
	challengeFormat = 1
	challengeHead   = 1 + 16 + 8 + 4

	// ChallengeSize is the length of a challenge in bytes.
	ChallengeSize = challengeHead + sha256.Size

	challengeKey root.Purpose = "holdfast/v1/session/challenge"
)

// ChallengeLife is how long a challenge is good for.
const ChallengeLife = time.Minute

// skew is how far the clocks of two nodes may be apart.
const skew = 10 * time.Second

// A Challenger gives challenges and knows them again. It keeps nothing.
type Challenger struct{ root *root.Root }

// NewChallenger makes the Challenger of the domain that r is the root of.
func NewChallenger(r *root.Root) *Challenger { return &Challenger{r} }

// New gives a challenge and says until when it is good.
func (c *Challenger) New(now time.Time) (challenge []byte, expires time.Time, err error) {
	now = now.Truncate(time.Millisecond)
	head := make([]byte, 1+16, ChallengeSize)
	head[0] = challengeFormat
	rand.Read(head[1:])
	head = binary.BigEndian.AppendUint64(head, uint64(now.UnixMilli()))
	head = binary.BigEndian.AppendUint32(head, c.root.Current())
	mac, err := c.mac(head)
	return append(head, mac...), now.Add(ChallengeLife), err
}

// Check reports the id of a challenge of this domain that is still good. The
// errors are Unauthenticated for what is none, and Stale.
func (c *Challenger) Check(challenge []byte, now time.Time) (id [16]byte, err error) {
	if len(challenge) != ChallengeSize || challenge[0] != challengeFormat {
		return id, errChallenge
	}
	head := challenge[:challengeHead]
	mac, err := c.mac(head)
	if err != nil || !hmac.Equal(mac, challenge[challengeHead:]) {
		return id, errChallenge
	}
	age := now.Sub(time.UnixMilli(int64(binary.BigEndian.Uint64(head[17:]))))
	if age < -skew || age > ChallengeLife {
		return id, kms.Errorf(kms.Stale, "the challenge is no longer good").WithHint("ask for another one")
	}
	return [16]byte(head[1:]), nil
}

var errChallenge = kms.Errorf(kms.Unauthenticated, "not a challenge of this domain")

// mac authenticates a head under the key of the generation that it names.
func (c *Challenger) mac(head []byte) (sum []byte, err error) {
	key, err := c.root.Derive(binary.BigEndian.Uint32(head[challengeHead-4:]), challengeKey, sha256.Size)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	err = key.Use(func(k []byte) error {
		h := hmac.New(sha256.New, k)
		h.Write(head)
		sum = h.Sum(nil)
		return nil
	})
	return sum, err
}
