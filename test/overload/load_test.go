package overload_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// A tenant is an app that encrypts.
type tenant struct {
	node   *node
	id     kms.AppID
	apiKey string
	key    kms.KeyID
}

var nonce atomic.Int64

// request is a signed Encrypt of 1 KiB; each is another one.
func (x *tenant) request() []byte {
	unsigned := fmt.Sprintf(`{"appid":%q,"nonce":"%d","payload":{"keyid":%q,"plaintext":%q},"timestamp":"%d"}`,
		x.id, nonce.Add(1), x.key, plaintext, time.Now().UnixMilli())
	text, err := wire.StringToSign([]byte(unsigned))
	if err != nil {
		panic(err)
	}
	sign := base64.StdEncoding.EncodeToString(wire.MAC([]byte(x.apiKey), text))
	body := fmt.Sprintf(`%s,"sign":%q}`, unsigned[:len(unsigned)-1], sign)
	return fmt.Appendf(nil, "POST /ehsm?Action=Encrypt HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		x.node.addr, len(body), body)
}

var plaintext = base64.StdEncoding.EncodeToString(make([]byte, 1024))

// A tally is what became of requests.
type tally struct {
	offered, refused int
	failed           error // one of the failures
	took             []time.Duration
	elapsed          time.Duration
}

func (t *tally) add(o *tally) {
	t.offered, t.refused, t.took = t.offered+o.offered, t.refused+o.refused, append(t.took, o.took...)
	t.failed = errors.Join(t.failed, o.failed)
	t.elapsed = max(t.elapsed, o.elapsed)
}

func (t *tally) rate() float64 { return float64(len(t.took)) / t.elapsed.Seconds() }

func (t *tally) quantile(q float64) time.Duration {
	if len(t.took) == 0 {
		return 0
	}
	slices.Sort(t.took)
	return t.took[min(len(t.took)-1, int(q*float64(len(t.took))))]
}

func (t *tally) String() string {
	return fmt.Sprintf("%6.0f/s answered of %6.0f/s, refused %6.0f/s, p50 %8v, p99 %8v", t.rate(), float64(t.offered)/t.elapsed.Seconds(),
		float64(t.refused)/t.elapsed.Seconds(), t.quantile(0.5).Round(10*time.Microsecond), t.quantile(0.99).Round(10*time.Microsecond))
}

// A line is a connection with the requests on it.
type line struct {
	*tenant
	conn *tls.Conn
	in   *bufio.Reader
	tally
}

func (x *tenant) dial() (*line, error) {
	c, err := tls.Dial("tcp", x.node.addr, &tls.Config{RootCAs: x.node.ca, NextProtos: []string{"http/1.1"}})
	if err != nil {
		return nil, err
	}
	return &line{tenant: x, conn: c, in: bufio.NewReaderSize(c, 16<<10)}, nil
}

// lines opens connections, before anything is measured.
func (x *tenant) lines(n int) []*line {
	x.node.t.Helper()
	var all []*line
	for range n {
		l, err := x.dial()
		if err != nil {
			x.node.t.Fatal(err)
		}
		x.node.t.Cleanup(func() { _ = l.conn.Close() })
		l.ask(time.Now()) // a connection that has asked for nothing is closed soon
		if l.failed != nil {
			x.node.t.Fatal(l.failed)
		}
		l.tally = tally{}
		all = append(all, l)
	}
	return all
}

// ask sends a request that was due at a time.
func (l *line) ask(due time.Time) {
	l.offered++
	if _, err := l.conn.Write(l.request()); err != nil {
		l.failed = err
		return
	}
	resp, err := http.ReadResponse(l.in, nil)
	if err != nil {
		l.failed = err
		return
	}
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		l.failed = err
	case bytes.Contains(body, []byte(`"code":200`)):
		l.took = append(l.took, time.Since(due))
	case bytes.Contains(body, []byte(`"code":429`)):
		l.refused++
		if resp.Header.Get("Retry-After") == "" {
			l.failed = errors.New("a refusal that does not say when to come back")
		}
	default:
		l.failed = fmt.Errorf("answered %s", body)
	}
}

// sum is what all lines have to tell, which forget it.
func sum(lines []*line, elapsed time.Duration) *tally {
	all := &tally{elapsed: elapsed}
	for _, l := range lines {
		all.add(&l.tally)
		l.tally = tally{}
	}
	return all
}

// crowd asks on all lines as fast as answers come, for as long as ctx lasts.
func crowd(ctx context.Context, lines []*line) *tally {
	began := time.Now()
	var work sync.WaitGroup
	for _, l := range lines {
		work.Go(func() {
			for ctx.Err() == nil && l.failed == nil {
				l.ask(time.Now())
			}
		})
	}
	<-ctx.Done()
	elapsed := time.Since(began)
	work.Wait()
	return sum(lines, elapsed)
}

// pace asks so many times a second, however long answers take: a request that has to
// wait for a line is late from when it was due.
func pace(ctx context.Context, lines []*line, perSecond int) *tally {
	began := time.Now()
	due := make(chan time.Time, 1<<20)
	var work sync.WaitGroup
	for _, l := range lines {
		work.Go(func() {
			for at := range due {
				if l.failed == nil {
					l.ask(at)
				}
			}
		})
	}
	for at, step := began, time.Second/time.Duration(perSecond); ctx.Err() == nil; at = at.Add(step) {
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
		}
		due <- at
	}
	close(due)
	work.Wait() // what was due is asked, however late: it shows in elapsed and in how long it took
	return sum(lines, time.Since(began))
}
