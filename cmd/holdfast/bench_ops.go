package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/raw"
	"github.com/holdfast-kms/holdfast/kms"
)

// A benchOp is what bench does with keys.
type benchOp string

// benchOps are all there are, in the order in which they are told.
var benchOps = []benchOp{"encrypt", "decrypt", "datakey", "sign", "verify", "mac", "create"}

func benchOpNames() string {
	var names []string
	for _, op := range benchOps {
		names = append(names, string(op))
	}
	return strings.Join(names, ", ")
}

// UnmarshalText reads the name of an operation.
func (op *benchOp) UnmarshalText(b []byte) error {
	if !slices.Contains(benchOps, benchOp(b)) {
		return fmt.Errorf("%q is not an operation; there are %s", b, benchOpNames())
	}
	*op = benchOp(b)
	return nil
}

// serves reports whether keys of a spec can do op.
func (op benchOp) serves(spec kms.Spec) bool {
	row, ok := spec.Capability()
	if !ok {
		return false
	}
	switch op {
	case "encrypt", "decrypt":
		return row.Serves(kms.UseEncrypt)
	case "datakey":
		return row.DataKeys
	case "sign", "verify":
		return row.Family == kms.Asymmetric && row.Serves(kms.UseSign)
	case "mac":
		return row.Family == kms.MAC
	}
	return op == "create"
}

// usages is what a key for op is created for; 0 is what its spec is for.
func (op benchOp) usages() kms.Usages {
	switch op {
	case "encrypt", "decrypt":
		return kms.EncryptDecrypt
	case "sign", "verify":
		return kms.SignVerify
	}
	return 0
}

// spec is what op takes where none is named.
func (op benchOp) spec() kms.Spec {
	switch op {
	case "sign", "verify":
		return kms.ECP256
	case "mac":
		return kms.HMACSHA256
	}
	return kms.AES256GCM
}

// raw is the bare operation.
func (op benchOp) raw(ops raw.Operations) func() error {
	return map[benchOp]func() error{"encrypt": ops.Encrypt, "decrypt": ops.Decrypt, "datakey": ops.DataKey, "sign": ops.Sign,
		"verify": ops.Verify, "mac": ops.MAC, "create": ops.Create}[op]
}

// benchSpecs are the specs that were named.
type benchSpecs struct {
	all  bool
	list []kms.Spec
}

// UnmarshalText reads names of specs with commas between them, or all.
func (s *benchSpecs) UnmarshalText(b []byte) error {
	*s = benchSpecs{}
	if string(b) == "all" {
		s.all = true
		for _, row := range kms.Capabilities() {
			s.list = append(s.list, row.Spec)
		}
		return nil
	}
	for _, name := range strings.Split(string(b), ",") {
		var spec keySpec
		if err := spec.UnmarshalText([]byte(name)); err != nil {
			return err
		}
		s.list = append(s.list, kms.Spec(spec))
	}
	return nil
}

// ops are what was asked for.
func (c *benchCmd) ops() []benchOp {
	switch {
	case len(c.Op) > 0:
		return c.Op
	case c.Spec.all:
		return []benchOp{"encrypt", "decrypt", "sign", "verify", "mac"}
	}
	return []benchOp{"encrypt", "decrypt", "datakey", "sign"}
}

// specsFor are the specs that were named and can do op.
func (c *benchCmd) specsFor(op benchOp) ([]kms.Spec, error) {
	if len(c.Spec.list) == 0 {
		return []kms.Spec{op.spec()}, nil
	}
	var able []kms.Spec
	for _, spec := range c.Spec.list {
		if op.serves(spec) {
			able = append(able, spec)
		}
	}
	if len(able) == 0 {
		return nil, misusef("leave --spec out, or name other operations with --op", "no key of the named specs can %s", op)
	}
	return able, nil
}
