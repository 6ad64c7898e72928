package member_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

// FuzzFrame: whatever another node says is refused, or printed again as it was
// said; and a refusal is one line.
func FuzzFrame(f *testing.F) {
	f.Add(member.Frame(member.FrameHello, append([]byte{1}, make([]byte, 32)...)))
	f.Add(member.Frame(member.FrameHello, hello))
	f.Add(member.Frame(member.FrameHello, append(bytes.Clone(hello), "127.0.0.1:9100"...)))
	f.Add(member.Frame(member.FrameEvidence, []byte("\x03sgx\x00\x00\x00\x05quotecollateral")))
	f.Add(member.Frame(member.FrameRefused, []byte("\x01not a program that the policy names")))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if printed, rest, err := member.Reread(b); err == nil && !bytes.Equal(append(printed, rest...), b) {
			t.Errorf("read %x and printed %x", b, printed)
		}
	})
}

// TestReason: what a node hears of why it is refused is one line, of bounded
// length, and nothing that is not about it.
func TestReason(t *testing.T) {
	long := bytes.Repeat([]byte("é"), 600)
	for _, tt := range []struct {
		name string
		err  error
		want string
	}{
		{"denied", kms.Errorf(kms.Denied, "the evidence: %w", attest.Refuse(attest.DebugEnabled, "attributes", "")), "the evidence: attributes: " + attest.DebugEnabled.Error()},
		{"line breaks", kms.Errorf(kms.Denied, "a\nb\x00\xffc"), "a b  c"},
		{"internal", kms.Errorf(kms.Internal, "at 0x1234"), "not admitted"},
		{"untyped", bytes.ErrTooLarge, "not admitted"},
		{"not now", kms.Errorf(kms.Unavailable, "/dev/sgx is gone"), "not now"},
		{"long", kms.Errorf(kms.Denied, "%s", long), string(long[:512])},
		{"long, cut within a letter", kms.Errorf(kms.Denied, "a%s", long), "a" + string(long[:510])},
	} {
		err := member.Refuse(tt.err)
		kind := kms.Denied
		if kms.KindOf(tt.err) == kms.Unavailable {
			kind = kms.Unavailable
		}
		if want := kms.Errorf(kind, "the other node refuses this one: %s", tt.want).Error(); err.Error() != want || kms.KindOf(err) != kind {
			t.Errorf("%s: %q, want %q", tt.name, err, want)
		}
	}
}
