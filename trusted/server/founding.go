package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/member/wire"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A Founder is what owner and signers look at before they sign the bootstrap
// that names it.
type Founder struct {
	Node kms.NodeID
	Key  []byte // SubjectPublicKeyInfo that Node is the SHA-256 of
	// Evidence is for the purpose "bootstrap", the key, the charter's digest in
	// place of the domain, and no nonce: nobody has asked yet, and the key is new.
	Evidence attest.Evidence
	Claims   attest.Claims
}

// Prepare is the first step of founding: it makes the node's key, keeps it
// sealed, and shows evidence for it. On a disk where that was done before it
// shows new evidence for the same key. The error is Exists where the disk holds
// a node.
func Prepare(ctx context.Context, cfg Config) (*Founder, error) {
	f, err := prepare(ctx, cfg, false)
	if err != nil {
		return nil, err
	}
	return f.shown(), nil
}

// founding is what a domain starts from.
type founding struct {
	node     *Node
	sealer   *sealer
	who      *identity
	evidence attest.Evidence
	claims   attest.Claims
	docs     *govern.Founding
}

// Text is the file by which a founder is shown to owner and signers.
func (f *Founder) Text(charter *govern.Charter) []byte {
	shown := govern.Founder{Version: govern.FounderVersion, Node: f.Node, Key: f.Key, CharterDigest: charter.Digest(), Evidence: f.Evidence}
	return shown.Text()
}

func (f *founding) shown() *Founder {
	return &Founder{Node: f.who.node, Key: f.who.public, Evidence: f.evidence, Claims: f.claims}
}

// prepare readies a founding. stays says that this process does all of it.
func prepare(ctx context.Context, cfg Config, stays bool) (*founding, error) {
	n, s, err := prepareNode(ctx, cfg)
	if err != nil {
		return nil, err
	}
	f := &founding{node: n, sealer: s}
	if err := f.mayFound(stays); err != nil {
		return nil, err
	}
	if err := f.identify(); err != nil {
		return nil, err
	}
	return f, f.prove(ctx)
}

// identify takes up the key that was prepared, or makes one.
func (f *founding) identify() (err error) {
	if f.sealer.ephemeral {
		if err := f.node.beginAnew(f.sealer); err != nil {
			return err
		}
	}
	if err := mustBeEmpty(f.node.cfg.Disk); err != nil {
		return err
	}
	f.who, err = f.sealer.founder(f.node.charter)
	return err
}

// prove has the TEE say that the founder's key is this program's.
func (f *founding) prove(ctx context.Context) (err error) {
	f.evidence, f.claims, err = f.node.cfg.proveSelf(ctx, attest.ForBootstrap,
		attest.Binding{Keys: [][]byte{f.who.public}, Domain: f.node.charter.Digest()})
	return err
}

// Found is the second step: it makes a new domain by the documents that name
// this node. It makes master secret 0, the certificate authority, and a log
// whose first entry records them with the documents and the founder's evidence.
// It leaves the node stopped. The errors are those of the documents, Denied
// where they are not for this node or policy 1 does not admit it, and Exists
// where the disk holds a node already.
func Found(ctx context.Context, cfg Config, bootstrap, policy []byte) error {
	f, err := prepare(ctx, cfg, false)
	if err != nil {
		return err
	}
	if err := f.accept(bootstrap, policy); err != nil {
		return err
	}
	return f.found(ctx, bootstrap, policy)
}

// accept takes the documents that this node is to found the domain by. They are
// verified as they are here, whatever becomes of the files that they came from.
func (f *founding) accept(bootstrap, policy []byte) error {
	docs, err := govern.Found(f.node.charter, bootstrap, policy)
	if err != nil {
		return err
	}
	if docs.Bootstrap.Founder != f.who.node {
		return kms.Errorf(kms.Denied, "the bootstrap names another node as the founder").WithField("founder").
			WithHint("have owner and signers sign the founder that this node prepared")
	}
	if err := docs.Policy.NodePolicy().Admit(f.claims, f.node.cfg.Clock.Now()); err != nil {
		return kms.Errorf(kms.Denied, "policy 1 does not admit this node: %w", err).WithHint(attest.ReasonOf(err).Hint())
	}
	f.docs = docs
	return nil
}

// found makes the domain, on the disk, by the documents that were accepted.
func (f *founding) found(ctx context.Context, bootstrap, policy []byte) error {
	cfg := f.node.cfg
	f.who.domain = f.docs.Domain
	master := secret.Random(root.SecretSize)
	cmd, err := f.command(cfg, master, bootstrap, policy)
	if err != nil {
		return err
	}
	known, err := verifyRules(f.node.charter, &wire.Rules{Bootstrap: bootstrap, Policy_1: policy, Policy: policy, Nodes: []*wire.Address{{Node: f.who.node[:]}}})
	if err != nil {
		return err
	}
	if err := errors.Join(f.sealer.writeIdentity(f.who), f.sealer.writeRules(known), f.sealer.writeRoot(f.who.domain, []candidate{{0, master}})); err != nil {
		return err
	}
	if err := f.writeLog(ctx, cfg, cmd); err != nil {
		return err
	}
	return f.sealer.forget(founderFile)
}

