package native_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// ok returns v if there is no error.
func ok[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestKeysSDK rotates a key with the SDK, on a real node, and uses it through
// eHSM's protocol beside it.
func TestKeysSDK(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, _ := n.enrol()
	ctx, keys := t.Context(), c.Keys()
	key := ok(keys.Create(ctx, kms.CreateKeyRequest{Alias: "alias/main", Description: "text", Tags: []kms.Tag{{Name: "b"}, {Name: "a", Value: "1"}}}))
	if key.Spec != kms.AES256GCM || key.Usages != kms.EncryptDecrypt || key.State != kms.Enabled || key.Origin != kms.Generated || key.Current != 1 ||
		!slices.Equal(key.Aliases, []string{"alias/main"}) || key.Tags[0].Name != "a" || key.Details[0].State != kms.VersionEnabled {
		t.Errorf("%+v", key)
	}
	// Both APIs are about the same keys and the same ciphertexts.
	old := ok(c.Encrypt(ctx, key.ID, []byte("old"), []byte("aad")))
	ehsm := client.CipherOptions{Layout: kms.LayoutEHSM, Binding: kms.RawBinding([]byte("aad"))}
	bound := client.CipherOptions{Binding: kms.ContextBinding(map[string]string{"customer": "7", "": "x"})}
	for n := 2; n <= 10; n++ {
		if d := ok(keys.Rotate(ctx, "alias/main")); int(d.Current) != n {
			t.Fatalf("rotated to %d, want %d", d.Current, n)
		}
	}
	if p := ok(keys.Decrypt(ctx, "alias/main", old, ehsm)); string(p.Data) != "old" || p.Key.Version != 1 {
		t.Errorf("%q of %+v", p.Data, p.Key)
	}
	if plain := ok(c.Decrypt(ctx, key.ID, old, []byte("aad"))); string(plain) != "old" {
		t.Errorf("opens to %q", plain)
	}
	sealed := ok(keys.Encrypt(ctx, "alias/main", []byte("new"), bound))
	if p := ok(keys.Decrypt(ctx, "", sealed.Data, bound)); string(p.Data) != "new" || p.Key != (kms.KeyRef{ID: key.ID, Version: 10}) {
		t.Errorf("%q of %+v", p.Data, p.Key)
	}
	for name, o := range map[string]client.CipherOptions{
		"nothing": {}, "eHSM's layout": {Layout: kms.LayoutEHSM}, "bytes": {Binding: ehsm.Binding},
		"part of it": {Binding: kms.ContextBinding(map[string]string{"customer": "7"})},
	} {
		_, err := keys.Decrypt(ctx, "alias/main", sealed.Data, o)
		kind(t, "bound to "+name, err, kms.DecryptFailed)
	}
	moved := ok(keys.Reencrypt(ctx, old, client.Move{Source: "alias/main", From: ehsm, Target: "alias/main", To: bound}))
	if p := ok(keys.Decrypt(ctx, "", moved.Data, bound)); string(p.Data) != "old" || moved.Source.Version != 1 || moved.Key.Version != 10 {
		t.Errorf("%q %+v", p.Data, moved)
	}
	dk := ok(keys.GenerateDataKey(ctx, "alias/main", 0, bound))
	if p := ok(keys.Decrypt(ctx, "", dk.Wrapped, bound)); !bytes.Equal(p.Data, dk.Plaintext) || len(p.Data) != 32 {
		t.Error("the data key opens to another one")
	}
	dk = ok(keys.GenerateDataKeyWithoutPlaintext(ctx, "alias/main", 1024, bound))
	if p := ok(keys.Decrypt(ctx, "", dk.Wrapped, bound)); dk.Plaintext != nil || len(p.Data) != 1024 {
		t.Errorf("%d bytes, in clear %d", len(p.Data), len(dk.Plaintext))
	}
	if a, b := ok(keys.Random(ctx, 32)), ok(keys.Random(ctx, 32)); bytes.Equal(a, b) || len(a) != 32 {
		t.Error("not random")
	}
}

// TestKeySpecsSDK uses a key of each family for all that it does.
func TestKeySpecsSDK(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, _ := n.enrol()
	ctx, keys := t.Context(), c.Keys()
	create := func(r kms.CreateKeyRequest) string { return ok(keys.Create(ctx, r)).ID.String() }
	for _, r := range []kms.CreateKeyRequest{{Spec: kms.SM4CTR}, {Spec: kms.SM4CBC}, {Spec: kms.SM2, Usages: kms.EncryptDecrypt}, {Spec: kms.RSA2048, Usages: kms.EncryptDecrypt}} {
		key := create(r)
		sealed := ok(keys.Encrypt(ctx, key, []byte("text"), client.CipherOptions{}))
		if p := ok(keys.Decrypt(ctx, key, sealed.Data, client.CipherOptions{})); string(p.Data) != "text" {
			t.Errorf("%s opens to %q", r.Spec, p.Data)
		}
		_, err := keys.Encrypt(ctx, key, []byte("text"), client.CipherOptions{Binding: kms.RawBinding([]byte("x"))})
		kind(t, r.Spec.String()+" bound", err, kms.Invalid)
		_, err = keys.Decrypt(ctx, "", sealed.Data, client.CipherOptions{})
		kind(t, r.Spec.String()+" without its key", err, kms.DecryptFailed)
		_, err = keys.Rotate(ctx, key)
		kind(t, r.Spec.String()+" rotated", err, kms.Misused)
	}
	for _, spec := range []kms.Spec{kms.ECP256, kms.Ed25519, kms.SM2, kms.RSA2048} {
		key, in := create(kms.CreateKeyRequest{Spec: spec, Usages: kms.SignVerify}), kms.SigningInput{Message: []byte("message")}
		s := ok(keys.Sign(ctx, key, in))
		if v := ok(keys.Verify(ctx, key, in, s.Data)); !v.Valid {
			t.Errorf("%s: not valid", spec)
		}
		in.Message = []byte("massage")
		if v := ok(keys.Verify(ctx, key, in, s.Data)); v.Valid {
			t.Errorf("%s: another message is valid", spec)
		}
		if p := ok(keys.PublicKey(ctx, key)); p.Spec != spec || len(p.DER) == 0 {
			t.Errorf("%+v", p)
		}
	}
	mac := create(kms.CreateKeyRequest{Spec: kms.HMACSHA512})
	m := ok(keys.GenerateMac(ctx, mac, []byte("message")))
	if !ok(keys.VerifyMac(ctx, mac, []byte("message"), m.Data)).Valid || ok(keys.VerifyMac(ctx, mac, []byte("message"), m.Data[:16])).Valid {
		t.Error("MACs are confused")
	}
	_, err := keys.Create(ctx, kms.CreateKeyRequest{Spec: kms.AES128GCM, Usages: kms.SignVerify})
	kind(t, "an AES key that signs", err, kms.Misused)

	// What one key exports another imports.
	first := create(kms.CreateKeyRequest{Spec: kms.AES256GCM, Exportable: true})
	second := create(kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Imported, Alias: "alias/brought"})
	out := ok(keys.Export(ctx, first, 0))
	n.domain.Log.Plant(out.Material)
	p := ok(keys.ImportParameters(ctx, second, kms.RSA2048))
	_, err = keys.ImportMaterial(ctx, second, []byte("token"), kms.WrapOAEP, []byte("material"))
	kind(t, "a wrong token", err, kms.Invalid)
	_, err = keys.Encrypt(ctx, second, []byte("x"), client.CipherOptions{})
	kind(t, "use before the import", err, kms.Misused)
	if ref := ok(keys.ImportMaterial(ctx, "alias/brought", p.Token, kms.WrapOAEP, ok(client.WrapKey(p.PublicKey, kms.WrapOAEP, out.Material)))); ref.Version != 1 {
		t.Errorf("%+v", ref)
	}
	ehsm := client.CipherOptions{Layout: kms.LayoutEHSM}
	if o := ok(keys.Decrypt(ctx, second, ok(keys.Encrypt(ctx, first, []byte("text"), ehsm)).Data, ehsm)); string(o.Data) != "text" {
		t.Errorf("opens to %q", o.Data)
	}
	_, err = keys.Export(ctx, second, 0)
	kind(t, "exporting what is not exportable", err, kms.Misused)
}

