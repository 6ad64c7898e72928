package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/load"
	"github.com/holdfast-kms/holdfast/kms"
)

// benchCmd is `holdfast bench`.
type benchCmd struct {
	Op        []benchOp     `placeholder:"OP" help:"What to do, one after the other: ${benchops}. Without it encrypt, decrypt, datakey and sign; with --spec all, all but datakey and create."`
	Spec      benchSpecs    `placeholder:"SPEC,..." help:"The specs of the keys, or all. Without it AES-256-GCM, EC-P256 to sign and verify, HMAC-SHA-256 for mac."`
	Size      int           `default:"1024" help:"Bytes to encrypt, decrypt, sign or authenticate, 1 to 6144. RSA and SM2 encrypt 32."`
	Signature string        `enum:"v1,v2" default:"v2" help:"How the requests are signed: v1, as eHSM does, or v2."`
	Conns     int           `default:"64" help:"Connections, each with one request under way at a time; at most 4 to create RSA keys."`
	Duration  time.Duration `default:"10s" help:"How long to measure each."`
	Warmup    time.Duration `default:"1s" help:"Load before each that is not measured."`
	Rounds    int           `default:"1" help:"Measure each so often, for the duration each time; node, bare operation and floor take turns."`
	Floor     bool          `help:"Load a bare TLS server with the same bytes in turn, and print the ratio."`

	connection
}

// Help is more about it.
func (*benchCmd) Help() string {
	return `CPU/REQUEST is the processor time of the node, where that runs on this machine. RAW is what the bare operation takes, by the
library alone, in a bare TLS server that is loaded in turn with the node, with the same requests. OVER RAW is what the node takes
beyond that, and HTTPS what the bare server takes beyond it: the median of the rounds and, from six rounds on, the interval
that holds it with 95%.`
}

// Limits of a run: a slip of the finger shall not load a machine for a day.
const (
	maxBenchConns    = 4096
	maxBenchDuration = time.Hour
	maxBenchRounds   = 100
)

const (
	// RSA keys take so long to make that more requests under way only wait.
	maxSlowConns = 4
	slowGrace    = time.Minute
)

// A measured is one op with its results.
type measured struct {
	op     benchOp
	spec   kms.Spec
	server *load.Result
	floor  *load.Result // nil without --floor
	rounds []round
}

// Run loads the node. Any error fails it, after all results are shown.
func (c *benchCmd) Run(s *session) error {
	if err := c.check(); err != nil {
		return err
	}
	b, err := c.prepare(s)
	if err != nil {
		return err
	}
	defer b.client.Close()
	all, err := b.measureAll()
	if len(all) == 0 {
		return err
	}
	if err := s.show(b.document(all), func(w io.Writer) { b.print(w, all) }); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return failures(all)
}

// measureAll returns what was measured until something failed.
func (b *bench) measureAll() (all []measured, err error) {
	for _, op := range b.ops() {
		specs, _ := b.specsFor(op)
		for _, spec := range specs {
			m, err := b.measure(op, spec)
			if err != nil {
				return all, fmt.Errorf("%s with %s: %w", op, spec, err)
			}
			all = append(all, m)
		}
	}
	return all, nil
}

func (c *benchCmd) check() error {
	switch {
	case c.Size < 1 || c.Size > kms.MaxPlaintext:
		return misusef(fmt.Sprintf("1 to %d bytes", kms.MaxPlaintext), "--size %d is out of range", c.Size)
	case c.Conns < 1 || c.Conns > maxBenchConns:
		return misusef(fmt.Sprintf("1 to %d", maxBenchConns), "--conns %d is out of range", c.Conns)
	case c.Duration <= 0 || c.Duration > maxBenchDuration:
		return misusef("up to "+maxBenchDuration.String(), "--duration %v is out of range", c.Duration)
	case c.Warmup < 0 || c.Warmup > maxBenchDuration:
		return misusef("up to "+maxBenchDuration.String(), "--warmup %v is out of range", c.Warmup)
	}
	if c.Rounds < 1 || c.Rounds > maxBenchRounds {
		return misusef(fmt.Sprintf("1 to %d", maxBenchRounds), "--rounds %d is out of range", c.Rounds)
	}
	for _, op := range c.ops() {
		if _, err := c.specsFor(op); err != nil {
			return err
		}
	}
	return nil
}

