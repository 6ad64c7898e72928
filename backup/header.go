// Package backup reads what a backup of a domain says in clear, and lets those
// who hold shares of the domain's recovery key hand them to a node. It opens no
// backup: that takes a master secret, which only a node holds.
//
// What it guarantees: parsers are bounded and strict; what a backup says of who
// rules is verified from the charter on, and that a program which the policy then
// admitted has made the backup by its evidence (Header.Rules); a share leaves its
// holder only sealed to a key that verified evidence binds to a program that the
// policy admits (Request.Verify), for one node of one domain. That the content is
// what the header says, a node finds that opens it: all of the header is bound to it.
//
// # The form of a backup
//
//	"holdfast backup v1\n" | length of the header (4, big endian) | header | chunks
//
// with the header as proto/holdfast/v1/backup.proto has it. The chunks are those
// of trusted/internal/recovery.
package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// Magic begins every backup.
const Magic = "holdfast backup v1\n"

// Version is the one version of the header that is understood.
const Version = 1

const (
	// MaxHeader is the length in bytes from which a header is refused unread.
	MaxHeader = 32 << 20
	// SaltSize is that of the salt.
	SaltSize = 32

	maxAmendments  = 256
	maxGenerations = 4096
	checksumSize   = 32
	maxQuote       = 64 << 10
	maxCollateral  = 1 << 20
)

// A Header is what a backup says in clear.
type Header struct {
	Domain     kms.DomainID
	Generation uint32 // of the master secret whose backup key encrypts it
	Head       govern.Head
	Time       time.Time
	Salt       []byte

	Charter, Bootstrap, Policy1, Policy []byte
	Amendments                          [][]byte

	Generations []Generation
	Recovery    *Recovery // nil: the domain has no recovery keys

	// Evidence is that of the node that made the backup, for all of the above: see
	// Prove. Without it the backup may be anybody's.
	Evidence attest.Evidence

	sum [32]byte // SHA-256 of what was read before the evidence
}

// A Generation is what a backup says of a generation of the master secret.
type Generation struct {
	Checksum []byte
	Retired  bool
	Sealed   []byte // to the recovery key; nil where there is nothing
}

// A Recovery is the recovery key, and who holds which share of it.
type Recovery struct {
	Public      []byte // MLKEM768-X25519
	Threshold   int
	Commitments [][]byte // that shares are verified by
	Shares      []Share  // the first is number 1
}

// A Share is one share of the recovery key, sealed to who holds it.
type Share struct {
	Key    string // govern.PublicKey.ID of the recovery key
	Sealed []byte
}

// Encode prints the header as it begins a backup.
func (h *Header) Encode() ([]byte, error) {
	b, err := h.body()
	if err == nil {
		b, err = h.appendEvidence(b)
	}
	if err != nil {
		return nil, err
	}
	if len(b) > MaxHeader {
		return nil, kms.Errorf(kms.TooLarge, "the backup's header has %d bytes, at most %d are read", len(b), MaxHeader)
	}
	return append(binary.BigEndian.AppendUint32([]byte(Magic), uint32(len(b))), b...), nil
}

// Read reads the header of a backup and leaves r where the chunks begin. digest
// is over all that was read: the chunks are bound to it. The error is Invalid,
// TooLarge, or that of r.
func Read(r io.Reader) (h *Header, digest [32]byte, err error) {
	front := make([]byte, len(Magic)+4)
	if _, err := io.ReadFull(r, front); err != nil {
		return nil, digest, cut(err)
	}
	if string(front[:len(Magic)]) != Magic {
		return nil, digest, kms.Errorf(kms.Invalid, "this is no backup of a domain").WithHint("`holdfast domain backup` makes one")
	}
	size := binary.BigEndian.Uint32(front[len(Magic):])
	if size > MaxHeader {
		return nil, digest, kms.Errorf(kms.TooLarge, "the backup's header has %d bytes, at most %d are read", size, MaxHeader)
	}
	var body bytes.Buffer // grows with what is there, not with what is promised
	if _, err := io.CopyN(&body, r, int64(size)); err != nil {
		return nil, digest, cut(err)
	}
	sum := sha256.New()
	sum.Write(front)
	sum.Write(body.Bytes())
	h, err = parseHeader(body.Bytes())
	return h, [32]byte(sum.Sum(nil)), err
}

