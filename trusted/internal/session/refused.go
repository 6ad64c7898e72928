package session

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
)

// A Refusal is a program with an open session that a policy would not take.
type Refusal struct {
	Program string // measurement
	Err     error
}

// Refused lists the programs of open sessions that p would not take, each once,
// in order. It changes nothing; sessions that other nodes opened and this one
// has not seen are not among them.
func (j *Judge) Refused(p *govern.Policy, now time.Time) []Refusal {
	var all []Refusal
	for _, s := range j.sessions.Values() {
		s.mu.Lock()
		claims := s.claims
		s.mu.Unlock()
		if !now.Before(s.expires) {
			continue
		}
		if err := takes(p, claims, now); err != nil {
			all = append(all, Refusal{Program: programOf(claims), Err: err})
		}
	}
	slices.SortFunc(all, func(a, b Refusal) int { return strings.Compare(a.Program, b.Program) })
	return slices.CompactFunc(all, func(a, b Refusal) bool { return a.Program == b.Program })
}

func programOf(c attest.Claims) string {
	switch {
	case c.SGX != nil:
		return fmt.Sprintf("SGX mrenclave:%s", c.SGX.MRENCLAVE)
	case c.TDX != nil:
		return fmt.Sprintf("TDX mrtd:%s", c.TDX.MRTD)
	case c.SNP != nil:
		return fmt.Sprintf("SNP measurement:%s", c.SNP.Measurement)
	}
	return string(c.TEE)
}
