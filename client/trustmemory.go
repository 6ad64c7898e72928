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
			if m.Serial > old.Serial {
				b.marks[i] = m
			}
			return nil
		}
	}
	b.marks = append(b.marks, m)
	return nil
}
