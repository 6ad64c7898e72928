package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/load"
)

// A progressLine tells on standard error how a run goes: on a terminal in one
// line that changes, else in a line per second.
type progressLine struct {
	w        io.Writer
	what     string
	total    time.Duration
	tick     time.Duration
	terminal bool
	written  bool
}

func newProgressLine(w io.Writer, what string, total time.Duration) *progressLine {
	p := &progressLine{w: w, what: what, total: total, tick: time.Second, terminal: isTerminal(w)}
	if p.terminal {
		p.tick = 250 * time.Millisecond
	}
	return p
}

func (p *progressLine) report(g load.Progress) {
	line := fmt.Sprintf("%s: warming up", p.what)
	if g.Elapsed >= 0 {
		line = fmt.Sprintf("%s: %4.0f of %.0f s, %d requests, %.0f/s, %d errors",
			p.what, g.Elapsed.Seconds(), p.total.Seconds(), g.Requests, g.Rate, g.Errors)
	}
	p.written = true
	if p.terminal {
		fmt.Fprintf(p.w, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(p.w, line)
}

// end leaves an empty line for what follows.
func (p *progressLine) end() {
	if p.terminal && p.written {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// print writes the tables.
func (b *bench) print(w io.Writer, all []measured) {
	fmt.Fprintf(w, "%s, %d connections, %d bytes, signature %s, %d × %v\n\n", b.config.URL, b.Conns, b.Size, b.version(), b.Rounds, b.Duration)
	fmt.Fprintln(w, "OP\tSPEC\tSERVER\tREQUESTS\tERRORS\tPER SECOND\tP50\tP99\tP99.9\tCPU/REQUEST\tRAW\tOVER RAW\tHTTPS")
	for _, m := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", rowText(string(m.op), m.spec.String(), "node", m.server), durationText(m.raw()),
			spreadText(m.over(nodeTime, rawTime)), spreadText(m.over(bareTime, rawTime)))
		if m.floor != nil {
			fmt.Fprintf(w, "%s\t\t\t\n", rowText("", "", "floor", m.floor))
			fmt.Fprintf(w, "\t\tratio\t\t\t%s\t\t\t\t%s\t\t\t\n", ratioText(rateRatio(m)), ratioText(cpuRatio(m)))
		}
	}
	if b.Spec.all {
		return // one table; --json has the histograms
	}
	for _, m := range all {
		fmt.Fprintf(w, "\nlatency of %s with %s\n", m.op, m.spec)
		printHistogram(w, &m.server.Latency)
	}
}

// version is that of the signatures.
func (b *bench) version() string {
	if b.config.SignatureV1 {
		return "v1"
	}
	return "v2"
}

func rowText(op, spec, server string, r *load.Result) string {
	cpu := "n/a"
	if per, ok := r.CPUPerRequest(); ok {
		cpu = durationText(per)
	}
	return fmt.Sprintf("%s\t%s\t%s\t%d\t%d\t%.0f\t%s\t%s\t%s\t%s", op, spec, server, r.Requests, r.Errors, r.Rate(),
		durationText(r.Latency.Quantile(0.5)), durationText(r.Latency.Quantile(0.99)), durationText(r.Latency.Quantile(0.999)), cpu)
}

// spreadText prints a median, and between what it lies where that is known.
// Where an operation varies more than the rest takes, as with new RSA keys, it
// can be below nothing.
func spreadText(s spread, ok bool) string {
	if !ok {
		return "n/a"
	}
	text := durationText(s.median)
	if s.low < s.high {
		text += fmt.Sprintf(" (%s to %s)", durationText(s.low), durationText(s.high))
	}
	return text
}

// rateRatio is the node's requests per second over the floor's; 0 is unknown.
func rateRatio(m measured) float64 {
	if m.floor == nil || m.floor.Rate() == 0 {
		return 0
	}
	return m.server.Rate() / m.floor.Rate()
}

// cpuRatio is the node's CPU time per request over the floor's; 0 is unknown.
func cpuRatio(m measured) float64 {
	if m.floor == nil {
		return 0
	}
	node, ok1 := m.server.CPUPerRequest()
	floor, ok2 := m.floor.CPUPerRequest()
	if !ok1 || !ok2 || floor == 0 {
		return 0
	}
	return float64(node) / float64(floor)
}

func ratioText(r float64) string {
	if r == 0 {
		return "n/a"
	}
	return fmt.Sprintf("%.2f", r)
}

// durationText prints three digits, in a unit that fits.
func durationText(d time.Duration) string {
	if d < 0 {
		return "-" + durationText(-d)
	}
	us := float64(d) / float64(time.Microsecond)
	switch {
	case us < 999.5:
		return fmt.Sprintf("%.3g µs", us)
	case us < 999.5e3:
		return fmt.Sprintf("%.3g ms", us/1e3)
	}
	return fmt.Sprintf("%.3g s", us/1e6)
}

// barWidth is the length of the longest bar, in characters.
const barWidth = 50

// printHistogram draws the bands, widening with their latency, as bars.
func printHistogram(w io.Writer, h *load.Histogram) {
	bands := h.Bands()
	var highest uint64
	for _, b := range bands {
		highest = max(highest, b.Count)
	}
	var below uint64
	for _, b := range bands {
		below += b.Count
		bar := strings.Repeat("#", int(b.Count*barWidth/highest))
		if bar == "" && b.Count > 0 {
			bar = "." // few, but not none
		}
		fmt.Fprintf(w, "< %s\t%d\t%.3f%%\t%s\n", durationText(b.High), b.Count, 100*float64(below)/float64(h.Total()), bar)
	}
}

// The JSON form. Times are in microseconds.
type benchDocument struct {
	URL       string        `json:"url"`
	Conns     int           `json:"conns"`
	Size      int           `json:"size"`
	Signature string        `json:"signature"`
	Duration  float64       `json:"duration_s"` // of a round
	Rounds    int           `json:"rounds"`
	Results   []benchResult `json:"results"`
}

type benchResult struct {
	Op        benchOp     `json:"op"`
	Spec      string      `json:"spec"`
	Node      benchRates  `json:"node"`
	Floor     *benchRates `json:"floor,omitempty"`
	RateRatio float64     `json:"rate_ratio,omitempty"` // node over floor
	CPURatio  float64     `json:"cpu_ratio,omitempty"`  // node over floor
	Raw       float64     `json:"raw_us"`               // of the bare operation

	// What node and bare server take beyond that, each round; null: not known.
	OverRaw *benchSpread `json:"over_raw_us"`
	HTTPS   *benchSpread `json:"https_us"`
}

// A benchSpread is a median and the interval that holds it with 95%, which is
// empty below six rounds.
type benchSpread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

func spreadDocument(s spread, ok bool) *benchSpread {
	if !ok {
		return nil
	}
	return &benchSpread{micros(s.median), micros(s.low), micros(s.high)}
}

type benchRates struct {
	Requests   uint64      `json:"requests"`
	Errors     uint64      `json:"errors"`
	FirstError string      `json:"first_error,omitempty"`
	PerSecond  float64     `json:"per_second"`
	P50        float64     `json:"p50_us"`
	P99        float64     `json:"p99_us"`
	P999       float64     `json:"p99_9_us"`
	Max        float64     `json:"max_us"`
	CPU        *float64    `json:"cpu_us_per_request"` // null: not known
	Histogram  []benchBand `json:"histogram"`
}

type benchBand struct {
	Below float64 `json:"below_us"`
	Count uint64  `json:"count"`
}

func (b *bench) document(all []measured) benchDocument {
	doc := benchDocument{URL: b.config.URL, Conns: b.Conns, Size: b.Size, Signature: b.version(), Duration: b.Duration.Seconds(), Rounds: b.Rounds}
	for _, m := range all {
		r := benchResult{Op: m.op, Spec: m.spec.String(), Node: ratesOf(m.server), RateRatio: rateRatio(m), CPURatio: cpuRatio(m),
			Raw: micros(m.raw()), OverRaw: spreadDocument(m.over(nodeTime, rawTime)), HTTPS: spreadDocument(m.over(bareTime, rawTime))}
		if m.floor != nil {
			floor := ratesOf(m.floor)
			r.Floor = &floor
		}
		doc.Results = append(doc.Results, r)
	}
	return doc
}

func ratesOf(r *load.Result) benchRates {
	out := benchRates{Requests: r.Requests, Errors: r.Errors, PerSecond: r.Rate(),
		P50: micros(r.Latency.Quantile(0.5)), P99: micros(r.Latency.Quantile(0.99)), P999: micros(r.Latency.Quantile(0.999)),
		Max: micros(r.Latency.Max())}
	if r.FirstError != nil {
		out.FirstError = r.FirstError.Error()
	}
	if cpu, ok := r.CPUPerRequest(); ok {
		us := micros(cpu)
		out.CPU = &us
	}
	for _, b := range r.Latency.Bands() {
		out.Histogram = append(out.Histogram, benchBand{micros(b.High), b.Count})
	}
	return out
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
