package tenant_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/host/disk/faultdisk"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// canary is a text that is in no log unless somebody logs what was sent.
func (a *arena) canary() string {
	c := fmt.Sprintf("canary%06dof%d", a.count.Add(1), time.Now().UnixNano())
	a.plant([]byte(c))
	return c
}

// TestNothingSentIsLogged puts canaries wherever a request has room, in
// requests that fail at every stage there is, from TLS to a disk that fails.
// Bodies, signed texts, signatures, plaintexts and API keys are planted by all
// tests of this package; each searches its node's log, at level debug, when it
// ends.
func TestNothingSentIsLogged(t *testing.T) {
	t.Parallel()
	var disk *faultdisk.Faulty
	a := newArena(t, setup{disk: func(d server.Disk) server.Disk {
		disk = faultdisk.New(d)
		return disk
	}})
	p := newProperty(a)
	a.leakFromConnections(t)
	p.leakFromRequests(t)
	p.leakFromAnswers(t)
	disk.Arm(faultdisk.Fault{Op: faultdisk.Write, How: faultdisk.NotDone, Stay: true})
	p.call("CreateKey", newAES)
	p.leakFromRequests(t)
	p.get("/ehsm?Action=Enroll")
	logged := a.log.String()
	for _, sign := range []string{"TLS handshake error", "level=ERROR"} { // that there is anything to search
		if !strings.Contains(logged, sign) {
			t.Errorf("no %q in the log:\n%s", sign, logged)
		}
	}
}

// leakFromConnections fails before there is a request. What a ClientHello says
// in clear, to anybody who listens, is no secret: crypto/tls puts it in errors.
func (a *arena) leakFromConnections(t *testing.T) {
	t.Helper()
	for _, text := range []string{
		"GET /%s HTTP/1.1\r\nHost: %[1]s\r\n\r\n", // without TLS
		"%s", "\x16\x03\x01\x00\x40%s",
	} {
		c, err := net.Dial("tcp", a.endpoint.Addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(patience))
		say(t, c, strings.Replace(strings.ReplaceAll(text, "%[1]s", "%s"), "%s", a.canary(), -1))
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.CloseWrite()
		}
		rest(t, c)
		c.Close()
	}
	for _, text := range []string{
		"%s /ehsm HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", // method
		"GET /%s HTTP/9.9\r\n\r\n",
		"GET /ehsm HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n",
		"GET /ehsm HTTP/1.1\r\nHost: localhost\r\n%s : x\r\n\r\n",
		"GET /ehsm HTTP/1.1\r\nHost: %s\x00\r\n\r\n",
		"POST /ehsm HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\n\r\n",
		"POST /ehsm HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: %s\r\n\r\n",
		"POST /ehsm?Action=ListKey HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n%s\r\n",
		"GET /ehsm?Action=GetVersion;%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"GET /ehsm?%%zz%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"GET /ehsm HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 30_000) + "%s\r\n\r\n",
	} {
		a.raw(t, strings.ReplaceAll(strings.Replace(text, "%s", a.canary(), 1), "%%", "%"))
	}
	c := a.dialHTTP2(t)
	c.send(frameHeaders, endHeaders, 1, hpack(":method", "POST", ":path", "/"+a.canary(), "X-"+a.canary(), a.canary()))
	c.ended("malformed headers")
}

// leakFromRequests sends canaries in every part of a request, good and bad.
func (p *property) leakFromRequests(t *testing.T) {
	t.Helper()
	c := p.canary
	good := encrypting(p.aes, c())
	for _, body := range [][]byte{
		[]byte(c()), []byte(`{"` + c() + `":"` + c() + `"`), []byte(`{"a":"` + c() + `","a":1}`), []byte(`"` + c() + `"`), []byte(`["` + c() + `"]`),
		[]byte(`{"x":"` + c() + "\xff" + `"}`), []byte(`{"x":` + c() + `}`),
		p.body(good, nil),
		p.body(good, members{"appid": quote(c())}),
		p.body(good, members{"sign": quote(c())}),
		p.body(good, members{"nonce": quote(c() + c())}),
		p.body(good, members{"nonce": quote(strings.Repeat(c(), 10))}),
		p.body(good, members{"timestamp": quote(c()[:13])}),
		p.body(good, members{"timestamp": `"1000000000000"`}),
		p.body(good, members{c(): quote(c())}),
		p.body(quote(c()), nil),
		p.body(`["`+c()+`"]`, nil),
		p.body(encrypting(c(), c()), nil),
		p.body(encrypting(noKey, c()), nil),
		p.body(encrypting(p.ec, c()), nil),
		p.body(fmt.Sprintf(`{"keyid":%q,"plaintext":%q}`, p.aes, c()), nil), // not base64
		p.body(fmt.Sprintf(`{"keyid":%q,"plaintext":"AAAA","aad":%q,%q:%q}`, p.aes, b64(c()), c(), c()), nil),
		p.body(decrypting(p.aes, b64(c()+c()+c())), nil),
		p.body(signing(p.ec, c()), nil),
		p.body(signing(p.aes, c()), nil),
		p.body(verifying(p.ec, c(), b64(c())), nil),
		p.body(strings.Replace(newAES, "EH_AES_GCM_256", c(), 1), nil),
		p.body(strings.Replace(newAES, "EH_KEYUSAGE_ENCRYPT_DECRYPT", c(), 1), nil),
		p.body(`{"keyid":"`+p.aes+`","`+c()+`":"`+c()+`"}`, nil),
	} {
		for _, action := range []string{"Encrypt", "Decrypt", "Sign", "Verify", "CreateKey", "EnableKey", c()} {
			r := p.request(action, body)
			r.Header.Set("X-Canary", c())
			r.Header.Set("User-Agent", c())
			r.Header.Set("Cookie", c())
			p.do(r)
		}
	}
	for _, target := range []string{"/" + c(), "/?Action=" + c(), "/ehsm?Action=GetVersion&x=" + c(), "/ehsm?" + c()} {
		p.get(target)
	}
	v2 := p.sign2("Encrypt", encrypting(p.aes, c()))
	p.post2(v2)
	v2.header = c()
	p.post2(v2)
}

// leakFromAnswers plants what the node itself makes.
func (p *property) leakFromAnswers(t *testing.T) {
	t.Helper()
	for range 3 {
		got := p.must("GenerateDataKey", dataKey(p.aes))
		key, err := base64.StdEncoding.DecodeString(got.field("plaintext"))
		if err != nil || len(key) != 32 {
			t.Errorf("no data key: %+v", got)
		}
		p.plant(key)
		p.plant([]byte(got.field("ciphertext")))
		p.plant([]byte(p.must("Sign", signing(p.ec, p.canary())).field("signature")))
		p.arena.enrol() // whose API key is planted
	}
	p.intact()
}