// A bench is a run that is set up.
type bench struct {
	*benchCmd
	session *session
	client  *client.Client
	config  client.Config
	addr    string // host:port
	tls     *tls.Config
	pid     int // of the server; 0 where it is not known
}

// prepare finds the server, and its process where that is on this machine.
func (c *benchCmd) prepare(s *session) (*bench, error) {
	b := &bench{benchCmd: c, session: s}
	var err error
	if b.config, err = c.asApp(s); err != nil {
		return nil, err
	}
	if b.config, err = attestOnce(s, b.config); err != nil {
		return nil, err
	}
	if c.Signature == "v1" {
		b.config.SignatureV1 = true
	}
	if b.client, err = client.New(b.config); err != nil {
		return nil, err
	}
	if b.tls, err = b.config.TLSConfig(); err != nil {
		return nil, err
	}
	u, err := url.Parse(b.config.URL)
	if err != nil {
		return nil, err
	}
	b.addr = net.JoinHostPort(u.Hostname(), portOf(u))
	b.tls.ServerName = u.Hostname()
	at, local := loopback(s.ctx, u)
	if !local && c.URL == "" {
		return nil, problemf("name it with --url if you mean it", "the load would go to %s, another machine", u.Host)
	}
	if local {
		// Without it the table says n/a.
		b.pid, _ = load.ListenerPID(at)
	}
	return b, nil
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return "443"
}

// loopback returns the address of a server on this machine's loopback interface.
func loopback(ctx context.Context, u *url.URL) (netip.AddrPort, bool) {
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", portOf(u))
	if err != nil {
		return netip.AddrPort{}, false
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil || len(ips) == 0 {
		return netip.AddrPort{}, false
	}
	for _, ip := range ips {
		if !ip.Unmap().IsLoopback() {
			return netip.AddrPort{}, false
		}
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), true
}

// measure loads the server with op and, in turn, a bare server that does the
// bare operation, and the floor if asked: what else the machine does in the
// meantime, and how busy its processors are, then slows all alike.
func (b *bench) measure(op benchOp, spec kms.Spec) (m measured, err error) {
	m = measured{op: op, spec: spec, server: new(load.Result)}
	template, done, err := b.template(op, spec)
	if err != nil {
		return m, err
	}
	defer done()
	t := &turns{bench: b, what: fmt.Sprintf("%s %s", op, spec), plan: b.plan(op, spec, template), measured: &m}
	defer func() { err = errors.Join(err, t.end()) }()
	for range b.Rounds {
		if err := t.round(); err != nil {
			return m, err
		}
	}
	return m, nil
}

func (b *bench) plan(op benchOp, spec kms.Spec, t template) load.Plan {
	plan := load.Plan{Addr: b.addr, TLS: b.tls, PID: b.pid, Conns: b.Conns, Warmup: b.Warmup, Duration: b.Duration,
		Requests: t.source, Check: checkReply}
	if slowCreate(op, spec) {
		plan.Conns, plan.Grace = min(b.Conns, maxSlowConns), slowGrace
	}
	return plan
}

func slowCreate(op benchOp, spec kms.Spec) bool {
	row, ok := spec.Capability()
	return op == "create" && ok && row.Slow
}

// run carries out a plan, tells how it goes, and adds up what it measured.
func (b *bench) run(what string, plan load.Plan, sum *load.Result) (*load.Result, error) {
	p := newProgressLine(b.session.stderr, what, b.Duration)
	plan.Tick, plan.Progress = p.tick, p.report
	defer p.end()
	r, err := load.Run(b.session.ctx, plan)
	if err == nil {
		sum.Add(r)
	}
	return r, err
}

// failures is the error of a run in which requests failed.
func failures(all []measured) error {
	for _, m := range all {
		for _, r := range []*load.Result{m.server, m.floor} {
			if r != nil && r.Errors > 0 {
				return problemf("", "%s with %s: %d requests failed, one with: %v", m.op, m.spec, r.Errors, r.FirstError)
			}
		}
	}
	return nil
}
