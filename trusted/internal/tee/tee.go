// Package tee finds the trusted execution environment that this process runs
// in: an SGX enclave under Gramine, or a TDX or SEV-SNP virtual machine. It is
// the one part of trusted/ that opens files, for a TEE is reached through them;
// it opens those of package gramine and tsm and no others.
//
// Where the files are is fixed. Whoever could choose it could put a file in the
// place of the sealing key, and evidence would not show it.
//
// Nothing here is believed because a file says it. A file that plays a TEE
// gives evidence that fails under the vendor's root, and the server verifies
// its own before it opens anything.
package tee

import (
	"context"
	"errors"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/gramine"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/tsm"
)

// A Platform is the TEE that this process runs in. It is safe for use by
// several goroutines.
type Platform interface {
	// Name is "sgx", "tdx" or "snp".
	Name() string
	// Evidence has the TEE sign reportData. Collateral may be missing. The error
	// is Unavailable.
	Evidence(ctx context.Context, reportData [64]byte) (attest.Evidence, error)
	// SealingKey returns 32 bytes that only this program on this machine can
	// derive, the same after a restart. The caller clears them. The error is
	// Unavailable, and ErrNoSealingKey where there can be none.
	SealingKey(ctx context.Context) ([]byte, error)
}

// ErrNoSealingKey is the cause where a kind of TEE has no sealing key: TDX.
var ErrNoSealingKey = tsm.ErrNoSealingKey

const hintNone = "run holdfastd on a machine with SGX under Gramine (gramine-sgx), or in a TDX or SEV-SNP guest with Linux 6.7 or newer " +
	"and configfs mounted at /sys/kernel/config; to try Holdfast out on any machine, use `holdfast dev`"

// Devices is where to look. The zero Devices are those of this machine.
type Devices struct {
	Gramine gramine.Files // nil: /dev/attestation
	TSM     tsm.Config
}

// Detect finds the TEE of this machine. The error is Unavailable: there is
// none, or one that does not work; the hint says what to do.
func Detect(ctx context.Context) (Platform, error) { return Devices{}.Detect(ctx) }

// Detect is the function Detect for other devices.
func (d Devices) Detect(ctx context.Context) (Platform, error) {
	if d.Gramine == nil {
		d.Gramine = gramine.Dir
	}
	enclave, err := gramine.Open(d.Gramine)
	if err == nil {
		return enclave, nil
	}
	if !errors.Is(err, kms.NotFound) {
		return nil, err
	}
	machine, otherwise := tsm.Open(ctx, d.TSM)
	if otherwise == nil {
		return machine, nil
	}
	if !errors.Is(otherwise, kms.NotFound) {
		return nil, otherwise
	}
	return nil, kms.Errorf(kms.Unavailable, "found no trusted execution environment on this machine: %w; %w", err, otherwise).WithHint(hintNone)
}
