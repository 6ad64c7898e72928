package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authn"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/internal/keyring"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// stateDir is the folder, as the Disk understands it, of everything a node keeps.
const stateDir = ""

// startTimeout bounds how long a node waits to lead its domain of one.
const startTimeout = 30 * time.Second

// A Node is a running node.
type Node struct {
	cfg     Config
	charter *govern.Charter
	who     *identity
	root    *root.Root
	replica *replica.Replica
	authn   *authn.Authenticator
	core    *core.Core
	issuer  *issuer

	closing sync.Once
	err     error
}

// Found makes a new domain on an empty disk: master secret 0, the node's
// identity, the certificate authority, and a log whose first entry records
// them. It leaves the node stopped. The error is Exists where the disk holds
// anything of ours already.
func Found(ctx context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	charter, err := govern.ParseCharter(cfg.Charter)
	if err != nil {
		return err
	}
	if charter.RestartMode != govern.Sealed {
		return kms.Errorf(kms.Invalid, "a domain of one node cannot restart in mode %q: nobody could bring it up to date", charter.RestartMode).
			WithField("restart_mode").WithHint(`found the domain with restart mode "sealed"`)
	}
	s, err := newSealer(ctx, cfg.Platform, cfg.Disk)
	if err != nil {
		return err
	}
	if err := mustBeEmpty(cfg.Disk); err != nil {
		return err
	}
	f, err := newFounding(cfg, charter)
	if err != nil {
		return err
	}
	if err := errors.Join(s.writeIdentity(f.who), s.writeRoot(f.who.domain, f.secret)); err != nil {
		return err
	}
	return f.writeLog(ctx, cfg, s)
}

func mustBeEmpty(d Disk) error {
	names, err := d.ListDir(stateDir)
	if err != nil {
		return kms.Errorf(kms.Unavailable, "listing the node's folder: %w", err)
	}
	for _, n := range names {
		if n == identityFile || n == rootFile {
			return kms.Errorf(kms.Exists, "the folder holds a node already").WithFile(n).
				WithHint("start that node, or found the domain in another folder")
		}
	}
	return storage.Vacant(d, stateDir)
}

// founding is what a domain starts from.
type founding struct {
	who    *identity
	secret secret.Bytes
	root   *root.Root
	found  *command.Found
}

func newFounding(cfg Config, charter *govern.Charter) (*founding, error) {
	who, err := newIdentity()
	if err != nil {
		return nil, err
	}
	bootstrap := &govern.Bootstrap{Version: govern.BootstrapVersion, CharterDigest: charter.Digest(), Founder: who.node}
	who.domain = govern.DomainID(charter, bootstrap)
	f := &founding{who: who, secret: secret.Random(root.SecretSize)}
	f.root = root.New(root.NewSet(f.secret), who.domain, root.HoldfastLabels)
	checksum, err := f.root.Checksum(0, nil)
	if err != nil {
		return nil, err
	}
	names := cfg.Names
	if len(names) == 0 {
		names = loopbackNames
	}
	ca, err := newAuthority(f.root, charter.Name, names, cfg.Clock.Now())
	if err != nil {
		return nil, err
	}
	f.found = &command.Found{Domain: who.domain[:], Charter: charter.Canonical(), Bootstrap: bootstrap.Canonical(),
		FeatureLevel: state.FeatureLevel, Checksum: checksum, Simulated: cfg.Platform.Simulated(),
		Authority: &command.Authority{Certificate: ca.Certificate, Generation: ca.Generation, WrappedKey: ca.WrappedKey}}
	return f, nil
}

// writeLog makes the log and puts the founding in as its first command.
func (f *founding) writeLog(ctx context.Context, cfg Config, s *sealer) error {
	sc, err := storageConfig(cfg, s, f.who)
	if err != nil {
		return err
	}
	store, err := storage.Create(sc)
	if err != nil {
		return err
	}
	rc := replicaConfig(cfg, f.who, store)
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
		Op: &command.Command_Found{Found: f.found}})
	return errors.Join(err, r.Close())
}

func storageConfig(cfg Config, s *sealer, who *identity) (c storage.Config, err error) {
	err = s.storageKey.Use(func(key []byte) error {
		c = storage.Config{Disk: cfg.Disk, Dir: stateDir, Key: append([]byte(nil), key...), Domain: who.domain, Node: who.node,
			Logger: cfg.Logger, Now: cfg.Clock.Now, SegmentSize: cfg.SegmentSize}
		return nil
	})
	return c, err
}

func replicaConfig(cfg Config, who *identity, store *storage.Store) replica.Config {
	return replica.Config{Node: who.node, Store: store, Machine: state.New(), Logger: cfg.Logger,
		Every: cfg.Clock.Every, SnapshotEvery: cfg.SnapshotEvery}
}

