package replica

import (
	"encoding/binary"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

// A verdict is what became of a command, as far as who forwarded it needs to
// know: where his own machine has applied the entry he takes the result from
// there.
type verdict struct {
	at     point
	key    kms.KeyID // zero: none
	failed bool
	kind   kms.Kind
	said   string // the error's message, field and hint
	field  string
	hint   string
}

// An outcome's body is
//
//	index (8) | term (8) | key (16) | 0 or 1 + kind (1) | three strings, each with its length (2) in front
const outcomeFixed = 8 + 8 + len(kms.KeyID{}) + 1 + 3*2

// maxSaid bounds each string of an outcome.
const maxSaid = 2 << 10

func verdictOf(at point, r state.Result) verdict {
	v := verdict{at: at}
	if r.Key != nil {
		v.key = r.Key.ID
	}
	if e := r.Err; e != nil {
		v.failed, v.kind, v.field, v.hint = true, e.Kind, e.Field, e.Hint
		if e.Err != nil {
			v.said = e.Err.Error()
		}
	}
	return v
}

// result is the verdict as a node finds it that has applied the entry without
// seeing it, in a snapshot.
func (v verdict) result(view *state.View) state.Result {
	r := state.Result{Index: v.at.index}
	if v.failed {
		r.Err = kms.Errorf(v.kind, "%s", v.said).WithField(v.field).WithHint(v.hint)
	}
	if v.key != (kms.KeyID{}) {
		r.Key, _ = view.Key(v.key)
	}
	return r
}

func (v verdict) bytes() []byte {
	b := append(make([]byte, 0, outcomeFixed+len(v.said)+len(v.field)+len(v.hint)), v.at.bytes()...)
	b = append(b, v.key[:]...)
	mark := byte(0)
	if v.failed {
		mark = 1 + byte(v.kind)
	}
	b = append(b, mark)
	for _, s := range []string{v.said, v.field, v.hint} {
		s = s[:min(len(s), maxSaid)]
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
	}
	return b
}

func parseVerdict(b []byte) (v verdict, err error) {
	malformed := kms.Errorf(kms.Invalid, "an outcome of unknown form")
	if len(b) < outcomeFixed {
		return v, malformed
	}
	v.at = parsePoint(b)
	b = b[pointLen:]
	b = b[copy(v.key[:], b):]
	if mark := b[0]; mark > 0 {
		v.failed, v.kind = true, kms.Kind(mark-1)
		if int(v.kind) >= len(kms.Kinds()) {
			return v, malformed
		}
	}
	b = b[1:]
	for _, s := range []*string{&v.said, &v.field, &v.hint} {
		if len(b) < 2 {
			return v, malformed
		}
		n := int(binary.BigEndian.Uint16(b))
		if n > maxSaid || len(b) < 2+n {
			return v, malformed
		}
		*s, b = string(b[2:2+n]), b[2+n:]
	}
	if len(b) > 0 || (!v.failed && v.said+v.field+v.hint != "") {
		return v, malformed
	}
	return v, nil
}
