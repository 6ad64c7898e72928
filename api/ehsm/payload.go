package ehsm

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// args is a payload, decoded.
type args struct {
	key         kms.KeyID
	noKey       bool      // the key id is well formed for eHSM, but no key of ours can have it
	target      kms.KeyID // of the key that another key's content goes to
	noTarget    bool
	data        []byte // plaintext, ciphertext, message or wrapped key
	aad         []byte
	proof       []byte // signature or MAC
	token       []byte
	length      int
	spec        kms.Spec
	origin      kms.Origin
	usages      kms.Usages
	exportable  bool
	padding     kms.Padding
	wrapping    kms.Wrapping
	digest      kms.Digest
	messageType wire.MessageType

	secretName  []byte
	description []byte
	rotation    kms.RotationInterval
	force       bool

	echo       []byte // what the reply repeats as it was sent
	collateral []byte
	policy     kms.QuotePolicyID
	hasPolicy  bool
	noPolicy   bool // a policy is named that no policy of ours can be
	mrenclave  [32]byte
	mrsigner   [32]byte
}

// checkPayload checks and decodes the payload field by field.
func (x *exchange) checkPayload(rt *route) *answer {
	for i := range rt.fields {
		f := &rt.fields[i]
		v := f.in(x.req.Payload)
		if v.Unset() {
			if f.required {
				return emptyField(f)
			}
			continue
		}
		if refused := f.read(x, f, v); refused != nil {
			return refused
		}
	}
	return nil
}

// in finds the field's value in a payload.
func (f *field) in(payload value) value {
	v := payload.Get(f.name)
	for i := 0; i < len(f.also) && v.Unset(); i++ {
		v = payload.Get(f.also[i])
	}
	return v
}

// text returns a string within the field's bounds.
func (f *field) text(v value) ([]byte, *answer) {
	if !isText(v) {
		return nil, invalidField(f.name, "must be of string type")
	}
	s := v.Text()
	// Characters are never more than bytes: most strings need no counting.
	if len(s) > f.max && wire.UTF16Len(s) > f.max || f.min > 1 && wire.UTF16Len(s) < f.min {
		return nil, invalidField(f.name, "length error")
	}
	return s, nil
}

// readKeyID accepts what eHSM does: 36 lower-case letters, digits and dashes.
// Only hexadecimal ids can exist; the others are unknown, not malformed.
func readKeyID(x *exchange, f *field, v value) *answer {
	s, refused := f.text(v)
	if refused != nil {
		return refused
	}
	if !isKeyID(s) {
		return invalidField(f.name, "format wrong")
	}
	id, err := kms.ParseKeyID(string(s))
	x.args.key, x.args.noKey = id, err != nil
	return nil
}

// isKeyID reports whether s has the form 8-4-4-4-12 in lower-case letters and
// digits.
func isKeyID(s []byte) bool {
	if len(s) != lenKeyID {
		return false
	}
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		word := '0' <= c && c <= '9' || 'a' <= c && c <= 'z'
		if dash && c != '-' || !dash && !word {
			return false
		}
	}
	return true
}

// readTarget reads the id of the key to export to, which eHSM does not check: one
// that is malformed is unknown.
func readTarget(x *exchange, f *field, v value) *answer {
	s, refused := f.text(v)
	if refused != nil {
		return refused
	}
	id, err := kms.ParseKeyID(string(s))
	x.args.target, x.args.noTarget = id, err != nil
	return nil
}

func readData(x *exchange, f *field, v value) (refused *answer) {
	x.args.data, refused = x.decode(f, v)
	return refused
}

func readAAD(x *exchange, f *field, v value) (refused *answer) {
	x.args.aad, refused = x.decode(f, v)
	return refused
}

func readProof(x *exchange, f *field, v value) (refused *answer) {
	x.args.proof, refused = x.decode(f, v)
	return refused
}

func readSignature(x *exchange, f *field, v value) *answer {
	refused := readProof(x, f, v)
	if n := len(x.args.proof); refused == nil && n > maxSignature && n != 2420 && n != 3309 && n != 4627 { // FIPS 204, table 2
		return &serverException
	}
	return refused
}

// readToken answers what cannot be a token as eHSM does, whose validator does
// not look at it and whose manager then fails.
func readToken(x *exchange, f *field, v value) (refused *answer) {
	if x.args.token, refused = x.decode(f, v); refused != nil {
		return &importFailed
	}
	return nil
}

// decode reads base64 into the exchange's scratch memory, which has room for all
// fields of the payload.
func (x *exchange) decode(f *field, v value) ([]byte, *answer) {
	s, refused := f.text(v)
	if refused != nil {
		return nil, refused
	}
	start := len(x.scratch.B)
	// Taken before it is written to: half of what does not decode is wiped too.
	x.scratch.B = x.scratch.B[:start+base64.StdEncoding.DecodedLen(len(s))]
	out := x.scratch.B[start:]
	n, ok := decodeBase64(out, s)
	if !ok {
		return nil, invalidField(f.name, "not a vailed base64 string")
	}
	return out[:n:n], nil
}

