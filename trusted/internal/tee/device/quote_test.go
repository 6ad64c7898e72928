package device_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/device"
)

var at = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func quotes(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for name, kind := range map[string]struct {
		tee attest.TEE
		tdx int
	}{"SGX 3": {attest.SGX, 0}, "TDX 4": {attest.TDX, 4}, "TDX 5": {attest.TDX, 5}} {
		p, err := simtee.Config{TDXQuote: kind.tdx}.Create(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		ev, err := p.Evidence(kind.tee, [64]byte{1}, at)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = ev.Quote
	}
	return all
}

func TestTrim(t *testing.T) {
	for name, quote := range quotes(t) {
		t.Run(name, func(t *testing.T) {
			same := func(what string, in, want []byte) {
				if got := device.Trim(bytes.Clone(in)); !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes of %d, want %d", what, len(got), len(in), len(want))
				}
			}
			padded := append(bytes.Clone(quote), make([]byte, 3000)...)
			same("exact", quote, quote)
			same("padded", padded, quote)
			more := bytes.Clone(padded)
			more[len(more)-1] = 1
			same("followed by something", more, more)
			same("short of one byte", quote[:len(quote)-1], quote[:len(quote)-1])
			same("header alone", quote[:48], quote[:48])
			unknown := bytes.Clone(padded)
			unknown[0] = 9
			same("another version", unknown, unknown)
		})
	}
}

func FuzzTrim(f *testing.F) {
	for _, quote := range quotes(f) {
		f.Add(quote)
		f.Add(append(quote[:len(quote):len(quote)], 0, 0))
	}
	f.Fuzz(func(t *testing.T, quote []byte) {
		got := device.Trim(quote)
		if !bytes.HasPrefix(quote, got) || len(bytes.Trim(quote[len(got):], "\x00")) > 0 {
			t.Errorf("of %x %x is left", quote, got)
		}
	})
}
