package govern

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/holdfast-kms/holdfast/kms"
)

// MaxDocument is the length in bytes from which a document is refused unread.
const MaxDocument = 256 << 10

// A document is what every kind of document can do.
type document interface {
	Validate() error
	Canonical() []byte
}

// parseDocument reads a draft: strict JSON, any order and white space.
func parseDocument[T any, P interface {
	*T
	document
}](what string, b []byte) (P, error) {
	d := P(new(T))
	if err := parse(what, b, MaxDocument, d); err != nil {
		return nil, err
	}
	if err := refuseGaps(what, b, d.Canonical()); err != nil {
		return nil, err
	}
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return d, nil
}

// openPayload reads a signed document: a valid one in canonical form.
func openPayload[T any, P interface {
	*T
	document
}](e *Envelope, want PayloadType) (P, error) {
	if e.Type != want {
		return nil, kms.Errorf(kms.Invalid, "%s: an envelope with a %s", want, e.Type).WithField("payloadType")
	}
	d, err := parseDocument[T, P](want.String(), e.Payload)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(d.Canonical(), e.Payload) {
		return nil, kms.Errorf(kms.Invalid, "%s: not in canonical form", want).WithField("payload").
			WithHint("sign the canonical form of the document, which the holdfast command prints")
	}
	return d, nil
}

// parse reads one strict JSON document into v. Duplicate names, invalid UTF-8
// and trailing bytes are refused by the decoder's own defaults.
func parse(what string, b []byte, limit int, v any) error {
	if len(b) > limit {
		return kms.Errorf(kms.TooLarge, "%s: %d bytes, at most %d are read", what, len(b), limit)
	}
	err := json.Unmarshal(b, v, json.RejectUnknownMembers(true), json.WithUnmarshalers(spellings))
	if err == nil {
		return nil
	}
	field, cause := faultyMember(err)
	return kms.Errorf(kms.Invalid, "%s: %w", what, cause).WithField(field)
}

// faultyMember says where in the document err happened, and why.
func faultyMember(err error) (string, error) {
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		cause := err
		if semantic.Err != nil {
			cause = semantic.Err
		}
		return memberName(semantic.JSONPointer), cause
	}
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		return memberName(syntactic.JSONPointer), err
	}
	return "", err
}

func memberName(p jsontext.Pointer) string { return strings.TrimPrefix(string(p), "/") }

// refuseGaps refuses a document with a null in it, or without a member that its
// canonical form has.
func refuseGaps(what string, b, canonical []byte) error {
	said := map[jsontext.Pointer]bool{}
	if err := walk(b, func(at jsontext.Pointer, kind jsontext.Kind) error {
		if said[at] = true; kind == 'n' {
			return kms.Errorf(kms.Invalid, "%s: null says nothing", what).WithField(memberName(at))
		}
		return nil
	}); err != nil {
		return err
	}
	return walk(canonical, func(at jsontext.Pointer, _ jsontext.Kind) error {
		if !said[at] {
			return kms.Errorf(kms.Invalid, "%s: a member is missing", what).WithField(memberName(at))
		}
		return nil
	})
}

// walk visits every name and value of a document that was parsed before, so its
// depth is that of its type.
func walk(b []byte, visit func(jsontext.Pointer, jsontext.Kind) error) error {
	d := jsontext.NewDecoder(bytes.NewReader(b), jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	for {
		token, err := d.ReadToken()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return kms.Errorf(kms.Invalid, "%w", err)
		}
		if err := visit(d.StackPointer(), token.Kind()); err != nil {
			return err
		}
	}
}

// canonical prints a document. It cannot fail: every type in a document prints,
// and what is no UTF-8 is replaced (such a document is not valid, and its print
// does not read back as it).
func canonical(v any) []byte {
	b, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true), json.WithMarshalers(prints))
	if err != nil {
		panic("govern: printing a document: " + err.Error())
	}
	return b
}

// prints and spellings are how types of other packages stand in a document.
var (
	prints = json.JoinMarshalers(
		json.MarshalToFunc(func(e *jsontext.Encoder, t time.Time) error {
			// A fraction, which is not valid, is printed, so that it does not read back.
			return e.WriteToken(jsontext.String(t.UTC().Format("2006-01-02T15:04:05.999999999Z")))
		}),
		json.MarshalToFunc(func(e *jsontext.Encoder, u kms.Usages) error {
			return json.MarshalEncode(e, u.Names())
		}),
		json.MarshalToFunc(func(e *jsontext.Encoder, p kms.Permissions) error {
			return json.MarshalEncode(e, p.Names())
		}),
	)
	spellings = json.JoinUnmarshalers(
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, t *time.Time) error {
			return readText(d, func(s string) (err error) { *t, err = parseTime(s); return err })
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, id *kms.DomainID) error {
			return readText(d, func(s string) error { return decodeHex(id[:], s) })
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, id *kms.NodeID) error {
			return readText(d, func(s string) error { return decodeHex(id[:], s) })
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, id *kms.AppID) error {
			return readText(d, func(s string) (err error) { *id, err = kms.ParseAppID(s); return err })
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, id *kms.KeyID) error {
			return readText(d, func(s string) (err error) { *id, err = kms.ParseKeyID(s); return err })
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, u *kms.Usages) error {
			return readNames(d, u, kms.ParseUsages)
		}),
		json.UnmarshalFromFunc(func(d *jsontext.Decoder, p *kms.Permissions) error {
			return readNames(d, p, kms.ParsePermissions)
		}),
	)
)

func readText(d *jsontext.Decoder, take func(string) error) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '"' {
		return errors.New("not a text")
	}
	return take(token.String())
}

// readNames reads an array of names into a set; a name there twice is refused.
func readNames[S any](d *jsontext.Decoder, set *S, parse func([]string) (S, error)) error {
	var names []string
	if err := json.UnmarshalDecode(d, &names); err != nil {
		return err
	}
	var err error
	*set, err = parse(names)
	return err
}

// timeLayout is RFC 3339 in UTC with whole seconds.
const timeLayout = "2006-01-02T15:04:05Z"

// parseTime reads timeLayout and no other spelling.
func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(timeLayout, s)
	if err != nil || t.Format(timeLayout) != s {
		return time.Time{}, errors.New("not a time of the form " + timeLayout)
	}
	return t, nil
}

// wholeTime reports whether t has a print that reads back as t.
func wholeTime(t time.Time) bool {
	return !t.IsZero() && t.Nanosecond() == 0 && t.UTC().Year() >= 1970 && t.UTC().Year() <= 9999
}

// decodeHex reads exactly len(dst) bytes of lower-case hexadecimal.
func decodeHex(dst []byte, s string) error {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(dst) || hex.EncodeToString(b) != s {
		return errors.New("not lower-case hexadecimal of the right length")
	}
	copy(dst, b)
	return nil
}

// decodeBase64 refuses line breaks and padding bits that are not zero, so that
// one value has one spelling.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || base64.StdEncoding.EncodeToString(b) != s {
		return nil, errors.New("not base64 with padding, on one line")
	}
	return b, nil
}
