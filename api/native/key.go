package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// Conditions is what a caller may do with the use conditions of keys. The
// errors: Invalid, NotFound, Foreign, Denied, Conflict, Replayed, Unavailable.
type Conditions interface {
	SetCondition(ctx context.Context, r kms.SetConditionRequest) (kms.Condition, error)
	GetCondition(ctx context.Context, id kms.KeyID) (kms.Condition, error)
}

// keys serves the KeyService.
type keys struct{}

func (keys) SetCondition(ctx context.Context, r *connect.Request[holdfastv1.SetConditionRequest]) (*connect.Response[holdfastv1.SetConditionResponse], error) {
	caller, id, err := keyOf(ctx, r.Msg.GetKeyId())
	if err != nil {
		return nil, err
	}
	set, err := caller.SetCondition(ctx, kms.SetConditionRequest{Key: id, Condition: []byte(r.Msg.GetCondition()), Order: []byte(r.Msg.GetOrder())})
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.SetConditionResponse{Revision: set.Revision}), nil
}

func (keys) GetCondition(ctx context.Context, r *connect.Request[holdfastv1.GetConditionRequest]) (*connect.Response[holdfastv1.GetConditionResponse], error) {
	caller, id, err := keyOf(ctx, r.Msg.GetKeyId())
	if err != nil {
		return nil, err
	}
	c, err := caller.GetCondition(ctx, id)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.GetConditionResponse{Condition: string(c.Condition), Revision: c.Revision}), nil
}

// keyOf is who is calling, and the key that the request is about.
func keyOf(ctx context.Context, text string) (Caller, kms.KeyID, error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, kms.KeyID{}, err
	}
	id, err := kms.ParseKeyID(text)
	if err != nil {
		return nil, id, kms.Errorf(kms.Invalid, "%w", err).WithField("key_id")
	}
	return caller, id, nil
}
