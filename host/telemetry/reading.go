package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/holdfast-kms/holdfast/kms"
)

// A metric is a row of what is read off a node.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(m *kms.Metrics) float64
}

func gauge(name, help string, value func(*kms.Metrics) float64) metric {
	return metric{prometheus.NewDesc("holdfast_"+name, help, nil, nil), prometheus.GaugeValue, value}
}

func counter(name, help string, value func(*kms.Metrics) float64) metric {
	return metric{prometheus.NewDesc("holdfast_"+name, help, nil, nil), prometheus.CounterValue, value}
}

// metrics is what is shown of a node; docs/observe.md has the same table.
var metrics = []metric{
	gauge("ready", "1 while the node serves.", func(m *kms.Metrics) float64 { return truth(m.Ready) }),
	gauge("running", "0 once the node has stopped to protect its state.", func(m *kms.Metrics) float64 { return truth(m.Running) }),
	gauge("secure", "0 where simulated evidence was ever admitted.", func(m *kms.Metrics) float64 { return truth(m.Secure) }),

	gauge("raft_leader", "1 while this node leads.", func(m *kms.Metrics) float64 { return truth(m.Raft.Leader) }),
	gauge("raft_has_leader", "1 while this node knows of a leader.", func(m *kms.Metrics) float64 { return truth(m.Raft.HasLead) }),
	gauge("raft_term", "The raft term.", func(m *kms.Metrics) float64 { return float64(m.Raft.Term) }),
	gauge("raft_last_index", "Index of the last entry in this node's log.", func(m *kms.Metrics) float64 { return float64(m.Raft.Last) }),
	gauge("raft_commit_index", "Index up to which entries are committed, as far as this node knows.", func(m *kms.Metrics) float64 { return float64(m.Raft.Commit) }),
	gauge("raft_applied_index", "Index up to which entries are applied.", func(m *kms.Metrics) float64 { return float64(m.Raft.Applied) }),
	gauge("raft_voters", "Voters of the domain.", func(m *kms.Metrics) float64 { return float64(m.Raft.Voters) }),
	gauge("raft_learners", "Nodes that learn and do not vote.", func(m *kms.Metrics) float64 { return float64(m.Raft.Learners) }),

	counter("stale_requests_total", "Requests refused because the node could not confirm that its state is current.", func(m *kms.Metrics) float64 { return float64(m.Stale) }),
	gauge("state_confirmed_age_seconds", "How long ago the state was last known to be current; 0 in a domain of one.", func(m *kms.Metrics) float64 { return m.Confirmed.Seconds() }),
	gauge("domain_time_seconds", "Domain time, seconds since 1970.", func(m *kms.Metrics) float64 { return unix(m.DomainTime) }),
	gauge("clock_skew_seconds", "The host's clock less domain time.", skew),

	gauge("policy_serial", "Serial of the policy in force.", func(m *kms.Metrics) float64 { return float64(m.PolicySerial) }),
	gauge("policy_expires_seconds", "When clients stop taking the policy, seconds since 1970.", func(m *kms.Metrics) float64 { return unix(m.PolicyUntil) }),
	gauge("feature_level", "Feature level of the domain.", func(m *kms.Metrics) float64 { return float64(m.Feature) }),
	gauge("generation", "Newest generation of the master secret.", func(m *kms.Metrics) float64 { return float64(m.Generation) }),
	gauge("rewrap_left", "Secrets still wrapped under older generations.", func(m *kms.Metrics) float64 { return float64(m.RewrapLeft) }),

	gauge("evidence_age_seconds", "Age of this node's evidence.", func(m *kms.Metrics) float64 { return m.EvidenceAge.Seconds() }),
	gauge("collateral_issued_seconds", "When the vendor's collateral was issued, seconds since 1970.", func(m *kms.Metrics) float64 { return unix(m.CollateralFrom) }),
	gauge("collateral_expires_seconds", "When the vendor's collateral ends, and with it this node's service; seconds since 1970.", func(m *kms.Metrics) float64 { return unix(m.CollateralUntil) }),
	gauge("examination_failed", "1 where the node's last examination of itself did not succeed.", func(m *kms.Metrics) float64 { return truth(m.ExaminationFailed) }),

	gauge("apps", "Apps of the domain.", func(m *kms.Metrics) float64 { return float64(m.Apps) }),
	gauge("keys", "Keys of the domain.", func(m *kms.Metrics) float64 { return float64(m.Keys) }),
	gauge("secrets", "Secrets of the domain.", func(m *kms.Metrics) float64 { return float64(m.Secrets) }),

	counter("replay_refusals_total", "Requests refused because they had been accepted before.", func(m *kms.Metrics) float64 { return float64(m.Replayed) }),
	gauge("replay_age_seconds", "How old a request of eHSM's first scheme may be; it shrinks while the table of requests is full.", func(m *kms.Metrics) float64 { return m.ReplayAge.Seconds() }),

	gauge("requests_under_way", "Requests let in and not answered yet.", func(m *kms.Metrics) float64 { return float64(m.Load.UnderWay) }),
	counter("shed_requests_total", "Requests refused because the node was asked for more than it takes on or can do.", func(m *kms.Metrics) float64 { return float64(m.Load.Shed) }),

	gauge("audit_enabled", "1 where operations are audited.", func(m *kms.Metrics) float64 { return truth(m.Audit.Enabled) }),
	counter("audit_entries_total", "Audit entries that every required sink has accepted.", func(m *kms.Metrics) float64 { return float64(m.Audit.Entries) }),
	gauge("audit_waiting", "Audit entries that wait for a required sink.", func(m *kms.Metrics) float64 { return float64(m.Audit.Waiting) }),
	gauge("audit_lag_seconds", "For how long the oldest of them has waited.", func(m *kms.Metrics) float64 { return m.Audit.Lag.Seconds() }),
	counter("audit_refusals_total", "Operations refused because their audit entry could not be written.", func(m *kms.Metrics) float64 { return float64(m.Audit.Refused) }),
	gauge("audit_failing", "1 while a required sink takes nothing.", func(m *kms.Metrics) float64 { return truth(m.Audit.Failing) }),
}

