package collateral

import (
	"crypto/x509"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// Where the makers publish.
const (
	IntelURL = "https://api.trustedservices.intel.com"
	AMDURL   = "https://kdsintf.amd.com"

	// intelRootListURL is where Intel's root CA publishes its revocation list,
	// which the PCS does not hand out.
	intelRootListURL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der"
	// pccsRootListPath is where a PCCS does.
	pccsRootListPath = "/sgx/certification/v4/rootcacrl"
)

// An Update is which of Intel's verdicts is asked for while a TCB recovery is
// under way.
type Update string

const (
	// Standard is the verdict that holds until the recovery's deadline.
	Standard Update = "standard"
	// Early is the one that holds from then on, as soon as it is published.
	Early Update = "early"
)

// Config says where collateral comes from and where it is kept.
type Config struct {
	// IntelURL is the base of a PCS or PCCS: what comes before "/sgx" and "/tdx".
	// Empty: the constant IntelURL. It may be http: what is fetched is signed.
	IntelURL string
	// IntelRootListURL is where the revocation list of Intel's root CA is, DER or
	// hexadecimal. Empty: where Intel publishes it if IntelURL is Intel's, and
	// otherwise where a PCCS at IntelURL has it.
	IntelRootListURL string
	// AMDURL is the base of the KDS: what comes before "/vcek". Empty: the
	// constant AMDURL.
	AMDURL string
	// Update is which verdict to ask Intel for. Empty: what the service gives
	// unasked, which is Standard.
	Update Update

	// ProxyURL is an HTTP proxy. Empty: none; the environment is not asked.
	ProxyURL string
	// Roots are the CAs that may vouch for the services. Nil: the system's.
	Roots *x509.CertPool
	// Transport makes the requests, for tests. Nil: one made of ProxyURL and Roots.
	Transport http.RoundTripper

	// DevelopmentRoots takes a KDS whose root is not AMD's, for simulated chips.
	// Zero: only AMD's. What is Intel's needs no such setting: it has to be under
	// the root that the quote's own chain ends in.
	DevelopmentRoots bool

	// CacheDir is a folder for what was fetched; it is made if it is not there.
	// Several processes may share it. Empty: in memory only.
	CacheDir string
	// Bundle is what Client.Bundle made. Not nil: it is all there is, and nothing
	// is fetched or kept.
	Bundle []byte

	// Now is the clock. Nil: the system's.
	Now func() time.Time
	// RequestTimeout is how long a single request may take. Zero: 10 s.
	RequestTimeout time.Duration
	// Timeout is how long a service is asked for one thing, with all attempts.
	// Zero: 30 s.
	Timeout time.Duration
	// RefreshEvery is how old something may get before Run asks whether there is
	// news, such as a revocation; half of its life at the latest. Certificates of
	// AMD's chips never change and are let be until then. Zero: 6 h.
	RefreshEvery time.Duration
	// Logger gets warnings. Nil: nobody does.
	Logger *slog.Logger
}

func (cfg *Config) complete() error {
	intel := strings.TrimRight(cfg.IntelURL, "/")
	switch {
	case intel == "":
		intel = IntelURL
		fallthrough
	case intel == IntelURL:
		cfg.IntelRootListURL = orElse(cfg.IntelRootListURL, intelRootListURL)
	default:
		cfg.IntelRootListURL = orElse(cfg.IntelRootListURL, intel+pccsRootListPath)
	}
	cfg.IntelURL = intel
	cfg.AMDURL = strings.TrimRight(orElse(cfg.AMDURL, AMDURL), "/")
	cfg.RequestTimeout = orElse(cfg.RequestTimeout, 10*time.Second)
	cfg.Timeout = orElse(cfg.Timeout, 30*time.Second)
	cfg.RefreshEvery = orElse(cfg.RefreshEvery, 6*time.Hour)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg.check()
}

// orElse is v, or usual if v is zero.
func orElse[T comparable](v, usual T) T {
	var zero T
	if v == zero {
		return usual
	}
	return v
}

func (cfg *Config) check() error {
	for _, f := range []struct{ name, url string }{
		{"IntelURL", cfg.IntelURL}, {"IntelRootListURL", cfg.IntelRootListURL}, {"AMDURL", cfg.AMDURL},
		{"ProxyURL", orElse(cfg.ProxyURL, IntelURL)},
	} {
		u, err := url.Parse(f.url)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
			return kms.Errorf(kms.Invalid, "not the address of a service").WithField(f.name).
				WithHint("it begins with https:// and has neither a query nor a fragment")
		}
	}
	switch {
	case cfg.Update != "" && cfg.Update != Standard && cfg.Update != Early:
		return kms.Errorf(kms.Invalid, "%q", cfg.Update).WithField("Update").WithHint("it is early or standard")
	case cfg.RequestTimeout < 0 || cfg.Timeout < 0 || cfg.RefreshEvery < 0:
		return kms.Errorf(kms.Invalid, "a time is negative").WithField("Timeout")
	case cfg.Transport != nil && (cfg.ProxyURL != "" || cfg.Roots != nil):
		return kms.Errorf(kms.Invalid, "what makes the requests has a proxy and roots of its own").WithField("Transport")
	}
	return nil
}
