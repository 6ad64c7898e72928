package session

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// A shelf keeps the newest of everything that vendors published and this node
// has seen, part by part, each with its vendor's signature checked. It selects:
// what evidence is judged by comes from here where the shelf has something
// newer, and is then verified with the evidence as if a stranger had sent it.
type shelf struct {
	// generation moves with every change, so that a session sees with one
	// comparison that it has nothing to look up.
	generation atomic.Uint64

	mu    sync.Mutex
	parts *lru.Cache[partID, *part]
}

// maxParts bounds the shelf. Intel has published for some hundred kinds of
// platform; only simulated platforms, where they are admitted, make more.
const maxParts = 1 << 10

// A partID names what a part is about: its kind, the root that it hangs from,
// and the platform, CA or TEE that it is for.
type partID [16]byte

// newPartID hashes a kind and what it is about.
func newPartID(kind string, about ...[]byte) partID {
	h := sha256.New()
	for _, b := range append([][]byte{[]byte(kind)}, about...) {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(b))))
		h.Write(b)
	}
	return partID(h.Sum(nil))
}

// A mark says which issue of a part is meant: its number, which is the vendor's
// evaluation number or the number of a revocation list, then its date.
type mark struct {
	Part   attest.Hex `json:"part"`
	Number uint64     `json:"number"`
	Issued int64      `json:"issued"` // s since 1970
}

// compare orders issues of one part by age.
func (m mark) compare(other mark) int {
	return cmp.Or(cmp.Compare(m.Number, other.Number), cmp.Compare(m.Issued, other.Issued))
}

// A part is one thing that a vendor signed. Its texts are those of the
// collateral that it came in.
type part struct {
	id    partID
	root  [sha256.Size]byte
	mark  mark
	until time.Time // its next update
	text  [3]string // chain, statement or list, signature
}

func newPart(id partID, root [sha256.Size]byte, number uint64, issued, until time.Time, text ...string) *part {
	p := &part{id: id, root: root, mark: mark{Part: id[:], Number: number, Issued: issued.Unix()}, until: until}
	copy(p.text[:], text)
	return p
}

func newShelf() (*shelf, error) {
	parts, err := lru.New[partID, *part](maxParts)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "shelf of collateral: %w", err)
	}
	return &shelf{parts: parts}, nil
}

// get finds the newest issue of a part, nil where none was seen.
func (s *shelf) get(id partID) *part {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, _ := s.parts.Get(id)
	return p
}

// put takes parts that are newer than what is there. It never goes back; older
// reports whether one of them would have.
func (s *shelf) put(parts ...*part) (newer, older bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		known, ok := s.parts.Get(p.id)
		switch {
		case !ok || p.mark.compare(known.mark) > 0:
			s.parts.Add(p.id, p)
			newer = true
		case p.mark.compare(known.mark) < 0:
			older = true
		}
	}
	if newer {
		s.generation.Add(1)
	}
	return newer, older
}

// has reports whether this very part lies on the shelf, so that its signature
// need not be verified again.
func (s *shelf) has(p *part) bool {
	known := s.get(p.id)
	return known != nil && known.text == p.text
}

// outdates reports whether something newer was published than what is marked.
func (s *shelf) outdates(basis []mark) bool {
	for _, m := range basis {
		if len(m.Part) != len(partID{}) {
			return true
		}
		if known := s.get(partID(m.Part)); known != nil && known.mark.compare(m) > 0 {
			return true
		}
	}
	return false
}
