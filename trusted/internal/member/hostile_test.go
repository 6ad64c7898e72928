package member_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/member"
)

// A forger is a program that has TLS and does with it what it likes.
type forger struct {
	world *world
	key   *ecdsa.PrivateKey // P-256
	boot  []byte
	conf  *tls.Config
}

// newForger makes one that does nothing wrong yet: its key is a member's.
func newForger(w *world) *forger {
	w.t.Helper()
	boot, err := member.NewBoot()
	if err != nil {
		w.t.Fatal(err)
	}
	f := &forger{world: w, key: newKey(w.t), boot: boot.Public()}
	cert, err := member.Certify(f.key, f.boot)
	if err != nil {
		w.t.Fatal(err)
	}
	f.conf = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, InsecureSkipVerify: true,
		NextProtos: []string{member.Raft}, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true}
	return f
}

// certify gives it a certificate of its own making.
func (f *forger) certify(key crypto.Signer, signedBy crypto.Signer, extensions ...pkix.Extension) {
	f.world.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), ExtraExtensions: extensions}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), signedBy)
	if err != nil {
		f.world.t.Fatal(err)
	}
	f.conf.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
}

func (f *forger) bootExtension() pkix.Extension {
	return pkix.Extension{Id: member.OIDBoot, Value: f.boot}
}

// join makes whatever key the forger shows a member's.
func (f *forger) join(socket string) (id kms.NodeID) {
	f.world.t.Helper()
	if len(f.conf.Certificates) > 0 {
		cert, err := x509.ParseCertificate(f.conf.Certificates[0].Certificate[0])
		if err != nil {
			f.world.t.Fatal(err)
		}
		id = sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	}
	f.world.change(func() { f.world.sockets[id] = socket })
	return id
}

// dial connects to a node as far as TLS goes, on its own side.
func (f *forger) dial(to *node) (*tls.Conn, error) {
	socket, _ := f.world.Socket(to.id)
	dial := f.world.dial
	if socket != to.name {
		dial = tcp
	}
	raw, err := dial(patient(f.world.t), socket)
	if err != nil {
		f.world.t.Fatal(err)
	}
	c := tls.Client(raw, f.conf)
	f.world.t.Cleanup(func() { raw.Close() })
	return c, c.HandshakeContext(patient(f.world.t))
}

// hello is one that asks.
var hello = append([]byte{2}, bytes.Repeat([]byte{7}, 32)...)

// TestForgedTLS: who does not prove the key of one node, in the one way there is,
// gets no answer, whichever side dials.
func TestForgedTLS(t *testing.T) {
	for _, tt := range []struct {
		name  string
		forge func(f *forger)
		good  bool
	}{
		{"the control", func(*forger) {}, true},
		{"a certificate made elsewhere", func(f *forger) { f.certify(f.key, f.key, f.bootExtension()) }, true},
		{"TLS 1.2", func(f *forger) { f.conf.MinVersion, f.conf.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, false},
		{"no protocol", func(f *forger) { f.conf.NextProtos = nil }, false},
		{"another protocol", func(f *forger) { f.conf.NextProtos = []string{"h2"} }, false},
		{"a key agreement of today alone", func(f *forger) { f.conf.CurvePreferences = []tls.CurveID{tls.X25519} }, false},
		{"no certificate", func(f *forger) { f.conf.Certificates = nil }, false},
		{"two certificates", func(f *forger) {
			c := &f.conf.Certificates[0]
			c.Certificate = append(c.Certificate, c.Certificate[0])
		}, false},
		{"another's certificate", func(f *forger) { f.conf.Certificates[0].PrivateKey = newKey(f.world.t) }, false},
		{"signed by another", func(f *forger) { f.certify(f.key, newKey(f.world.t), f.bootExtension()) }, false},
		{"no start", func(f *forger) { f.certify(f.key, f.key) }, false},
		{"a start that is too short", func(f *forger) {
			f.certify(f.key, f.key, pkix.Extension{Id: member.OIDBoot, Value: f.boot[1:]})
		}, false},
		{"another curve", func(f *forger) {
			key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
			if err != nil {
				f.world.t.Fatal(err)
			}
			f.certify(key, key, f.bootExtension())
		}, false},
		{"another algorithm", func(f *forger) {
			_, key, err := ed25519.GenerateKey(rand.Reader)
			if err != nil {
				f.world.t.Fatal(err)
			}
			f.certify(key, key, f.bootExtension())
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, f := w.node("a", dialTCP), newForger(w) // in a pipe both would be stuck in their alerts
			overTCP(t, w, a)
			l := listenTCP(t)
			tt.forge(f)
			id := f.join(l.Addr().String())
			if got := f.answered(a); got != tt.good {
				t.Errorf("it dials, and is answered: %v", got)
			}
			heard := make(chan bool, 1)
			go func() { heard <- f.answers(l) }()
			_, err := a.Dial(patient(t), id, member.Raft)
			if err == nil {
				t.Error("a channel")
			}
			if got := <-heard; got != tt.good {
				t.Errorf("it is dialled, and greeted: %v (%v)", got, err)
			}
			if n := a.judged.Load(); n != 0 {
				t.Errorf("%d pieces of evidence judged", n)
			}
		})
	}
}

// answered dials, says hello and reports whether a hello came back.
func (f *forger) answered(to *node) bool {
	c, err := f.dial(to)
	if err != nil || member.WriteFrame(c, member.FrameHello, hello) != nil {
		return false
	}
	defer c.NetConn().Close()
	return f.hears(c)
}

// answers takes one connection and reports whether a hello came.
func (f *forger) answers(l net.Listener) bool {
	raw, err := l.Accept()
	if err != nil {
		return false
	}
	defer raw.Close()
	c := tls.Server(raw, f.conf)
	return c.HandshakeContext(patient(f.world.t)) == nil && f.hears(c)
}

func (f *forger) hears(c *tls.Conn) bool {
	b := make([]byte, 5+33)
	_, err := io.ReadFull(c, b)
	return err == nil && b[0] == member.FrameHello
}

// TestForgedGreeting: a member's key does not excuse what is no greeting.
func TestForgedGreeting(t *testing.T) {
	frame := func(kind byte, length uint32, body ...byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{kind}, length), body...)
	}
	greeting := frame(member.FrameHello, 33, hello...)
	for _, tt := range []struct {
		name string
		say  []byte
	}{
		{"nothing known", frame(77, 0)},
		{"a hello without end", frame(member.FrameHello, 1<<31)},
		{"a hello of one more", frame(member.FrameHello, 33+256+1)},
		{"an address with a line break", frame(member.FrameHello, 36, append(bytes.Clone(hello), "a\nb"...)...)},
		{"a hello that is short", frame(member.FrameHello, 1, 1)},
		{"an unknown stand", frame(member.FrameHello, 33, make([]byte, 33)...)},
		{"asking without a nonce", frame(member.FrameHello, 33, append([]byte{2}, make([]byte, 32)...)...)},
		{"evidence first", frame(member.FrameEvidence, 10)},
		{"evidence without end", append(bytes.Clone(greeting), frame(member.FrameEvidence, 1<<30)...)},
		{"evidence of the wrong size", append(bytes.Clone(greeting), frame(member.FrameEvidence, 1, 3)...)},
		{"a hello for evidence", append(bytes.Clone(greeting), greeting...)},
		{"a refusal that is none", frame(4, 1, 9)},
		{"a refusal with a line break", frame(4, 3, 1, 'a', '\n')},
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			a, f := w.node("a"), newForger(w)
			f.join("forger")
			c, err := f.dial(a)
			if err != nil {
				t.Fatal(err)
			}
			go c.Write(tt.say)
			if n, err := io.Copy(io.Discard, c); n > 512<<10 { // its own evidence, at most
				t.Errorf("%d bytes, %v", n, err)
			}
			for _, p := range a.Peers() {
				if p.Claims.TEE != "" {
					t.Errorf("it stands as %+v", p)
				}
			}
		})
	}
}

