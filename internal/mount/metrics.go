package mount

import (
	"context"
	"log/slog"
	"net"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/host/telemetry"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// Metrics is the listener for metrics and health of a node. The zero value is
// none.
type Metrics struct {
	telemetry *telemetry.Telemetry
	listener  net.Listener
	log       *slog.Logger
}

// ListenMetrics opens the listener, so that an address that cannot be had is
// noticed before the node starts; "" is none. It is at loopback unless addr names
// an IP.
func ListenMetrics(addr string, p *Program, log *slog.Logger) (*Metrics, error) {
	if addr == "" {
		return &Metrics{}, nil
	}
	l, err := telemetry.Listen(addr, log)
	if err != nil {
		return nil, err
	}
	m := &Metrics{telemetry: telemetry.New(p.Version), listener: l, log: log}
	p.Observer = m.telemetry
	log.Info("metrics", "address", l.Addr().String())
	return m, nil
}

// URL is where the metrics are, "" where there are none.
func (m *Metrics) URL() string {
	if m.listener == nil {
		return ""
	}
	return "http://" + m.listener.Addr().String() + "/metrics"
}

// Serve serves what a node and its API's listener have to tell, until stop is
// called, which waits.
func (m *Metrics) Serve(n *server.Node, conns *listen.Listener) (stop func()) {
	if m.listener == nil {
		return func() {}
	}
	h := m.telemetry.Handler(telemetry.Config{Read: n.Metrics, Alive: api.AlivePage, Ready: api.ReadyPage{Ready: n.Readiness},
		Conns: func() (open, refused int64) { s := conns.Stats(); return s.Open, s.Refused }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := telemetry.Serve(ctx, m.listener, h, m.log); err != nil {
			m.log.Error("metrics are not served any more", "cause", err)
		}
	}()
	return func() { cancel(); <-done }
}

// Close closes the listener, where Serve has not.
func (m *Metrics) Close() {
	if m.listener != nil {
		_ = m.listener.Close() // nobody waits for it
	}
}
