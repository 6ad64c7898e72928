package core_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestAliases: an alias names one key of its app at any moment, and another
// app's are another's.
func TestAliases(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, other := node.Enrol(), node.Enrol()
	create := func(a *trustedtest.App) kms.KeyID {
		k, err := a.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.SM4CTR, Origin: kms.Generated})
		return must(t, k, err).ID
	}
	first, second, theirs := create(app), create(app), create(other)
	a, err := app.MustCaller().CreateAlias(ctx, "alias/a", first)
	if made := must(t, a, err); made.Key != first || made.Created.IsZero() || made.Created != made.Updated {
		t.Errorf("%+v", made)
	}
	_, err = app.MustCaller().CreateAlias(ctx, "alias/a", second)
	wantKind(t, "twice", err, kms.Exists)
	_, err = app.MustCaller().CreateAlias(ctx, "a", second)
	wantKind(t, "malformed", err, kms.Invalid)
	_, err = app.MustCaller().CreateAlias(ctx, "alias/b", theirs)
	wantKind(t, "for another app's key", err, kms.Foreign)
	_, err = app.MustCaller().UpdateAlias(ctx, "alias/a", theirs)
	wantKind(t, "moved to another app's key", err, kms.Foreign)
	_, err = app.MustCaller().UpdateAlias(ctx, "alias/b", second)
	wantKind(t, "moving what is not there", err, kms.NotFound)
	_, err = other.MustCaller().FindKey(ctx, "alias/a")
	wantKind(t, "found by another app", err, kms.NotFound)
	wantKind(t, "deleted by another app", other.MustCaller().DeleteAlias(ctx, "alias/a"), kms.NotFound)
	node.Clock.Move(time.Second)
	a, err = app.MustCaller().UpdateAlias(ctx, "alias/a", second)
	if moved := must(t, a, err); moved.Key != second || !moved.Updated.After(moved.Created) {
		t.Errorf("%+v", moved)
	}
	node.Restart()
	id, err := app.MustCaller().FindKey(ctx, "alias/a")
	if must(t, id, err) != second {
		t.Errorf("it names %v, want %v", id, second)
	}
	_, err = app.MustCaller().MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.AES128GCM, Origin: kms.Generated, Alias: "alias/a"})
	wantKind(t, "a new key under it", err, kms.Exists)
	for _, name := range []string{"alias/c", "alias/b"} {
		_, err = app.MustCaller().CreateAlias(ctx, name, first)
		must(t, 0, err)
	}
	list := func(r kms.ListAliasesRequest) (names []string, next string) {
		t.Helper()
		p, err := app.MustCaller().ListAliases(ctx, r)
		for _, a := range must(t, p, err).Aliases {
			names = append(names, a.Name)
		}
		return names, p.Next
	}
	names, next := list(kms.ListAliasesRequest{Limit: 2})
	rest, last := list(kms.ListAliasesRequest{Limit: 2, After: next})
	if diff := cmp.Diff([]string{"alias/a", "alias/b", "alias/c"}, append(names, rest...)); diff != "" || last != "" {
		t.Errorf("%q: %s", last, diff)
	}
	if names, _ = list(kms.ListAliasesRequest{Key: first}); !slices.Equal(names, []string{"alias/b", "alias/c"}) {
		t.Errorf("of the first: %v", names)
	}
	_, err = other.MustCaller().ListAliases(ctx, kms.ListAliasesRequest{Key: first})
	wantKind(t, "of another app's key", err, kms.Foreign)
	must(t, 0, app.MustCaller().DeleteAlias(ctx, "alias/a"))
	wantKind(t, "deleting it again", app.MustCaller().DeleteAlias(ctx, "alias/a"), kms.NotFound)
	must(t, 0, app.MustCaller().DeleteKey(ctx, first))
	if names, _ := list(kms.ListAliasesRequest{}); names != nil {
		t.Errorf("aliases outlive their keys: %v", names)
	}
}

