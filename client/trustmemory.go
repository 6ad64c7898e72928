package client

import (
	"slices"
	"sync"

	"github.com/holdfast-kms/holdfast/govern"
)

// A briefMemory is the Memory of a client that was given none.
type briefMemory struct {
	mu    sync.Mutex
	marks []Mark
}

// Recall implements Memory.
func (b *briefMemory) Recall(charter govern.Digest) ([]Mark, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(b.marks), func(m Mark) bool { return m.Charter != charter }), nil
}

// Remember implements Memory.
func (b *briefMemory) Remember(m Mark) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, old := range b.marks {
		if old.Charter == m.Charter && old.Domain == m.Domain {
			b.marks[i] = old.later(m)
			return nil
		}
	}
	b.marks = append(b.marks, m)
	return nil
}

// later is m, or what of it is newer than the other mark.
func (m Mark) later(other Mark) Mark {
	if other.Serial > m.Serial {
		m.Serial, m.Policy = other.Serial, other.Policy
	}
	if other.Amendments > m.Amendments {
		m.Amendments, m.LastAmendment = other.Amendments, other.LastAmendment
	}
	return m
}
