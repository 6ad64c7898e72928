package client

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// A condition is changed from one revision on, so a change that is sent twice is
// refused the second time.
var (
	actGetCondition = action{name: "GetCondition", repeatable: true}
	actSetCondition = action{name: "SetCondition"}
)

// GetCondition says which attested programs may use a key of the app, and for
// what. Errors: NotFound, Denied.
func (c *Client) GetCondition(ctx context.Context, id kms.KeyID) (kms.Condition, error) {
	r, err := callNative(ctx, c, actGetCondition, c.keyService().GetCondition, &holdfastv1.GetConditionRequest{KeyId: id.String()})
	if err != nil {
		return kms.Condition{}, err
	}
	return kms.Condition{Condition: []byte(r.GetCondition()), Revision: r.GetRevision()}, nil
}

// SetCondition changes which attested programs may use a key of the app, and
// returns the key's new revision. The owner may narrow the condition; to widen
// it, the client's Workload must meet the present one, or an operator's document
// must order just this. Errors: Invalid, NotFound, Denied, Conflict.
func (c *Client) SetCondition(ctx context.Context, req kms.SetConditionRequest) (revision uint64, err error) {
	r, err := callNative(ctx, c, actSetCondition, c.keyService().SetCondition, &holdfastv1.SetConditionRequest{
		KeyId: req.Key.String(), Condition: string(req.Condition), Order: string(req.Order)})
	if err != nil {
		return 0, err
	}
	return r.GetRevision(), nil
}

func (c *Client) keyService() holdfastv1connect.KeyServiceClient {
	return holdfastv1connect.NewKeyServiceClient(nativeHTTP{c, false}, c.native(), nativeOptions()...)
}
