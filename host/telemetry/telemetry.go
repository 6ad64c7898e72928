// Package telemetry shows a node's metrics to Prometheus, on a listener of its
// own. What it shows is of the node as a whole: labels are names out of tables,
// never of an app, a key or anything that a client wrote. Whoever reaches the
// listener may read them, so it is at loopback unless an address is given.
package telemetry

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/holdfast-kms/holdfast/kms"
)

// Config says what is shown.
type Config struct {
	// Read reads the node's gauges and counters; nil: there are none yet.
	Read func() kms.Metrics
	// Conns reads the API's listener: connections open, and refused for want of
	// room. nil: unknown.
	Conns func() (open, refused int64)
	// Alive and Ready are served beside the metrics; nil: they are not.
	Alive, Ready http.Handler
	Version      string
}

// maxSeries bounds the series that requests are counted in. The facades' tables
// have some 120 operations; nobody else can name one.
const maxSeries = 4096

// buckets of durations in seconds: a symmetric operation takes 50 µs, one with an
// RSA key milliseconds, what waits for the log or a vendor longer.
var buckets = []float64{25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1, 2.5, 5, 10}

// Telemetry counts requests and shows metrics. It is an api.Observer.
type Telemetry struct {
	start    time.Time
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec

	mu     sync.RWMutex
	series map[kms.Served]*series
}

// A series is where requests of one kind are counted.
type series struct {
	count   prometheus.Counter
	seconds prometheus.Observer // nil: of a stream
}

// New makes a Telemetry, which counts requests from then on.
func New(version string) *Telemetry {
	t := &Telemetry{start: time.Now(), registry: prometheus.NewRegistry(), series: map[kms.Served]*series{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "holdfast_requests_total",
			Help: "Requests that were answered, by facade, operation and outcome (ok, or the kind of the error)."}, []string{"facade", "operation", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "holdfast_request_seconds", Buckets: buckets,
			Help: "How long requests took, from when they had been read to when the answer was there. Streams are not in it."}, []string{"facade", "operation"}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{Name: "holdfast_build_info", Help: "1, for the version that runs.",
		ConstLabels: prometheus.Labels{"version": version}})
	info.Set(1)
	t.registry.MustRegister(t.requests, t.seconds, info, collectors.NewGoCollector())
	return t
}

// Begin is the time since the start, in ns.
func (t *Telemetry) Begin() int64 { return int64(time.Since(t.start)) }

// End counts a request.
func (t *Telemetry) End(begun int64, s kms.Served) {
	took := time.Since(t.start) - time.Duration(begun)
	if one := t.seriesOf(s); one != nil {
		one.count.Inc()
		if one.seconds != nil {
			one.seconds.Observe(took.Seconds())
		}
	}
}

// seriesOf finds the series of a request. It is looked up without the labels being
// joined and hashed each time.
func (t *Telemetry) seriesOf(s kms.Served) *series {
	t.mu.RLock()
	one := t.series[s]
	t.mu.RUnlock()
	if one != nil {
		return one
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if one = t.series[s]; one != nil || len(t.series) >= maxSeries {
		return one
	}
	one = &series{count: t.requests.WithLabelValues(s.Facade, s.Operation, s.Outcome())}
	if !s.Stream {
		one.seconds = t.seconds.WithLabelValues(s.Facade, s.Operation)
	}
	t.series[s] = one
	return one
}

// Handler serves /metrics, /healthz and /readyz. It is to be called once.
func (t *Telemetry) Handler(cfg Config) http.Handler {
	t.registry.MustRegister(&reading{cfg: cfg})
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2, Timeout: scrapeTime}))
	if cfg.Alive != nil {
		mux.Handle("GET /healthz", cfg.Alive)
	}
	if cfg.Ready != nil {
		mux.Handle("GET /readyz", cfg.Ready)
	}
	return mux
}
