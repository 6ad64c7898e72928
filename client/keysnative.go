package client

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// Keys are the app's keys with everything that the native API knows of them:
// versions, aliases, tags, scheduled deletion, bound ciphertexts. The methods of
// Client speak eHSM's protocol, which has none of that, about the same keys.
//
// A key is named by its id or by an alias ("alias/…"). Every reply names the id
// and the version that was used. What changes state is sent once; after an error
// of kind Unavailable it may have happened all the same.
//
// The errors that any method may have: Invalid, NotFound (also where the key is
// another app's), Denied (a permission, or the key's condition), Unavailable and
// Stale. Those that using a key adds: Disabled, Expired and Misused.
type Keys struct{ c *Client }

// Keys are the app's keys, over the native API.
func (c *Client) Keys() Keys { return Keys{c} }

var (
	actNativeCreate   = action{name: "CreateKey"}
	actDescribeKey    = action{name: "DescribeKey", repeatable: true}
	actNativeList     = action{name: "ListKeys", repeatable: true}
	actNativeEnable   = action{name: "EnableKey"}
	actNativeDisable  = action{name: "DisableKey"}
	actRotateKey      = action{name: "RotateKey"}
	actVersionState   = action{name: "SetKeyVersionState"}
	actSchedule       = action{name: "ScheduleKeyDeletion"}
	actCancelDeletion = action{name: "CancelKeyDeletion"}
	actNativeDelete   = action{name: "DeleteKey"}
	actDescription    = action{name: "UpdateKeyDescription"}
	actTag            = action{name: "TagKey"}
	actUntag          = action{name: "UntagKey"}
	actCreateAlias    = action{name: "CreateAlias"}
	actUpdateAlias    = action{name: "UpdateAlias"}
	actDeleteAlias    = action{name: "DeleteAlias"}
	actListAliases    = action{name: "ListAliases", repeatable: true}
)

// describe calls a procedure that answers with a key.
func describe[Req, Res any, P interface {
	*Res
	GetKey() *holdfastv1.Key
}](ctx context.Context, c *Client, a action, m method[Req, Res], req *Req) (kms.KeyDescription, error) {
	r, err := callNative(ctx, c, a, m, req)
	if err != nil {
		return kms.KeyDescription{}, err
	}
	d, err := c.keyDescription(P(r).GetKey())
	if err != nil {
		return kms.KeyDescription{}, garbled(a, 0, err)
	}
	return d, nil
}

// Create makes a key. Zero Spec is AES-256-GCM, zero Usages are the spec's
// default, zero Origin is Generated. Errors: Exists for an alias that the app
// has; Misused for usages that the spec does not have.
func (k Keys) Create(ctx context.Context, req kms.CreateKeyRequest) (kms.KeyDescription, error) {
	m := &holdfastv1.CreateKeyRequest{Usages: req.Usages.Names(), Exportable: req.Exportable, Expires: timestamp(req.Expires),
		Description: req.Description, Tags: tagMessages(req.Tags), Alias: req.Alias, Condition: string(req.Condition),
		RotationPeriodDays: uint32(max(0, req.RotationPeriod/kms.Day))}
	if req.Spec != 0 {
		m.Spec = req.Spec.String()
	}
	if req.Origin != 0 {
		m.Origin = req.Origin.String()
	}
	return describe(ctx, k.c, actNativeCreate, k.c.keyService().CreateKey, m)
}

// Describe tells all of a key but its material.
func (k Keys) Describe(ctx context.Context, key string) (kms.KeyDescription, error) {
	return describe(ctx, k.c, actDescribeKey, k.c.keyService().DescribeKey, &holdfastv1.DescribeKeyRequest{Key: key})
}

// KeyFilter says which keys List lists, and which page of them.
type KeyFilter struct {
	State kms.KeyState // zero: any
	Tag   string       // name; "": any
	Value string       // of the tag; "": any
	// Exposed: only keys with a version whose material others may know.
	Exposed bool

	PageSize int    // at most 1000; zero: 100
	Page     string // Next of the page before; "": the first
}

