package tsm_test

import (
	"bytes"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-sev-guest/proto/sevsnp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/tsm"
)

// signedByVLEK makes a report say that a cloud's key signed it. Its signature
// does not hold then, but nobody here looks at it.
func signedByVLEK(report []byte) []byte {
	report[0x48] |= 1 << 2
	return report
}

// TestCollateral takes what it can from the host's table: the certificate of
// the key that signed, and then the ones above it without a gap.
func TestCollateral(t *testing.T) {
	whole := &sevsnp.CertificateChain{VcekCert: []byte("vcek"), VlekCert: []byte("vlek"), AskCert: []byte("ask"), ArkCert: []byte("ark")}
	raw := table(whole)
	entry := func(n int) []byte { return raw[24*n:] } // GUID, offset, length
	with := func(edit func(table []byte)) []byte {
		b := bytes.Clone(raw)
		edit(b)
		return b
	}
	for _, tt := range []struct {
		name  string
		table []byte
		vlek  bool
		want  string
	}{
		{"whole", raw, false, "vcek ask ark"},
		{"whole, signed by a VLEK", raw, true, "vlek ask ark"},
		{"padded to a page", append(bytes.Clone(raw), make([]byte, 4096)...), false, "vcek ask ark"},
		{"VCEK alone", table(&sevsnp.CertificateChain{VcekCert: []byte("vcek")}), false, "vcek"},
		{"VCEK alone, signed by a VLEK", table(&sevsnp.CertificateChain{VcekCert: []byte("vcek")}), true, ""},
		{"without the middle", table(&sevsnp.CertificateChain{VcekCert: []byte("vcek"), ArkCert: []byte("ark")}), false, "vcek"},
		{"without the end", table(&sevsnp.CertificateChain{VcekCert: []byte("vcek"), AskCert: []byte("ask")}), false, "vcek ask"},
		{"nothing", nil, false, ""},
		{"zeros", make([]byte, 4096), false, ""},
		{"cut in its header", raw[:30], false, ""},
		{"noise", bytes.Repeat([]byte{0xa5}, 4096), false, ""},
		{"the certificate lies beyond the end", with(func(b []byte) { setRange(b, 0xfffffff0, 8) }), false, ""},
		{"offset and length overflow", with(func(b []byte) { setRange(b, 130, 0xffffffff) }), false, ""},
		{"the certificate is empty", with(func(b []byte) { setRange(b, 130, 0) }), false, ""},
		{"an entry points into the header", with(func(b []byte) { setRange(b, 1, 4) }), false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKernel(t, attest.SNP, simtee.Config{})
			k.table = tt.table
			if tt.vlek {
				k.edit = signedByVLEK
			}
			ev, err := open(t, k, nil).Evidence(t.Context(), [64]byte{1})
			if err != nil {
				t.Fatal(err)
			}
			if got := names(t, ev.Collateral); got != tt.want {
				t.Errorf("collateral %q, want %q", got, tt.want)
			}
		})
	}
	if len(entry(3)) < 24 {
		t.Fatal("the table has another layout than this test says")
	}
}

// setRange sets offset and length of each entry of a table.
func setRange(table []byte, offset, length uint32) {
	for b := table; !bytes.Equal(b[:24], make([]byte, 24)); b = b[24:] {
		binary.LittleEndian.PutUint32(b[16:], offset)
		binary.LittleEndian.PutUint32(b[20:], length)
	}
}

func names(t *testing.T, collateral []byte) string {
	t.Helper()
	var all []string
	for {
		block, rest := pem.Decode(collateral)
		if block == nil {
			break
		}
		all, collateral = append(all, string(block.Bytes)), rest
	}
	if len(collateral) > 0 {
		t.Errorf("%q after the certificates", collateral)
	}
	return strings.Join(all, " ")
}

// TestNoTable is a host that offers no certificates: the report is good, and
// someone else must find them.
func TestNoTable(t *testing.T) {
	k := newKernel(t, attest.SNP, simtee.Config{})
	k.fail["auxblob"] = syscall.ENOENT
	ev, err := open(t, k, nil).Evidence(t.Context(), [64]byte{1})
	if err != nil || ev.Collateral != nil || len(ev.Quote) == 0 {
		t.Errorf("collateral %q, %v", ev.Collateral, err)
	}
}

