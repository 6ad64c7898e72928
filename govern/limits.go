package govern

import (
	"fmt"

	"github.com/holdfast-kms/holdfast/kms"
)

// Limits of limits.
const (
	MaxAppLimits = 256       // apps that have limits of their own
	maxPerSecond = 1_000_000 // of a rate
	maxBurst     = 1_000_000
	maxCount     = 10_000_000 // keys or secrets of an app
)

// Defaults where a policy says nothing. They are part of the protocol: every node
// must refuse the same command.
const (
	DefaultMaxKeys    = 1_000_000 // of an app
	DefaultMaxSecrets = 100_000   // of an app
)

// Limits says how much of a domain each app may take up. The zero value sets no
// rate.
type Limits struct {
	AppLimits `json:",inline"` // of every app that has none of its own
	Apps      []OwnLimits      `json:"apps,omitempty"` // at most MaxAppLimits
}

// OwnLimits are those of one app, in place of everybody's: what it leaves out is
// not taken from there.
type OwnLimits struct {
	App       kms.AppID `json:"app_id"`
	AppLimits `json:",inline"`
}

// AppLimits bound one app. Rates are of each node; counts of the domain.
type AppLimits struct {
	Keys       uint32 `json:"keys,omitzero"`       // zero: DefaultMaxKeys
	Secrets    uint32 `json:"secrets,omitzero"`    // zero: DefaultMaxSecrets
	Symmetric  Rate   `json:"symmetric,omitzero"`  // operations with symmetric keys
	Asymmetric Rate   `json:"asymmetric,omitzero"` // and with asymmetric ones
	Management Rate   `json:"management,omitzero"` // making, changing, describing, listing
	SecretOps  Rate   `json:"secret_ops,omitzero"` // everything about secrets
}

// A Rate is a token bucket. The zero Rate is no limit.
type Rate struct {
	PerSecond uint32 `json:"per_second"`
	Burst     uint32 `json:"burst,omitzero"` // zero: as many as PerSecond
}

// IsZero reports whether there are no limits but the defaults.
func (l Limits) IsZero() bool { return l.AppLimits == AppLimits{} && len(l.Apps) == 0 }

// Of are the limits of an app.
func (l *Limits) Of(app kms.AppID) AppLimits {
	for i := range l.Apps {
		if l.Apps[i].App == app {
			return l.Apps[i].AppLimits
		}
	}
	return l.AppLimits
}

// MaxKeys is how many keys the app may have.
func (l AppLimits) MaxKeys() uint32 { return orDefault(l.Keys, DefaultMaxKeys) }

// MaxSecrets is how many secrets the app may have.
func (l AppLimits) MaxSecrets() uint32 { return orDefault(l.Secrets, DefaultMaxSecrets) }

func orDefault(n, ifZero uint32) uint32 {
	if n == 0 {
		return ifZero
	}
	return n
}

// Rate is how often the app may ask one node for a class of work.
func (l AppLimits) Rate(c kms.WorkClass) kms.Rate {
	var r Rate
	switch c {
	case kms.SymmetricWork:
		r = l.Symmetric
	case kms.AsymmetricWork:
		r = l.Asymmetric
	case kms.ManagementWork:
		r = l.Management
	case kms.SecretWork:
		r = l.SecretOps
	}
	return kms.Rate{PerSecond: r.PerSecond, Burst: orDefault(r.Burst, r.PerSecond)}
}

func (l Limits) validate() error {
	if len(l.Apps) > MaxAppLimits {
		return kms.Errorf(kms.Invalid, "policy: limits of %d apps, at most %d", len(l.Apps), MaxAppLimits).WithField("limits/apps")
	}
	if err := l.AppLimits.validate("limits"); err != nil {
		return err
	}
	seen := map[kms.AppID]bool{{}: true} // no app has the zero id
	for i, a := range l.Apps {
		at := fmt.Sprintf("limits/apps/%d", i)
		if seen[a.App] {
			return kms.Errorf(kms.Invalid, "policy: no app, or one that is there twice").WithField(at + "/app_id")
		}
		seen[a.App] = true
		if err := a.AppLimits.validate(at); err != nil {
			return err
		}
	}
	return nil
}

func (l AppLimits) validate(at string) error {
	if l.Keys > maxCount {
		return kms.Errorf(kms.Invalid, "policy: at most %d", maxCount).WithField(at + "/keys")
	}
	if l.Secrets > maxCount {
		return kms.Errorf(kms.Invalid, "policy: at most %d", maxCount).WithField(at + "/secrets")
	}
	for _, r := range l.rates() {
		if err := r.rate.validate(at + "/" + r.name); err != nil {
			return err
		}
	}
	return nil
}

type namedRate struct {
	name string
	rate Rate
}

func (l AppLimits) rates() []namedRate {
	return []namedRate{{"symmetric", l.Symmetric}, {"asymmetric", l.Asymmetric}, {"management", l.Management}, {"secret_ops", l.SecretOps}}
}

// validate refuses a rate of nothing: who is to do nothing is not to be enrolled.
func (r Rate) validate(at string) error {
	if r == (Rate{}) {
		return nil
	}
	if r.PerSecond == 0 || r.PerSecond > maxPerSecond {
		return kms.Errorf(kms.Invalid, "policy: a rate is 1 to %d a second", maxPerSecond).WithField(at + "/per_second")
	}
	if r.Burst > maxBurst {
		return kms.Errorf(kms.Invalid, "policy: a burst is at most %d", maxBurst).WithField(at + "/burst")
	}
	return nil
}

func (r Rate) String() string {
	if r.PerSecond == 0 {
		return "no limit"
	}
	return fmt.Sprintf("%d/s, %d at once", r.PerSecond, orDefault(r.Burst, r.PerSecond))
}

// settings lists the same names for every set of limits, for Diff; those of
// single apps are in one.
func (l Limits) settings() []setting {
	all := l.AppLimits.settings("limits/")
	own := make([]string, len(l.Apps))
	for i, a := range l.Apps {
		own[i] = a.App.String() + ": " + a.AppLimits.String()
	}
	return append(all, setting{"limits/apps", listed(own, "none")})
}

func (l AppLimits) settings(at string) []setting {
	all := []setting{{at + "keys", fmt.Sprint(l.MaxKeys())}, {at + "secrets", fmt.Sprint(l.MaxSecrets())}}
	for _, r := range l.rates() {
		all = append(all, setting{at + r.name, r.rate.String()})
	}
	return all
}

func (l AppLimits) String() string {
	text := ""
	for i, s := range l.settings("") {
		if i > 0 {
			text += ", "
		}
		text += s.name + " " + s.value
	}
	return text
}
