package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// A Custodian shows the domain's master secrets and takes the orders that change
// them. Its errors are those of the orders, and Unavailable.
type Custodian interface {
	Estate
	RotateMasterSecret(ctx context.Context, order []byte) (kms.Generation, error)
	RetireGeneration(ctx context.Context, order []byte) (kms.Retirement, error)
	Remedy
}

// An Estate is what anybody may see of a domain. The error is Unavailable.
type Estate interface {
	Status() kms.Status
	MasterSecrets(ctx context.Context) (kms.MasterSecrets, error)
}

// domains serves the DomainService.
type domains struct{ Custodian }

func (d domains) GetStatus(ctx context.Context, _ *connect.Request[holdfastv1.GetStatusRequest]) (*connect.Response[holdfastv1.GetStatusResponse], error) {
	secrets, err := d.MasterSecrets(ctx)
	if err != nil {
		return nil, err
	}
	s := d.Status()
	m := &holdfastv1.GetStatusResponse{
		DomainId: s.DomainID.String(), Domain: s.Domain, NodeId: s.Node.String(), Ready: s.Ready, Reason: s.Reason,
		Secure: s.Secure, RollbackAndForkProtected: s.Protected, Time: s.Time, DomainTime: timestamp(s.DomainTime),
		FeatureLevel: s.Feature, PolicySerial: s.PolicySerial, PolicyDigest: s.PolicyDigest, Scheduled: s.Scheduled,
		Warnings: s.Warnings, LeftToRewrap: uint64(secrets.Left), NextRotation: timestamp(secrets.NextAt),
		Initialized: s.Initialized, Epoch: s.Epoch, EpochEnds: timestamp(s.EpochEnds), PolicyValidUntil: timestamp(s.PolicyUntil)}
	for i := range s.Nodes {
		m.Nodes = append(m.Nodes, nodeInfo(&s.Nodes[i]))
	}
	for _, g := range secrets.Generations {
		m.Generations = append(m.Generations, generation(g))
		m.Generation, m.LastRotation = g.Number, timestamp(g.Created)
	}
	m.Compromises = compromises(secrets.Compromises)
	return connect.NewResponse(m), nil
}

func (d domains) RotateMasterSecret(ctx context.Context, r *connect.Request[holdfastv1.RotateMasterSecretRequest]) (*connect.Response[holdfastv1.RotateMasterSecretResponse], error) {
	g, err := d.Custodian.RotateMasterSecret(ctx, []byte(r.Msg.GetOrder()))
	if err != nil {
		return nil, spoken(err)
	}
	return connect.NewResponse(&holdfastv1.RotateMasterSecretResponse{Generation: generation(g)}), nil
}

func (d domains) RetireGeneration(ctx context.Context, r *connect.Request[holdfastv1.RetireGenerationRequest]) (*connect.Response[holdfastv1.RetireGenerationResponse], error) {
	done, err := d.Custodian.RetireGeneration(ctx, []byte(r.Msg.GetOrder()))
	if err != nil {
		return nil, spoken(err)
	}
	return connect.NewResponse(&holdfastv1.RetireGenerationResponse{Generation: done.Generation, Remains: done.Remains}), nil
}

func generation(g kms.Generation) *holdfastv1.Generation {
	return &holdfastv1.Generation{Number: g.Number, Checksum: g.Checksum, SigningKey: g.SigningKey,
		Created: timestamp(g.Created), Retired: timestamp(g.Retired), Wrapped: uint64(g.Wrapped)}
}