func mustBeEmpty(d Disk) error {
	names, err := d.ListDir(stateDir)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "listing the node's folder: %w", err)
	}
	for _, n := range names {
		if n == identityFile || n == rootFile || n == peersFile || n == joiningFile {
			return kms.Errorf(kms.Exists, "the folder holds a node already").WithFile(n).
				WithHint("start that node, or found the domain in another folder")
		}
	}
	return storage.Vacant(d, stateDir)
}

// command is the first of the log.
func (f *founding) command(cfg Config, master secret.Bytes, bootstrap, policy []byte) (*command.Found, error) {
	r := root.New(root.NewSet(master), f.who.domain, root.HoldfastLabels)
	checksum, err := r.Checksum(0, nil)
	if err != nil {
		return nil, err
	}
	signing, err := r.SigningKey(0)
	if err != nil {
		return nil, err
	}
	names := cfg.Names
	if len(names) == 0 {
		names = loopbackNames
	}
	ca, err := newAuthority(r, f.node.charter.Name, names, cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	claims, err := f.claims.Encode()
	if err != nil {
		return nil, err
	}
	shares, err := dealRecovery(f.docs.Standing, []candidate{{0, master}})
	if err != nil {
		return nil, err
	}
	founder := &command.Node{Id: f.who.node[:], Claims: claims, Feature: state.FeatureLevel}
	if cfg.Peers != nil {
		founder.Socket, founder.Api, founder.Name = cfg.Peers.Socket, cfg.Peers.API, cfg.Peers.Name
	}
	return &command.Found{Founder: founder, Recovery: shares, Domain: f.who.domain[:], Charter: f.node.charter.Canonical(), Bootstrap: bootstrap, Policy: policy,
		FeatureLevel: state.FeatureLevel, Checksum: checksum, SigningKey: signing, Simulated: f.claims.Simulated,
		Evidence:  &command.Evidence{Tee: string(f.evidence.TEE), Quote: f.evidence.Quote, Collateral: f.evidence.Collateral},
		Authority: &command.Authority{Certificate: ca.Certificate, Generation: ca.Generation, WrappedKey: ca.WrappedKey}}, nil
}

// writeLog makes the log and puts the founding in as its first command.
func (f *founding) writeLog(ctx context.Context, cfg Config, found *command.Found) error {
	sc, err := storageConfig(cfg, f.sealer, f.who)
	if err != nil {
		return err
	}
	store, err := storage.Create(sc)
	if err != nil {
		return err
	}
	rc := replicaConfig(cfg, f.who, store, state.New())
	if err := replica.Bootstrap(rc); err != nil {
		return errors.Join(err, store.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	r, err := replica.Open(ctx, rc, nil)
	if err != nil {
		return err
	}
	id := kms.NewUUID([16]byte(f.who.domain[:16])) // the same if founding is retried
	_, err = r.Propose(ctx, &command.Command{Id: id[:], Time: cfg.Clock.Now().UnixNano(),
		Op: &command.Command_Found{Found: found}})
	return errors.Join(err, r.Close())
}

// founderFile keeps the key of a node that is to found a domain, until it has.
const founderFile = "founder"

// founder is the key that was prepared, or a new one. One that was prepared for
// another charter is not used.
func (s *sealer) founder(charter *govern.Charter) (*identity, error) {
	domain := kms.DomainID(charter.Digest()) // until there is one
	if _, err := s.disk.ReadFile(stateDir, founderFile, 1); s.ephemeral || errors.Is(err, fs.ErrNotExist) {
		who, err := newIdentity()
		if err != nil {
			return nil, err
		}
		who.domain = domain
		if s.ephemeral { // nothing is kept that the next start could not open
			return who, nil
		}
		return who, s.writeIdentityTo(founderFile, who)
	}
	who, err := s.readIdentityFrom(founderFile)
	if err != nil {
		return nil, err
	}
	if who.domain != domain {
		return nil, kms.Errorf(kms.Exists, "the folder was prepared for another charter").WithFile(founderFile).
			WithHint("give that charter, or begin in an empty folder")
	}
	return who, nil
}

// forget removes a file that is not needed any more.
func (s *sealer) forget(name string) error {
	if err := s.disk.Delete(stateDir, name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return kms.Errorf(kms.Unavailable, "removing a file that is no longer needed: %w", err).WithFile(name)
	}
	return nil
}

func fingerprint(spki []byte) kms.NodeID { return sha256.Sum256(spki) }