// decodeBase64 decodes standard, padded base64. As in eHSM the bits that padding
// leaves over need not be zero.
func decodeBase64(dst, src []byte) (int, bool) {
	// Go's decoder skips line ends, which eHSM refuses.
	if len(src) == 0 || bytes.IndexByte(src, '\n') >= 0 || bytes.IndexByte(src, '\r') >= 0 {
		return 0, false
	}
	n, err := base64.StdEncoding.Decode(dst, src)
	return n, err == nil
}

func readLength(x *exchange, f *field, v value) *answer {
	n, ok := v.Integer()
	switch {
	case !ok:
		return invalidField(f.name, "must be of integer type")
	case n > float64(f.max):
		return tooGreat(f)
	case n < float64(f.min):
		return tooSmall(f)
	}
	x.args.length = int(n)
	return nil
}

// word reads a name of the protocol; numbers are refused as unknown names are.
func word[T any](f *field, v value, parse func(string) (T, bool), into *T) *answer {
	if isText(v) {
		if w, known := parse(string(v.Text())); known {
			*into = w
			return nil
		}
	}
	return invalidField(f.name, "type is incorrect")
}

func readSpec(x *exchange, f *field, v value) *answer {
	return word(f, v, wire.ParseSpec, &x.args.spec)
}

func readOrigin(x *exchange, f *field, v value) *answer {
	return word(f, v, wire.ParseOrigin, &x.args.origin)
}

func readPadding(x *exchange, f *field, v value) *answer {
	return word(f, v, wire.ParsePadding, &x.args.padding)
}

// readWrapping answers a padding that is no wrapping as eHSM does: the name is
// known, and the core fails.
func readWrapping(x *exchange, f *field, v value) *answer {
	var padding kms.Padding
	switch {
	case word(f, v, wire.ParseWrapping, &x.args.wrapping) == nil:
		return nil
	case word(f, v, wire.ParsePadding, &padding) == nil:
		return &serverException
	}
	return invalidField(f.name, "type is incorrect")
}

func readExportable(x *exchange, f *field, v value) *answer {
	if k := v.Kind(); k != wire.True && k != wire.False {
		return invalidField(f.name, "must be of boolean type")
	}
	x.args.exportable = v.Kind() == wire.True
	return nil
}

func readDigest(x *exchange, f *field, v value) *answer {
	return word(f, v, wire.ParseDigest, &x.args.digest)
}

func readMessageType(x *exchange, f *field, v value) *answer {
	return word(f, v, wire.ParseMessageType, &x.args.messageType)
}

// readUsages answers an unknown name as eHSM does, whose validator lets it pass
// and whose core then fails.
func readUsages(x *exchange, f *field, v value) *answer {
	if word(f, v, wire.ParseUsages, &x.args.usages) != nil {
		return &serverException
	}
	return nil
}

// readChallenge keeps what is sent beside what it means: base64 has several
// spellings of the same bytes, and the reply repeats the sender's.
func readChallenge(x *exchange, f *field, v value) (refused *answer) {
	x.args.echo = v.Text()
	x.args.data, refused = x.decode(f, v)
	return refused
}

func readQuoteNonce(x *exchange, f *field, v value) *answer {
	x.args.echo = v.Text()
	_, refused := x.decode(f, v)
	return refused
}

func readCollateral(x *exchange, f *field, v value) (refused *answer) {
	x.args.collateral, refused = x.decode(f, v)
	return refused
}

// readPolicyID accepts the ids that readKeyID does.
func readPolicyID(x *exchange, f *field, v value) *answer {
	s, refused := f.text(v)
	if refused != nil {
		return refused
	}
	if !isKeyID(s) {
		return invalidField(f.name, "format wrong")
	}
	id, err := kms.ParseQuotePolicyID(string(s))
	x.args.policy, x.args.hasPolicy, x.args.noPolicy = id, err == nil, err != nil
	return nil
}

// readAskedPolicy is readPolicyID where the reply repeats the id.
func readAskedPolicy(x *exchange, f *field, v value) *answer {
	x.args.echo = v.Text()
	return readPolicyID(x, f, v)
}

func readMRENCLAVE(x *exchange, f *field, v value) *answer {
	return measurement(f, v, &x.args.mrenclave)
}

func readMRSIGNER(x *exchange, f *field, v value) *answer {
	return measurement(f, v, &x.args.mrsigner)
}

// measurement reads hexadecimal digits of either case. eHSM kept whatever had
// the length, and compared it with lower case.
func measurement(f *field, v value, into *[32]byte) *answer {
	s, refused := f.text(v)
	if refused != nil {
		return refused
	}
	if len(s) != hex.EncodedLen(len(into)) { // of characters beyond ASCII
		return invalidField(f.name, "format wrong")
	}
	if _, err := hex.Decode(into[:], s); err != nil {
		return invalidField(f.name, "format wrong")
	}
	return nil
}