func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return kms.Errorf(kms.Invalid, "the backup ends in its header")
	}
	return err
}

func bad(field string) error {
	return kms.Errorf(kms.Invalid, "the backup's header is malformed").WithField(field)
}

func parseHeader(b []byte) (*Header, error) {
	body, err := beforeEvidence(b)
	if err != nil {
		return nil, err
	}
	var p holdfastv1.BackupHeader
	if err := proto.Unmarshal(b, &p); err != nil {
		return nil, bad("")
	}
	if v := p.GetVersion(); v != Version {
		return nil, kms.Errorf(kms.Invalid, "the backup is of version %d, this program reads %d", v, Version).WithField("version")
	}
	h := &Header{Generation: p.GetGeneration(), Time: time.Unix(0, p.GetTime()).UTC(), Salt: p.GetSalt(), Charter: p.GetCharter(),
		Bootstrap: p.GetBootstrap(), Policy1: p.GetPolicy_1(), Policy: p.GetPolicy(), Amendments: p.GetAmendments(), sum: sha256.Sum256(body)}
	ev := p.GetEvidence()
	h.Evidence = attest.Evidence{TEE: attest.TEE(ev.GetTee()), Quote: ev.GetQuote(), Collateral: ev.GetCollateral()}
	head := p.GetHead()
	h.Head = govern.Head{Term: head.GetTerm(), Index: head.GetIndex(), PolicySerial: head.GetPolicySerial()}
	switch {
	case !fill(h.Domain[:], p.GetDomain()) || h.Domain == kms.DomainID{}:
		return nil, bad("domain")
	case !fill(h.Head.Digest[:], head.GetDigest()) || h.Head.Term == 0 || h.Head.Index == 0 || h.Head.PolicySerial == 0:
		return nil, bad("head")
	case len(h.Salt) != SaltSize:
		return nil, bad("salt")
	case len(h.Amendments) > maxAmendments:
		return nil, bad("amendments")
	case len(ev.GetQuote()) > maxQuote || len(ev.GetCollateral()) > maxCollateral:
		return nil, bad("evidence")
	}
	if err := h.readGenerations(p.GetGenerations()); err != nil {
		return nil, err
	}
	return h, h.readRecovery(p.GetRecovery())
}

func (h *Header) readGenerations(all []*holdfastv1.BackupGeneration) error {
	if len(all) > maxGenerations || uint64(h.Generation) != uint64(len(all))-1 {
		return bad("generations")
	}
	for _, g := range all {
		if len(g.GetChecksum()) != checksumSize || g.GetRetired() && len(g.GetSealed()) > 0 {
			return bad("generations")
		}
		h.Generations = append(h.Generations, Generation{Checksum: g.GetChecksum(), Retired: g.GetRetired(), Sealed: g.GetSealed()})
	}
	if h.Generations[h.Generation].Retired {
		return bad("generations")
	}
	return nil
}

func (h *Header) readRecovery(p *holdfastv1.BackupRecovery) error {
	if p == nil {
		return nil
	}
	n := len(p.GetShares())
	if n == 0 || n > govern.MaxKeys || p.GetThreshold() == 0 || uint64(p.GetThreshold()) > uint64(n) || len(p.GetCommitments()) > n {
		return bad("recovery")
	}
	h.Recovery = &Recovery{Public: p.GetPublicKey(), Threshold: int(p.GetThreshold()), Commitments: p.GetCommitments()}
	for _, s := range p.GetShares() {
		var id [32]byte
		if !fill(id[:], s.GetKey()) {
			return bad("recovery/shares")
		}
		h.Recovery.Shares = append(h.Recovery.Shares, Share{Key: kms.DomainID(id).String(), Sealed: s.GetSealed()})
	}
	return nil
}

