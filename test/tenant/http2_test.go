package tenant_test

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

// Frames of HTTP/2 (RFC 9113, section 6).
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePush         = 5
	framePing         = 6
	frameGoAway       = 7
	frameWindow       = 8
	frameContinuation = 9

	endStream  = 1
	endHeaders = 4
)

// An h2 is a connection that speaks HTTP/2 by hand.
type h2 struct {
	*tls.Conn
	t *testing.T
}

type frame struct {
	kind, flags byte
	stream      uint32
	payload     []byte
}

func (a *arena) dialHTTP2(t *testing.T) *h2 {
	t.Helper()
	c := &h2{a.dial(t, "h2"), t}
	if got := c.ConnectionState().NegotiatedProtocol; got != "h2" {
		t.Fatalf("protocol %q", got)
	}
	say(t, c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	c.send(frameSettings, 0, 0, nil)
	return c
}

// send writes a frame and reports whether the server still takes any.
func (c *h2) send(kind, flags byte, stream uint32, payload []byte) bool {
	header := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	header = binary.BigEndian.AppendUint32(append(header, flags), stream)
	_, err := c.Write(append(header, payload...))
	if timedOut(err) {
		c.t.Error("the server neither reads nor hangs up")
	}
	return err == nil
}

func (c *h2) read() (f frame, err error) {
	var header [9]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		return f, err
	}
	size := binary.BigEndian.Uint32(header[:4]) >> 8
	f = frame{header[3], header[4], binary.BigEndian.Uint32(header[5:]), make([]byte, size)}
	_, err = io.ReadFull(c, f.payload)
	return f, err
}

// ended reads until the server hangs up or ends the first stream, and fails the
// test if it does neither.
func (c *h2) ended(what string) {
	c.t.Helper()
	for {
		f, err := c.read()
		if timedOut(err) {
			c.t.Errorf("%s: the server neither answers nor hangs up", what)
		}
		if err != nil || f.kind == frameGoAway || f.stream == 1 && (f.kind == frameReset || f.kind == frameHeaders) {
			return
		}
	}
}

// hpack writes header fields, names and values in turn, without any of HPACK's
// compression (RFC 7541, 6.2.2).
func hpack(fields ...string) []byte {
	var b []byte
	for i, s := range fields {
		if i%2 == 0 {
			b = append(b, 0)
		}
		b = append(append(b, byte(len(s))), s...)
	}
	return b
}

func requestFields(action string, extra ...string) []byte {
	return hpack(append([]string{":method", "POST", ":scheme", "https", ":authority", "localhost", ":path", "/ehsm?Action=" + action,
		"content-type", "application/json"}, extra...)...)
}

// TestHTTP2 repeats over HTTP/2 what is not the protocol's business.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	p := newProperty(a)
	two := &property{app: &app{arena: a, ID: p.ID, APIKey: p.APIKey, http: a.client2()},
		aes: p.aes, ec: p.ec, plain: p.plain, ciphertext: p.ciphertext, message: p.message, sig: p.sig}
	two.intact()
	two.refused(two.app, noKey, noKey, refusal(400, "keyid error"))
	for n, want := range map[int]int{limit: 200, limit + 1: 413, 1 << 20: 413} {
		b := two.body("", nil)
		if got := two.post("ListKey", append(b, strings.Repeat(" ", n-len(b))...)); got.Status != want {
			t.Errorf("%d bytes: %+v", n, got)
		}
	}
}

