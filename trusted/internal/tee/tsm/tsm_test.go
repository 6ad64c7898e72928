package tsm_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-sev-guest/abi"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/attest/tdx"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/tsm"
)

func TestOpen(t *testing.T) {
	for _, tt := range []struct {
		name string
		play func(*kernel)
		want kms.Kind // Internal: it opens
		says string
	}{
		{"TDX", func(*kernel) {}, kms.Internal, "tdx"},
		{"SEV-SNP", func(k *kernel) { k.provider = "sev_guest" }, kms.Internal, "snp"},
		{"no configfs-tsm", func(k *kernel) { k.noEntry = fs.ErrNotExist }, kms.NotFound, "no TDX or SEV-SNP guest"},
		{"no driver behind it", func(k *kernel) { k.noEntry = syscall.ENXIO }, kms.NotFound, "no TDX or SEV-SNP guest"},
		{"no permission", func(k *kernel) { k.noEntry = fs.ErrPermission }, kms.Unavailable, "permission"},
		{"another TEE", func(k *kernel) { k.provider = "arm_cca_guest\n" }, kms.Unavailable, "arm_cca_guest"},
		{"no name", func(k *kernel) { k.provider = "" }, kms.Unavailable, `provider ""`},
		{"no provider", func(k *kernel) { k.fail["provider"] = fs.ErrNotExist }, kms.Unavailable, "provider"},
		{"no generation", func(k *kernel) { k.fail["generation"] = fs.ErrNotExist }, kms.Unavailable, "generation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKernel(t, attest.TDX, simtee.Config{})
			tt.play(k)
			p, err := tsm.Open(t.Context(), tsm.Config{Configfs: k})
			k.left(t)
			if tt.want == kms.Internal {
				if err != nil || p.Name() != tt.says {
					t.Errorf("%v", err)
				}
				return
			}
			if !errors.Is(err, tt.want) || p != nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %v that says %q", err, tt.want, tt.says)
			}
			if tt.want == kms.Unavailable && kms.HintOf(err) == "" {
				t.Errorf("no hint: %v", err)
			}
		})
	}
}

// TestThisMachine asks the real kernel. Where it has a TEE this says so.
func TestThisMachine(t *testing.T) {
	p, err := tsm.Open(t.Context(), tsm.Config{})
	switch {
	case err == nil:
		t.Logf("this machine is %q", p.Name())
	case kms.KindOf(err) != kms.NotFound && kms.KindOf(err) != kms.Unavailable:
		t.Error(err)
	}
}

var kinds = []struct {
	name   string
	tee    attest.TEE
	cfg    simtee.Config
	verify attest.Verifier
}{
	{"TDX 4", attest.TDX, simtee.Config{}, tdx.Verify},
	{"TDX 5", attest.TDX, simtee.Config{TDXQuote: 5}, tdx.Verify},
	{"SNP", attest.SNP, simtee.Config{}, snp.Verify},
}

func TestEvidence(t *testing.T) {
	asked := [64]byte{1, 2, 3}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			k := newKernel(t, kind.tee, kind.cfg)
			if kind.tee == attest.SNP {
				k.table = table(chain(t, k.machine))
			}
			ev, err := open(t, k, nil).Evidence(t.Context(), asked)
			k.left(t)
			if err != nil {
				t.Fatal(err)
			}
			if kind.tee == attest.TDX {
				if ev.Collateral != nil {
					t.Errorf("collateral of %d bytes: TDX machines have none", len(ev.Collateral))
				}
				published, err := k.machine.Evidence(kind.tee, asked, at)
				if err != nil {
					t.Fatal(err)
				}
				ev.Collateral = published.Collateral
			}
			claims, err := kind.verify(ev, at)
			if err != nil || ev.TEE != kind.tee || !claims.ReportData.Equal(asked[:]) || !claims.Simulated {
				t.Errorf("%+v, %v", claims, err)
			}
		})
	}
}

