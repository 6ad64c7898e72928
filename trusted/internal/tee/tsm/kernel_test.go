package tsm_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-configfs-tsm/configfs/configfsi"
	"github.com/google/go-configfs-tsm/configfs/faketsm"
	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/client/linuxabi"
	"github.com/google/go-sev-guest/proto/sevsnp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/tsm"
)

var at = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var root = sync.OnceValue(simtee.NewRoot)

// A kernel plays configfs-tsm, by the fake that the library's authors wrote,
// in front of a simulated machine.
type kernel struct {
	*faketsm.Client
	machine  *simtee.Platform
	tee      attest.TEE
	provider string
	noEntry  error                         // why no entry can be made
	fail     map[string]error              // by attribute
	edit     func(report []byte) []byte    // nil: as it is
	swap     func(asked [64]byte) [64]byte // nil: what was asked
	table    []byte                        // of certificates
	bump     bool                          // somebody else writes to the entry meanwhile

	mu      sync.Mutex
	entries int // that are there
	most    int // that were there at once
}

func newKernel(t testing.TB, tee attest.TEE, cfg simtee.Config) *kernel {
	t.Helper()
	cfg.Root = root() // finding its keys takes a third of a second
	machine, err := cfg.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	k := &kernel{machine: machine, tee: tee, fail: map[string]error{},
		provider: map[attest.TEE]string{attest.TDX: "tdx_guest\n", attest.SNP: "sev_guest\n"}[tee]}
	k.Client = &faketsm.Client{Subsystems: map[string]configfsi.Client{"report": &faketsm.ReportSubsystem{
		MakeEntry: func() *faketsm.ReportEntry {
			return &faketsm.ReportEntry{InAttrs: map[string]*faketsm.ReportAttributeState{"inblob": {}}}
		},
		CheckInAttr: func(_ *faketsm.ReportEntry, name string, data []byte) error {
			if name != "inblob" || len(data) != 64 {
				return syscall.EINVAL
			}
			return nil
		},
		ReadAttr: k.read,
		Random:   rand.Reader,
	}}}
	return k
}

// read makes an attribute of an entry.
func (k *kernel) read(e *faketsm.ReportEntry, name string) ([]byte, error) {
	switch name {
	case "outblob":
		asked := [64]byte(e.InAttrs["inblob"].Value)
		if k.swap != nil {
			asked = k.swap(asked)
		}
		ev, err := k.machine.Evidence(k.tee, asked, at)
		if err != nil {
			return nil, err
		}
		if k.bump {
			e.WriteGeneration++
		}
		if k.edit != nil {
			return k.edit(ev.Quote), nil
		}
		return ev.Quote, nil
	case "auxblob":
		if k.tee == attest.SNP {
			return k.table, nil
		}
	}
	return nil, os.ErrNotExist
}

// ReadFile answers some attributes itself: the fake takes the provider for
// part of the report, and the kernel does not.
func (k *kernel) ReadFile(name string) ([]byte, error) {
	k.mu.Lock()
	err, provider := k.fail[path.Base(name)], k.provider
	k.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if path.Base(name) == "provider" {
		return []byte(provider), nil
	}
	return k.Client.ReadFile(name)
}

func (k *kernel) WriteFile(name string, data []byte) error {
	if err := k.fail[path.Base(name)+"<"]; err != nil {
		return err
	}
	return k.Client.WriteFile(name, data)
}

func (k *kernel) MkdirTemp(dir, pattern string) (string, error) {
	if dir != "/sys/kernel/config/tsm/report" {
		return "", fs.ErrInvalid
	}
	if k.noEntry != nil {
		return "", &fs.PathError{Op: "mkdir", Path: dir, Err: k.noEntry}
	}
	k.count(1)
	return k.Client.MkdirTemp(dir, pattern)
}

func (k *kernel) RemoveAll(path string) error {
	k.count(-1)
	return k.Client.RemoveAll(path)
}

func (k *kernel) count(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entries += n
	k.most = max(k.most, k.entries)
}

// left checks that no entry was forgotten: the kernel keeps them for ever.
func (k *kernel) left(t testing.TB) {
	t.Helper()
	if k.entries != 0 || k.most > 1 {
		t.Errorf("%d entries are left, %d were there at once", k.entries, k.most)
	}
}

// chain is the machine's certificates as the host's table has them.
func chain(t testing.TB, machine *simtee.Platform) *sevsnp.CertificateChain {
	t.Helper()
	ev, err := machine.Evidence(attest.SNP, [64]byte{}, at)
	if err != nil {
		t.Fatal(err)
	}
	var ders [][]byte
	for rest := ev.Collateral; ; {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			break
		}
		ders, rest = append(ders, block.Bytes), after
	}
	if len(ders) != 3 {
		t.Fatalf("%d certificates, want 3", len(ders))
	}
	return &sevsnp.CertificateChain{VcekCert: ders[0], AskCert: ders[1], ArkCert: ders[2]}
}

func table(c *sevsnp.CertificateChain) []byte { return abi.CertsFromProto(c).Marshal() }

// A firmware plays /dev/sev-guest: a key follows from all that the request
// names, as far as it selects it.
type firmware struct {
	old     bool // knows no VLEK, and refuses what it does not know
	status  uint32
	zeros   bool
	err     error
	missing bool // there is no device

	requests []linuxabi.SnpDerivedKeyReqABI
	open     int
}

var errNoDevice = errors.New("no such device")

func (f *firmware) openKeys() (tsm.KeyDevice, error) {
	if f.missing {
		return nil, errNoDevice
	}
	f.open++
	return f, nil
}

func (f *firmware) Close() error { f.open--; return nil }

func (f *firmware) Ioctl(command uintptr, argument any) (uintptr, error) {
	request := argument.(*linuxabi.SnpUserGuestRequest)
	asked := request.ReqData.(*linuxabi.SnpDerivedKeyReqABI)
	answer := request.RespData.(*linuxabi.SnpDerivedKeyRespABI)
	f.requests = append(f.requests, *asked)
	switch {
	case command != linuxabi.IocSnpGetDerivedKey:
		return 0, syscall.ENOTTY
	case f.err != nil:
		return 0, f.err
	case f.status != 0:
		answer.Status = f.status
	case f.old && asked.RootKeySelect&^1 != 0:
		answer.Status = 0x16
		return 0, answer.Finish(nil)
	case !f.zeros:
		answer.Data = sha256.Sum256(fmt.Append(nil, *asked))
	}
	return 0, nil
}

func open(t testing.TB, k *kernel, f *firmware) *tsm.Platform {
	t.Helper()
	p, err := tsm.Open(t.Context(), tsm.Config{Configfs: k, OpenKeys: f.openKeys})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
