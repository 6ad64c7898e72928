package wire

import (
	"math"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// AppendCanonical appends the canonical form of v: a string verbatim, a number
// as JavaScript prints it, the members of an object or array as name=value
// joined with &. Null and false have none: canonical form skips them.
func (v Value) AppendCanonical(dst []byte) []byte {
	n := v.node()
	switch n.kind {
	case True:
		return append(dst, "true"...)
	case Number:
		return appendNumber(dst, n.number)
	case String:
		return append(dst, n.text...)
	case Object, Array:
		return v.appendChildren(dst)
	}
	return dst
}

// appendChildren appends the members of an object, or the elements of an array
// under their indices, sorted by name.
func (v Value) appendChildren(dst []byte) []byte {
	mark := len(v.r.order)
	v.r.sortChildren(v.i)
	start := len(dst)
	for k := mark; k < mark+v.Len(); k++ { // by index: deeper calls may move the stack
		child := Value{v.r, v.r.order[k]}
		if child.Skipped() {
			continue
		}
		if len(dst) > start {
			dst = append(dst, '&')
		}
		dst = child.appendPair(dst)
	}
	v.r.order = v.r.order[:mark]
	return dst
}

func (v Value) appendPair(dst []byte) []byte {
	dst = append(dst, v.node().name...)
	dst = append(dst, '=')
	return v.AppendCanonical(dst)
}

// appendMember appends a top-level member, with & where it is not the first.
func (v Value) appendMember(dst []byte) []byte {
	if v.Skipped() {
		return dst
	}
	if len(dst) > 0 {
		dst = append(dst, '&')
	}
	return v.appendPair(dst)
}

// sortChildren pushes the children of node i on the stack, sorted by name.
func (r *Request) sortChildren(i int32) {
	mark := len(r.order)
	for c := r.nodes[i].first; c != 0; c = r.nodes[c].next {
		r.order = append(r.order, c)
	}
	slices.SortFunc(r.order[mark:], func(a, b int32) int {
		return compareUTF16(r.nodes[a].name, r.nodes[b].name)
	})
}

// compareUTF16 compares two UTF-8 strings by their UTF-16 code units, as
// JavaScript sorts.
func compareUTF16(a, b []byte) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		// Bytes of UTF-8 sort as UTF-16 does, but for one case: the surrogates
		// of characters beyond the basic plane (first byte F0 to F4) sort below
		// U+E000 to U+FFFF (first byte EE or EF).
		if x >= 0xEE && y >= 0xEE && (x >= 0xF0) != (y >= 0xF0) {
			x, y = y, x
		}
		return int(x) - int(y)
	}
	return len(a) - len(b)
}

// canonicalBound is at least the length of what appendMember appends.
func (v Value) canonicalBound() int {
	n := v.node()
	size := len(n.name) + len(n.text) + len("&=")
	if n.kind != String {
		size += maxNumber // true, false and numbers
	}
	for i := n.first; i != 0; i = v.r.nodes[i].next {
		size += Value{v.r, i}.canonicalBound()
	}
	return size
}

// maxNumber is more than the longest number that JavaScript prints has.
const maxNumber = 32

// appendNumber appends a number in ECMAScript's shortest form, which RFC 8785
// shares.
func appendNumber(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	case f == math.Trunc(f) && math.Abs(f) < 1<<53:
		return strconv.AppendInt(dst, int64(f), 10) // the usual case; and -0 is 0
	}
	return jsontext.AppendFloat(dst, f, 64)
}
