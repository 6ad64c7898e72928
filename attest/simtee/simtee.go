// Package simtee plays the part of a trusted execution environment, so that a
// whole domain runs on any machine. It protects nothing: the "fuses" of the
// pretended processor are a file that whoever reads the folder can read too.
//
// What it keeps of the real thing is the shape. The sealing key follows the
// fuses, the microcode and the measurement, as SGX derives one under the
// MRENCLAVE policy: another machine, another program or another microcode gets
// another key. Evidence has the vendors' own formats, with full chains and
// collateral; verifiers that were written for the real thing accept it once
// they are given its root, and refuse it until then. Every certificate says
// DEVELOPMENT ONLY.
//
// It is the one package beside host/ that may keep a folder, and only
// cmd/holdfast and tests may import it.
package simtee

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

const (
	secretLen     = 32
	platformIDLen = 16
	sealingKeyLen = 32

	sealingLabel     = "holdfast simulated platform sealing key v1"
	measurementLabel = "holdfast development measurement v1"

	hintForeignRoot = "leave Config.Root out, or open the folder that this root was given to"
)

// Config says what the simulated platform pretends. What it was made with
// stays in its folder; everything else is said again at each start.
type Config struct {
	// Measurement is what attestation proves the program to be, and MRENCLAVE.
	// Zero: DevMeasurement, which no rebuild changes.
	Measurement [32]byte
	// Program is what else evidence says of the program.
	Program Program
	// Root certifies the machine. Nil: Create makes a new root, and Open takes
	// the one that Create put into the folder. Several machines are under one
	// root if they were created with it; to open one with it only saves time.
	Root *Root
	// Misfortune is what befalls the machine. Zero: nothing.
	Misfortune Misfortune
	// TDXQuote is the version of TDX quotes: 4 or 5. Zero: 4.
	TDXQuote int
	// Forge falsifies evidence, for tests of verifiers. Nil: it is true.
	Forge *Forge
}

// DevMeasurement is the measurement of every development build. It is fixed,
// so that a rebuilt program still opens the folder it left.
func DevMeasurement() [32]byte { return sha256.Sum256([]byte(measurementLabel)) }

// A Platform is one simulated machine with one program in it. It is safe for
// use by several goroutines.
type Platform struct {
	id  string
	cfg Config // without gaps
	// seal and burnt hold the secret. A closure is the one thing that no print
	// verb and no encoder looks into.
	seal func(microcode uint8, measurement [32]byte) ([]byte, error)
	// burnt is what the fuses hold under a label: an endless string of bytes.
	burnt func(label string) io.Reader
	// vendor certifies the machine; it is not cfg.Root if the Misfortune is
	// Foreign or a Forge edits its certificates.
	vendor *Root
	intel  func() (*intelMachine, error)
	amd    func() (*amdMachine, error)
}

// Create makes the fuses of a new machine in dir, which is made if it is not
// there, and opens it. The error is Exists if dir has fuses already.
func Create(dir string) (*Platform, error) { return Config{}.Create(dir) }

// Open reads the fuses in dir. The error is NotFound if there are none, and
// Damaged if the file is not what Create wrote.
func Open(dir string) (*Platform, error) { return Config{}.Open(dir) }

// Create is the function Create for what cfg pretends.
func (cfg Config) Create(dir string) (*Platform, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Root == nil {
		cfg.Root = NewRoot()
	}
	f := fuses{root: cfg.Root.secret()}
	rand.Read(f.secret[:]) // never fails: crypto/rand ends the program instead
	rand.Read(f.platform[:])
	if err := writeFuses(dir, &f); err != nil {
		return nil, err
	}
	return cfg.platform(&f), nil
}

// Open is the function Open for what cfg pretends. The error is Conflict if
// the machine was created under another root than cfg.Root.
func (cfg Config) Open(dir string) (*Platform, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	f, err := readFuses(dir)
	if err != nil {
		return nil, err
	}
	if cfg.Root == nil {
		cfg.Root = newRoot(f.root)
	}
	if cfg.Root.secret() != f.root {
		return nil, kms.Errorf(kms.Conflict, "opening the simulated platform: it is under another root").WithFile(dir).WithHint(hintForeignRoot)
	}
	return cfg.platform(f), nil
}

func (cfg Config) check() error {
	if v := cfg.TDXQuote; v != 0 && v != 4 && v != 5 {
		return kms.Errorf(kms.Invalid, "no TDX quote has version %d", v).WithHint("4 and 5 are simulated")
	}
	if r := cfg.Misfortune.Recovery; r < NoRecovery || r > Applied {
		return kms.Errorf(kms.Invalid, "no TCB recovery has stage %d", r)
	}
	return nil
}