// TestKeyEndSDK: a deletion is scheduled, cancelled, scheduled again and due.
func TestKeyEndSDK(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, _ := n.enrol()
	ctx, keys := t.Context(), c.Keys()
	for i := range 5 {
		ok(keys.Create(ctx, kms.CreateKeyRequest{Alias: fmt.Sprint("alias/", i), Tags: []kms.Tag{{Name: "i", Value: fmt.Sprint(i)}}}))
	}
	if d := ok(keys.ScheduleDeletion(ctx, "alias/0", 1)); d.State != kms.PendingDeletion || d.Due.Sub(d.Created) < kms.Day {
		t.Errorf("%+v", d)
	}
	_, err := keys.ScheduleDeletion(ctx, "alias/0", 1)
	kind(t, "twice", err, kms.Exists)
	_, err = keys.Encrypt(ctx, "alias/0", []byte("x"), client.CipherOptions{})
	kind(t, "use meanwhile", err, kms.Disabled)
	if p := ok(keys.List(ctx, client.KeyFilter{State: kms.PendingDeletion})); len(p.Keys) != 1 || p.Next != "" {
		t.Errorf("%+v", p)
	}
	if d := ok(keys.CancelDeletion(ctx, "alias/0")); d.State != kms.Enabled {
		t.Errorf("%+v", d)
	}
	_, err = keys.CancelDeletion(ctx, "alias/0")
	kind(t, "cancelled again", err, kms.Misused)
	d := ok(keys.ScheduleDeletion(ctx, "alias/0", 1))
	n.Clock.Move(kms.Day)
	_, err = keys.CancelDeletion(ctx, d.ID.String())
	kind(t, "cancelled when it is due", err, kms.NotFound)
	_, err = keys.Describe(ctx, "alias/0")
	kind(t, "its alias", err, kms.NotFound)
	_, err = keys.ScheduleDeletion(ctx, "alias/1", 31)
	kind(t, "31 days", err, kms.Invalid)

	var seen []string
	for f := (client.KeyFilter{PageSize: 3}); ; {
		p := ok(keys.List(ctx, f))
		for _, k := range p.Keys {
			seen = append(seen, k.Aliases...)
		}
		if f.Page = p.Next; f.Page == "" {
			break
		}
	}
	if slices.Sort(seen); !slices.Equal(seen, []string{"alias/1", "alias/2", "alias/3", "alias/4"}) {
		t.Errorf("listed %v", seen)
	}
	if p := ok(keys.List(ctx, client.KeyFilter{Tag: "i", Value: "3"})); len(p.Keys) != 1 || p.Keys[0].Tags[0].Value != "3" {
		t.Errorf("%+v", p)
	}
	kind(t, "deleting", keys.Delete(ctx, "alias/1"), nil)
	_, err = keys.Describe(ctx, "alias/1")
	kind(t, "a deleted one", err, kms.NotFound)
}

