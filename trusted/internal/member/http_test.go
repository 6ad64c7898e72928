package member_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

// serve serves calls to n.
func serve(n *node, h http.Handler) { serveOn(n, member.Call, h) }

func serveOn(n *node, protocol string, h http.Handler) {
	srv := n.Server(h)
	go srv.Serve(n.Listener(protocol))
	n.world.t.Cleanup(func() { srv.Close() })
}

// call makes one and returns what was answered.
func call(from, to *node, path string) (string, error) {
	return get(from.world, from.Client(), "http://"+to.id.String()+path)
}

func get(w *world, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(patient(w.t), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

var whoami = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
	if peer, ok := member.PeerOf(r.Context()); ok && r.ProtoMajor == 2 {
		io.WriteString(rw, peer.Peer().String())
	}
})

func TestCalls(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.node("a"), w.node("b"), w.node("c")
	serve(a, whoami)
	serve(b, whoami)
	for range 3 {
		for _, ends := range [][2]*node{{a, b}, {b, a}, {c, a}} {
			if got, err := call(ends[0], ends[1], "/"); err != nil || got != ends[0].id.String() {
				t.Errorf("%s calls %s: %q, %v", ends[0].name, ends[1].name, got, err)
			}
		}
	}
	if p, _ := c.peer(a); p.Channels != 1 {
		t.Errorf("%d channels for three calls", p.Channels)
	}
	for name, url := range map[string]string{"no node": "http://a/", "no member": "http://" + kms.NodeID{}.String() + "/"} {
		if _, err := get(w, a.Client(), url); err == nil {
			t.Errorf("%s: an answer", name)
		}
	}
	if _, err := call(a, c, "/"); err == nil { // which serves no calls
		t.Error("an answer of who serves none")
	}
	if _, err := get(w, a.Client(), "http://"+w.stranger("s").id.String()+"/"); !errors.Is(err, kms.Denied) {
		t.Errorf("the handshake's error does not arrive: %v", err)
	}
}

// TestNoHTTP1: a channel speaks HTTP/2 from its first byte.
func TestNoHTTP1(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a"), w.node("b")
	serve(b, whoami)
	c, err := a.try(b, member.Call)
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(c, "GET / HTTP/1.1\r\nHost: b\r\n\r\n")
	answer, _ := io.ReadAll(c)
	if strings.HasPrefix(string(answer), "HTTP/1.1 200") {
		t.Errorf("it answers %q", answer)
	}
}

// TestNoRedirects: a node that is called cannot send its caller elsewhere.
func TestNoRedirects(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.node("a"), w.node("b"), w.node("c")
	serve(b, http.RedirectHandler("http://"+c.id.String()+"/", http.StatusTemporaryRedirect))
	serve(c, whoami)
	if _, err := call(a, b, "/"); err != nil {
		t.Error(err)
	}
	if _, known := a.peer(c); known {
		t.Error("it followed")
	}
}

func TestJoin(t *testing.T) {
	w := newWorld(t)
	a, s := w.node("a"), w.stranger("s")
	serveOn(a, member.Join, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		peer, _ := member.PeerOf(r.Context())
		if peer.Peer() != s.id || !bytes.Equal(peer.Key(), s.spki()) || !bytes.Equal(peer.Boot(), s.boot.Public()) || peer.Claims().TEE != "" {
			t.Errorf("it is known as %s, %+v", peer.Peer(), peer.Claims())
		}
		io.WriteString(rw, "welcome")
	}))
	client, conn, err := s.JoinClient(patient(t), "a")
	if err != nil {
		t.Fatal(err)
	}
	if conn.Peer() != a.id || !bytes.Equal(conn.Boot(), a.boot.Public()) || !bytes.Equal(conn.Key(), a.spki()) {
		t.Errorf("the channel is to %s", conn.Peer())
	}
	if got, err := get(w, client, "http://node/join"); err != nil || got != "welcome" {
		t.Errorf("%q, %v", got, err)
	}
	if n := a.proved.Load() + a.judged.Load() + s.proved.Load() + s.judged.Load(); n != 0 {
		t.Errorf("evidence was asked for %d times", n)
	}
	a.Enforce() // is about members
	_ = conn.Close()
	got, err := get(w, client, "http://node/join")
	for ctx := patient(t); err != nil && ctx.Err() == nil; { // the client has to notice first
		got, err = get(w, client, "http://node/join")
	}
	if err != nil || got != "welcome" {
		t.Errorf("connecting again: %q, %v", got, err)
	}
	// Another node at the same socket is not the one that was joined.
	client.CloseIdleConnections()
	_ = w.node("b")
	w.change(func() { w.listeners["a"] = w.listeners["b"] })
	if _, err := get(w, client, "http://node/join"); !errors.Is(err, kms.Denied) {
		t.Errorf("another node: %v", err)
	}
	if _, _, err := s.JoinClient(patient(t), "nowhere"); !errors.Is(err, kms.Unavailable) {
		t.Errorf("nobody: %v", err)
	}
}

// TestJoinersAreBounded: a crowd of strangers neither grows without end nor
// keeps the next one out.
func TestJoinersAreBounded(t *testing.T) {
	w := newWorld(t)
	a, s := w.node("a"), w.stranger("s")
	serveOn(a, member.Join, whoami)
	var crowd []*member.Conn
	for range member.MaxStrangers + 3 {
		client, conn, err := s.JoinClient(patient(t), "a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := get(w, client, "http://node/"); err != nil {
			t.Fatal(err)
		}
		crowd = append(crowd, conn)
	}
	for _, conn := range crowd[:3] { // the first are gone
		for {
			if _, err := conn.Conn.Read(make([]byte, 1)); err != nil {
				break
			}
		}
	}
	a.end()
	for _, conn := range crowd {
		for {
			if _, err := conn.Conn.Read(make([]byte, 1)); err != nil {
				break
			}
		}
	}
}

// TestJoinersSendLittle: what all calls of a stranger's together make a node hold is
// bounded, so that many streams with long bodies do not exhaust its memory.
func TestJoinersSendLittle(t *testing.T) {
	w := newWorld(t)
	a, s := w.node("a"), w.stranger("s")
	var read atomic.Int64
	serveOn(a, member.Join, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if read.Add(n); err == nil {
			io.WriteString(rw, "all is here")
		}
	}))
	client, conn, err := s.JoinClient(patient(t), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	send := func(n int) string {
		resp, err := client.Post("http://a/", "", bytes.NewReader(make([]byte, n)))
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		said, _ := io.ReadAll(resp.Body)
		return string(said)
	}
	for range 3 { // as in one attempt to join
		if said := send(member.MaxStranger / 4); said != "all is here" {
			t.Fatal(said)
		}
	}
	if said := send(member.MaxStranger); said == "all is here" {
		t.Error("what is too much was taken")
	}
	if n := read.Load(); n > member.MaxStranger {
		t.Errorf("the node has read %d bytes", n)
	}
}

// TestListenerIsReplaced: who listens again takes the place of who did before.
func TestListenerIsReplaced(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a"), w.node("b")
	before := b.raft
	b.raft = b.Listener(member.Raft)
	if _, err := before.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the one before: %v", err)
	}
	here, there := a.dial(b)
	works(t, here, there)
	if err := b.raft.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := a.try(b, member.Raft)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil {
		t.Error("a channel to who does not listen")
	}
	works(t, there, here)
	if ctx := member.ConnContext(context.Background(), &net.TCPConn{}); ctx != context.Background() {
		t.Error("a connection of another kind is somebody's")
	}
}
