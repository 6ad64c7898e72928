package auditing

import (
	"cmp"
	"maps"
	"slices"

	"github.com/holdfast-kms/holdfast/audit"
)

// What is counted and not told one by one.
const (
	refusals = iota // before it was known who asked, by kind
	losses          // for want of a sink, by operation
)

// CountRefused notes a request that was refused before it was known who sent it.
func (l *Log) CountRefused(kind string) { l.count(refusals, kind) }

// CountLost notes an operation that was refused because no entry could be written.
func (l *Log) CountLost(operation string) {
	l.refused.Add(1)
	l.count(losses, operation)
}

func (l *Log) count(of int, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.counts[of]; len(m) < audit.MaxCount || m[name] > 0 {
		m[name]++
	}
}

// TakeCounts returns entries that say what was counted since the last time.
func (l *Log) TakeCounts() (all []audit.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for of, operation := range [...]string{refusals: audit.Refused, losses: audit.Lost} {
		m := l.counts[of]
		if len(m) == 0 {
			continue
		}
		e := audit.Entry{Operation: operation, Outcome: audit.OK}
		for name, n := range m {
			e.Counts = append(e.Counts, audit.Count{Name: name, N: n})
		}
		slices.SortFunc(e.Counts, func(a, b audit.Count) int { return cmp.Compare(a.Name, b.Name) })
		maps.DeleteFunc(m, func(string, uint64) bool { return true })
		all = append(all, e)
	}
	return all
}
