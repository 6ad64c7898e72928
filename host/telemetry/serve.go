package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/holdfast-kms/holdfast/host/listen"
)

// Limits of the metrics' listener.
const (
	maxConns       = 16
	scrapeTime     = 5 * time.Second
	headerTime     = 5 * time.Second
	maxHeaderBytes = 8 << 10
	idleTime       = time.Minute
	drainTime      = time.Second
)

// Listen opens the listener for metrics. An address without an IP, as in ":9464",
// is one at loopback.
func Listen(addr string, log *slog.Logger) (net.Listener, error) {
	if host, port, err := net.SplitHostPort(addr); err == nil && host == "" {
		addr = net.JoinHostPort("127.0.0.1", port)
	}
	return listen.TCP(addr, listen.Config{MaxConns: maxConns, Log: log})
}

// Serve serves h on l until ctx ends.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: 2 * scrapeTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	stop := context.AfterFunc(ctx, func() {
		drain, cancel := context.WithTimeout(context.Background(), drainTime)
		defer cancel()
		_ = errors.Join(srv.Shutdown(drain), srv.Close()) // what would not end is cut off
	})
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