// TestKeysOfOthers: to another app no key and no alias is there, whatever it
// calls, and nothing of them changes.
func TestKeysOfOthers(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c, _ := n.enrol()
	other, _ := n.enrol()
	ctx, theirs := t.Context(), other.Keys()
	key := ok(c.Keys().Create(ctx, kms.CreateKeyRequest{Alias: "alias/main", Exportable: true}))
	sealed := ok(c.Keys().Encrypt(ctx, "alias/main", []byte("x"), client.CipherOptions{})).Data
	ok(theirs.Create(ctx, kms.CreateKeyRequest{Alias: "alias/own"}))
	before := ok(c.Keys().Describe(ctx, "alias/main"))
	for _, name := range []string{key.ID.String(), "alias/main"} {
		for what, call := range map[string]func() error{
			"Describe":          func() error { _, err := theirs.Describe(ctx, name); return err },
			"Enable":            func() error { return theirs.Enable(ctx, name) },
			"Disable":           func() error { return theirs.Disable(ctx, name) },
			"Rotate":            func() error { _, err := theirs.Rotate(ctx, name); return err },
			"SetVersionState":   func() error { _, err := theirs.SetVersionState(ctx, name, 1, kms.VersionDisabled); return err },
			"ScheduleDeletion":  func() error { _, err := theirs.ScheduleDeletion(ctx, name, 7); return err },
			"CancelDeletion":    func() error { _, err := theirs.CancelDeletion(ctx, name); return err },
			"SetDescription":    func() error { _, err := theirs.SetDescription(ctx, name, "mine"); return err },
			"Tag":               func() error { _, err := theirs.Tag(ctx, name, kms.Tag{Name: "mine"}); return err },
			"Untag":             func() error { _, err := theirs.Untag(ctx, name, "mine"); return err },
			"CreateAlias":       func() error { _, err := theirs.CreateAlias(ctx, "alias/mine", name); return err },
			"UpdateAlias":       func() error { _, err := theirs.UpdateAlias(ctx, "alias/own", name); return err },
			"Aliases":           func() error { _, err := theirs.Aliases(ctx, name, ""); return err },
			"Encrypt":           func() error { _, err := theirs.Encrypt(ctx, name, []byte("x"), client.CipherOptions{}); return err },
			"Decrypt":           func() error { _, err := theirs.Decrypt(ctx, name, sealed, client.CipherOptions{}); return err },
			"Decrypt by itself": func() error { _, err := theirs.Decrypt(ctx, "", sealed, client.CipherOptions{}); return err },
			"Reencrypt from":    func() error { _, err := theirs.Reencrypt(ctx, sealed, client.Move{Target: "alias/own"}); return err },
			"Reencrypt to":      func() error { _, err := theirs.Reencrypt(ctx, sealed, client.Move{Target: name}); return err },
			"GenerateDataKey":   func() error { _, err := theirs.GenerateDataKey(ctx, name, 16, client.CipherOptions{}); return err },
			"without plaintext": func() error {
				_, err := theirs.GenerateDataKeyWithoutPlaintext(ctx, name, 16, client.CipherOptions{})
				return err
			},
			"Sign": func() error { _, err := theirs.Sign(ctx, name, kms.SigningInput{Message: []byte("x")}); return err },
			"Verify": func() error {
				_, err := theirs.Verify(ctx, name, kms.SigningInput{Message: []byte("x")}, []byte("x"))
				return err
			},
			"PublicKey":        func() error { _, err := theirs.PublicKey(ctx, name); return err },
			"GenerateMac":      func() error { _, err := theirs.GenerateMac(ctx, name, []byte("x")); return err },
			"VerifyMac":        func() error { _, err := theirs.VerifyMac(ctx, name, []byte("x"), []byte("x")); return err },
			"ImportParameters": func() error { _, err := theirs.ImportParameters(ctx, name, kms.SM2); return err },
			"ImportMaterial": func() error {
				_, err := theirs.ImportMaterial(ctx, name, []byte("x"), kms.WrapSM2, []byte("x"))
				return err
			},
			"Export": func() error { _, err := theirs.Export(ctx, name, 0); return err },
		} {
			kind(t, what+" of "+name, call(), kms.NotFound)
		}
	}
	kind(t, "Delete of an id", theirs.Delete(ctx, key.ID.String()), nil) // as of any id that is not there
	kind(t, "Delete of an alias", theirs.Delete(ctx, "alias/main"), kms.NotFound)
	kind(t, "DeleteAlias", theirs.DeleteAlias(ctx, "alias/main"), kms.NotFound)
	if p := ok(theirs.List(ctx, client.KeyFilter{})); len(p.Keys) != 1 {
		t.Errorf("they see %d keys", len(p.Keys))
	}
	if p := ok(theirs.Aliases(ctx, "", "")); len(p.Aliases) != 1 {
		t.Errorf("they see %v", p.Aliases)
	}
	if after := ok(c.Keys().Describe(ctx, "alias/main")); after.Revision != before.Revision || len(after.Aliases) != 1 {
		t.Errorf("it changed: %+v", after)
	}
	// A name means each app's own key.
	ok(theirs.CreateAlias(ctx, "alias/main", "alias/own"))
	if a, b := ok(theirs.Describe(ctx, "alias/main")), ok(c.Keys().Describe(ctx, "alias/main")); a.ID == b.ID {
		t.Error("one name means another app's key")
	}
}