func TestSealingKey(t *testing.T) {
	k, f := newKernel(t, attest.SNP, simtee.Config{Program: simtee.Program{GuestSVN: 7}}), &firmware{}
	// The simulated machine runs at VMPL 0; this one does not.
	k.edit = func(report []byte) []byte { report[0x30] = 2; return report }
	key := sealingKey(t, k, f)
	k.left(t)
	if len(f.requests) != 1 || f.open != 0 {
		t.Fatalf("%d requests, %d devices left open", len(f.requests), f.open)
	}
	ev, err := k.machine.Evidence(attest.SNP, [64]byte{}, at)
	if err != nil {
		t.Fatal(err)
	}
	committed := binary.LittleEndian.Uint64(ev.Quote[0x1e0:])
	got := f.requests[0]
	if got.RootKeySelect != 2 || got.GuestFieldSelect != 0b111001 || got.Vmpl != 2 || got.GuestSVN != 7 || got.TCBVersion != committed || committed == 0 {
		t.Errorf("asked for %+v; want the chip's key, with TCB %#x, guest SVN, measurement and policy mixed in", got, committed)
	}
	if again := sealingKey(t, k, f); !bytes.Equal(key, again) {
		t.Error("another key after a restart")
	}
	newer := newKernel(t, attest.SNP, simtee.Config{Program: simtee.Program{GuestSVN: 8}})
	newer.edit = k.edit
	if other := sealingKey(t, newer, f); bytes.Equal(key, other) {
		t.Error("the guest SVN changes nothing")
	}
}

func sealingKey(t *testing.T, k *kernel, f *firmware) []byte {
	t.Helper()
	key, err := open(t, k, f).SealingKey(t.Context())
	if err != nil || len(key) != 32 {
		t.Fatalf("%d bytes, %v", len(key), err)
	}
	return key
}

// TestOldFirmware knows one key alone and refuses the bits that choose it.
func TestOldFirmware(t *testing.T) {
	k, f := newKernel(t, attest.SNP, simtee.Config{}), &firmware{old: true}
	sealingKey(t, k, f)
	if len(f.requests) != 2 || f.requests[1].RootKeySelect != 0 {
		t.Errorf("asked %+v", f.requests)
	}
	// With a cloud's key loaded, the default would be that: a key of every chip
	// of the cloud.
	f.requests, k.edit = nil, signedByVLEK
	key, err := open(t, k, f).SealingKey(t.Context())
	if !errors.Is(err, kms.Unavailable) || key != nil || len(f.requests) != 1 {
		t.Errorf("signed by a VLEK: %d bytes, %v, %d requests", len(key), err, len(f.requests))
	}
}

func TestBadSealingKey(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    firmware
		play func(*kernel)
		says string
	}{
		{"no device", firmware{missing: true}, nil, "no such device"},
		{"no answer", firmware{err: syscall.EIO}, nil, "input/output"},
		{"refused", firmware{status: 0x27}, nil, "status 0x27"},
		{"refused as invalid each time", firmware{status: 0x16}, nil, "status 0x16"},
		{"zeros", firmware{zeros: true}, nil, "all zeros"},
		{"a report of another machine", firmware{}, func(k *kernel) { k.swap = func([64]byte) [64]byte { return [64]byte{9} } }, "other report data"},
		{"no report", firmware{}, func(k *kernel) { k.fail["outblob"] = syscall.EIO }, "outblob"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newKernel(t, attest.SNP, simtee.Config{})
			p := open(t, k, &tt.f)
			if tt.play != nil {
				tt.play(k)
			}
			key, err := p.SealingKey(t.Context())
			if !errors.Is(err, kms.Unavailable) || key != nil || !strings.Contains(err.Error(), tt.says) || kms.HintOf(err) == "" {
				t.Errorf("%x, %v, want one that says %q", key, err, tt.says)
			}
			if tt.f.open != 0 {
				t.Errorf("%d devices left open", tt.f.open)
			}
			k.left(t)
		})
	}
}

func TestTDXHasNoSealingKey(t *testing.T) {
	f := &firmware{}
	key, err := open(t, newKernel(t, attest.TDX, simtee.Config{}), f).SealingKey(t.Context())
	if !errors.Is(err, kms.Unavailable) || !errors.Is(err, tsm.ErrNoSealingKey) || key != nil || !strings.Contains(kms.HintOf(err), "rejoin") {
		t.Errorf("%x, %v, hint %q", key, err, kms.HintOf(err))
	}
	if len(f.requests) > 0 {
		t.Error("it asked a device of SEV-SNP")
	}
}

// FuzzTable reads tables of certificates, which are the host's.
func FuzzTable(f *testing.F) {
	whole := table(&sevsnp.CertificateChain{VcekCert: []byte("vcek"), VlekCert: []byte("vlek"), AskCert: []byte("ask"), ArkCert: []byte("ark")})
	overflow := bytes.Clone(whole)
	setRange(overflow, 130, 0xffffffff)
	f.Add(whole, true)
	f.Add(overflow, false)
	f.Add([]byte(nil), false)
	f.Fuzz(func(t *testing.T, table []byte, vlek bool) {
		if got := tsm.Collateral(table, vlek); len(got) > 0 && len(table) == 0 {
			t.Errorf("%q of nothing", got)
		}
	})
}