// A KeyPage is one page of keys. It may be short, or empty, and not the last.
type KeyPage struct {
	Keys []kms.KeyDescription
	Next string // "": it is the last page
}

// List lists the app's keys in order of their ids, a page at a time.
func (k Keys) List(ctx context.Context, f KeyFilter) (KeyPage, error) {
	m := &holdfastv1.ListKeysRequest{PageSize: uint32(max(0, f.PageSize)), PageToken: f.Page, TagName: f.Tag, TagValue: f.Value, Exposed: f.Exposed}
	if f.State != 0 {
		m.State = f.State.String()
	}
	r, err := callNative(ctx, k.c, actNativeList, k.c.keyService().ListKeys, m)
	if err != nil {
		return KeyPage{}, err
	}
	page := KeyPage{Next: r.GetNextPageToken()}
	for _, m := range r.GetKeys() {
		d, err := k.c.keyDescription(m)
		if err != nil {
			return KeyPage{}, garbled(actNativeList, 0, err)
		}
		page.Keys = append(page.Keys, d)
	}
	return page, nil
}

// Enable lets a disabled key be used again.
func (k Keys) Enable(ctx context.Context, key string) error {
	_, err := callNative(ctx, k.c, actNativeEnable, k.c.keyService().EnableKey, &holdfastv1.EnableKeyRequest{Key: key})
	return err
}

// Disable stops every use of a key: once it returns, no node honours it.
func (k Keys) Disable(ctx context.Context, key string) error {
	_, err := callNative(ctx, k.c, actNativeDisable, k.c.keyService().DisableKey, &holdfastv1.DisableKeyRequest{Key: key})
	return err
}

// Rotate makes a new version of a key, which everything new is done with. What
// older versions encrypted opens as before; in eHSM's layout, what the newest 16
// did. Errors: Misused for keys that are not rotated in place (make a new key and
// have the alias name it), Exhausted.
func (k Keys) Rotate(ctx context.Context, key string) (kms.KeyDescription, error) {
	return describe(ctx, k.c, actRotateKey, k.c.keyService().RotateKey, &holdfastv1.RotateKeyRequest{Key: key})
}

// SetVersionState enables, disables or destroys a version that is not the
// current one. Errors: Misused for the current one, and for destroying one that
// is not disabled.
func (k Keys) SetVersionState(ctx context.Context, key string, v kms.KeyVersion, to kms.VersionState) (kms.KeyDescription, error) {
	return describe(ctx, k.c, actVersionState, k.c.keyService().SetKeyVersionState,
		&holdfastv1.SetKeyVersionStateRequest{Key: key, Version: uint32(v), State: to.String()})
}

// ScheduleDeletion takes a key out of use, and has it destroyed after 1 to 30
// days; zero is 30. Errors: Exists where that is so already.
func (k Keys) ScheduleDeletion(ctx context.Context, key string, days int) (kms.KeyDescription, error) {
	if days < 0 {
		return kms.KeyDescription{}, misuse(actSchedule, kms.Invalid, "", "a deletion waits %d to %d days", kms.MinDeletionDays, kms.MaxDeletionDays)
	}
	return describe(ctx, k.c, actSchedule, k.c.keyService().ScheduleKeyDeletion, &holdfastv1.ScheduleKeyDeletionRequest{Key: key, Days: uint32(days)})
}

// CancelDeletion gives a key back as it was before its deletion was scheduled.
// Errors: NotFound once it is due, Misused where none is scheduled.
func (k Keys) CancelDeletion(ctx context.Context, key string) (kms.KeyDescription, error) {
	return describe(ctx, k.c, actCancelDeletion, k.c.keyService().CancelKeyDeletion, &holdfastv1.CancelKeyDeletionRequest{Key: key})
}

