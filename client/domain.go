package client

import (
	"context"
	"errors"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// The procedures of the domain. An order is obeyed once, so it is sent once and
// its outcome told.
var (
	actDomainStatus       = action{name: "GetStatus", unsigned: true, repeatable: true}
	actRotateMasterSecret = action{name: "RotateMasterSecret", unsigned: true}
	actRetireGeneration   = action{name: "RetireGeneration", unsigned: true}
)

// A DomainStatus is what a node says of itself, its domain and the domain's
// master secrets.
type DomainStatus struct {
	Domain       kms.DomainID `json:"domain_id"`
	Name         string       `json:"domain"`
	Node         kms.NodeID   `json:"node_id"`
	Ready        bool         `json:"ready"`
	Reason       string       `json:"reason,omitempty"` // why not ready
	Secure       bool         `json:"secure"`
	Protected    bool         `json:"rollback_and_fork_protected"`
	Time         string       `json:"time"` // where domain time comes from
	DomainTime   time.Time    `json:"domain_time"`
	Feature      uint32       `json:"feature_level"`
	PolicySerial uint64       `json:"policy_serial"`
	PolicyDigest string       `json:"policy_digest"`
	Scheduled    []string     `json:"scheduled,omitempty"`
	Warnings     []string     `json:"warnings,omitempty"`
	Generation   uint32       `json:"generation"` // the newest
	LastRotation time.Time    `json:"last_rotation"`
	kms.MasterSecrets
}

// DomainStatus asks a node for its domain's status. Error: Unavailable.
func (c *Client) DomainStatus(ctx context.Context) (DomainStatus, error) {
	r, err := callNative(ctx, c, actDomainStatus, c.domain().GetStatus, &holdfastv1.GetStatusRequest{})
	if err != nil {
		return DomainStatus{}, err
	}
	s := DomainStatus{Name: printable(r.GetDomain()), Ready: r.GetReady(), Reason: printable(r.GetReason()), Secure: r.GetSecure(),
		Protected: r.GetRollbackAndForkProtected(), Time: printable(r.GetTime()), Feature: r.GetFeatureLevel(),
		PolicySerial: r.GetPolicySerial(), PolicyDigest: printable(r.GetPolicyDigest()), Generation: r.GetGeneration()}
	if !unhex(s.Domain[:], r.GetDomainId()) || !unhex(s.Node[:], r.GetNodeId()) || r.GetDomainTime() == nil {
		return DomainStatus{}, garbled(actDomainStatus, 0, errDigest)
	}
	s.DomainTime = r.GetDomainTime().AsTime()
	for _, text := range r.GetScheduled() {
		s.Scheduled = append(s.Scheduled, printable(text))
	}
	for _, text := range r.GetWarnings() {
		s.Warnings = append(s.Warnings, printable(text))
	}
	s.Left = int(r.GetLeftToRewrap())
	s.Compromises = readCompromises(r.GetCompromises())
	if r.GetNextRotation() != nil {
		s.NextAt = r.GetNextRotation().AsTime()
	}
	for _, m := range r.GetGenerations() {
		g, err := readGeneration(m)
		if err != nil {
			return DomainStatus{}, garbled(actDomainStatus, 0, err)
		}
		s.Generations, s.LastRotation = append(s.Generations, g), g.Created
	}
	return s, nil
}

// RotateMasterSecret has the domain make the next generation of its master
// secret. The order's envelope is signed by an operator or the owner; the client
// needs no credential. Errors: Invalid, TooLarge, Denied (signatures, another
// domain), Exists (the order was obeyed before), Expired, Conflict (it is for
// another generation), Exhausted, Unavailable.
func (c *Client) RotateMasterSecret(ctx context.Context, order []byte) (kms.Generation, error) {
	r, err := callNative(ctx, c, actRotateMasterSecret, c.domain().RotateMasterSecret, &holdfastv1.RotateMasterSecretRequest{Order: string(order)})
	if err != nil {
		return kms.Generation{}, err
	}
	g, err := readGeneration(r.GetGeneration())
	if err != nil {
		return kms.Generation{}, garbled(actRotateMasterSecret, 0, err)
	}
	return g, nil
}

// RetireGeneration has the domain end all use of an old generation. The order's
// envelope is signed by the threshold of the signers. Errors: those of
// RotateMasterSecret; NotFound, and Misused for the newest generation and while
// anything is wrapped under it.
func (c *Client) RetireGeneration(ctx context.Context, order []byte) (kms.Retirement, error) {
	r, err := callNative(ctx, c, actRetireGeneration, c.domain().RetireGeneration, &holdfastv1.RetireGenerationRequest{Order: string(order)})
	if err != nil {
		return kms.Retirement{}, err
	}
	done := kms.Retirement{Generation: r.GetGeneration()}
	for _, text := range r.GetRemains() {
		done.Remains = append(done.Remains, printable(text))
	}
	return done, nil
}

func readGeneration(m *holdfastv1.Generation) (g kms.Generation, err error) {
	if len(m.GetChecksum()) != 32 || len(m.GetSigningKey()) != 32 || m.GetCreated() == nil {
		return g, errors.New("a generation of another form")
	}
	g = kms.Generation{Number: m.GetNumber(), Checksum: m.GetChecksum(), SigningKey: m.GetSigningKey(),
		Created: m.GetCreated().AsTime(), Wrapped: int(m.GetWrapped())}
	if m.GetRetired() != nil {
		g.Retired = m.GetRetired().AsTime()
	}
	return g, nil
}

func (c *Client) domain() holdfastv1connect.DomainServiceClient {
	return holdfastv1connect.NewDomainServiceClient(nativeHTTP{client: c, unsigned: true}, c.native(), nativeOptions()...)
}
