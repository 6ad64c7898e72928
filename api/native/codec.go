package native

import (
	"errors"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxDepth is how deep messages may nest; ours have three levels.
const maxDepth = 16

// Errors of messages that do not decode. They quote nothing: what was sent may
// be secret.
var (
	errMalformed = errors.New("the message is malformed, or has a member that is not known here")
	errMessage   = errors.New("not a protobuf message")
)

// codecs are stricter than the library's own, which ignore what they do not know.
func codecs() []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithCodec(codec{"proto", proto.MarshalOptions{}.Marshal, unmarshalProto}),
		connect.WithCodec(codec{"json", protojson.MarshalOptions{}.Marshal, unmarshalJSON}),
		connect.WithCodec(codec{"json; charset=utf-8", protojson.MarshalOptions{}.Marshal, unmarshalJSON}),
	}
}

// A codec is one encoding of messages.
type codec struct {
	name      string
	marshal   func(proto.Message) ([]byte, error)
	unmarshal func([]byte, proto.Message) error
}

// Name implements connect.Codec.
func (c codec) Name() string { return c.name }

// Marshal implements connect.Codec.
func (c codec) Marshal(v any) ([]byte, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, errMessage
	}
	return c.marshal(m)
}

// Unmarshal implements connect.Codec.
func (c codec) Unmarshal(b []byte, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return errMessage
	}
	if c.unmarshal(b, m) != nil || !wholly(m.ProtoReflect()) {
		return errMalformed
	}
	return nil
}

func unmarshalProto(b []byte, m proto.Message) error {
	return proto.UnmarshalOptions{RecursionLimit: maxDepth}.Unmarshal(b, m)
}

func unmarshalJSON(b []byte, m proto.Message) error {
	return protojson.UnmarshalOptions{RecursionLimit: maxDepth}.Unmarshal(b, m)
}

// wholly reports whether every field of a message, and of those in it, is known.
func wholly(m protoreflect.Message) bool {
	known := len(m.GetUnknown()) == 0
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil || f.IsMap(): // ours are of text to text
		case f.IsList():
			for i := range v.List().Len() {
				known = known && wholly(v.List().Get(i).Message())
			}
		default:
			known = known && wholly(v.Message())
		}
		return known
	})
	return known
}