func (cfg Config) platform(f *fuses) *Platform {
	if cfg.Measurement == ([32]byte{}) {
		cfg.Measurement = DevMeasurement()
	}
	cfg.Program = cfg.Program.filled(cfg.Measurement)
	p := &Platform{id: hex.EncodeToString(f.platform[:]), cfg: cfg, vendor: cfg.Root}
	secret, salt := bytes.Clone(f.secret[:]), bytes.Clone(f.platform[:])
	clear(f.secret[:])
	p.seal = func(microcode uint8, m [32]byte) ([]byte, error) {
		return hkdf.Key(sha256.New, secret, salt, sealingLabel+string([]byte{microcode})+string(m[:]), sealingKeyLen)
	}
	p.burnt = func(label string) io.Reader { return stream(secret, label) }
	if cfg.Misfortune.Foreign {
		p.vendor = cfg.Root.foreign()
	}
	if cfg.Forge != nil {
		p.vendor = p.vendor.forged(cfg.Forge)
	}
	p.intel, p.amd = sync.OnceValues(p.newIntelMachine), sync.OnceValues(p.newAMDMachine)
	return p
}

// SealingKey returns 32 bytes that only this machine, with the microcode it
// has and running a program of this measurement, can derive again. The caller
// owns the slice and clears it.
func (p *Platform) SealingKey(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, kms.Errorf(kms.Unavailable, "deriving the sealing key: %w", err)
	}
	key, err := p.seal(p.cfg.Misfortune.Recovery.level().microcode, p.cfg.Measurement)
	if err != nil {
		return nil, kms.Errorf(kms.Internal, "deriving the sealing key: %w", err)
	}
	return key, nil
}

// Evidence makes the machine sign reportData, and adds what the vendor has
// published by the time at: an SGX quote of version 3, a TDX quote of version
// 4 or 5 or an SNP report of version 2. The first evidence for SNP takes a
// third of a second, to find the keys of the root.
func (p *Platform) Evidence(tee attest.TEE, reportData [64]byte, at time.Time) (attest.Evidence, error) {
	ev := attest.Evidence{TEE: tee}
	var err error
	switch tee {
	case attest.SGX, attest.TDX:
		ev.Quote, ev.Collateral, err = p.intelEvidence(tee, reportData, at)
	case attest.SNP:
		ev.Quote, ev.Collateral, err = p.amdEvidence(reportData, at)
	default:
		return attest.Evidence{}, kms.Errorf(kms.Invalid, "no simulated platform has a TEE %q", tee)
	}
	if err != nil {
		return attest.Evidence{}, kms.Errorf(kms.Internal, "minting %s evidence: %w", tee, err)
	}
	return ev, nil
}

func (p *Platform) intelEvidence(tee attest.TEE, reportData [64]byte, at time.Time) (quote, collateral []byte, err error) {
	m, err := p.intel()
	if err != nil {
		return nil, nil, err
	}
	said, err := m.collateral(tee, at)
	if err != nil {
		return nil, nil, err
	}
	quote, err = m.quote(tee, reportData)
	return quote, bytes.Clone(said.bundle), err
}

func (p *Platform) amdEvidence(reportData [64]byte, at time.Time) (report, collateral []byte, err error) {
	m, err := p.amd()
	if err != nil {
		return nil, nil, err
	}
	said, err := m.collateral(at)
	if err != nil {
		return nil, nil, err
	}
	report, err = m.report(reportData)
	return report, bytes.Clone(said), err
}

// Published is what the vendor's service answers about the machine at the time
// at. It is for SGX and TDX; AMD publishes nothing but what is in the evidence.
func (p *Platform) Published(tee attest.TEE, at time.Time) (Published, error) {
	if _, ok := quotingEnclaves[tee]; !ok {
		return Published{}, kms.Errorf(kms.Invalid, "nothing is published about TEE %q", tee)
	}
	m, err := p.intel()
	if err != nil {
		return Published{}, kms.Errorf(kms.Internal, "certifying the platform: %w", err)
	}
	said, err := m.collateral(tee, at)
	if err != nil {
		return Published{}, kms.Errorf(kms.Internal, "publishing about the platform: %w", err)
	}
	return said.published.clone(), nil
}

// Root is the root that the machine was created under.
func (p *Platform) Root() *Root { return p.cfg.Root }

// Program is what evidence says of the program, with every gap filled.
func (p *Platform) Program() Program { return p.cfg.Program }

// Measurement is what attestation proves the program to be.
func (p *Platform) Measurement() [32]byte { return p.cfg.Measurement }

// ID names the machine: 32 lower-case hexadecimal digits, fixed by Create.
func (p *Platform) ID() string { return p.id }

// Name is "simulated".
func (p *Platform) Name() string { return "simulated" }

// Simulated is true: nothing here is protected from the machine's owner.
func (p *Platform) Simulated() bool { return true }
