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

// Work is what a floor does between a request and its reply.
type Work interface {
	Do() error
	// Total is how often it was done, and the processor time that took.
	Total() (calls int64, cpu time.Duration)
}

// A floorTotal is what a floor says of its work.
type floorTotal struct {
	Calls int64 `json:"calls"`
	Nanos int64 `json:"cpu_ns"`
}

// ServeFloor is the least that a server of the protocol can do: a bare
// net/http server with TLS 1.3 and an ECDSA P-256 certificate that reads each
// request, does work, where that is not nil, and answers with size bytes. It
// listens at a free port of the loopback interface, writes its address to out
// and, for each line of in, the work's total, and serves until in ends.
func ServeFloor(in io.Reader, out io.Writer, size int, work Work) error {
	cert, err := selfSigned()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: floorHandler(size, work)}
	served := make(chan error, 1)
	go func() {
		served <- srv.Serve(tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}))
	}()
	err = json.NewEncoder(out).Encode(floorHello{Addr: l.Addr().String(), Cert: cert.Certificate[0]})
	for lines := bufio.NewScanner(in); lines.Scan(); { // until whoever started us is gone
		err = errors.Join(err, tellTotal(out, work))
	}
	srv.Close()
	if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

func tellTotal(out io.Writer, work Work) error {
	var t floorTotal
	if work != nil {
		calls, cpu := work.Total()
		t = floorTotal{calls, int64(cpu)}
	}
	return json.NewEncoder(out).Encode(t)
}

func floorHandler(size int, work Work) http.Handler {
	reply := floorReply(size)
	length := strconv.Itoa(len(reply))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if work != nil && work.Do() != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
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

	stdin  io.WriteCloser
	stdout *bufio.Reader
	cmd    *exec.Cmd
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
	f.stdout = bufio.NewReader(stdout)
	var hello floorHello
	if err := f.read(&hello); err != nil {
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

// read reads the next line that the floor wrote.
func (f *Floor) read(into any) error {
	line, err := f.stdout.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, into)
}

// Total asks the floor for the total of its work.
func (f *Floor) Total() (calls int64, cpu time.Duration, err error) {
	if _, err := io.WriteString(f.stdin, "\n"); err != nil {
		return 0, 0, err
	}
	var t floorTotal
	err = f.read(&t)
	return t.Calls, time.Duration(t.Nanos), err
}

// Close ends the process and waits for it.
func (f *Floor) Close() error {
	return errors.Join(f.stdin.Close(), f.cmd.Wait())
}
