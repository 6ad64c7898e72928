package native

import (
	"context"

	"connectrpc.com/connect"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// Sizes of pages.
const (
	defaultPage = 100
	maxPage     = 1000
)

func (keys) CreateKey(ctx context.Context, r *connect.Request[holdfastv1.CreateKeyRequest]) (*connect.Response[holdfastv1.CreateKeyResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	req, err := createRequest(r.Msg)
	if err != nil {
		return nil, err
	}
	d, err := caller.MakeKey(ctx, req)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&holdfastv1.CreateKeyResponse{Key: keyMessage(&d)}), nil
}

func createRequest(m *holdfastv1.CreateKeyRequest) (req kms.CreateKeyRequest, err error) {
	req = kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Exportable: m.GetExportable(), Condition: []byte(m.GetCondition()),
		Description: m.GetDescription(), Tags: tagsOf(m.GetTags()), Alias: m.GetAlias(), RotationPeriod: kms.RotationDays(m.GetRotationPeriodDays())}
	if m.GetSpec() != "" {
		if req.Spec, err = kms.ParseSpec(m.GetSpec()); err != nil {
			return req, err
		}
	}
	if m.GetOrigin() != "" {
		if req.Origin, err = kms.ParseOrigin(m.GetOrigin()); err != nil {
			return req, err
		}
	}
	if req.Usages, err = kms.ParseUsages(m.GetUsages()); err != nil {
		return req, err
	}
	req.Expires, err = timeOf("expires", m.GetExpires())
	return req, err
}

func (keys) DescribeKey(ctx context.Context, r *connect.Request[holdfastv1.DescribeKeyRequest]) (*connect.Response[holdfastv1.DescribeKeyResponse], error) {
	return describing(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) (kms.KeyDescription, error) { return c.DescribeKey(ctx, id) },
		func(k *holdfastv1.Key) *holdfastv1.DescribeKeyResponse {
			return &holdfastv1.DescribeKeyResponse{Key: k}
		})
}

func (keys) ListKeys(ctx context.Context, r *connect.Request[holdfastv1.ListKeysRequest]) (*connect.Response[holdfastv1.ListKeysResponse], error) {
	caller, err := callerOf(ctx)
	if err != nil {
		return nil, err
	}
	req, err := listRequest(r.Msg)
	if err != nil {
		return nil, err
	}
	page, err := caller.DescribeKeys(ctx, req)
	if err != nil {
		return nil, err
	}
	out := &holdfastv1.ListKeysResponse{}
	for i := range page.Keys {
		out.Keys = append(out.Keys, keyMessage(&page.Keys[i]))
	}
	if page.Next != (kms.KeyID{}) {
		out.NextPageToken = page.Next.String()
	}
	return connect.NewResponse(out), nil
}

func listRequest(m *holdfastv1.ListKeysRequest) (req kms.ListKeysRequest, err error) {
	if req.Limit, err = pageSize(m.GetPageSize()); err != nil {
		return req, err
	}
	req.Exposed = m.GetExposed()
	if token := m.GetPageToken(); token != "" {
		if req.After, err = kms.ParseKeyID(token); err != nil {
			return req, errPageToken()
		}
	}
	if m.GetState() != "" {
		if req.State, err = kms.ParseKeyState(m.GetState()); err != nil {
			return req, err
		}
	}
	if m.GetTagName() != "" {
		req.Tag = &kms.Tag{Name: m.GetTagName(), Value: m.GetTagValue()}
	} else if m.GetTagValue() != "" {
		return req, kms.Errorf(kms.Invalid, "a tag's value without its name").WithField("tag_name")
	}
	return req, nil
}

func pageSize(n uint32) (int, error) {
	switch {
	case n == 0:
		return defaultPage, nil
	case n > maxPage:
		return 0, kms.Errorf(kms.Invalid, "a page has at most %d entries", maxPage).WithField("page_size")
	}
	return int(n), nil
}

func errPageToken() error {
	return kms.Errorf(kms.Invalid, "not a page token").WithField("page_token")
}

func (keys) EnableKey(ctx context.Context, r *connect.Request[holdfastv1.EnableKeyRequest]) (*connect.Response[holdfastv1.EnableKeyResponse], error) {
	return done(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) error { return c.SetKeyEnabled(ctx, id, true) }, &holdfastv1.EnableKeyResponse{})
}

func (keys) DisableKey(ctx context.Context, r *connect.Request[holdfastv1.DisableKeyRequest]) (*connect.Response[holdfastv1.DisableKeyResponse], error) {
	return done(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) error { return c.SetKeyEnabled(ctx, id, false) }, &holdfastv1.DisableKeyResponse{})
}

func (keys) DeleteKey(ctx context.Context, r *connect.Request[holdfastv1.DeleteKeyRequest]) (*connect.Response[holdfastv1.DeleteKeyResponse], error) {
	return done(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) error { return c.DeleteKey(ctx, id) }, &holdfastv1.DeleteKeyResponse{})
}

func (keys) RotateKey(ctx context.Context, r *connect.Request[holdfastv1.RotateKeyRequest]) (*connect.Response[holdfastv1.RotateKeyResponse], error) {
	return describing(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) (kms.KeyDescription, error) { return c.RotateKey(ctx, id) },
		func(k *holdfastv1.Key) *holdfastv1.RotateKeyResponse { return &holdfastv1.RotateKeyResponse{Key: k} })
}

