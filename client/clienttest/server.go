// Package clienttest is a server of eHSM's protocol in memory, for tests of
// programs that use package client. It checks signatures of both versions,
// times and repeats as a node does, and really encrypts and signs with every
// spec that the standard library can compute, but keeps keys in plain memory
// and forgets them: for tests only.
package clienttest

import (
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// A Server listens on the loopback interface, with TLS, until its test ends.
type Server struct {
	http *httptest.Server

	mu    sync.Mutex
	apps  map[kms.AppID]*tenant
	seen  map[string]bool // signatures that were accepted
	calls map[string]int  // how often each action was asked for, refused or not
	fault func(http.ResponseWriter, *http.Request) bool

	bindings map[signature.Binding]int // of the version 2 signatures that were accepted

	quoting func(reportData [64]byte) (attest.Evidence, error)
}

// A tenant is an app and its keys.
type tenant struct {
	id       kms.AppID
	apiKey   client.APIKey
	keys     map[kms.KeyID]*key
	policies map[kms.QuotePolicyID]kms.QuotePolicy
	server   *Server
}

// NewServer starts a server.
func NewServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{apps: map[kms.AppID]*tenant{}, seen: map[string]bool{}, calls: map[string]int{},
		bindings: map[signature.Binding]int{}}
	s.http = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.http.EnableHTTP2 = true
	s.http.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that a test lets fail
	s.http.StartTLS()
	t.Cleanup(s.http.Close)
	return s
}

// URL is the server's address.
func (s *Server) URL() string { return s.http.URL }

// CA is the certificate to trust, in PEM.
func (s *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
}

// Enroll makes an app and returns how to connect as it.
func (s *Server) Enroll() client.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.enroll()
	return client.Config{URL: s.URL(), CA: s.CA(), AppID: a.id, APIKey: a.apiKey}
}

func (s *Server) enroll() *tenant {
	a := &tenant{
		id:     kms.AppID(newID()),
		apiKey: client.NewAPIKey((rand.Text() + rand.Text())[:32]),
		keys:   map[kms.KeyID]*key{}, policies: map[kms.QuotePolicyID]kms.QuotePolicy{}, server: s,
	}
	s.apps[a.id] = a
	return a
}

func newID() [16]byte {
	var b [16]byte
	rand.Read(b[:])
	return kms.NewUUID(b)
}

// Fault lets f answer: every request for which it returns true has had its
// answer. Nil ends that.
func (s *Server) Fault(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = f
}

// Calls is how often an action was asked for.
func (s *Server) Calls(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

// Bindings is how many requests were signed with version 2 and tied to their
// connection so.
func (s *Server) Bindings(b signature.Binding) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bindings[b]
}

// A fields is a result's members.
type fields map[string]any

// A refusal is an answer that is not a success.
type refusal struct {
	code    int
	message string
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	action := r.URL.Query().Get("Action")
	if r.URL.Path == "/status" {
		action = "Status"
	}
	if fault := s.count(action); fault != nil && fault(w, r) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if action == "Status" {
		answer(w, kms.Status{Domain: "test", DomainID: kms.DomainID{1}, Node: kms.NodeID{2}, Ready: true, Apps: len(s.apps)})
		return
	}
	result, no := s.answer(action, r)
	if no != nil {
		answer(w, fields{"code": no.code, "message": no.message, "result": fields{}})
		return
	}
	answer(w, fields{"code": 200, "message": "successful", "result": result})
}

// count notes that an action was asked for and returns the fault in force,
// which may take its time: nothing is locked while it runs.
func (s *Server) count(action string) func(http.ResponseWriter, *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[action]++
	return s.fault
}

func answer(w http.ResponseWriter, doc any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	json.NewEncoder(w).Encode(doc)
}

func (s *Server) answer(action string, r *http.Request) (fields, *refusal) {
	switch {
	case r.Method == http.MethodGet && action == "Enroll":
		a := s.enroll()
		return fields{"appid": a.id, "apikey": a.apiKey.Reveal()}, nil
	case r.Method == http.MethodGet && action == "GetVersion":
		return fields{"version": "test", "git_sha": "0123456"}, nil
	case r.Method != http.MethodPost:
		return nil, &refusal{400, "Missing required parameters"}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 100<<10))
	if err != nil || r.Header.Get("Content-Type") != "application/json" {
		return nil, &refusal{400, "Missing required parameters"}
	}
	req, no := s.authenticate(r, body)
	if no != nil {
		return nil, no
	}
	do, ok := actions[action]
	if !ok || (action == "ExportKey" && !req.v2) {
		return nil, &refusal{404, "API Not Found"}
	}
	return do(req.app, req.payload)
}