var (
	limitedDesc = prometheus.NewDesc("holdfast_limited_requests_total", "Requests refused because their app's rate was used up, by class of work.", []string{"class"}, nil)
	openDesc    = prometheus.NewDesc("holdfast_connections", "Connections open at the API.", nil, nil)
	refusedDesc = prometheus.NewDesc("holdfast_refused_connections_total", "Connections closed at once because too many were open.", nil, nil)
)

// A reading reads a node when Prometheus asks.
type reading struct{ cfg Config }

// Describe implements prometheus.Collector.
func (r *reading) Describe(out chan<- *prometheus.Desc) {
	for i := range metrics {
		out <- metrics[i].desc
	}
	out <- limitedDesc
	out <- openDesc
	out <- refusedDesc
}

// Collect implements prometheus.Collector.
func (r *reading) Collect(out chan<- prometheus.Metric) {
	if r.cfg.Read != nil {
		m := r.cfg.Read()
		for _, row := range metrics {
			out <- prometheus.MustNewConstMetric(row.desc, row.kind, row.value(&m))
		}
		for _, c := range kms.WorkClasses() {
			out <- prometheus.MustNewConstMetric(limitedDesc, prometheus.CounterValue, float64(m.Limited[c]), c.String())
		}
	}
	if r.cfg.Conns != nil {
		open, refused := r.cfg.Conns()
		out <- prometheus.MustNewConstMetric(openDesc, prometheus.GaugeValue, float64(open))
		out <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(refused))
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1e3
}

func skew(m *kms.Metrics) float64 {
	if m.DomainTime.IsZero() {
		return 0
	}
	return m.HostTime.Sub(m.DomainTime).Seconds()
}
