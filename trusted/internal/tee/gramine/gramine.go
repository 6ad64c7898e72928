// Package gramine is Intel SGX as a program under the Gramine library OS sees
// it: a folder of files, /dev/attestation, that Gramine answers from within
// the enclave.
//
// Writing 64 bytes of report data and reading the quote over them are two
// accesses to one register of the process, so both happen in one turn, and a
// quote over anything else is an error. What the quote proves is for attest to
// say; this package believes nothing of it.
//
// Source: Gramine documentation, "Attestation and Secret Provisioning".
package gramine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/device"
)

// Dir is where Gramine has its files.
const Dir = device.Folder("/dev/attestation")

// Names in that folder, and what they hold.
const (
	typeFile       = "attestation_type"
	reportDataFile = "user_report_data"
	quoteFile      = "quote"
	// keyFile is the key that only an enclave of this MRENCLAVE on this
	// processor can derive (EGETKEY, seal key, policy MRENCLAVE). The one of the
	// signer would be every program's that he signs.
	keyFile = "keys/_sgx_mrenclave"

	typeDCAP = "dcap"

	maxType  = 64
	keyLen   = 16
	keyLabel = "gramine/sgx/mrenclave" // of the derivation; other label, other key
)

const (
	hintType  = `run holdfastd with gramine-sgx, on a machine with SGX, under a manifest that says sgx.remote_attestation = "dcap"`
	hintQuote = "see that the host's quoting service (AESM) runs and reaches its provisioning cache"
	hintKey   = "run holdfastd with gramine-sgx: gramine-direct and old versions of Gramine have no sealing keys"
)

// Files is the folder. A file that is not there is fs.ErrNotExist.
type Files interface {
	// ReadFile reads a file to its end; longer than max bytes is an error.
	ReadFile(name string, max int) ([]byte, error)
	// WriteFile writes data in one call.
	WriteFile(name string, data []byte) error
}

// A Platform is the enclave that this process runs in. It is safe for use by
// several goroutines.
type Platform struct {
	files Files
	turn  device.Turn
}

// Open finds the enclave. The error is NotFound if this process does not run
// under Gramine, and Unavailable if it does and cannot attest.
func Open(files Files) (*Platform, error) {
	b, err := files.ReadFile(typeFile, maxType)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, kms.Errorf(kms.NotFound, "not under Gramine: %w", err)
	}
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "asking Gramine how it attests: %w", err).WithHint(hintType)
	}
	if kind := strings.TrimSpace(string(b)); kind != typeDCAP {
		return nil, kms.Errorf(kms.Unavailable, "Gramine attests by %q, want %q", kind, typeDCAP).WithHint(hintType)
	}
	return &Platform{files: files, turn: device.NewTurn()}, nil
}

// Name is "sgx".
func (p *Platform) Name() string { return string(attest.SGX) }

// Evidence has the enclave quoted over reportData. It comes without
// collateral. The error is Unavailable.
func (p *Platform) Evidence(ctx context.Context, reportData [64]byte) (attest.Evidence, error) {
	var quote []byte
	err := p.turn.Take(ctx, func() (err error) {
		quote, err = p.quote(reportData)
		return err
	})
	if err != nil {
		return attest.Evidence{}, kms.Errorf(kms.Unavailable, "quoting the enclave: %w", err).WithHint(hintOr(err, hintQuote))
	}
	return attest.Evidence{TEE: attest.SGX, Quote: quote}, nil
}

func (p *Platform) quote(reportData [64]byte) ([]byte, error) {
	if err := p.files.WriteFile(reportDataFile, reportData[:]); err != nil {
		return nil, err
	}
	b, err := p.files.ReadFile(quoteFile, intel.MaxQuote)
	if err != nil {
		return nil, err
	}
	b = device.Trim(b)
	parsed, err := sgx.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("the quote: %w", err)
	}
	return b, device.Carries(parsed.Report.ReportData, reportData)
}

// SealingKey returns 32 bytes that only an enclave of this MRENCLAVE on this
// processor with this microcode can derive again. The caller clears them. The
// error is Unavailable.
func (p *Platform) SealingKey(ctx context.Context) (key []byte, err error) {
	err = p.turn.Take(ctx, func() error {
		hardware, err := p.files.ReadFile(keyFile, 4*keyLen) // room to say how much too long it is
		if err != nil {
			return err
		}
		key, err = device.SealingKey(keyLabel, hardware, keyLen)
		return err
	})
	if err != nil {
		return nil, kms.Errorf(kms.Unavailable, "deriving the sealing key: %w", err).WithHint(hintOr(err, hintKey))
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
