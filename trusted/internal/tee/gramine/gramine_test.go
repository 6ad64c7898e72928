package gramine_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/intel"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/gramine"
)

var at = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// An enclave plays Gramine's folder: one register of report data for the whole
// process, and a quote over what is in it.
type enclave struct {
	machine *simtee.Platform
	files   map[string][]byte             // what else it has
	fail    map[string]error              // by file
	edit    func(quote []byte) []byte     // nil: as it is
	swap    func(asked [64]byte) [64]byte // nil: what was asked

	mu       sync.Mutex
	register [64]byte
	overlaps int
	asking   bool
	key      []byte // as it was handed out last
}

func newEnclave(t testing.TB) *enclave {
	t.Helper()
	machine, err := simtee.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return &enclave{machine: machine, fail: map[string]error{}, files: map[string][]byte{
		"attestation_type":    []byte("dcap"),
		"keys/_sgx_mrenclave": []byte("0123456789abcdef"),
		"keys/_sgx_mrsigner":  []byte("the signer's key"),
	}}
}

func (e *enclave) ReadFile(name string, max int) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.fail[name]; err != nil {
		return nil, err
	}
	b, ok := e.files[name]
	if name == "quote" {
		b, ok = e.quote(), true
	}
	switch {
	case !ok:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case len(b) > max:
		return nil, kms.Errorf(kms.TooLarge, "more than %d bytes", max)
	}
	b = bytes.Clone(b)
	if name == "keys/_sgx_mrenclave" {
		e.key = b
	}
	return b, nil
}

func (e *enclave) quote() []byte {
	e.asking = false
	asked := e.register
	if e.swap != nil {
		asked = e.swap(asked)
	}
	ev, err := e.machine.Evidence(attest.SGX, asked, at)
	if err != nil {
		panic(err)
	}
	if e.edit != nil {
		return e.edit(ev.Quote)
	}
	return ev.Quote
}

func (e *enclave) WriteFile(name string, data []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.fail[name]; err != nil {
		return err
	}
	if name != "user_report_data" || len(data) != 64 {
		return fs.ErrInvalid
	}
	if e.asking {
		e.overlaps++
	}
	e.asking, e.register = true, [64]byte(data)
	return nil
}

func open(t testing.TB, e *enclave) *gramine.Platform {
	t.Helper()
	p, err := gramine.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestOpen(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind []byte
		fail error
		want kms.Kind // Internal: it opens
		says string
	}{
		{name: "dcap", kind: []byte("dcap")},
		{name: "with a newline", kind: []byte("dcap\n")},
		{name: "no folder", fail: fs.ErrNotExist, want: kms.NotFound, says: "not under Gramine"},
		{name: "gramine-direct", kind: []byte("none"), want: kms.Unavailable, says: `attests by "none"`},
		{name: "EPID", kind: []byte("epid"), want: kms.Unavailable, says: `attests by "epid"`},
		{name: "empty", kind: []byte{}, want: kms.Unavailable, says: `attests by ""`},
		{name: "endless", kind: bytes.Repeat([]byte("dcap"), 1000), want: kms.Unavailable, says: "more than"},
		{name: "no permission", fail: fs.ErrPermission, want: kms.Unavailable, says: "permission"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnclave(t)
			e.files["attestation_type"], e.fail["attestation_type"] = tt.kind, tt.fail
			p, err := gramine.Open(e)
			if tt.want == kms.Internal {
				if err != nil || p.Name() != "sgx" {
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

func TestEvidence(t *testing.T) {
	asked := [64]byte{1, 2, 3}
	for name, edit := range map[string]func([]byte) []byte{
		"as it is": nil,
		"padded":   func(quote []byte) []byte { return append(quote, make([]byte, 1000)...) },
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnclave(t)
			e.edit = edit
			ev, err := open(t, e).Evidence(t.Context(), asked)
			if err != nil {
				t.Fatal(err)
			}
			if ev.TEE != attest.SGX || ev.Collateral != nil {
				t.Errorf("TEE %q, collateral of %d bytes", ev.TEE, len(ev.Collateral))
			}
			published, err := e.machine.Evidence(attest.SGX, asked, at)
			if err != nil {
				t.Fatal(err)
			}
			ev.Collateral = published.Collateral
			claims, err := sgx.Verify(ev, at)
			measurement := e.machine.Measurement()
			if err != nil || !claims.ReportData.Equal(asked[:]) || !claims.Simulated || !claims.SGX.MRENCLAVE.Equal(measurement[:]) {
				t.Errorf("%+v, %v", claims, err)
			}
		})
	}
}

func TestBadEvidence(t *testing.T) {
	for _, tt := range []struct {
		name string
		play func(*enclave)
		says string
	}{
		{"report data swapped", func(e *enclave) { e.swap = func([64]byte) [64]byte { return [64]byte{9} } }, "other report data"},
		{"one bit swapped", func(e *enclave) { e.swap = func(b [64]byte) [64]byte { b[63] ^= 1; return b } }, "other report data"},
		{"truncated", func(e *enclave) { e.edit = func(q []byte) []byte { return q[:len(q)-1] } }, "the quote"},
		{"half", func(e *enclave) { e.edit = func(q []byte) []byte { return q[:len(q)/2] } }, "the quote"},
		{"empty", func(e *enclave) { e.edit = func(q []byte) []byte { return nil } }, "the quote"},
		{"extended", func(e *enclave) { e.edit = func(q []byte) []byte { return append(q, 1) } }, "too long"},
		{"endless", func(e *enclave) { e.edit = func(q []byte) []byte { return append(q, make([]byte, intel.MaxQuote)...) } }, "more than"},
		{"of a TDX machine", func(e *enclave) {
			e.edit = func([]byte) []byte {
				ev, _ := e.machine.Evidence(attest.TDX, e.register, at)
				return ev.Quote
			}
		}, "the quote"},
		{"no quote", func(e *enclave) { e.fail["quote"] = fs.ErrNotExist }, "not exist"},
		{"no register", func(e *enclave) { e.fail["user_report_data"] = fs.ErrNotExist }, "not exist"},
		{"quoting service down", func(e *enclave) { e.fail["quote"] = errors.New("input/output error") }, "input/output"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEnclave(t)
			tt.play(e)
			ev, err := open(t, e).Evidence(t.Context(), [64]byte{1})
			if !errors.Is(err, kms.Unavailable) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want one that says %q", err, tt.says)
			}
			if ev.Quote != nil || kms.HintOf(err) == "" {
				t.Errorf("evidence of %d bytes, hint %q", len(ev.Quote), kms.HintOf(err))
			}
		})
	}
}

// TestConcurrentEvidence asks for many things at once. The register is one, so
// without turns somebody would get another's quote.
func TestConcurrentEvidence(t *testing.T) {
	e := newEnclave(t)
	p := open(t, e)
	const callers, each = 8, 10
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
				if q, err := sgx.Parse(ev.Quote); err != nil || !bytes.Equal(q.Report.ReportData, asked[:]) {
					t.Errorf("caller %d got another's quote: %v", caller, err)
				}
			}
		})
	}
	wg.Wait()
	if e.overlaps > 0 {
		t.Errorf("%d times the register was written before the quote over it was read", e.overlaps)
	}
}

