// Package server assembles a node: the one package of trusted/ that the
// outside imports. Found makes a new domain, Open starts a node on state that
// exists; neither ever does the other's work, so that missing state is an
// error and never a new start. FoundStaying and RestoreStaying do all steps in one
// process, in a folder without a node, by documents that name a key which this very
// process has made or, on a platform with a sealing key, that was prepared there.
//
// Everything that touches the machine comes in through Config.
package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/auditing"
	"github.com/holdfast-kms/holdfast/trusted/internal/core"
	"github.com/holdfast-kms/holdfast/trusted/internal/replica/storage"
)

// Core is the door to the keys, for facades.
type Core = core.Core

// Caller is an authenticated request.
type Caller = core.Audited

// An AuditSink keeps audit entries on the host. One that is an AuditSource too is
// asked at start what it holds.
type (
	AuditSink   = auditing.Sink
	AuditSource = auditing.Source
)

// Disk is where a node keeps its sealed files: append-only files of opaque
// records, and small files that are replaced whole.
type Disk = storage.Disk

// A Platform is the TEE that the node runs in.
type Platform interface {
	// Name is what the platform calls itself: "sgx", "tdx", "snp", "simulated".
	Name() string
	// Evidence has the TEE sign 64 bytes for this program. Collateral may be
	// missing; Config.Collateral adds it.
	Evidence(ctx context.Context, reportData [64]byte) (attest.Evidence, error)
	// SealingKey returns 16 bytes or more that only this program on this machine
	// can have, the same after a restart. The caller clears them. The cause of the
	// error is attest.ErrNoSealingKey where the TEE has no such key: then the node
	// keeps nothing over a restart, and joins its domain anew at each start.
	SealingKey(ctx context.Context) ([]byte, error)
}

// A Clock is the host's clock. It is not trusted: a domain never follows it back.
type Clock interface {
	Now() time.Time
	// Every runs f at an interval until ctx ends.
	Every(ctx context.Context, interval time.Duration, f func())
}

// Config says how a node runs.
type Config struct {
	Platform Platform // nil: the TEE that this process runs in, see Detect
	Disk     Disk
	Clock    Clock
	Charter  []byte // the domain's charter document, kept apart from the node's state
	// Collateral returns what the vendor published about the machine that made
	// ev, of any age; what it returns is verified like everything else. Nil:
	// evidence that lacks collateral is refused.
	Collateral func(ctx context.Context, ev attest.Evidence) ([]byte, error)
	// Development takes this machine's evidence under a root that is no vendor's.
	// False refuses to start on such a machine, whatever a policy says.
	Development bool
	// Names are the DNS names and IP addresses that API certificates are for.
	// They matter only to Found, which fixes them in the domain's authority;
	// empty means loopback.
	Names []string
	// Peers is how this node and the others of its domain reach each other; nil: a
	// domain of one that takes nobody in.
	Peers *Peers
	// Mount makes the handler of the node's API.
	Mount  func(*Node) http.Handler
	Logger *slog.Logger
	// ConnContext, where given, adds to the context of each API connection what
	// a facade wants to keep beside it; see http.Server.
	ConnContext func(ctx context.Context, c net.Conn) context.Context

	// AuditSinks are where this node's audit entries go, by the names that policies
	// require them by; see AuditSink. At most eight.
	AuditSinks map[string]AuditSink
	// AuditPatience is how long a sink may take for a batch; zero:
	// auditing.DefaultPatience. Operations are refused within twice that.
	AuditPatience time.Duration

	MaxApps       uint32 // zero: core.DefaultMaxApps
	MaxRequests   int    // under way at once; zero: traffic.DefaultMost
	ReplayLimit   int    // requests remembered; zero: authn.DefaultReplayLimit
	KeyCache      int    // parsed keys kept; zero: keyring.DefaultCache
	SnapshotEvery int    // entries between snapshots; zero: replica.DefaultSnapshotEvery
	SegmentSize   int    // bytes of a log file; zero: storage's default

	// MaxInvocations lowers how often one version of a key encrypts with random
	// nonces before the key is rotated; zero: the spec's limit, 2^32 for AES-GCM.
	MaxInvocations uint64
}

func (c *Config) validate() error {
	switch {
	case c.Disk == nil, c.Clock == nil, c.Logger == nil, c.Mount == nil:
		return kms.Errorf(kms.Invalid, "server.Config lacks Disk, Clock, Logger or Mount")
	}
	return nil
}