// TestLabels: what is noted beside a key, and keys found by it.
func TestLabels(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app, other := node.Enrol(), node.Enrol()
	var ids []kms.KeyID
	for i := range 6 {
		d, err := app.MustCaller().MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.AES128GCM, Origin: kms.Generated, Description: fmt.Sprint("key ", i),
			Tags: []kms.Tag{{Name: "z"}, {Name: "n", Value: fmt.Sprint(i % 2)}}})
		if got := must(t, d, err); got.Description != fmt.Sprint("key ", i) || !slices.Equal(got.Tags, []kms.Tag{{Name: "n", Value: fmt.Sprint(i % 2)}, {Name: "z"}}) {
			t.Fatalf("%+v", got)
		}
		ids = append(ids, d.ID)
	}
	set := func(r kms.LabelsRequest) (kms.KeyDescription, error) { return app.MustCaller().SetLabels(ctx, r) }
	text := "another"
	d, err := set(kms.LabelsRequest{Key: ids[0], Description: &text, Set: []kms.Tag{{Name: "n", Value: "7"}, {Name: "a", Value: "b"}}, Remove: []string{"z", "none"}})
	if got := must(t, d, err); got.Description != text || !slices.Equal(got.Tags, []kms.Tag{{Name: "a", Value: "b"}, {Name: "n", Value: "7"}}) {
		t.Errorf("%+v", got)
	}
	long := strings.Repeat("x", kms.MaxDescription+1)
	for name, r := range map[string]kms.LabelsRequest{
		"a long description": {Key: ids[0], Description: &long},
		"a tag twice":        {Key: ids[0], Set: []kms.Tag{{Name: "q"}, {Name: "q", Value: "1"}}},
		"no name":            {Key: ids[0], Set: []kms.Tag{{Value: "1"}}},
		"no text":            {Key: ids[0], Set: []kms.Tag{{Name: "a\x00"}}},
	} {
		_, err := set(r)
		wantKind(t, name, err, kms.Invalid)
	}
	_, err = other.MustCaller().SetLabels(ctx, kms.LabelsRequest{Key: ids[0], Description: &text})
	wantKind(t, "another app", err, kms.Foreign)
	_, err = app.MustCaller().MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.AES128GCM, Origin: kms.Generated, Description: long})
	wantKind(t, "a new key with a long description", err, kms.Invalid)
	must(t, 0, app.MustCaller().SetKeyEnabled(ctx, ids[1], false))

	find := func(a *trustedtest.App, r kms.ListKeysRequest) (found []kms.KeyID) {
		t.Helper()
		for {
			p, err := a.MustCaller().DescribeKeys(ctx, r)
			for _, k := range must(t, p, err).Keys {
				found = append(found, k.ID)
			}
			if p.Next == (kms.KeyID{}) {
				return found
			}
			r.After = p.Next
		}
	}
	for name, c := range map[string]struct {
		r    kms.ListKeysRequest
		want []kms.KeyID
	}{
		"all, by twos":     {kms.ListKeysRequest{Limit: 2}, ids},
		"all, by sixes":    {kms.ListKeysRequest{Limit: 6}, ids},
		"a tag":            {kms.ListKeysRequest{Tag: &kms.Tag{Name: "z"}, Limit: 1}, ids[1:]},
		"a value":          {kms.ListKeysRequest{Tag: &kms.Tag{Name: "n", Value: "1"}}, []kms.KeyID{ids[1], ids[3], ids[5]}},
		"a state":          {kms.ListKeysRequest{State: kms.KeyDisabled}, ids[1:2]},
		"a value and more": {kms.ListKeysRequest{State: kms.Enabled, Tag: &kms.Tag{Name: "n", Value: "1"}}, []kms.KeyID{ids[3], ids[5]}},
		"nothing":          {kms.ListKeysRequest{Tag: &kms.Tag{Name: "none"}}, nil},
	} {
		want := slices.Clone(c.want)
		slices.SortFunc(want, func(a, b kms.KeyID) int { return strings.Compare(a.String(), b.String()) })
		if diff := cmp.Diff(want, find(app, c.r)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if got := find(other, kms.ListKeysRequest{}); got != nil {
		t.Errorf("another app sees %v", got)
	}
}

// TestExpiry: a key that is made to expire does.
func TestExpiry(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	make := func(at time.Time) (kms.Key, error) {
		return app.MustCaller().CreateKey(ctx, kms.CreateKeyRequest{Spec: kms.AES128GCM, Origin: kms.Generated, Expires: at})
	}
	for name, at := range map[string]time.Time{"over": node.Clock.Now().Add(-time.Second), "beyond bounds": time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC)} {
		_, err := make(at)
		wantKind(t, name, err, kms.Invalid)
	}
	k, err := make(node.Clock.Now().Add(time.Hour))
	id := must(t, k, err).ID
	sealed := encrypts(t, app, id, kms.LayoutEHSM, "text")
	node.Clock.Move(time.Hour)
	_, err = decrypts(app, id, kms.LayoutEHSM, sealed)
	wantKind(t, "expired", err, kms.Expired)
	_, err = app.MustCaller().RotateKey(ctx, id)
	wantKind(t, "rotating it", err, kms.Expired)
}