// TestMalformedHTTP2: the server answers with an error or hangs up, and what was
// asked is not done.
func TestMalformedHTTP2(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	good := requestFields("CreateKey")
	with := func(more ...string) []byte { return append(good[:len(good):len(good)], hpack(more...)...) }
	type sent struct {
		kind, flags byte
		stream      uint32
		payload     []byte
	}
	const padded = 8
	for name, attack := range map[string][]sent{
		"data on no stream":            {{frameData, 0, 0, nil}},
		"data on an idle stream":       {{frameData, endStream, 1, nil}},
		"an even stream":               {{frameHeaders, endHeaders, 2, good}},
		"a stream used twice":          {{frameHeaders, endHeaders, 1, good}, {frameHeaders, endHeaders, 1, good}},
		"settings of odd size":         {{frameSettings, 0, 0, []byte("12345")}},
		"a ping of 7 bytes":            {{framePing, 0, 0, []byte("1234567")}},
		"a window beyond numbers":      {{frameWindow, 0, 0, []byte{0x7f, 0xff, 0xff, 0xff}}},
		"a window of nothing":          {{frameWindow, 0, 0, []byte{0, 0, 0, 0}}},
		"padding beyond the end":       {{frameHeaders, endHeaders | padded, 1, append([]byte{255}, good...)}},
		"a push from a client":         {{framePush, endHeaders, 1, append([]byte{0, 0, 0, 2}, good...)}},
		"HPACK that is none":           {{frameHeaders, endHeaders, 1, []byte(strings.Repeat("\xff", 50))}},
		"continuation of nothing":      {{frameContinuation, endHeaders, 1, good}},
		"data amid headers":            {{frameHeaders, 0, 1, good}, {frameData, endStream, 1, nil}},
		"no path":                      {{frameHeaders, endHeaders, 1, hpack(":method", "POST", ":scheme", "https", ":authority", "localhost")}},
		"two paths":                    {{frameHeaders, endHeaders, 1, with(":path", "/ehsm?Action=ListKey")}},
		"a pseudo header nobody knows": {{frameHeaders, endHeaders, 1, with(":x", "y")}},
		"a name in upper case":         {{frameHeaders, endHeaders, 1, with("X", "y")}},
		"transfer-encoding":            {{frameHeaders, endHeaders, 1, with("transfer-encoding", "chunked")}},
		"connection":                   {{frameHeaders, endHeaders, 1, with("connection", "keep-alive")}},
		"a line end in a value":        {{frameHeaders, endHeaders, 1, with("x", "y\r\nz: 1")}},
		"a length that is wrong":       {{frameHeaders, endHeaders, 1, with("content-length", "5")}},
	} {
		c := a.dialHTTP2(t)
		for _, f := range attack {
			c.send(f.kind, f.flags, f.stream, f.payload)
		}
		c.send(frameData, endStream, 1, x.body(newAES, nil))
		c.ended(name)
	}
	for name, text := range map[string]string{
		"a frame of 16 MB":    "\xff\xff\xff\x00\x00\x00\x00\x00\x01",
		"HTTP/1.1 in between": plainRequest("CreateKey", x.body(newAES, nil)),
	} {
		c := a.dialHTTP2(t)
		say(t, c, text)
		c.ended(name)
	}
	if got := x.must("ListKey", ""); got != listed {
		t.Errorf("keys were created: %s", got.Result)
	}
}

// TestHTTP2Floods: the server hangs up, or bears it, and others are served.
func TestHTTP2Floods(t *testing.T) {
	t.Parallel()
	a := newArena(t, setup{})
	defer a.watch()()
	x := a.enrol()
	const many = 20_000
	t.Run("streams reset at once", func(t *testing.T) {
		c := a.dialHTTP2(t)
		go drain(c)
		for i := range uint32(many) {
			if !c.send(frameHeaders, endHeaders, 2*i+1, requestFields("ListKey")) || !c.send(frameReset, 0, 2*i+1, []byte{0, 0, 0, 8}) {
				break
			}
		}
	})
	t.Run("headers without an end", func(t *testing.T) {
		c := a.dialHTTP2(t)
		go drain(c)
		c.send(frameHeaders, 0, 1, requestFields("ListKey"))
		filler := hpack("x", strings.Repeat("y", 100))
		filler = []byte(strings.Repeat(string(filler), 100))
		for range many {
			if !c.send(frameContinuation, 0, 1, filler) {
				return
			}
		}
		t.Errorf("the server took %d bytes of headers", many*len(filler))
	})
	t.Run("pings whose answers nobody reads", func(t *testing.T) {
		c := a.dialHTTP2(t)
		batch := frames(100, framePing, make([]byte, 8))
		for range many {
			if _, err := c.Write(batch); err != nil {
				return
			}
		}
		t.Error("the server took all of it")
	})
	t.Run("settings whose answers nobody reads", func(t *testing.T) {
		c := a.dialHTTP2(t) // they need no memory: one answer is owed at a time
		batch := frames(100, frameSettings, nil)
		for range many / 10 {
			if _, err := c.Write(batch); err != nil {
				return
			}
		}
	})
	t.Run("answers that have no window", func(t *testing.T) {
		c := a.dialHTTP2(t)
		c.send(frameSettings, 0, 0, []byte{0, 4, 0, 0, 0, 0}) // the first window of each stream: 0
		go drain(c)
		for i := range uint32(200) {
			if !c.send(frameHeaders, endHeaders, 2*i+1, requestFields("ListKey")) || !c.send(frameData, endStream, 2*i+1, x.body("", nil)) {
				break
			}
		}
	})
}

