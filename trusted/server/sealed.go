package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/seal"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// The node's own files. Everything else in its folder is storage's.
const (
	identityFile = "identity" // node id, peer key, domain id
	rootFile     = "root"     // master secrets by generation
)

// maxSealedFile bounds what is read of a file that the host may have made
// any size it likes.
const maxSealedFile = 1 << 20

const (
	lostHint = "restore the node's folder from where it was moved, or let a new node join the domain; one that was never founded `holdfastd found` founds; " +
		"a file of another time or machine does not open"
	writeHint = "see to the disk, its room and its health, and begin again in an empty folder"
	readHint  = "see to the disk and to who may read the file, which must be a plain one, and start again"
	sealHint  = "the file was altered, or was sealed by another program version, machine or microcode; " +
		"restore it from this machine's own copy, or let a new node join the domain"
)

// sealer seals the node's files under keys from the TEE's sealing key, or, where
// the TEE has none, under one that lives as long as this start: see ephemeral.go.
type sealer struct {
	disk       Disk
	box        *seal.Box
	storageKey secret.Bytes
	ephemeral  bool // what it seals opens nowhere once this process has ended
}

func newSealer(ctx context.Context, p Platform, d Disk) (*sealer, error) {
	key, ephemeral, err := sealingKey(ctx, p)
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "getting the platform's sealing key: %w", err)
	}
	defer clear(key)
	if len(key) < 16 { // SGX's are 16 bytes
		return nil, kms.Errorf(kms.Internal, "platform's sealing key has %d bytes", len(key))
	}
	files, err := hkdf.Key(sha256.New, key, nil, "holdfast/v1/seal/files", 32)
	if err != nil {
		return nil, err
	}
	defer clear(files)
	log, err := hkdf.Key(sha256.New, key, nil, "holdfast/v1/seal/log", 32)
	if err != nil {
		return nil, err
	}
	box, err := seal.New(files, "holdfast/v1/files")
	if err != nil {
		return nil, err
	}
	return &sealer{disk: d, box: box, storageKey: secret.New(log), ephemeral: ephemeral}, nil
}

func (s *sealer) write(name string, plain []byte) error {
	defer clear(plain)
	if err := s.disk.Replace(stateDir, name, s.box.Seal(nil, plain, []byte(name))); err != nil {
		return kms.Errorf(kms.Unavailable, "writing sealed file: %w", err).WithFile(name).WithHint(writeHint)
	}
	return nil
}

// read opens a sealed file. The error is Damaged, or Unavailable where the disk
// does not give it, and names it.
func (s *sealer) read(name string) ([]byte, error) {
	data, err := s.disk.ReadFile(stateDir, name, maxSealedFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, kms.Errorf(kms.Damaged, "the file is missing").WithFile(name).WithHint(lostHint)
	}
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "reading: %w", err).WithFile(name).WithHint(readHint)
	}
	plain, err := s.box.Open(nil, data, []byte(name))
	if err != nil {
		return nil, kms.Errorf(kms.Damaged, "the file does not open under this platform's sealing key").
			WithFile(name).WithHint(sealHint)
	}
	return plain, nil
}

// identity is who the node is.
type identity struct {
	node   kms.NodeID
	domain kms.DomainID
	public []byte       // SubjectPublicKeyInfo of the peer key; node is its SHA-256
	peer   secret.Bytes // PKCS #8 of the peer key; channels between nodes use it
}

const identityFormat = 1

// newIdentity makes a peer key; the node's id is its fingerprint.
func newIdentity() (*identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &identity{node: fingerprint(public), public: public, peer: secret.New(private)}, nil
}

func (s *sealer) writeIdentity(id *identity) error { return s.writeIdentityTo(identityFile, id) }

// orNotFounded says where a node without an identity was prepared and no more.
func (s *sealer) orNotFounded(err error) error {
	if s.has(identityFile) || !s.has(founderFile) || mustBeEmpty(s.disk) != nil { // not so where founding was cut short
		return err
	}
	return kms.Errorf(kms.Misused, "this node was prepared, and its domain is not founded yet").WithFile(founderFile).
		WithHint("found it with what owner and signers signed: `found --bootstrap FILE --policy FILE`; then have it serve")
}

func (s *sealer) readIdentity() (*identity, error) { return s.readIdentityFrom(identityFile) }

// The layout is format ‖ node id ‖ domain id ‖ peer key.
func (s *sealer) writeIdentityTo(name string, id *identity) error {
	return id.peer.Use(func(peer []byte) error {
		b := append([]byte{identityFormat}, id.node[:]...)
		return s.write(name, append(append(b, id.domain[:]...), peer...))
	})
}

func (s *sealer) readIdentityFrom(name string) (*identity, error) {
	b, err := s.read(name)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	const fixed = 1 + len(kms.NodeID{}) + len(kms.DomainID{})
	if len(b) <= fixed || b[0] != identityFormat {
		return nil, kms.Errorf(kms.Damaged, "unknown format").WithFile(name)
	}
	id := &identity{peer: secret.Copy(b[fixed:])}
	copy(id.node[:], b[1:])
	copy(id.domain[:], b[1+len(id.node):])
	if id.public, err = publicOf(b[fixed:]); err != nil || fingerprint(id.public) != id.node {
		return nil, kms.Errorf(kms.Damaged, "the peer key is not the node's").WithFile(name)
	}
	return id, nil
}

// publicOf is the SubjectPublicKeyInfo of a key in PKCS #8.
func publicOf(pkcs8 []byte) ([]byte, error) {
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, err
	}
	private, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return x509.MarshalPKIXPublicKey(&private.PublicKey)
}

const rootFormat = 2

// entrySize is that of a generation in the root file.
const entrySize = 4 + root.SecretSize

// writeRoot replaces the root file by one with these master secrets. The layout is
// format ‖ domain id ‖ (generation, secret)…
func (s *sealer) writeRoot(domain kms.DomainID, all []candidate) error {
	out := make([]byte, 0, 1+len(domain)+len(all)*entrySize)
	defer func() { clear(out[:cap(out)]) }()
	out = append(append(out, rootFormat), domain[:]...)
	for _, c := range all {
		out = binary.BigEndian.AppendUint32(out, c.number)
		if err := c.secret.Use(func(b []byte) error { out = append(out, b...); return nil }); err != nil {
			return kms.Errorf(kms.Internal, "master secret %d: %w", c.number, err)
		}
	}
	return s.write(rootFile, out)
}

// readRoot returns the master secrets that the root file has. The state has to say
// which of them are the domain's.
func (s *sealer) readRoot(domain kms.DomainID) (all []candidate, err error) {
	b, err := s.read(rootFile)
	if err != nil {
		return nil, err
	}
	defer clear(b)
	const fixed = 1 + len(domain)
	if len(b) < fixed || b[0] != rootFormat || (len(b)-fixed)%entrySize != 0 {
		return nil, kms.Errorf(kms.Damaged, "unknown format").WithFile(rootFile)
	}
	if string(b[1:fixed]) != string(domain[:]) {
		// Both opened, so both were sealed on this machine, for two nodes.
		return nil, kms.Errorf(kms.Damaged, "the file is of another domain than the file %q: one of the two was replaced", identityFile).
			WithFile(rootFile).WithHint(lostHint)
	}
	for entry := range slices.Chunk(b[fixed:], entrySize) {
		all = append(all, candidate{binary.BigEndian.Uint32(entry), secret.Copy(entry[4:])})
	}
	return all, nil
}