// Open starts a node on the state that its disk holds. Everything is verified
// before it is used; what is missing or altered is an error of kind Damaged
// that names the file.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	start := cfg.Clock.Now()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	charter, err := govern.ParseCharter(cfg.Charter)
	if err != nil {
		return nil, kms.Errorf(kms.KindOf(err), "reading the charter: %w", err).WithHint(charterHint)
	}
	s, err := newSealer(ctx, cfg.Platform, cfg.Disk)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, charter: charter}
	if n.who, err = s.readIdentity(); err != nil {
		return nil, err
	}
	set, err := s.readRoot(n.who.domain)
	if err != nil {
		return nil, err
	}
	n.root = root.New(set, n.who.domain, root.HoldfastLabels)
	if err := n.openReplica(ctx, s); err != nil {
		return nil, err
	}
	if err := n.assemble(start); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) openReplica(ctx context.Context, s *sealer) error {
	sc, err := storageConfig(n.cfg, s, n.who)
	if err != nil {
		return err
	}
	latched := make(chan error, 1) // a store may latch before there is a replica to stop
	sc.OnLatch = func(cause error) { latched <- cause }
	store, err := storage.Open(sc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	n.replica, err = replica.Open(ctx, replicaConfig(n.cfg, n.who, store), latched)
	return err
}

// assemble checks that the state is of this charter and this master secret,
// and puts the parts on top of each other.
func (n *Node) assemble(start time.Time) error {
	view, err := n.replica.View()
	if err != nil {
		return err
	}
	if err := n.checkFounding(view.Founding()); err != nil {
		return err
	}
	// A host that sets its clock back and restarts the node does not make
	// requests fresh again that came before the last change.
	if last := view.Time(); start.Before(last) {
		start = last
	}
	ring, err := keyring.New(n.root, n.cfg.KeyCache)
	if err != nil {
		return err
	}
	if n.authn, err = authn.New(authn.Config{Root: n.root, Start: start, ReplayLimit: n.cfg.ReplayLimit}); err != nil {
		return err
	}
	n.core = core.New(core.Config{Replica: n.replica, Root: n.root, Keyring: ring, Authn: n.authn, Now: n.cfg.Clock.Now,
		OpenEnrolment: n.cfg.OpenEnrolment, MaxApps: n.cfg.MaxApps})
	n.issuer, err = newIssuer(n.root, &view.Founding().Authority, n.cfg.Clock)
	return err
}

const charterHint = "give the node the charter of its own domain, as it was founded on"

func (n *Node) checkFounding(f *state.Founding) error {
	if f == nil {
		return kms.Errorf(kms.Damaged, "the domain was never completely founded").
			WithHint(replica.UnfoundedHint)
	}
	bootstrap, err := govern.ParseBootstrap(f.Bootstrap)
	if err != nil {
		return kms.Errorf(kms.Damaged, "stored bootstrap: %w", err)
	}
	if !bootstrap.Names(n.charter) || govern.DomainID(n.charter, bootstrap) != n.who.domain || f.Domain != n.who.domain {
		return kms.Errorf(kms.Damaged, "the charter is not the one that this node's domain was founded on").
			WithHint(charterHint)
	}
	return n.root.VerifyChecksum(0, nil, f.Checksum)
}

// Limits of the API's HTTP server.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 16 << 10
	drainTimeout      = 10 * time.Second
)

// multiplexing bounds what one connection can make the node hold: every request
// that is open may have sent most of a body. net/http's 250 requests and 1 MB
// windows would be 37 MB for each of 2,000 connections of strangers.
var multiplexing = http.HTTP2Config{
	MaxConcurrentStreams:          16,
	MaxReceiveBufferPerConnection: 64 << 10,
	MaxReceiveBufferPerStream:     64 << 10,
}

// Serve serves the API on l until ctx ends, then lets requests under way
// finish. It does not close the node.
func (n *Node) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: n.cfg.Mount(n.core, n.Status), TLSConfig: n.issuer.tlsConfig(),
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes, HTTP2: &multiplexing, ConnContext: n.cfg.ConnContext,
		ErrorLog: slog.NewLogLogger(n.cfg.Logger.Handler(), slog.LevelDebug), // remote addresses and TLS errors only
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(tls.NewListener(l, srv.TLSConfig)) }()
	select {
	case err := <-served:
		return fmt.Errorf("serving the API: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	err := srv.Shutdown(drain)
	<-served
	return err
}

// Core is the door to the keys.
func (n *Node) Core() *Core { return n.core }

// CA is the PEM certificate that clients trust the node's API by.
func (n *Node) CA() []byte { return n.issuer.pem() }

// Status is what the node tells anyone of itself.
func (n *Node) Status() kms.Status {
	s := kms.Status{
		Domain: n.charter.Name, DomainID: n.who.domain, Node: n.who.node, Ready: true,
		Attestation: "not yet: this version does not attest", RestartMode: n.charter.RestartMode.String(),
		Time: "host", Generation: n.root.Current(),
		Warnings: []string{
			"mode sealed on one node: restoring all files of an older state together cannot be noticed",
			"one node and no backup: losing this machine loses every key",
		},
	}
	if n.cfg.Platform.Simulated() {
		s.Warnings = append(s.Warnings, "simulated platform: development only, keys are not protected from this machine")
	}
	view, err := n.replica.View()
	if err != nil {
		// The cause may name files; it is in the node's log, not told to everyone.
		s.Ready, s.Reason = false, "the node has stopped: see its log"
		return s
	}
	now := n.core.Now(view)
	s.DomainTime, s.Index, s.Feature = now.UTC(), view.Index(), view.Feature()
	s.Apps, s.Keys = view.Apps(), view.Keys()
	s.Secure = false // until attestation is built, nothing proves otherwise
	s.ReplayAge = n.authn.ReplayAge(now).Round(time.Second).String()
	return s
}

// Close stops the node and waits for everything it started.
func (n *Node) Close() error {
	n.closing.Do(func() { n.err = n.replica.Close() })
	return n.err
}