func frames(n int, kind byte, payload []byte) (all []byte) {
	for range n {
		all = append(all, 0, 0, byte(len(payload)), kind, 0, 0, 0, 0, 0)
		all = append(all, payload...)
	}
	return all
}

func drain(c *h2) {
	for {
		if _, err := c.read(); err != nil {
			return
		}
	}
}

// TestHTTP2Bodies: one connection may have only so many requests open at once,
// since each makes the node hold up to a whole body, for anybody who asks.
func TestHTTP2Bodies(t *testing.T) {
	a := newArena(t, setup{})
	defer a.watch()()
	const conns, streams = 4, 300
	before := heap()
	for range conns {
		u := newUpload(a.dialHTTP2(t))
		for i := range uint32(streams) {
			u.open(2*i+1, limit-1) // and never the last byte
		}
	}
	time.Sleep(100 * time.Millisecond) // for what is under way
	if each := int64(heap()-before) / conns; each > 4<<20 {
		t.Errorf("a connection makes the node hold %d kB", each>>10)
	}
}

// An upload sends bodies as far as the server's windows let it.
type upload struct {
	*h2
	mu      sync.Mutex
	changed *sync.Cond
	conn    int            // its window
	stream  map[uint32]int // and those of open streams
	first   int            // and of a new one
	dead    bool
}

func newUpload(c *h2) *upload {
	u := &upload{h2: c, conn: 65535, first: 65535, stream: map[uint32]int{}}
	u.changed = sync.NewCond(&u.mu)
	go u.listen()
	return u
}

func (u *upload) listen() {
	for {
		f, err := u.read()
		u.mu.Lock()
		u.dead = u.dead || err != nil || f.kind == frameGoAway
		u.take(f)
		u.changed.Broadcast()
		u.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (u *upload) take(f frame) {
	const initialWindow = 4 // setting
	switch {
	case f.kind == frameSettings:
		for p := f.payload; len(p) >= 6; p = p[6:] {
			if binary.BigEndian.Uint16(p) == initialWindow {
				u.first = int(binary.BigEndian.Uint32(p[2:]))
			}
		}
	case f.kind == frameWindow && f.stream == 0:
		u.conn += int(binary.BigEndian.Uint32(f.payload))
	case f.kind == frameWindow:
		u.stream[f.stream] += int(binary.BigEndian.Uint32(f.payload))
	case f.kind == frameReset:
		delete(u.stream, f.stream)
	}
}

// open sends a request and size bytes of its body, which is longer, as far as it
// is let within a moment.
func (u *upload) open(stream uint32, size int) {
	u.mu.Lock()
	u.stream[stream] = u.first
	u.mu.Unlock()
	u.send(frameHeaders, endHeaders, stream, requestFields("ListKey", "content-length", fmt.Sprint(size+1)))
	for size > 0 {
		n := u.room(stream, min(size, 16<<10))
		if n == 0 || !u.send(frameData, 0, stream, make([]byte, n)) {
			return
		}
		size -= n
	}
}

// room takes up to n bytes of the windows; 0 is none.
func (u *upload) room(stream uint32, n int) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	defer time.AfterFunc(20*time.Millisecond, u.changed.Broadcast).Stop()
	for wait := true; ; wait = false {
		w, open := u.stream[stream]
		if n := min(n, w, u.conn); n > 0 && open && !u.dead {
			u.stream[stream], u.conn = w-n, u.conn-n
			return n
		}
		if !wait || !open || u.dead {
			return 0
		}
		u.changed.Wait()
	}
}
