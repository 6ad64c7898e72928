package load_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/load"
)

// planFor makes a short plan against a server, with one fixed request.
func planFor(s *httptest.Server, body string) load.Plan {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	req := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	return load.Plan{
		Addr: s.Listener.Addr().String(), TLS: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"},
		Conns: 4, Warmup: 50 * time.Millisecond, Duration: 200 * time.Millisecond,
		Requests: func(tls.ConnectionState) func() []byte { return func() []byte { return []byte(req) } },
	}
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestRunCountsWhatIsAnswered(t *testing.T) {
	var asked atomic.Uint64
	var mu sync.Mutex
	conns := map[string]bool{}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		conns[r.RemoteAddr] = string(b) == "hello"
		mu.Unlock()
		w.Write([]byte("a reply"))
	})
	p := planFor(s, "hello")
	var ticks []load.Progress
	p.Tick = 20 * time.Millisecond
	p.Progress = func(g load.Progress) { ticks = append(ticks, g) }
	res, err := load.Run(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if res.Requests == 0 || res.Requests >= asked.Load() || res.Errors != 0 || res.FirstError != nil {
		t.Errorf("%d of %d answered, warm-up included, with %d errors: %v", res.Requests, asked.Load(), res.Errors, res.FirstError)
	}
	if res.Latency.Total() != res.Requests || res.ReplySize != len("a reply") {
		t.Errorf("%d latencies for %d requests; reply of %d bytes", res.Latency.Total(), res.Requests, res.ReplySize)
	}
	if len(conns) != p.Conns {
		t.Errorf("%d connections, want %d", len(conns), p.Conns)
	}
	for from, good := range conns {
		if !good {
			t.Errorf("%s sent another body", from)
		}
	}
	if len(ticks) < 5 || ticks[0].Elapsed >= 0 || ticks[len(ticks)-1].Elapsed <= 0 {
		t.Errorf("progress was told as %+v", ticks)
	}
	if rate := res.Rate(); rate < float64(res.Requests) || rate > 6*float64(res.Requests) {
		t.Errorf("rate %f for %d requests in %v", rate, res.Requests, res.Elapsed)
	}
}

func TestRunCountsErrors(t *testing.T) {
	check := func(b []byte) error {
		if string(b) != "good" {
			return errors.New("not good")
		}
		return nil
	}
	tests := []struct {
		name    string
		handler http.HandlerFunc
		want    string
	}{
		{"status", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, "HTTP status 503"},
		{"check", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("bad")) }, "not good"},
		{"connection", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := planFor(serve(t, tt.handler), "")
			p.Check = check
			res, err := load.Run(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			if res.Requests != 0 || res.Errors < 4 || !strings.Contains(res.FirstError.Error(), tt.want) {
				t.Errorf("%d answered, %d errors: %v", res.Requests, res.Errors, res.FirstError)
			}
		})
	}
}

func TestRunDialsAgain(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.Write([]byte("bye"))
	})
	res, err := load.Run(t.Context(), planFor(s, ""))
	if err != nil || res.Requests < 5 || res.Errors != 0 { // more than there were connections
		t.Errorf("%d requests, %d errors, %v", res.Requests, res.Errors, err)
	}
}

func TestRunReadsChunks(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("one "))
		w.(http.Flusher).Flush()
		w.Write([]byte("two"))
	})
	p := planFor(s, "")
	res, err := load.Run(t.Context(), p)
	if err != nil || res.Errors != 0 || res.ReplySize != len("one two") {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	hang := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { <-hang })
	t.Cleanup(func() { close(hang) })
	p := planFor(s, "")
	p.Duration = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := load.Run(ctx, p); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want the context's error", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestAdd(t *testing.T) {
	one := &load.Result{Elapsed: time.Second, Requests: 10, CPU: 100 * time.Microsecond, HasCPU: true, ReplySize: 5}
	two := &load.Result{Elapsed: 3 * time.Second, Requests: 30, CPU: 300 * time.Microsecond, HasCPU: true, Errors: 1, FirstError: io.EOF}
	one.Latency.Record(time.Millisecond)
	two.Latency.Record(time.Second)
	var sum load.Result
	sum.Add(one)
	sum.Add(two)
	cpu, known := sum.CPUPerRequest()
	if sum.Rate() != 10 || cpu != 10*time.Microsecond || !known || sum.Errors != 1 || sum.FirstError != io.EOF || sum.Latency.Total() != 2 {
		t.Errorf("%+v", sum)
	}
	sum.Add(&load.Result{Elapsed: time.Second})
	if _, known := sum.CPUPerRequest(); known {
		t.Error("CPU time is known although one run's is not")
	}
}

func TestRunRefusesAnEmptyPlan(t *testing.T) {
	if _, err := load.Run(t.Context(), load.Plan{}); err == nil {
		t.Error("accepted")
	}
}

// counted takes a microsecond, it says.
type counted struct{ atomic.Int64 }

func (c *counted) Do() error { c.Add(1); return nil }

func (c *counted) Total() (int64, time.Duration) {
	return c.Load(), time.Duration(c.Load()) * time.Microsecond
}

// TestFloor loads the floor server through pipes, as the child process has them.
func TestFloor(t *testing.T) {
	for _, size := range []int{0, 37, 2048} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			in, started := io.Pipe()
			hello, out := io.Pipe()
			served := make(chan error, 1)
			var work counted
			go func() { served <- load.ServeFloor(in, out, size, &work) }()
			floor := load.ReadFloorHello(t, hello, started)
			addr, conf := floor.Addr, floor.TLS
			res, err := load.Run(t.Context(), load.Plan{
				Addr: addr, TLS: conf, Conns: 2, Duration: 50 * time.Millisecond,
				Requests: func(tls.ConnectionState) func() []byte {
					return func() []byte { return []byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello") }
				},
				Check: func(b []byte) error {
					if !strings.HasPrefix(string(b), `{"code":200,`) {
						return fmt.Errorf("reply %q", b)
					}
					return nil
				},
			})
			if err != nil || res.Errors > 0 || res.Requests == 0 || res.ReplySize != max(size, 37) {
				t.Errorf("%+v, %v", res, err)
			}
			if n, cpu, err := floor.Total(); err != nil || n < int64(res.Requests) || n != work.Load() || cpu != time.Duration(n)*time.Microsecond {
				t.Errorf("%d times %d in %v, %v", res.Requests, n, cpu, err)
			}
			started.Close()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
