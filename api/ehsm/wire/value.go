package wire

import "math"

// A Kind is what a JSON value is.
type Kind uint8

// The kinds of values.
const (
	Absent Kind = iota // there is no such member
	Null
	False
	True
	Number
	String
	Object
	Array
)

// A Value is a JSON value inside a Request. The zero Value is absent.
type Value struct {
	r *Request
	i int32
}

// nothing is the node of an absent value; nobody writes to it.
var nothing node

func (v Value) node() *node {
	if v.r == nil {
		return &nothing
	}
	return &v.r.nodes[v.i]
}

// Kind returns what v is.
func (v Value) Kind() Kind { return v.node().kind }

// Text returns the content of a string, and nil for anything else.
func (v Value) Text() []byte { return v.node().text }

// Len is the number of members or elements; 0 for anything but objects and arrays.
func (v Value) Len() int { return int(v.node().size) }

// Get returns the member of an object. Of an array it returns nothing: no name
// that the protocol knows is an index.
func (v Value) Get(name string) Value {
	n := v.node()
	if n.kind != Object {
		return Value{}
	}
	for i := n.first; i != 0; i = v.r.nodes[i].next {
		if string(v.r.nodes[i].name) == name {
			return Value{v.r, i}
		}
	}
	return Value{}
}

// Members yields the members of an object, or the elements of an array under
// their indices, in the order they were sent. The name is valid as long as the
// request.
func (v Value) Members(yield func(name []byte, member Value) bool) {
	for i := v.node().first; i != 0; i = v.r.nodes[i].next {
		if !yield(v.r.nodes[i].name, Value{v.r, i}) {
			return
		}
	}
}

// Integer returns the value of a number without a fraction. The second result
// is false for anything that JavaScript does not print as plain digits: it
// turns to exponents at 1e21.
func (v Value) Integer() (float64, bool) {
	n := v.node()
	if n.kind != Number || n.number != math.Trunc(n.number) || math.Abs(n.number) >= 1e21 {
		return 0, false
	}
	return n.number, true
}

// Falsy reports what JavaScript's !v does: absent, null, false, 0 and "".
func (v Value) Falsy() bool {
	n := v.node()
	switch n.kind {
	case Absent, Null, False:
		return true
	case Number:
		return n.number == 0
	case String:
		return len(n.text) == 0
	}
	return false
}

// Unset reports whether a parameter counts as not given: absent, null or "".
func (v Value) Unset() bool {
	k := v.Kind()
	return k == Absent || k == Null || k == String && len(v.Text()) == 0
}

// Skipped reports whether canonical form leaves v out: it is null, or equal to
// the empty string under JavaScript's ==. An array is converted to a string
// first: [] and an array of one element that converts to "" are left out.
func (v Value) Skipped() bool {
	n := v.node()
	if n.kind != Array {
		return v.Falsy()
	}
	if n.size != 1 {
		return n.size == 0
	}
	only := Value{v.r, n.first}
	switch only.Kind() {
	case Null:
		return true
	case String:
		return len(only.Text()) == 0
	case Array:
		return only.Skipped()
	}
	return false // 0 and false convert to "0" and "false"
}

// UTF16Len is the length of a string as eHSM counts it, in UTF-16 code units.
func UTF16Len(s []byte) int {
	n := 0
	for _, b := range s {
		if b&0xC0 != 0x80 { // not a continuation byte
			n++
		}
		if b >= 0xF0 { // starts a character beyond the basic plane: a surrogate pair
			n++
		}
	}
	return n
}
