// Package tsm is Intel TDX and AMD SEV-SNP as a program in such a virtual
// machine sees them: the kernel's configfs-tsm, which gives reports of either,
// and the device /dev/sev-guest, from which SEV-SNP derives keys.
//
// Each report is asked for in an entry of its own, one at a time; the kernel's
// generation counter and the report data in the answer both say that it is the
// answer to this question. What the report proves is for attest to say; this
// package believes nothing of it.
//
// TDX derives no keys, so a machine of that kind cannot keep sealed state.
//
// Sources: Linux, Documentation/ABI/testing/configfs-tsm-report and
// Documentation/virt/coco/sev-guest.rst; AMD 56860 (SEV-SNP firmware ABI).
package tsm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/report"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/tdx"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/device"
)

const reports = configfsi.TsmPrefix + "/report"

// providers names the kernel's drivers.
var providers = map[string]attest.TEE{
	"tdx_guest": attest.TDX,
	"sev_guest": attest.SNP,
}

const (
	hintProvider = "holdfastd runs in TDX and SEV-SNP guests; the kernel's driver for them is tdx_guest or sev-guest"
	hintAccess   = "run holdfastd as a user who may make folders in " + reports
	hintReport   = "see that the host answers requests for reports: the kernel's log says why it did not"
	hintTDX      = `TDX has no sealing key: use restart mode "rejoin" in the domain's charter, so that a restarted node is brought up to date by the others`
)

// ErrNoSealingKey is the cause where a TEE has no sealing key at all.
var ErrNoSealingKey = attest.ErrNoSealingKey

// Config says where the devices are.
type Config struct {
	// Configfs is the kernel's; nil: the real one.
	Configfs configfsi.Client
	// OpenKeys opens the device that derives keys; nil: /dev/sev-guest.
	OpenKeys func() (KeyDevice, error)
}

// A Platform is the virtual machine that this process runs in. It is safe for
// use by several goroutines.
type Platform struct {
	cfg  Config
	tee  attest.TEE
	turn device.Turn
}

// Open finds out what kind of machine this is. The error is NotFound if the
// kernel has no configfs-tsm or no driver behind it, and Unavailable if it has
// one that does not answer or is of another TEE.
func Open(ctx context.Context, cfg Config) (*Platform, error) {
	if cfg.Configfs == nil {
		cfg.Configfs = kernel{}
	}
	if cfg.OpenKeys == nil {
		cfg.OpenKeys = openSEVGuest
	}
	p := &Platform{cfg: cfg, turn: device.NewTurn()}
	err := p.turn.Take(ctx, func() (err error) {
		p.tee, err = p.provider()
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (p *Platform) provider() (tee attest.TEE, err error) {
	err = p.withEntry(func(r *report.OpenReport) error {
		name, err := r.ReadOption("provider")
		if err != nil {
			return err
		}
		tee, err = teeOf(name)
		return err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENXIO): // ENXIO: configfs is there, and no driver
		return "", kms.Errorf(kms.NotFound, "no TDX or SEV-SNP guest: %w", err)
	case err != nil:
		return "", kms.Errorf(kms.Unavailable, "asking the kernel which TEE this is: %w", err).WithHint(hintOr(err, hintAccess))
	}
	return tee, nil
}

func teeOf(provider []byte) (attest.TEE, error) {
	name := strings.TrimSpace(string(provider))
	tee, ok := providers[name]
	if !ok {
		return "", kms.Errorf(kms.Unavailable, "provider %.32q", name).WithHint(hintProvider)
	}
	return tee, nil
}

// withEntry lends an entry of configfs-tsm. The library's own Create hides
// why the folder could not be made.
func (p *Platform) withEntry(do func(*report.OpenReport) error) error {
	entry, err := p.cfg.Configfs.MkdirTemp(reports, "holdfast")
	if err != nil {
		return err
	}
	r, err := report.UnsafeWrap(p.cfg.Configfs, entry)
	if err != nil {
		return err
	}
	return errors.Join(do(r), r.Destroy())
}

// Name is "tdx" or "snp".
func (p *Platform) Name() string { return string(p.tee) }

// Evidence has the machine report on itself over reportData. For SEV-SNP the
// host's certificates, if it gives any, are the collateral; for TDX there is
// none. The error is Unavailable.
func (p *Platform) Evidence(ctx context.Context, reportData [64]byte) (ev attest.Evidence, err error) {
	err = p.turn.Take(ctx, func() error {
		ev, err = p.evidence(reportData)
		return err
	})
	if err != nil {
		return attest.Evidence{}, kms.Errorf(kms.Unavailable, "getting a report of this machine: %w", err).WithHint(hintOr(err, hintReport))
	}
	return ev, nil
}

func (p *Platform) evidence(reportData [64]byte) (attest.Evidence, error) {
	a, err := p.ask(reportData)
	switch {
	case err != nil:
		return attest.Evidence{}, err
	case p.tee == attest.SNP:
		ev, _, err := snpEvidence(a, reportData)
		return ev, err
	}
	quote := device.Trim(a.report)
	parsed, err := tdx.Parse(quote)
	if err != nil {
		return attest.Evidence{}, fmt.Errorf("the quote: %w", err)
	}
	return attest.Evidence{TEE: attest.TDX, Quote: quote}, device.Carries(parsed.Report.ReportData, reportData)
}

// An answer is what the kernel says to one request.
type answer struct {
	report       []byte
	certificates []byte // SEV-SNP: the host's table; may be empty
}

func (p *Platform) ask(reportData [64]byte) (a answer, err error) {
	err = p.withEntry(func(r *report.OpenReport) error {
		if err := r.WriteOption("inblob", reportData[:]); err != nil {
			return err
		}
		if a.report, err = r.ReadOption("outblob"); err != nil {
			return err
		}
		if p.tee == attest.SNP {
			if a.certificates, err = r.ReadOption("auxblob"); report.GetGenerationErr(err) != nil {
				return err
			} // without the host's certificates someone else must find them
		}
		name, err := r.ReadOption("provider")
		if err != nil {
			return err
		}
		if tee, err := teeOf(name); err != nil || tee != p.tee {
			return kms.Errorf(kms.Unavailable, "the provider changed to %.32q", name).WithHint(hintProvider)
		}
		return nil
	})
	return a, err
}

// SealingKey returns 32 bytes that only this program can derive again, and
// only on this processor; see sevGuestKey. The caller clears them. The error is
// Unavailable; on TDX its cause is ErrNoSealingKey.
func (p *Platform) SealingKey(ctx context.Context) (key []byte, err error) {
	if p.tee != attest.SNP {
		return nil, kms.Errorf(kms.Unavailable, "deriving the sealing key: %w", ErrNoSealingKey).WithHint(hintTDX)
	}
	err = p.turn.Take(ctx, func() error {
		key, err = p.sevGuestKey()
		return err
	})
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "deriving the sealing key: %w", err).WithHint(hintOr(err, hintDerive))
	}
	return key, nil
}

// hintOr keeps the hint of the cause, which knows more.
func hintOr(err error, otherwise string) string {
	if hint := kms.HintOf(err); hint != "" {
		return hint
	}
	return otherwise
}