func (keys) SetKeyVersionState(ctx context.Context, r *connect.Request[holdfastv1.SetKeyVersionStateRequest]) (*connect.Response[holdfastv1.SetKeyVersionStateResponse], error) {
	return describing(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) (kms.KeyDescription, error) {
		state, err := kms.ParseVersionState(r.Msg.GetState())
		if err != nil {
			return kms.KeyDescription{}, err
		}
		return c.SetVersionState(ctx, kms.SetVersionStateRequest{Key: kms.KeyRef{ID: id, Version: kms.KeyVersion(r.Msg.GetVersion())}, State: state})
	}, func(k *holdfastv1.Key) *holdfastv1.SetKeyVersionStateResponse {
		return &holdfastv1.SetKeyVersionStateResponse{Key: k}
	})
}

func (keys) ScheduleKeyDeletion(ctx context.Context, r *connect.Request[holdfastv1.ScheduleKeyDeletionRequest]) (*connect.Response[holdfastv1.ScheduleKeyDeletionResponse], error) {
	return describing(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) (kms.KeyDescription, error) {
		return c.ScheduleDeletion(ctx, kms.ScheduleDeletionRequest{Key: id, Days: int(r.Msg.GetDays())})
	}, func(k *holdfastv1.Key) *holdfastv1.ScheduleKeyDeletionResponse {
		return &holdfastv1.ScheduleKeyDeletionResponse{Key: k}
	})
}

func (keys) CancelKeyDeletion(ctx context.Context, r *connect.Request[holdfastv1.CancelKeyDeletionRequest]) (*connect.Response[holdfastv1.CancelKeyDeletionResponse], error) {
	return describing(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) (kms.KeyDescription, error) { return c.CancelDeletion(ctx, id) },
		func(k *holdfastv1.Key) *holdfastv1.CancelKeyDeletionResponse {
			return &holdfastv1.CancelKeyDeletionResponse{Key: k}
		})
}

func (keys) UpdateKeyDescription(ctx context.Context, r *connect.Request[holdfastv1.UpdateKeyDescriptionRequest]) (*connect.Response[holdfastv1.UpdateKeyDescriptionResponse], error) {
	text := r.Msg.GetDescription()
	return describing(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) (kms.KeyDescription, error) {
		return c.SetLabels(ctx, kms.LabelsRequest{Key: id, Description: &text})
	}, func(k *holdfastv1.Key) *holdfastv1.UpdateKeyDescriptionResponse {
		return &holdfastv1.UpdateKeyDescriptionResponse{Key: k}
	})
}

func (keys) TagKey(ctx context.Context, r *connect.Request[holdfastv1.TagKeyRequest]) (*connect.Response[holdfastv1.TagKeyResponse], error) {
	return describing(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) (kms.KeyDescription, error) {
		return c.SetLabels(ctx, kms.LabelsRequest{Key: id, Set: tagsOf(r.Msg.GetTags())})
	}, func(k *holdfastv1.Key) *holdfastv1.TagKeyResponse { return &holdfastv1.TagKeyResponse{Key: k} })
}

func (keys) UntagKey(ctx context.Context, r *connect.Request[holdfastv1.UntagKeyRequest]) (*connect.Response[holdfastv1.UntagKeyResponse], error) {
	return describing(ctx, r.Msg.GetKey(), func(c Caller, id kms.KeyID) (kms.KeyDescription, error) {
		return c.SetLabels(ctx, kms.LabelsRequest{Key: id, Remove: r.Msg.GetNames()})
	}, func(k *holdfastv1.Key) *holdfastv1.UntagKeyResponse { return &holdfastv1.UntagKeyResponse{Key: k} })
}

func tagsOf(tags []*holdfastv1.Tag) (out []kms.Tag) {
	for _, t := range tags {
		out = append(out, kms.Tag{Name: t.GetName(), Value: t.GetValue()})
	}
	return out
}

func keyMessage(k *kms.KeyDescription) *holdfastv1.Key {
	m := &holdfastv1.Key{Id: k.ID.String(), Spec: k.Spec.String(), Usages: k.Usages.Names(), State: k.State.String(), Origin: k.Origin.String(),
		Exportable: k.Exportable, Created: timestamp(k.Created), Expires: timestamp(k.Expires), Deletion: timestamp(k.Due),
		CurrentVersion: uint32(k.Current), Description: k.Description, Aliases: k.Aliases, Conditioned: k.Conditioned, Revision: k.Revision,
		RotationPeriodDays: uint32(k.RotationPeriod / kms.Day), NextRotation: timestamp(k.NextRotation), LastUsed: timestamp(k.LastUsed), Warnings: k.Warnings}
	for _, v := range k.Details {
		m.Versions = append(m.Versions, &holdfastv1.KeyVersion{Number: uint32(v.Number), State: v.State.String(), Created: timestamp(v.Created), Invocations: v.Invocations, Exposed: v.Exposed})
	}
	for _, t := range k.Tags {
		m.Tags = append(m.Tags, &holdfastv1.Tag{Name: t.Name, Value: t.Value})
	}
	return m
}