func (h *Header) proto() *holdfastv1.BackupHeader {
	p := &holdfastv1.BackupHeader{Version: Version, Domain: h.Domain[:], Generation: h.Generation, Time: h.Time.UnixNano(), Salt: h.Salt,
		Head:    &holdfastv1.BackupHead{Term: h.Head.Term, Index: h.Head.Index, Digest: h.Head.Digest[:], PolicySerial: h.Head.PolicySerial},
		Charter: h.Charter, Bootstrap: h.Bootstrap, Policy_1: h.Policy1, Amendments: h.Amendments, Policy: h.Policy}
	for _, g := range h.Generations {
		p.Generations = append(p.Generations, &holdfastv1.BackupGeneration{Checksum: g.Checksum, Retired: g.Retired, Sealed: g.Sealed})
	}
	if r := h.Recovery; r != nil {
		p.Recovery = &holdfastv1.BackupRecovery{PublicKey: r.Public, Threshold: uint32(r.Threshold), Commitments: r.Commitments}
		for _, s := range r.Shares {
			id, _ := kms.ParseNodeID(s.Key) // 32 bytes in hexadecimal, as all ids
			p.Recovery.Shares = append(p.Recovery.Shares, &holdfastv1.BackupShare{Key: id[:], Sealed: s.Sealed})
		}
	}
	return p
}

// fill copies src over dst where the lengths agree.
func fill(dst, src []byte) bool { return len(dst) == len(src) && copy(dst, src) == len(dst) }

// Rules are who rules the domain of a backup, and by which policy.
type Rules struct {
	Domain   kms.DomainID
	Standing govern.Standing
	Policy   *govern.Policy
	Maker    attest.Claims // what made the backup that says so; none where no backup does
}

// Rules verifies the documents of a backup, from a charter that the reader has
// from elsewhere over bootstrap and amendments to the policy in force then, and that
// a program which that policy admitted at the time has made the backup. Whether it may
// have been a simulated one is the policy's word, and then the caller's. The error is
// that of govern, and Denied where the documents are not those of the backup or its
// maker is not proved.
func (h *Header) Rules(charter *govern.Charter, verifiers attest.Verifiers) (*Rules, error) {
	rules, err := h.documents(charter)
	if err != nil {
		return nil, err
	}
	rules.Maker, err = h.verify(rules.Policy, verifiers)
	if err != nil {
		return nil, err
	}
	return rules, nil
}

func (h *Header) documents(charter *govern.Charter) (*Rules, error) {
	if string(h.Charter) != string(charter.Canonical()) {
		return nil, kms.Errorf(kms.Denied, "the backup is of a domain under another charter").WithField("charter").
			WithHint("give the charter that the domain was founded on")
	}
	founded, err := govern.Found(charter, h.Bootstrap, h.Policy1)
	if err != nil {
		return nil, err
	}
	standing := founded.Standing
	for _, envelope := range h.Amendments {
		if standing, err = standing.Amend(envelope); err != nil {
			return nil, err
		}
	}
	policy, err := standing.OpenPolicy(h.Policy)
	if err != nil {
		return nil, err
	}
	if founded.Domain != h.Domain || policy.Serial != h.Head.PolicySerial {
		return nil, kms.Errorf(kms.Denied, "the backup's documents are not those of the domain that it says it is of").WithField("domain")
	}
	return &Rules{Domain: h.Domain, Standing: standing, Policy: policy}, nil
}

// SameRecovery reports whether the recovery key was dealt to those whom the rules
// name. It was not where an amendment has just come, whose shares are not dealt yet:
// the backup is whole, and who was left out can open it.
func (h *Header) SameRecovery(r *Rules) bool {
	if h.Recovery == nil {
		return len(r.Standing.RecoveryKeys) == 0
	}
	if len(h.Recovery.Shares) != len(r.Standing.RecoveryKeys) || h.Recovery.Threshold != r.Standing.RecoveryThreshold {
		return false
	}
	for i, k := range r.Standing.RecoveryKeys {
		if h.Recovery.Shares[i].Key != k.ID() {
			return false
		}
	}
	return true
}