// TestKeyPermissions: every operation on keys asks for its own permission.
func TestKeyPermissions(t *testing.T) {
	ctx, node := t.Context(), trustedtest.NewDomain(t, 1).Nodes[0]
	app := node.Enrol()
	d, err := app.MustCaller().MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated, Alias: "alias/a"})
	id := must(t, d, err).ID
	ops := map[string]struct {
		needs kms.Permissions
		do    func(caller) error
	}{
		"MakeKey": {kms.PermManage, func(c caller) error {
			_, err := c.MakeKey(ctx, kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
			return err
		}},
		"RotateKey":      {kms.PermManage, func(c caller) error { _, err := c.RotateKey(ctx, id); return err }},
		"CreateAlias":    {kms.PermManage, func(c caller) error { _, err := c.CreateAlias(ctx, "alias/new", id); return err }},
		"UpdateAlias":    {kms.PermManage, func(c caller) error { _, err := c.UpdateAlias(ctx, "alias/a", id); return err }},
		"DeleteAlias":    {kms.PermManage, func(c caller) error { return c.DeleteAlias(ctx, "alias/a") }},
		"CancelDeletion": {kms.PermManage, func(c caller) error { _, err := c.CancelDeletion(ctx, id); return err }},
		"ScheduleDeletion": {kms.PermManage, func(c caller) error {
			_, err := c.ScheduleDeletion(ctx, kms.ScheduleDeletionRequest{Key: id})
			return err
		}},
		"SetLabels": {kms.PermManage, func(c caller) error { _, err := c.SetLabels(ctx, kms.LabelsRequest{Key: id}); return err }},
		"SetVersionState": {kms.PermManage, func(c caller) error {
			_, err := c.SetVersionState(ctx, kms.SetVersionStateRequest{Key: kms.KeyRef{ID: id, Version: 1}, State: kms.VersionDisabled})
			return err
		}},
		"DescribeKey":  {kms.PermRead, func(c caller) error { _, err := c.DescribeKey(ctx, id); return err }},
		"DescribeKeys": {kms.PermRead, func(c caller) error { _, err := c.DescribeKeys(ctx, kms.ListKeysRequest{}); return err }},
		"ListAliases":  {kms.PermRead, func(c caller) error { _, err := c.ListAliases(ctx, kms.ListAliasesRequest{}); return err }},
		"Random":       {kms.PermUse, func(c caller) error { _, err := c.Random(ctx, 32); return err }},
		"Reencrypt": {kms.PermUse, func(c caller) error {
			_, err := c.Reencrypt(ctx, kms.ReencryptRequest{Source: kms.DecryptRequest{Key: kms.KeyRef{ID: id}, Layout: kms.LayoutEHSM}})
			return err
		}},
	}
	for _, has := range []kms.Permissions{kms.PermManage, kms.PermRead, kms.PermUse, kms.PermSecrets} {
		made, err := app.MustCaller().CreateCredential(ctx, kms.CreateCredentialRequest{Permissions: has})
		limited := node.App(kms.AppID(must(t, made, err).ID), made.APIKey)
		for name, op := range ops {
			err := op.do(limited.MustCaller())
			if denied := kms.KindOf(err) == kms.Denied && err != nil; denied == has.Has(op.needs) {
				t.Errorf("%s with %q: %v", name, has, err)
			}
		}
	}
	for n, want := range map[int]error{0: kms.Invalid, -1: kms.Invalid, 1: nil, kms.MaxRandom: nil, kms.MaxRandom + 1: kms.TooLarge} {
		b, err := app.MustCaller().Random(ctx, n)
		if err == nil && len(b) != n || want == nil && err != nil {
			t.Errorf("%d bytes: %d, %v", n, len(b), err)
		}
		if want != nil {
			wantKind(t, fmt.Sprint(n, " bytes"), err, want.(kms.Kind))
		}
	}
}
