package kms_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
)

func TestPermissions(t *testing.T) {
	for p := kms.Permissions(1); p <= kms.PermAll; p++ {
		if got, err := kms.ParsePermissions(p.Names()); err != nil || got != p || !p.Valid() || p.String() != strings.Join(p.Names(), ",") {
			t.Errorf("%d is read back as %d, %v", p, got, err)
		}
	}
	for _, names := range [][]string{nil, {}, {""}, {"all"}, {"Use"}, {"use", "use"}, {"use,read"}, {"use", "admin"}} {
		if p, err := kms.ParsePermissions(names); p != 0 || !errors.Is(err, kms.Invalid) {
			t.Errorf("%q: %v, %v", names, p, err)
		}
	}
	if kms.Permissions(0).Valid() || kms.Permissions(32).Valid() || kms.Permissions(255).Valid() {
		t.Error("no permissions, or unknown ones, are valid")
	}
	if !slices.Equal(kms.PermAll.Names(), []string{"use", "manage", "secrets", "read"}) {
		t.Errorf("all are %q", kms.PermAll)
	}
}

func TestCredentialNames(t *testing.T) {
	for name, good := range map[string]bool{
		"": true, "ci job #1 ~": true, strings.Repeat("x", kms.MaxCredentialName): true, strings.Repeat("x", kms.MaxCredentialName+1): false,
		"a\nb": false, "\x00": false, "\x7f": false, "é": false, "\xff": false,
	} {
		if kms.ValidCredentialName(name) != good {
			t.Errorf("%q is good: %t", name, !good)
		}
	}
}
