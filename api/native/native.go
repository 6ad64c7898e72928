// Package native serves Holdfast's own API: Connect, gRPC and gRPC-Web on one
// path per procedure, in JSON and in protobuf, as proto/holdfast/v1 defines it.
// It translates and decides nothing: the core says who is calling and what they
// may do.
//
// What it guarantees: a request is read whole, and bounded, before anything is
// made of it; it is the bytes that were signed. Nothing is served to a caller who
// has not signed but what services says. A message with a member that is not
// known here is refused: it might have meant a limit. Nothing that came
// compressed is unpacked. An error tells its kind and no more. Bodies are wiped
// when they are done with; the library's own buffers, with what was decoded from
// them and the answers, are left to the garbage collector.
package native

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// Prefix is how the path of every procedure begins.
const Prefix = "/holdfast.v1."

// A Caller is an app that has authenticated. Each method authorises what it
// does. It is good for one request.
type Caller interface {
	Credentials
	Revoker
	Keys
	Secrets
	Runtimes
	EventWatcher
}

// Config is what the facade needs. A service whose part of it is nil is not
// served.
type Config struct {
	// Authenticate says who sent a request. Its errors: Stale where the time is
	// out of the window, Replayed where the request was accepted before,
	// Unauthenticated for an unknown credential as for a wrong MAC. It may not
	// keep the credential's slices. Required.
	Authenticate func(ctx context.Context, c kms.Credential) (Caller, error)

	Enroller Enroller
	Prover   Prover
	Ruler    Ruler
	// Custodian serves the DomainService.
	Custodian Custodian
	// Roster serves the NodeService.
	Roster Roster
	// Archivist serves the BackupService.
	Archivist Archivist
	Opener    Opener
	// Publisher serves the RuntimeService, with Callers.
	Publisher Publisher
	// Watcher serves the EventService, with Callers and Custodian.
	Watcher Watcher
	// SendTimeout is how long a reader of a stream may take for one message; zero: 10 s.
	SendTimeout time.Duration

	Logger *slog.Logger // nil: nothing is logged

	// Watch is told of requests, and lets them in.
	Watch api.Watch
}

// A service is a row of what is served.
type service struct {
	path    string // up to the slash before the procedure's name
	handler http.Handler
	open    bool // to callers who have not signed
	maxBody int  // bytes
	// mayAuthenticate: though open, who signs is asked who he is.
	mayAuthenticate bool
	stream          bool // its answers take as long as their readers want
}

// Bodies are bounded: those that carry evidence or documents in one way, all
// others in another.
const (
	smallBody = 16 << 10
	largeBody = 256 << 10
	rulesBody = govern.MaxEnvelope + largeBody
)

// services is what is served, and to whom.
func (c *Config) services(opts ...connect.HandlerOption) []service {
	all := []service{
		row(holdfastv1connect.NewCredentialServiceHandler(credentials{}, opts...)),
		documents(row(holdfastv1connect.NewKeyServiceHandler(keys{}, opts...))),
		documents(row(holdfastv1connect.NewSecretServiceHandler(secrets{}, opts...))),
	}
	if c.Enroller != nil {
		all = append(all, open(row(holdfastv1connect.NewEnrolmentServiceHandler(enrolment{c.Enroller}, opts...))))
	}
	if c.Prover != nil {
		all = append(all, small(open(row(holdfastv1connect.NewAttestationServiceHandler(attestation{c.Prover}, opts...)))))
	}
	if c.Opener != nil {
		all = append(all, open(row(holdfastv1connect.NewSessionServiceHandler(sessions{c.Opener}, opts...))))
	}
	if c.Custodian != nil {
		all = append(all, open(row(holdfastv1connect.NewDomainServiceHandler(domains{c.Custodian}, opts...))))
	}
	if c.Roster != nil {
		all = append(all, open(row(holdfastv1connect.NewNodeServiceHandler(nodes{c.Roster}, opts...))))
	}
	if c.Archivist != nil {
		all = append(all, archive(row(holdfastv1connect.NewBackupServiceHandler(backups{c.Archivist}, opts...))))
	}
	if c.Ruler != nil {
		all = append(all, rules(open(row(holdfastv1connect.NewPolicyServiceHandler(policies{c.Ruler}, opts...)))))
	}
	if c.Publisher != nil {
		all = append(all, runtimes(c.Publisher, opts...)...)
	}
	if c.Watcher != nil && c.Custodian != nil {
		all = append(all, streams(row(holdfastv1connect.NewEventServiceHandler(events{c.Watcher, c.Custodian}, opts...))))
	}
	return all
}

func row(path string, h http.Handler) service {
	return service{path: path, handler: h, maxBody: smallBody}
}

// documents takes signed documents, and secrets, from callers who have signed as
// well.
func documents(s service) service {
	s.maxBody = largeBody
	return s
}

// open serves everybody, and takes what those bring who have no credential:
// evidence and signed documents.
func open(s service) service {
	s.open, s.maxBody = true, largeBody
	return s
}

// small takes no more than a nonce.
func small(s service) service {
	s.maxBody = smallBody
	return s
}

// rules takes the longest documents that govern reads, which text makes longer.
func rules(s service) service {
	s.maxBody = rulesBody
	return s
}

// New returns the handler of every path that begins with Prefix. It panics
// without Authenticate.
func New(c Config) http.Handler {
	if c.Authenticate == nil {
		panic("native: Config.Authenticate is nil")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SendTimeout == 0 {
		c.SendTimeout = sendTimeout
	}
	h := &handler{Config: c}
	opts := append(codecs(),
		connect.WithCompression("gzip", nil, nil), // off: nothing unpacks to more than was sent
		connect.WithReadMaxBytes(rulesBody),
		connect.WithInterceptors(interceptor{h}))
	h.errors = connect.NewErrorWriter(opts...)
	h.services = c.services(opts...)
	return h
}

type handler struct {
	Config
	services []service
	errors   *connect.ErrorWriter
}

// find is the service of a path, or nil.
func (h *handler) find(path string) *service {
	for i := range h.services {
		if strings.HasPrefix(path, h.services[i].path) {
			return &h.services[i]
		}
	}
	return nil
}