// TestEndlessHandshake: what is read of a stranger is bounded.
func TestEndlessHandshake(t *testing.T) {
	w := newWorld(t)
	a := w.node("a")
	raw, err := w.dial(patient(t), a.name)
	if err != nil {
		t.Fatal(err)
	}
	// One handshake message of 60,000 bytes, which TLS would allow.
	message := append([]byte{1, 0, 60000 >> 8, 60000 & 0xff}, make([]byte, 60000)...)
	taken := 0
	for err == nil && len(message) > 0 {
		part := message[:min(1000, len(message))]
		message = message[len(part):]
		var n int
		n, err = raw.Write(append([]byte{22, 3, 1, byte(len(part) >> 8), byte(len(part))}, part...))
		taken += n
	}
	if err == nil || taken > 20<<10 {
		t.Errorf("it read %d bytes, %v", taken, err)
	}
}

// An addressed connection comes from somewhere.
type addressed struct {
	net.Conn
	from string
}

func (c addressed) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(mustAddr(c.from))
}

// TestSlowStrangers: who opens connections and says nothing keeps nobody out, and
// puts out only who comes from where most come from.
func TestSlowStrangers(t *testing.T) {
	w := newWorld(t)
	a, b := w.node("a"), w.node("b")
	silent := func(from string) net.Conn {
		here, there := net.Pipe()
		w.listeners["a"].conns <- addressed{there, from}
		return here
	}
	lone := silent("[2001:db8:1::1]:4000")
	var crowd []net.Conn
	for i := range member.MaxKnocking + 20 {
		crowd = append(crowd, silent([]string{"[2001:db8:2::1]:4000", "[2001:db8:2::2]:4000"}[i%2]))
	}
	closed := func(c net.Conn) bool {
		c.SetReadDeadline(time.Now().Add(patience))
		_, err := c.Read(make([]byte, 1))
		return err != nil && !errors.Is(err, errTimeout)
	}
	for _, c := range crowd[:20] {
		if !closed(c) {
			t.Fatal("the crowd was let in")
		}
	}
	here, there := b.dial(a)
	works(t, here, there)
	// The one from elsewhere is still heard.
	f := newForger(w)
	f.join("forger")
	c := tls.Client(lone, f.conf)
	if err := c.HandshakeContext(patient(t)); err != nil || member.WriteFrame(c, member.FrameHello, hello) != nil || !f.hears(c) {
		t.Errorf("from elsewhere: %v", err)
	}
}
