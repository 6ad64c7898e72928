package ehsm

import (
	"bytes"
	"encoding/base64"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// value is short for what every check looks at.
type value = wire.Value

// checkEnvelope checks a request's own members, in eHSM's order.
func checkEnvelope(r *wire.Request, rt *route) *answer {
	switch {
	case r.AppID.Falsy(), r.Timestamp.Falsy(), r.Sign.Falsy(), rt.is(crypto) && r.Payload.Falsy():
		return &missingParameters
	case !isText(r.AppID), !isText(r.Timestamp), !isText(r.Sign), !r.Payload.Falsy() && !isTree(r.Payload):
		return &paramType
	case wire.UTF16Len(r.Nonce.Text()) > maxNonce, r.Nonce.Kind() == wire.Array && r.Nonce.Len() > maxNonce:
		return &nonceLength
	case wire.UTF16Len(r.Timestamp.Text()) != lenTimestamp:
		return &timestampLength
	}
	return nil
}

// sender checks the request's own members and collects what it shows of its
// sender.
func (x *exchange) sender(rt *route) (kms.Credential, *answer) {
	c, refused := x.signer(rt)
	c.Session, c.Client = x.session.ticket, x.session.client
	return c, refused
}

// signer is sender without the session. A workload without an app shows nothing
// else.
func (x *exchange) signer(rt *route) (kms.Credential, *answer) {
	switch {
	case x.v2 != nil:
		return *x.v2, checkUnsigned(x.req, rt)
	case x.session.alone(x.req):
		return kms.Credential{Scheme: kms.SchemeSession}, checkUnsigned(x.req, rt)
	}
	if refused := checkEnvelope(x.req, rt); refused != nil {
		return kms.Credential{}, refused
	}
	return x.credential()
}

// checkUnsigned is all that is asked of the body where the header says who sent
// it: appid, timestamp and nonce mean nothing then. A v1 signature beside the
// header is refused: whoever takes the header away would be left with a request
// that is good for other actions too.
func checkUnsigned(r *wire.Request, rt *route) *answer {
	switch {
	case r.Sign.Kind() != wire.Absent:
		return &signError
	case rt.is(crypto) && r.Payload.Falsy():
		return &missingParameters
	case !r.Payload.Falsy() && !isTree(r.Payload):
		return &paramType
	}
	return nil
}

func isText(v value) bool { return v.Kind() == wire.String }

// isTree is what JavaScript's typeof calls an object.
func isTree(v value) bool { return v.Kind() == wire.Object || v.Kind() == wire.Array }

// credential collects what the request shows of its sender. It judges nothing
// but that the timestamp is a number.
func (x *exchange) credential() (kms.Credential, *answer) {
	at, ok := parseMillis(x.req.Timestamp.Text())
	if !ok {
		return kms.Credential{}, &timestampError
	}
	c := kms.Credential{Scheme: kms.SchemeEHSMv1, Signed: x.req.Signed, MAC: x.parseMAC(), Time: at}
	if !x.req.Nonce.Skipped() {
		c.Nonce = string(x.req.Nonce.AppendCanonical(nil))
	}
	id, err := kms.ParseCredentialID(string(x.req.AppID.Text()))
	c.ID, c.Known = id, err == nil
	return c, nil
}

// parseMillis reads the decimal milliseconds since 1970 of a timestamp.
func parseMillis(text []byte) (time.Time, bool) {
	var ms int64
	for _, c := range text {
		if c < '0' || c > '9' {
			return time.Time{}, false
		}
		ms = ms*10 + int64(c-'0')
	}
	return time.UnixMilli(ms), true
}

// strictBase64 has one spelling for every MAC: nobody can turn a signature that
// was used into one that looks new.
var strictBase64 = base64.StdEncoding.Strict()

// parseMAC decodes the signature. What is not one is no MAC at all, which the
// core refuses as it refuses a wrong one.
func (x *exchange) parseMAC() []byte {
	text := x.req.Sign.Text()
	if len(text) != strictBase64.EncodedLen(wire.MACSize) {
		return nil
	}
	n, err := strictBase64.Decode(x.mac[:], text)
	if err != nil || n != wire.MACSize {
		return nil
	}
	return x.mac[:n]
}

// checkOwn refuses a request for an exact action that carries anything which the
// action does not take.
//
// eHSM's v1 signature covers neither action nor host, and its canonical string
// escapes nothing. So whoever catches a request before it reaches the node (the
// SDKs do not check certificates by default) may send it as another action, or
// with its signed string split differently into members. Replay protection
// allows each signature once, so that it is one or the other, never both. What
// is left is narrowed here, for the actions that cannot be undone by reading,
// those that change state and those that sign, or have the node's TEE sign:
//
//   - A member of another action is refused, so that an Encrypt, Decrypt, Sign,
//     Verify or GenerateDataKey cannot be sent as DeleteKey, nor a Verify of a
//     forged message as the Sign that makes the forgery good.
//   - Split differently, the excess must go into some member. keyid is exactly
//     36 letters, digits and dashes, the names of values are fixed and bytes are
//     base64, so that nothing fits there; a name with the excess in it is
//     foreign. The nonce stands before the payload in the signed string and
//     could swallow it, which would make any request one without a payload,
//     DeleteAllKey; so a nonce with an & in it is refused.
//
// What v1 cannot tell apart remains: GetPublicKey, EnableKey and DisableKey sign
// the same {keyid} that DeleteKey does, ListKey the same nothing that
// DeleteAllKey does, GenerateDataKeyWithoutPlaintext the same as GenerateDataKey.
// Only a signature that covers the action can, which version 2 does; with v1, TLS
// must be checked. ExportKey, which signs that {keyid} too, takes no v1.
func (x *exchange) checkOwn(rt *route) *answer {
	if x.v2 == nil && x.nonceHasSeparator() {
		return invalidField("nonce", "format wrong")
	}
	for name := range x.req.Payload.Members {
		if !rt.takes(name) {
			return foreignField(name, rt)
		}
	}
	return nil
}

func (x *exchange) nonceHasSeparator() bool {
	n := x.req.Nonce
	if isTree(n) { // its names and values join the signed string as well
		return bytes.IndexByte(n.AppendCanonical(nil), '&') >= 0
	}
	return bytes.IndexByte(n.Text(), '&') >= 0
}

func (rt *route) takes(name []byte) bool {
	for i := range rt.fields {
		if f := &rt.fields[i]; f.name == string(name) || slices.Contains(f.also, string(name)) {
			return true
		}
	}
	return false
}
