package core

import (
	"context"
	"slices"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// SetLabels changes the description and tags of a key of the caller's app. The
// errors are Invalid, NotFound, Foreign, Denied, Replayed, Conflict and
// Unavailable.
func (c *Caller) SetLabels(ctx context.Context, r kms.LabelsRequest) (kms.KeyDescription, error) {
	return c.changeKey(ctx, r.Key, authz.Administer, func(rec *state.Key, cmd *command.Command) error {
		next, err := labelled(rec.Labels, r)
		if err != nil {
			return err
		}
		cmd.Op = &command.Command_SetLabels{SetLabels: &command.SetLabels{Key: rec.ID[:], Revision: rec.Revision,
			Description: next.Description, Tags: state.TagsProto(next.Tags)}}
		return nil
	})
}

// labelled is what old becomes.
func labelled(old *state.Labels, r kms.LabelsRequest) (next state.Labels, err error) {
	if old != nil {
		next = state.Labels{Description: old.Description, Tags: slices.Clone(old.Tags)}
	}
	if r.Description != nil {
		next.Description = *r.Description
	}
	next.Tags = slices.DeleteFunc(next.Tags, func(t kms.Tag) bool {
		return slices.Contains(r.Remove, t.Name) || slices.ContainsFunc(r.Set, func(s kms.Tag) bool { return s.Name == t.Name })
	})
	next.Tags = append(next.Tags, r.Set...) // a name that is in it twice is refused below
	kms.SortTags(next.Tags)
	if err := kms.CheckDescription(next.Description); err != nil {
		return next, err
	}
	return next, kms.CheckTags(next.Tags)
}

// firstLabels are those that a new key comes with; nil: none.
func firstLabels(r kms.CreateKeyRequest) (*state.Labels, error) {
	if r.Description == "" && len(r.Tags) == 0 {
		return nil, nil
	}
	next, err := labelled(nil, kms.LabelsRequest{Description: &r.Description, Set: r.Tags})
	return &next, err
}
