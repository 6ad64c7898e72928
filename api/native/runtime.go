package native

import (
	"context"
	"encoding/hex"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// A Publisher serves the public halves of runtimes' keys to anyone.
type Publisher interface {
	RuntimePublicKey(ctx context.Context, r kms.RuntimeKeyRequest) (kms.RuntimePublicKey, error)
	RuntimeSigningKeys(ctx context.Context) ([]kms.RuntimeSigningKey, error)
}

// Runtimes serves a runtime with its keys: a caller with a session.
type Runtimes interface {
	RuntimeKeys(ctx context.Context, r kms.RuntimeKeyRequest) (kms.RuntimeKeys, error)
	RuntimeDecrypt(ctx context.Context, r kms.RuntimeDecryptRequest) ([]byte, error)
	RuntimeMAC(ctx context.Context, r kms.RuntimeMACRequest) (kms.RuntimeMAC, error)
}

// runtimes are the rows of the RuntimeService: two procedures of it are open.
func runtimes(p Publisher, opts ...connect.HandlerOption) []service {
	whole := row(holdfastv1connect.NewRuntimeServiceHandler(runtimeKeys{p}, opts...))
	rows := make([]service, 0, 3)
	for _, procedure := range []string{holdfastv1connect.RuntimeServiceGetPublicKeyProcedure, holdfastv1connect.RuntimeServiceListSigningKeysProcedure} {
		public := whole
		public.path, public.open = procedure, true
		rows = append(rows, public)
	}
	return append(rows, whole)
}

// runtimeKeys serves the RuntimeService.
type runtimeKeys struct{ Publisher }

func (s runtimeKeys) GetPublicKey(ctx context.Context, r *connect.Request[holdfastv1.GetRuntimePublicKeyRequest]) (*connect.Response[holdfastv1.GetRuntimePublicKeyResponse], error) {
	req, err := runtimeKeyOf(r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	p, err := s.RuntimePublicKey(ctx, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GetRuntimePublicKeyResponse{Key: &holdfastv1.RuntimePublicKey{
		Key: runtimeKeyMessage(p.RuntimeKey), DomainId: p.Domain.String(), PublicKey: p.Public[:], Generation: p.Generation,
		Checksum: hex.EncodeToString(p.Checksum[:]), Expires: timestamp(p.Expires), Signature: p.Signature}}), nil
}

func (s runtimeKeys) ListSigningKeys(ctx context.Context, _ *connect.Request[holdfastv1.ListRuntimeSigningKeysRequest]) (*connect.Response[holdfastv1.ListRuntimeSigningKeysResponse], error) {
	all, err := s.RuntimeSigningKeys(ctx)
	if err != nil {
		return nil, err
	}
	out := &holdfastv1.ListRuntimeSigningKeysResponse{}
	for _, k := range all {
		out.Keys = append(out.Keys, &holdfastv1.RuntimeSigningKey{Generation: k.Generation, PublicKey: k.Public[:],
			Checksum: hex.EncodeToString(k.Checksum[:]), Retired: k.Retired})
	}
	return connect.NewResponse(out), nil
}

func (runtimeKeys) GetKeys(ctx context.Context, r *connect.Request[holdfastv1.GetRuntimeKeysRequest]) (*connect.Response[holdfastv1.GetRuntimeKeysResponse], error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	req, err := runtimeKeyOf(r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	k, err := c.RuntimeKeys(ctx, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GetRuntimeKeysResponse{Key: runtimeKeyMessage(k.RuntimeKey), PublicKey: k.Public[:],
		PrivateKey: k.Private, StateKey: k.State, Expires: timestamp(k.Expires), DomainId: k.Domain.String()}), nil
}

func (runtimeKeys) Decrypt(ctx context.Context, r *connect.Request[holdfastv1.RuntimeDecryptRequest]) (*connect.Response[holdfastv1.RuntimeDecryptResponse], error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	plain, err := c.RuntimeDecrypt(ctx, kms.RuntimeDecryptRequest{Runtime: r.Msg.GetRuntime(), Sealed: r.Msg.GetSealed()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.RuntimeDecryptResponse{Plaintext: plain}), nil
}

func (runtimeKeys) Mac(ctx context.Context, r *connect.Request[holdfastv1.RuntimeMacRequest]) (*connect.Response[holdfastv1.RuntimeMacResponse], error) {
	c, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	req, err := runtimeKeyOf(r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	m, err := c.RuntimeMAC(ctx, kms.RuntimeMACRequest{RuntimeKeyRequest: req, Message: r.Msg.GetMessage()})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.RuntimeMacResponse{Key: runtimeKeyMessage(m.RuntimeKey), Mac: m.MAC}), nil
}

// runtimeKeyOf reads which pair is meant. The error is Invalid.
func runtimeKeyOf(m *holdfastv1.RuntimeKey) (r kms.RuntimeKeyRequest, err error) {
	r.Runtime = m.GetRuntime()
	if r.ID, err = kms.ParseRuntimeKeyID(m.GetKeyId()); err != nil {
		return r, kms.Errorf(kms.Invalid, "a runtime's key id has 64 hexadecimal digits").WithField("key_id")
	}
	switch p := m.GetPeriod().(type) {
	case nil:
		r.Latest = true
	case *holdfastv1.RuntimeKey_Generation:
		r.Period = uint64(p.Generation)
	case *holdfastv1.RuntimeKey_Epoch:
		r.Ephemeral, r.Period = true, p.Epoch
	case *holdfastv1.RuntimeKey_CurrentEpoch:
		if !p.CurrentEpoch { // it would say which epoch it is not
			return r, kms.Errorf(kms.Invalid, "current_epoch is true or left out").WithField("current_epoch")
		}
		r.Ephemeral, r.Latest = true, true
	}
	return r, nil
}

func runtimeKeyMessage(k kms.RuntimeKey) *holdfastv1.RuntimeKey {
	m := &holdfastv1.RuntimeKey{Runtime: k.Runtime, KeyId: k.ID.String(), Period: &holdfastv1.RuntimeKey_Generation{Generation: uint32(k.Period)}}
	if k.Ephemeral {
		m.Period = &holdfastv1.RuntimeKey_Epoch{Epoch: k.Period}
	}
	return m
}

// runtimeReasons are for all procedures that name a key pair.
var runtimeReasons = map[kms.Kind]string{
	kms.Denied:   "the policy in force does not list the calling program for this runtime",
	kms.NotFound: "there is no such runtime or generation, or no member of the domain has the epoch's secret",
	kms.Disabled: "the generation was retired: nobody has its keys any more",
	kms.Expired:  "the epoch's secret is past the age that the policy allows: nobody has it any more",
}
