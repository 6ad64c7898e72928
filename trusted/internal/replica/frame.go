package replica

import (
	"crypto/rand"
	"encoding/binary"
	"io"

	"github.com/holdfast-kms/holdfast/kms"
)

// The names of the protocols that members speak with each other, under which
// Peers dial and listen.
const (
	RaftProtocol = "holdfast-raft/1" // hashicorp/raft's own
	NodeProtocol = "holdfast-node/1" // the frames below
)

// A frame is what members say to each other under NodeProtocol:
//
//	kind (1) | id (16) | length of the body (4, big endian) | body
//
// A reply carries the id of what it answers, which was drawn for it alone: a
// reply that a host has kept answers nothing but the question it was given to.
type frame struct {
	kind frameKind
	id   nonce
	body []byte
}

type nonce [16]byte

type frameKind byte

const (
	ask     frameKind = iota + 1 // what is your term now? No body
	answer                       // a standing
	seek                         // up to where must I have applied? The asker's term
	found                        // a point
	propose                      // an encoded command
	outcome                      // what became of it, see outcome.go
	refusal                      // of a seek or a proposal: a reason
)

const (
	frameHeader  = 1 + len(nonce{}) + 4
	termLen      = 8
	standingLen  = 3 * 8
	pointLen     = 2 * 8
	maxCommand   = 15 << 20 // of the 16 MiB that the log takes in one entry
	maxOutcome   = 8 << 10
	minCommand   = 1
	minOutcome   = outcomeFixed
	refusalBytes = 1
)

// bounds are the fewest and the most bytes of a frame's body.
var bounds = map[frameKind][2]int{
	ask: {0, 0}, answer: {standingLen, standingLen}, seek: {termLen, termLen}, found: {pointLen, pointLen},
	propose: {minCommand, maxCommand}, outcome: {minOutcome, maxOutcome}, refusal: {refusalBytes, refusalBytes},
}

func newNonce() (n nonce) {
	_, _ = rand.Read(n[:]) // never fails
	return n
}

func (f frame) append(to []byte) []byte {
	to = append(to, byte(f.kind))
	to = append(to, f.id[:]...)
	to = binary.BigEndian.AppendUint32(to, uint32(len(f.body)))
	return append(to, f.body...)
}

// readFrame reads one frame. The error is Invalid where its form is unknown,
// else that of the reader.
func readFrame(r io.Reader) (frame, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return frame{}, err
	}
	f := frame{kind: frameKind(head[0])}
	copy(f.id[:], head[1:])
	size := binary.BigEndian.Uint32(head[1+len(f.id):])
	limit, known := bounds[f.kind]
	if !known || int64(size) < int64(limit[0]) || int64(size) > int64(limit[1]) {
		return frame{}, kms.Errorf(kms.Invalid, "a frame of kind %d with %d bytes", head[0], size)
	}
	if size == 0 {
		return f, nil
	}
	f.body = make([]byte, size)
	_, err := io.ReadFull(r, f.body)
	return f, err
}

// A standing is what a member says of itself when it is asked.
type standing struct {
	term    uint64 // durably its own: it has voted in no later one
	applied uint64
	clock   int64 // what its host's clock reads, ns since 1970
}

func (s standing) bytes() []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, standingLen), s.term)
	b = binary.BigEndian.AppendUint64(b, s.applied)
	return binary.BigEndian.AppendUint64(b, uint64(s.clock))
}

func parseStanding(b []byte) standing {
	return standing{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), int64(binary.BigEndian.Uint64(b[16:]))}
}

// A seek's body is the asker's term, as in a standing.
func termBytes(term uint64) []byte { return binary.BigEndian.AppendUint64(nil, term) }
func parseTerm(b []byte) uint64    { return binary.BigEndian.Uint64(b) }

// A point is an entry of the log that is committed.
type point struct {
	index uint64
	term  uint64 // whose leader made it; 0: not known
}

func (p point) bytes() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(make([]byte, 0, pointLen), p.index), p.term)
}

func parsePoint(b []byte) point {
	return point{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// A reason is why a member does not do what it was asked.
type reason byte

const (
	notLeader reason = iota + 1 // and nothing happened
	notMember                   // the asker is none
	busy                        // nothing happened; ask again
	unknown                     // a command may have happened or may yet
	malformed                   // it is no command; nothing happened
	notYours                    // the command names another node as its proposer; nothing happened
)

func refuse(id nonce, why reason) frame { return frame{refusal, id, []byte{byte(why)}} }
