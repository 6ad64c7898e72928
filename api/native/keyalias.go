package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

func (keys) CreateAlias(ctx context.Context, r *connect.Request[holdfastv1.CreateAliasRequest]) (*connect.Response[holdfastv1.CreateAliasResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	a, err := caller.CreateAlias(ctx, r.Msg.GetAlias(), id)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.CreateAliasResponse{Alias: aliasMessage(a)}), nil
}

func (keys) UpdateAlias(ctx context.Context, r *connect.Request[holdfastv1.UpdateAliasRequest]) (*connect.Response[holdfastv1.UpdateAliasResponse], error) {
	caller, id, err := keyOf(ctx, "key", r.Msg.GetKey())
	if err != nil {
		return nil, err
	}
	a, err := caller.UpdateAlias(ctx, r.Msg.GetAlias(), id)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.UpdateAliasResponse{Alias: aliasMessage(a)}), nil
}

func (keys) DeleteAlias(ctx context.Context, r *connect.Request[holdfastv1.DeleteAliasRequest]) (*connect.Response[holdfastv1.DeleteAliasResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	if err := caller.DeleteAlias(ctx, r.Msg.GetAlias()); err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.DeleteAliasResponse{}), nil
}

func (keys) ListAliases(ctx context.Context, r *connect.Request[holdfastv1.ListAliasesRequest]) (*connect.Response[holdfastv1.ListAliasesResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	req := kms.ListAliasesRequest{After: r.Msg.GetPageToken()}
	if req.Limit, err = pageSize(r.Msg.GetPageSize()); err != nil {
		return nil, err
	}
	if req.After != "" && !kms.ValidAlias(req.After) {
		return nil, errPageToken()
	}
	if r.Msg.GetKey() != "" {
		if req.Key, err = find(ctx, caller, "key", r.Msg.GetKey()); err != nil {
			return nil, err
		}
	}
	page, err := caller.ListAliases(ctx, req)
	if err != nil {
		return nil, err
	}
	out := &holdfastv1.ListAliasesResponse{NextPageToken: page.Next}
	for _, a := range page.Aliases {
		out.Aliases = append(out.Aliases, aliasMessage(a))
	}
	return connect.NewResponse(out), nil
}

func aliasMessage(a kms.Alias) *holdfastv1.Alias {
	return &holdfastv1.Alias{Name: a.Name, KeyId: a.Key.String(), Created: timestamp(a.Created), Updated: timestamp(a.Updated)}
}