func TestEndedBefore(t *testing.T) {
	p := open(t, newEnclave(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Evidence(ctx, [64]byte{}); !errors.Is(err, kms.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("evidence: %v", err)
	}
	if _, err := p.SealingKey(ctx); !errors.Is(err, kms.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("sealing key: %v", err)
	}
}

func TestSealingKey(t *testing.T) {
	e := newEnclave(t)
	first, err := open(t, e).SealingKey(t.Context())
	if err != nil || len(first) != 32 {
		t.Fatalf("%d bytes, %v", len(first), err)
	}
	if !bytes.Equal(e.key, make([]byte, 16)) {
		t.Error("the hardware's key was not cleared")
	}
	if bytes.Contains(first, e.files["keys/_sgx_mrenclave"]) {
		t.Error("the hardware's key was handed out")
	}
	again, err := open(t, e).SealingKey(t.Context())
	if err != nil || !bytes.Equal(first, again) {
		t.Errorf("another key after a restart, %v", err)
	}
	e.files["keys/_sgx_mrsigner"] = []byte("another signer's")
	if other, err := open(t, e).SealingKey(t.Context()); err != nil || !bytes.Equal(first, other) {
		t.Errorf("the key follows the signer, %v", err)
	}
	e.files["keys/_sgx_mrenclave"][0] ^= 1
	if other, err := open(t, e).SealingKey(t.Context()); err != nil || bytes.Equal(first, other) {
		t.Errorf("another enclave has the same key, %v", err)
	}
}

func TestBadSealingKey(t *testing.T) {
	for name, key := range map[string][]byte{
		"missing": nil, "empty": {}, "one byte short": []byte("0123456789abcde"), "one byte long": []byte("0123456789abcdef0"),
		"twice as long": []byte("0123456789abcdef0123456789abcdef"), "endless": slices.Repeat([]byte("0123456789abcdef"), 1000), "zeros": make([]byte, 16),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnclave(t)
			e.files["keys/_sgx_mrenclave"] = key
			if key == nil {
				delete(e.files, "keys/_sgx_mrenclave")
			}
			got, err := open(t, e).SealingKey(t.Context())
			if !errors.Is(err, kms.Unavailable) || got != nil || kms.HintOf(err) == "" {
				t.Errorf("%x, %v", got, err)
			}
			if len(key) > 0 && strings.Contains(err.Error(), "0123") {
				t.Errorf("the key is in the error: %v", err)
			}
		})
	}
}
