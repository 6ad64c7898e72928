package member

import (
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"unicode"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// What nodes say to each other before a channel is handed out. Each message is
//
//	kind (1) ‖ length of the body (4, big-endian) ‖ body
//
// and nothing follows the last of them but the protocol's own bytes.
type frameKind byte

const (
	frameHello    frameKind = 1 // stand (1) ‖ nonce (32; zeros unless the stand is asking) ‖ socket, of who dialled
	frameEvidence frameKind = 2 // length (1) ‖ TEE ‖ length (4) ‖ quote ‖ collateral
	frameAdmitted frameKind = 3 // empty: the other side is admitted
	frameRefused  frameKind = 4 // 1: denied, 2: not now ‖ why, for a person
)

// Bounds of what is read of another node. Genuine quotes have less than 6 KiB,
// and the vendors' collateral less than 64.
const (
	maxQuote      = 64 << 10
	maxCollateral = 256 << 10
	maxReason     = 512

	frameHead  = 1 + 4
	nonceSize  = 32
	minHello   = 1 + nonceSize
	maxHello   = minHello + kms.MaxSocket
	maxFrame   = 1 + maxTEE + 4 + maxQuote + maxCollateral
	maxTEE     = 8
	deniedCode = 1
	laterCode  = 2
)

func (k frameKind) limit() int {
	switch k {
	case frameHello:
		return maxHello
	case frameEvidence:
		return maxFrame
	case frameRefused:
		return 1 + maxReason
	}
	return 0
}

var errFrame = kms.Errorf(kms.Denied, "the node does not speak the protocol of channels")

// writeFrame writes one message at once.
func writeFrame(w io.Writer, k frameKind, body []byte) error {
	b := binary.BigEndian.AppendUint32([]byte{byte(k)}, uint32(len(body)))
	if _, err := w.Write(append(b, body...)); err != nil {
		return kms.Errorf(kms.Unavailable, "writing to the node: %w", err)
	}
	return nil
}

// readFrame reads one message, which must be of the kind that is due. If it says
// that this node is refused, that is the error.
func readFrame(r io.Reader, due frameKind) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, kms.Errorf(kms.Unavailable, "reading from the node: %w", err)
	}
	k, n := frameKind(head[0]), binary.BigEndian.Uint32(head[1:])
	if k != due && k != frameRefused || uint64(n) > uint64(k.limit()) {
		return nil, errFrame
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, kms.Errorf(kms.Unavailable, "reading from the node: %w", err)
	}
	if k == frameRefused {
		return nil, refusalOf(body)
	}
	return body, nil
}

// A stand is how one side of a connection stands to the other when it begins.
type stand byte

const (
	admitted stand = 1 // the other has shown its evidence before
	asking   stand = 2 // it is to show it here, for the nonce
	waiting  stand = 3 // it is being asked on another connection
)

type hello struct {
	stand  stand
	nonce  [nonceSize]byte
	socket string // where who dialled listens itself, see Channels.reach; "": he does not say
}

func (h hello) body() []byte {
	return append(append([]byte{byte(h.stand)}, h.nonce[:]...), h.socket...)
}

func parseHello(b []byte) (hello, error) {
	if len(b) < minHello {
		return hello{}, errFrame
	}
	h := hello{stand: stand(b[0]), nonce: [nonceSize]byte(b[1:]), socket: string(b[minHello:])}
	if h.stand < admitted || h.stand > waiting || (h.stand == asking) == (h.nonce == [nonceSize]byte{}) || !kms.Printable(h.socket, kms.MaxSocket) {
		return hello{}, errFrame
	}
	return h, nil
}

// evidenceBody prints evidence. The error is TooLarge for what no other node would read.
func evidenceBody(ev attest.Evidence) ([]byte, error) {
	if len(ev.TEE) > maxTEE || len(ev.Quote) > maxQuote || len(ev.Collateral) > maxCollateral {
		return nil, kms.Errorf(kms.TooLarge, "this node's evidence: a quote of %d bytes with %d of collateral", len(ev.Quote), len(ev.Collateral))
	}
	b := make([]byte, 0, maxTEE+1+4+len(ev.Quote)+len(ev.Collateral))
	b = append(append(b, byte(len(ev.TEE))), ev.TEE...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(ev.Quote)))
	return append(append(b, ev.Quote...), ev.Collateral...), nil
}

func parseEvidence(b []byte) (attest.Evidence, error) {
	if len(b) < 1 || b[0] > maxTEE || len(b) < 1+int(b[0])+4 {
		return attest.Evidence{}, errFrame
	}
	tee, b := attest.TEE(b[1:1+b[0]]), b[1+b[0]:]
	n, b := binary.BigEndian.Uint32(b), b[4:]
	if n > maxQuote || int(n) > len(b) || len(b)-int(n) > maxCollateral {
		return attest.Evidence{}, errFrame
	}
	return attest.Evidence{TEE: tee, Quote: b[:n:n], Collateral: b[n:]}, nil
}

// A refusedError is what the other node said.
type refusedError struct{ err *kms.Error }

func (e refusedError) Error() string { return e.err.Error() }
func (e refusedError) Unwrap() error { return e.err }

// refusalBody prints why the other node is refused. What is not about it is not
// for it to know.
func refusalBody(err error) []byte {
	code, text := byte(deniedCode), "not admitted"
	if e, ok := errors.AsType[*kms.Error](err); ok && e.Kind == kms.Denied {
		text = e.Err.Error()
	} else if kms.KindOf(err) == kms.Unavailable {
		code, text = laterCode, "not now"
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "")
	}
	return append([]byte{code}, text...)
}

// refusalOf is the error that a node refused this one with. Its text is the
// other's and goes into logs, so it is one line of what can be printed.
func refusalOf(b []byte) error {
	if len(b) < 1 || b[0] != deniedCode && b[0] != laterCode || !kms.Printable(string(b[1:]), maxReason) {
		return errFrame
	}
	kind := kms.Denied
	if b[0] == laterCode {
		kind = kms.Unavailable
	}
	return refusedError{kms.Errorf(kind, "the other node refuses this one: %s", b[1:])}
}
