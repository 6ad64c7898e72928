package native

import (
	"errors"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// facade is what this API is called where requests are counted.
const facade = "native"

// operations names every procedure by its path. What is in no definition is
// counted under one name, whatever it is called.
var operations = procedures()

func procedures() map[string]string {
	all := map[string]string{}
	protoregistry.GlobalFiles.RangeFilesByPackage(holdfastv1.File_holdfast_v1_holdfast_proto.Package(), func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			s := f.Services().Get(i)
			for j := range s.Methods().Len() {
				m := s.Methods().Get(j)
				short := strings.TrimSuffix(string(s.Name()), "Service")
				all["/"+string(s.FullName())+"/"+string(m.Name())] = short + "." + string(m.Name())
			}
		}
		return true
	})
	return all
}

func operationOf(path string) string {
	if name, ok := operations[path]; ok {
		return name
	}
	return api.UnknownOperation
}

// ended notes how a service ended.
func (c *call) ended(err error) { c.reached, c.failed = true, err }

// served says what became of a call. One that reached no service, and was not
// refused by us, did not decode.
func (c *call) served(path string, stream bool) kms.Served {
	s := kms.Served{Facade: facade, Operation: operationOf(path), Stream: stream}
	switch {
	case errors.Is(c.failed, errUntimely):
		s.Kind = kms.Stale
	case c.failed != nil:
		s.Kind = kms.KindOf(c.failed)
	case !c.reached:
		s.Kind = kms.Invalid
	default:
		s.OK = true
	}
	return s
}
