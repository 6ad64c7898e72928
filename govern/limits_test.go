package govern_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// edited is policy 1 of a new realm, changed.
func edited(t *testing.T, edit func(*govern.Policy)) *govern.Policy {
	t.Helper()
	p := *newRealm(t).founding.Policy
	edit(&p)
	return &p
}

func TestLimitsAreLeftOutWhereThereAreNone(t *testing.T) {
	p := edited(t, func(p *govern.Policy) { p.Limits = govern.Limits{Apps: []govern.OwnLimits{}} })
	if bytes.Contains(p.Canonical(), []byte("limits")) {
		t.Errorf("%s", p.Canonical())
	}
	var app kms.AppID
	l := p.Limits.Of(app)
	if l.MaxKeys() != govern.DefaultMaxKeys || l.MaxSecrets() != govern.DefaultMaxSecrets {
		t.Errorf("%d keys, %d secrets", l.MaxKeys(), l.MaxSecrets())
	}
	for _, c := range kms.WorkClasses() {
		if r := l.Rate(c); r != (kms.Rate{}) {
			t.Errorf("%s: %+v", c, r)
		}
	}
}

func TestLimitsReadBack(t *testing.T) {
	own := kms.AppID{1}
	p := edited(t, func(p *govern.Policy) {
		p.Limits.Keys, p.Limits.Symmetric = 10, govern.Rate{PerSecond: 100, Burst: 5}
		p.Limits.Apps = []govern.OwnLimits{{App: own, AppLimits: govern.AppLimits{Secrets: 3, Asymmetric: govern.Rate{PerSecond: 7}}}}
	})
	want := `"limits":{"keys":10,"symmetric":{"per_second":100,"burst":5},"apps":[{"app_id":"01000000-0000-0000-0000-000000000000","secrets":3,"asymmetric":{"per_second":7}}]}`
	if !strings.Contains(string(p.Canonical()), want) {
		t.Fatalf("%s", p.Canonical())
	}
	got, err := govern.ParsePolicy(p.Canonical())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(p.Limits, got.Limits); d != "" {
		t.Error(d)
	}
	everybody, special := got.Limits.Of(kms.AppID{2}), got.Limits.Of(own)
	if everybody.MaxKeys() != 10 || everybody.Rate(kms.SymmetricWork) != (kms.Rate{PerSecond: 100, Burst: 5}) {
		t.Errorf("everybody's: %+v", everybody)
	}
	// What an app's own limits leave out is not taken from everybody's.
	if special.MaxKeys() != govern.DefaultMaxKeys || special.MaxSecrets() != 3 || special.Rate(kms.SymmetricWork) != (kms.Rate{}) ||
		special.Rate(kms.AsymmetricWork) != (kms.Rate{PerSecond: 7, Burst: 7}) {
		t.Errorf("its own: %+v", special)
	}
}

func TestBadLimits(t *testing.T) {
	many := make([]govern.OwnLimits, govern.MaxAppLimits+1)
	for i := range many {
		many[i].App = kms.AppID{1, byte(i), byte(i >> 8)}
	}
	for field, edit := range map[string]func(*govern.Limits){
		"limits/keys":                  func(l *govern.Limits) { l.Keys = 10_000_001 },
		"limits/secrets":               func(l *govern.Limits) { l.Secrets = 10_000_001 },
		"limits/symmetric/per_second":  func(l *govern.Limits) { l.Symmetric = govern.Rate{Burst: 1} },
		"limits/asymmetric/per_second": func(l *govern.Limits) { l.Asymmetric.PerSecond = 1_000_001 },
		"limits/management/burst":      func(l *govern.Limits) { l.Management = govern.Rate{PerSecond: 1, Burst: 1_000_001} },
		"limits/apps/0/app_id":         func(l *govern.Limits) { l.Apps = []govern.OwnLimits{{}} },
		"limits/apps/1/app_id":         func(l *govern.Limits) { l.Apps = []govern.OwnLimits{{App: kms.AppID{1}}, {App: kms.AppID{1}}} },
		"limits/apps":                  func(l *govern.Limits) { l.Apps = many },
		"limits/apps/0/secret_ops/burst": func(l *govern.Limits) {
			l.Apps = []govern.OwnLimits{{App: kms.AppID{1}, AppLimits: govern.AppLimits{SecretOps: govern.Rate{PerSecond: 1, Burst: 1 << 30}}}}
		},
	} {
		p := edited(t, func(p *govern.Policy) { edit(&p.Limits) })
		var e *kms.Error
		if err := p.Validate(); !errors.As(err, &e) || e.Kind != kms.Invalid || e.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestDiffOfLimits(t *testing.T) {
	old := edited(t, func(*govern.Policy) {})
	next := *old
	next.Limits.Keys, next.Limits.Symmetric = 10, govern.Rate{PerSecond: 100}
	next.Limits.Apps = []govern.OwnLimits{{App: kms.AppID{1}}}
	want := []string{"limits/keys: 1000000 → 10", "limits/symmetric: no limit → 100/s, 100 at once",
		"limits/apps: none → 01000000-0000-0000-0000-000000000000: keys 1000000, secrets 100000, symmetric no limit, asymmetric no limit, management no limit, secret_ops no limit"}
	if d := cmp.Diff(want, lines(govern.Diff(old, &next))); d != "" {
		t.Error(d)
	}
}