// TestKeysHostile sends what is signed and wrong.
func TestKeysHostile(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	_, app := n.enrol()
	r := &reader{node: n, t: t, client: n.http(false)}
	post := func(method, body string) (int, string) {
		status, text := r.post(method, body, kms.CredentialID(app.ID), app.APIKey)
		return status, string(text)
	}
	if status, text := post("CreateKey", `{"alias":"alias/main"}`); status != 200 {
		t.Fatal(text)
	}
	for name, c := range map[string][2]string{
		"no key":                   {"DescribeKey", `{}`},
		"a key that is none":       {"DescribeKey", `{"key":"main"}`},
		"an id in upper case":      {"DescribeKey", `{"key":"AAAAAAAA-0000-0000-0000-000000000000"}`},
		"an alias that is none":    {"DescribeKey", `{"key":"alias/a b"}`},
		"a spec that is none":      {"CreateKey", `{"spec":"AES-512-GCM"}`},
		"an eHSM spec":             {"CreateKey", `{"spec":"EH_AES_GCM_128"}`},
		"an origin that is none":   {"CreateKey", `{"origin":"found"}`},
		"usages that are none":     {"CreateKey", `{"usages":["fly"]}`},
		"a usage twice":            {"CreateKey", `{"usages":["encrypt","encrypt"]}`},
		"expired at birth":         {"CreateKey", `{"expires":"2001-01-01T00:00:00Z"}`},
		"an alias without prefix":  {"CreateKey", `{"alias":"main"}`},
		"a tag twice":              {"CreateKey", `{"tags":[{"name":"a"},{"name":"a"}]}`},
		"a condition that is none": {"CreateKey", `{"condition":"{}"}`},
		"both bindings":            {"Encrypt", `{"key":"alias/main","plaintext":"eA==","binding":{"aad":"eA==","context":{"a":"b"}}}`},
		"a map's member twice":     {"Encrypt", `{"key":"alias/main","plaintext":"eA==","binding":{"context":{"a":"b","a":"c"}}}`},
		"a layout that is none":    {"Encrypt", `{"key":"alias/main","plaintext":"eA==","layout":7}`},
		"a padding that is none":   {"Encrypt", `{"key":"alias/main","plaintext":"eA==","padding":"ZERO"}`},
		"a context for eHSM":       {"Encrypt", `{"key":"alias/main","plaintext":"eA==","layout":"LAYOUT_EHSM","binding":{"context":{"a":"b"}}}`},
		"nothing to encrypt":       {"Encrypt", `{"key":"alias/main"}`},
		"a large page":             {"ListKeys", `{"pageSize":1001}`},
		"a token that is none":     {"ListKeys", `{"pageToken":"2"}`},
		"a state that is none":     {"ListKeys", `{"state":"lost"}`},
		"a value without a tag":    {"ListKeys", `{"tagValue":"x"}`},
		"another token":            {"ListAliases", `{"pageToken":"x"}`},
		"many days":                {"ScheduleKeyDeletion", `{"key":"alias/main","days":4294967295}`},
		"a version's state":        {"SetKeyVersionState", `{"key":"alias/main","version":1,"state":"lost"}`},
		"no version":               {"SetKeyVersionState", `{"key":"alias/main","state":"disabled"}`},
		"no random bytes":          {"GenerateRandom", `{}`},
		"many random bytes":        {"GenerateRandom", `{"length":4294967295}`},
		"a long data key":          {"GenerateDataKey", `{"key":"alias/main","length":1025}`},
		"a wrapping that is none":  {"ImportKeyMaterial", `{"key":"alias/main","wrapping":"x"}`},
		"a digest that is none":    {"Sign", `{"key":"alias/main","digest":"MD5","message":"eA=="}`},
		"an unknown member":        {"RotateKey", `{"key":"alias/main","force":true}`},
	} {
		if status, text := post(c[0], c[1]); status != 400 {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if status, text := post("DescribeKey", `{"key":"alias/main"}`); status != 200 {
		t.Errorf("the key is gone: %s", text)
	}
}
