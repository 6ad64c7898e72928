package core

import (
	"cmp"
	"context"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/authz"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// FindKey says which key of the caller's app an alias names, for the operation
// that the request is about: it asks for what that operation needs itself. The
// errors are Invalid, NotFound and Denied (a workload without an app).
func (c *Caller) FindKey(_ context.Context, alias string) (kms.KeyID, error) {
	if err := kms.CheckAlias(alias); err != nil {
		return kms.KeyID{}, err
	}
	if c.who.Credential == nil {
		return kms.KeyID{}, errUnnamed
	}
	a, err := c.alias(alias)
	if err != nil { // else the operation pays
		return kms.KeyID{}, cmp.Or(c.charge(kms.ManagementWork), err)
	}
	return a.Key, nil
}

func (c *Caller) alias(name string) (*state.Alias, error) {
	a, ok := c.view.Alias(c.app(), name)
	if !ok {
		return nil, kms.Errorf(kms.NotFound, "no such alias")
	}
	return a, nil
}

// CreateAlias gives a key of the caller's app a name. The errors are Invalid,
// Exists, NotFound, Foreign, Exhausted (kms.MaxAliases), Denied, Replayed,
// Conflict and Unavailable.
func (c *Caller) CreateAlias(ctx context.Context, name string, key kms.KeyID) (kms.Alias, error) {
	return c.putAlias(ctx, name, key, func() (uint64, error) {
		if _, err := c.alias(name); err == nil {
			return 0, kms.Errorf(kms.Exists, "the alias exists")
		}
		return 0, nil
	})
}

// UpdateAlias has an alias name another key of the caller's app, in one step:
// there is no moment in which it names none. The errors are those of
// CreateAlias, but NotFound for an alias that is not there.
func (c *Caller) UpdateAlias(ctx context.Context, name string, key kms.KeyID) (kms.Alias, error) {
	return c.putAlias(ctx, name, key, func() (uint64, error) {
		a, err := c.alias(name)
		if err != nil {
			return 0, err
		}
		return a.Revision, nil
	})
}

func (c *Caller) putAlias(ctx context.Context, name string, key kms.KeyID, from func() (uint64, error)) (out kms.Alias, err error) {
	if err := kms.CheckAlias(name); err != nil {
		return out, err
	}
	_, err = c.change(ctx, func(cmd *command.Command) error {
		if _, err := c.ownKey(key, authz.Administer); err != nil {
			return err
		}
		revision, err := from()
		if err != nil {
			return err
		}
		cmd.Op = &command.Command_PutAlias{PutAlias: &command.PutAlias{Name: name, Key: key[:], Revision: revision}}
		return nil
	})
	if err != nil {
		return out, err
	}
	if err := c.refresh(ctx); err == nil { // the alias stands, whether or not it can be shown
		if a, err := c.alias(name); err == nil {
			return a.Info(), nil
		}
	}
	return kms.Alias{Name: name, Key: key}, nil
}

// DeleteAlias takes a name away; the key stays. The errors are Invalid,
// NotFound, Denied, Replayed, Conflict and Unavailable.
func (c *Caller) DeleteAlias(ctx context.Context, name string) error {
	if err := kms.CheckAlias(name); err != nil {
		return err
	}
	_, err := c.change(ctx, func(cmd *command.Command) error {
		a, err := c.alias(name)
		if err != nil {
			return err
		}
		cmd.Op = &command.Command_DeleteAlias{DeleteAlias: &command.DeleteAlias{Name: name, Revision: a.Revision}}
		return nil
	})
	return err
}

// ListAliases lists the aliases of the caller's app, or of one of its keys, a
// page at a time, in order of their names. The errors are Denied, and NotFound
// and Foreign for the key.
func (c *Caller) ListAliases(_ context.Context, r kms.ListAliasesRequest) (page kms.AliasPage, err error) {
	if err := c.mayRead(); err != nil {
		return page, err
	}
	if r.Key != (kms.KeyID{}) {
		return c.aliasesOf(r.Key)
	}
	if r.Limit <= 0 || r.Limit > kms.MaxKeysPage {
		r.Limit = kms.MaxKeysPage
	}
	c.view.AliasesOf(c.app(), r.After, func(a *state.Alias) bool {
		if len(page.Aliases) == r.Limit {
			page.Next = page.Aliases[r.Limit-1].Name
			return false
		}
		page.Aliases = append(page.Aliases, a.Info())
		return true
	})
	return page, nil
}

// aliasesOf lists those of one key, which fit on a page.
func (c *Caller) aliasesOf(key kms.KeyID) (page kms.AliasPage, err error) {
	rec, err := c.ownKey(key, authz.Administer)
	if err != nil {
		return page, err
	}
	for _, name := range c.view.AliasesFor(rec) {
		if a, err := c.alias(name); err == nil {
			page.Aliases = append(page.Aliases, a.Info())
		}
	}
	return page, nil
}