// TestPadded is a quote in a buffer that is longer.
func TestPadded(t *testing.T) {
	k := newKernel(t, attest.TDX, simtee.Config{})
	k.edit = func(quote []byte) []byte { return append(quote, make([]byte, 8000-len(quote))...) }
	ev, err := open(t, k, nil).Evidence(t.Context(), [64]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tdx.Parse(ev.Quote); err != nil {
		t.Error(err)
	}
}

func TestBadEvidence(t *testing.T) {
	other := func([64]byte) [64]byte { return [64]byte{9} }
	for _, tt := range []struct {
		name string
		play func(*kernel)
		says string
	}{
		{"report data swapped", func(k *kernel) { k.swap = other }, "other report data"},
		{"one bit swapped", func(k *kernel) { k.swap = func(b [64]byte) [64]byte { b[63] ^= 1; return b } }, "other report data"},
		{"truncated", func(k *kernel) { k.edit = func(r []byte) []byte { return r[:len(r)-1] } }, ""},
		{"half", func(k *kernel) { k.edit = func(r []byte) []byte { return r[:len(r)/2] } }, ""},
		{"empty", func(k *kernel) { k.edit = func([]byte) []byte { return nil } }, ""},
		{"extended", func(k *kernel) { k.edit = func(r []byte) []byte { return append(r, 1) } }, ""},
		{"noise", func(k *kernel) { k.edit = func(r []byte) []byte { return bytes.Repeat([]byte{0xa5}, len(r)) } }, ""},
		{"of another TEE", func(k *kernel) {
			k.tee = map[attest.TEE]attest.TEE{attest.TDX: attest.SNP, attest.SNP: attest.TDX}[k.tee]
		}, ""},
		{"somebody else wrote meanwhile", func(k *kernel) { k.bump = true }, "generation"},
		{"no report", func(k *kernel) { k.fail["outblob"] = syscall.EIO }, "outblob"},
		{"busy", func(k *kernel) { k.fail["inblob<"] = syscall.EBUSY }, "inblob"},
		{"the provider changed", func(k *kernel) { k.provider = "arm_cca_guest" }, "the provider changed"},
		{"the provider is the other one now", func(k *kernel) {
			k.provider = map[string]string{"tdx_guest\n": "sev_guest\n", "sev_guest\n": "tdx_guest\n"}[k.provider]
		}, "the provider changed"},
		{"the provider went", func(k *kernel) { k.fail["provider"] = syscall.ENXIO }, "provider"},
		{"no entry", func(k *kernel) { k.noEntry = fs.ErrPermission }, "permission"},
	} {
		for _, tee := range []attest.TEE{attest.TDX, attest.SNP} {
			t.Run(tt.name+" "+string(tee), func(t *testing.T) {
				k := newKernel(t, tee, simtee.Config{})
				p := open(t, k, nil)
				tt.play(k)
				ev, err := p.Evidence(t.Context(), [64]byte{1})
				if !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("%v, want one that says %q", err, tt.says)
				}
				if ev.Quote != nil || kms.HintOf(err) == "" {
					t.Errorf("evidence of %d bytes, hint %q", len(ev.Quote), kms.HintOf(err))
				}
				k.left(t)
			})
		}
	}
}

func TestConcurrentEvidence(t *testing.T) {
	for _, tee := range []attest.TEE{attest.TDX, attest.SNP} {
		t.Run(string(tee), func(t *testing.T) {
			k := newKernel(t, tee, simtee.Config{})
			p := open(t, k, nil)
			const callers, each = 8, 5
			var wg sync.WaitGroup
			for caller := range callers {
				wg.Go(func() {
					for n := range each {
						asked := [64]byte{byte(caller), byte(n), 1}
						ev, err := p.Evidence(t.Context(), asked)
						if err != nil {
							t.Error(err)
							return
						}
						if !bytes.Equal(carried(ev), asked[:]) {
							t.Errorf("caller %d got another's report", caller)
						}
					}
				})
			}
			wg.Wait()
			k.left(t)
		})
	}
}

func carried(ev attest.Evidence) []byte {
	if ev.TEE == attest.SNP {
		if r, err := abi.ReportToProto(ev.Quote); err == nil {
			return r.ReportData
		}
		return nil
	}
	if q, err := tdx.Parse(ev.Quote); err == nil {
		return q.Report.ReportData
	}
	return nil
}

func TestEndedBefore(t *testing.T) {
	k := newKernel(t, attest.SNP, simtee.Config{})
	p := open(t, k, &firmware{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Evidence(ctx, [64]byte{}); !errors.Is(err, kms.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("evidence: %v", err)
	}
	if _, err := p.SealingKey(ctx); !errors.Is(err, kms.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("sealing key: %v", err)
	}
	if _, err := tsm.Open(ctx, tsm.Config{Configfs: k}); !errors.Is(err, context.Canceled) {
		t.Errorf("opening: %v", err)
	}
}
