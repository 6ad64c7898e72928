package wire

import (
	"bytes"
	"errors"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// A Request is a parsed request body. Its memory is pooled: after Release
// neither it, nor a Value, nor a slice obtained from either may be used. Text
// may also point into the body that was parsed, which must stay as it is until
// then.
type Request struct {
	AppID, Nonce, Timestamp, Sign, Payload Value

	// Signed is the canonical string of appid, nonce, payload and timestamp.
	Signed []byte

	nodes []node  // the whole tree; the root is the first
	order []int32 // scratch of sortedChildren, used as a stack
	text  arena   // unescaped strings and the names of array elements
	dec   *jsontext.Decoder
	in    *bytes.Buffer
}

// A node is one JSON value. Nodes refer to each other by index, so that the
// tree needs one allocation and none once the pool is warm.
type node struct {
	kind   Kind
	name   []byte  // as a member of its parent; elements are named by index
	text   []byte  // a string's content
	number float64 // a number's value, infinite where JavaScript's would be
	size   int32   // children of an object or array
	first  int32   // the first child; 0 is none, since the root is nobody's
	next   int32   // the next child of the same parent
}

var requests = sync.Pool{New: func() any {
	const usual = 32 // eHSM's largest request has a dozen values
	in := new(bytes.Buffer)
	return &Request{in: in, dec: jsontext.NewDecoder(in), nodes: make([]node, 0, usual), order: make([]int32, 0, usual)}
}}

// Parse reads a request body and builds its canonical string. An array has no
// named members and parses as a request without any, as it does in JavaScript.
// The caller must Release the request. Errors are ErrSyntax, ErrLimits and
// ErrScalar.
func Parse(body []byte) (*Request, error) {
	r, err := parse(body)
	if err != nil {
		return nil, err
	}
	if k := r.root().Kind(); k != Object && k != Array {
		r.Release()
		return nil, ErrScalar
	}
	if r.root().Kind() == Object {
		r.bind()
	}
	return r, nil
}

// bind finds the members that a request has, and what is signed of them.
func (r *Request) bind() {
	root := r.root()
	r.AppID, r.Nonce, r.Timestamp = root.Get("appid"), root.Get("nonce"), root.Get("timestamp")
	r.Sign, r.Payload = root.Get("sign"), root.Get("payload")

	signed := [...]Value{r.AppID, r.Nonce, r.Payload, r.Timestamp} // in order of their names
	bound := 0
	for _, v := range signed {
		bound += v.canonicalBound()
	}
	// Room for all of it at once: a string that grew would leave copies of what
	// it holds behind, which Release could not wipe.
	if cap(r.Signed) < bound {
		r.Signed = make([]byte, 0, bound+bound/2)
	}
	for _, v := range signed {
		r.Signed = v.appendMember(r.Signed)
	}
}

// Release wipes what the request holds and returns it to the pool.
func (r *Request) Release() {
	clear(r.Signed)
	r.text.wipe()
	clear(r.nodes)
	*r.in = bytes.Buffer{}
	r.dec.Reset(r.in) // it held on to the body
	*r = Request{Signed: r.Signed[:0], nodes: r.nodes[:0], order: r.order[:0], text: r.text, dec: r.dec, in: r.in}
	if cap(r.Signed) > maxPooled {
		r.Signed = nil
	}
	requests.Put(r)
}

// maxPooled is the largest buffer that is kept for the next request.
const maxPooled = 64 << 10

func (r *Request) root() Value { return Value{r: r} }

// parse reads one JSON text of any kind.
func parse(body []byte) (*Request, error) {
	r := requests.Get().(*Request)
	*r.in = *bytes.NewBuffer(body)
	r.dec.Reset(r.in)
	r.nodes = append(r.nodes, node{})
	err := r.value(0, 0)
	if err == nil {
		err = endOfText(body[r.dec.InputOffset():])
	}
	if err == nil {
		return r, nil
	}
	r.Release()
	if errors.Is(err, ErrLimits) {
		return nil, ErrLimits
	}
	return nil, ErrSyntax // the decoder's own error quotes the body
}

func endOfText(rest []byte) error {
	if len(bytes.TrimLeft(rest, " \t\r\n")) > 0 {
		return ErrSyntax
	}
	return nil
}

// value reads the next value into node i, which exists; depth is how many
// objects and arrays it lies in.
func (r *Request) value(i int32, depth int) error {
	switch k := r.dec.PeekKind(); k {
	case jsontext.KindBeginObject:
		return r.children(i, depth+1, Object)
	case jsontext.KindBeginArray:
		return r.children(i, depth+1, Array)
	default:
		raw, err := r.dec.ReadValue()
		if err != nil {
			return err
		}
		return r.scalar(&r.nodes[i], k, raw)
	}
}

func (r *Request) scalar(n *node, k jsontext.Kind, raw []byte) error {
	switch k {
	case jsontext.KindNull:
		n.kind = Null
	case jsontext.KindFalse:
		n.kind = False
	case jsontext.KindTrue:
		n.kind = True
	case jsontext.KindString:
		n.kind, n.text = String, r.unquote(raw)
	case jsontext.KindNumber:
		n.kind = Number
		// Out of range is not an error here: ParseFloat gives the infinity, or
		// the zero, that JavaScript makes of the same text.
		n.number, _ = strconv.ParseFloat(string(raw), 64)
	default:
		return ErrSyntax
	}
	return nil
}

// children reads an object or array into node i.
func (r *Request) children(i int32, depth int, kind Kind) error {
	if depth > MaxDepth {
		return ErrLimits
	}
	if _, err := r.dec.ReadToken(); err != nil {
		return err
	}
	r.nodes[i].kind = kind
	last := int32(0)
	for {
		switch r.dec.PeekKind() {
		case jsontext.KindEndObject, jsontext.KindEndArray:
			_, err := r.dec.ReadToken()
			return err
		}
		if len(r.nodes) == MaxValues {
			return ErrLimits
		}
		name, err := r.name(i)
		if err != nil {
			return err
		}
		child := int32(len(r.nodes))
		r.nodes = append(r.nodes, node{name: name})
		if last == 0 {
			r.nodes[i].first = child
		} else {
			r.nodes[last].next = child
		}
		last = child
		r.nodes[i].size++
		if err := r.value(child, depth); err != nil {
			return err
		}
	}
}

// name reads the next member's name or, in an array, makes it from the index.
func (r *Request) name(parent int32) ([]byte, error) {
	p := &r.nodes[parent]
	if p.kind == Array {
		return strconv.AppendInt(r.text.room(maxIndex), int64(p.size), 10), nil
	}
	raw, err := r.dec.ReadValue()
	if err != nil {
		return nil, err
	}
	return r.unquote(raw), nil
}

// maxIndex is the length of the longest index that MaxValues allows.
const maxIndex = 4

// unquote returns the content of a valid JSON string: the body's own bytes
// where nothing is escaped, which is the usual case.
func (r *Request) unquote(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	// Never an error, since the decoder has accepted the string; and never
	// longer than what was sent: \u and four digits become three bytes at most.
	s, _ := jsontext.AppendUnquote(r.text.room(len(raw)), raw)
	return s
}

// An arena hands out memory in pieces and wipes all of it at once.
type arena struct {
	blocks [][]byte // only the last has room left
	used   int      // of the last
}

const arenaBlock = 4 << 10

// room returns an empty slice with room for n bytes, beyond which an append
// would move it out of the arena.
func (a *arena) room(n int) []byte {
	if len(a.blocks) == 0 || a.used+n > len(a.blocks[len(a.blocks)-1]) {
		a.blocks, a.used = append(a.blocks, make([]byte, max(n, arenaBlock))), 0
	}
	last := a.blocks[len(a.blocks)-1]
	start := a.used
	a.used += n
	return last[start:start:a.used]
}

// wipe clears everything and keeps one block for the next request.
func (a *arena) wipe() {
	for _, b := range a.blocks {
		clear(b)
	}
	if len(a.blocks) > 0 && len(a.blocks[0]) <= arenaBlock {
		a.blocks = a.blocks[:1]
	} else {
		a.blocks = nil
	}
	a.used = 0
}