// Delete destroys a key at once and for good. An id that is not there is no error.
func (k Keys) Delete(ctx context.Context, key string) error {
	_, err := callNative(ctx, k.c, actNativeDelete, k.c.keyService().DeleteKey, &holdfastv1.DeleteKeyRequest{Key: key})
	return err
}

// SetDescription changes a key's description.
func (k Keys) SetDescription(ctx context.Context, key, description string) (kms.KeyDescription, error) {
	return describe(ctx, k.c, actDescription, k.c.keyService().UpdateKeyDescription, &holdfastv1.UpdateKeyDescriptionRequest{Key: key, Description: description})
}

// Tag gives a key tags, or tags that it has other values.
func (k Keys) Tag(ctx context.Context, key string, tags ...kms.Tag) (kms.KeyDescription, error) {
	return describe(ctx, k.c, actTag, k.c.keyService().TagKey, &holdfastv1.TagKeyRequest{Key: key, Tags: tagMessages(tags)})
}

// Untag takes tags away. One that the key does not have is no error.
func (k Keys) Untag(ctx context.Context, key string, names ...string) (kms.KeyDescription, error) {
	return describe(ctx, k.c, actUntag, k.c.keyService().UntagKey, &holdfastv1.UntagKeyRequest{Key: key, Names: names})
}

// CreateAlias gives a key a name ("alias/…"). Errors: Exists, Exhausted.
func (k Keys) CreateAlias(ctx context.Context, alias, key string) (kms.Alias, error) {
	r, err := callNative(ctx, k.c, actCreateAlias, k.c.keyService().CreateAlias, &holdfastv1.CreateAliasRequest{Alias: alias, Key: key})
	if err != nil {
		return kms.Alias{}, err
	}
	return aliasOf(actCreateAlias, r.GetAlias())
}

// UpdateAlias has an alias name another key, in one step. Errors: Exhausted.
func (k Keys) UpdateAlias(ctx context.Context, alias, key string) (kms.Alias, error) {
	r, err := callNative(ctx, k.c, actUpdateAlias, k.c.keyService().UpdateAlias, &holdfastv1.UpdateAliasRequest{Alias: alias, Key: key})
	if err != nil {
		return kms.Alias{}, err
	}
	return aliasOf(actUpdateAlias, r.GetAlias())
}

// DeleteAlias takes a name away; the key stays.
func (k Keys) DeleteAlias(ctx context.Context, alias string) error {
	_, err := callNative(ctx, k.c, actDeleteAlias, k.c.keyService().DeleteAlias, &holdfastv1.DeleteAliasRequest{Alias: alias})
	return err
}

// An AliasPage is one page of aliases.
type AliasPage struct {
	Aliases []kms.Alias
	Next    string // "": it is the last page
}

// Aliases lists the app's aliases in order of their names, a page at a time; with
// a key, all of that one.
func (k Keys) Aliases(ctx context.Context, key, page string) (AliasPage, error) {
	r, err := callNative(ctx, k.c, actListAliases, k.c.keyService().ListAliases, &holdfastv1.ListAliasesRequest{Key: key, PageToken: page})
	if err != nil {
		return AliasPage{}, err
	}
	out := AliasPage{Next: r.GetNextPageToken()}
	for _, m := range r.GetAliases() {
		a, err := aliasOf(actListAliases, m)
		if err != nil {
			return AliasPage{}, err
		}
		out.Aliases = append(out.Aliases, a)
	}
	return out, nil
}

func aliasOf(a action, m *holdfastv1.Alias) (out kms.Alias, err error) {
	out = kms.Alias{Name: m.GetName(), Created: timeOf(m.GetCreated()), Updated: timeOf(m.GetUpdated())}
	if out.Key, err = kms.ParseKeyID(m.GetKeyId()); err != nil || !kms.ValidAlias(out.Name) {
		return kms.Alias{}, garbled(a, 0, err)
	}
	return out, nil
}
