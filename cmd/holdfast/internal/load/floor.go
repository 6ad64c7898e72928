package load

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// A floorHello is what a floor says of itself on standard output.
type floorHello struct {
	Addr string `json:"addr"`
	Cert []byte `json:"cert"` // DER
}

// floorReply is a reply of exactly size bytes that passes as a success, or the
// shortest such.
func floorReply(size int) []byte {
	const frame = `{"code":200,"message":"","result":""}`
	pad := strings.Repeat("x", max(0, size-len(frame)))
	return []byte(frame[:len(frame)-2] + pad + frame[len(frame)-2:])
}

// ServeFloor is the least that a server of the protocol can do: a bare
// net/http server with TLS 1.3 and an ECDSA P-256 certificate that reads each
// request and answers with size bytes. It listens at a free port of the
// loopback interface, writes its address to out, and serves until in ends.
func ServeFloor(in io.Reader, out io.Writer, size int) error {
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: floorHandler(size)}
	served := make(chan error, 1)
	go func() {
		served <- srv.Serve(tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}))
	}()
	err = json.NewEncoder(out).Encode(floorHello{Addr: l.Addr().String(), Cert: cert.Certificate[0]})
	io.Copy(io.Discard, in) // until whoever started us is gone
	srv.Close()
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

func floorHandler(size int) http.Handler {
	reply := floorReply(size)
	length := strconv.Itoa(len(reply))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.Header().Set("Content-Length", length)
		w.Write(reply)
	})
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:     x509.KeyUsageDigitalSignature,
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// A Floor is such a server as a process of its own.
type Floor struct {
	Addr string
	TLS  *tls.Config
	PID  int

	stdin io.Closer
	cmd   *exec.Cmd
}

// StartFloor starts a program that calls ServeFloor with its standard input
// and output. The caller must Close it; it ends with this process anyway.
func StartFloor(ctx context.Context, program string, args ...string) (*Floor, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := &Floor{PID: cmd.Process.Pid, stdin: stdin, cmd: cmd}
	if err := f.greet(stdout); err != nil {
		return nil, errors.Join(fmt.Errorf("the floor server did not start: %w", err), f.Close())
	}
	return f, nil
}

func (f *Floor) greet(stdout io.Reader) error {
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err != nil {
		return err
	}
	var hello floorHello
	if err := json.Unmarshal(line, &hello); err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(hello.Cert)
	if err != nil {
		return err
	}
	f.Addr = hello.Addr
	f.TLS = &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	f.TLS.RootCAs.AddCert(cert)
	return nil
}

// Close ends the process and waits for it.
func (f *Floor) Close() error {
	return errors.Join(f.stdin.Close(), f.cmd.Wait())
}
