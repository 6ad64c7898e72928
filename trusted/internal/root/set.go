package root

import (
	"maps"
	"slices"
	"sync"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/secret"
)

// A Set is the plainest Source: every generation, in memory. It may hold more
// than are in use: one that was made and that the domain does not know yet.
type Set struct {
	mu      sync.RWMutex
	secrets map[uint32]secret.Bytes
	current uint32
}

// NewSet starts a set with generation 0.
func NewSet(s0 secret.Bytes) *Set {
	return &Set{secrets: map[uint32]secret.Bytes{0: s0}}
}

// NewSetOf starts a set with many generations, which it keeps. None is in use
// until Use says so.
func NewSetOf(secrets map[uint32]secret.Bytes) *Set {
	return &Set{secrets: secrets}
}

// Secret implements Source.
func (s *Set) Secret(generation uint32) (secret.Bytes, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, ok := s.secrets[generation]
	if !ok {
		return secret.Bytes{}, kms.Errorf(kms.NotFound, "this node does not hold master secret %d", generation)
	}
	return b, nil
}

// Current implements Source.
func (s *Set) Current() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}

// Hold adds a generation that is not in use yet. One that is held stays as it
// is: the error is Exists.
func (s *Set) Hold(generation uint32, b secret.Bytes) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, held := s.secrets[generation]; held {
		return kms.Errorf(kms.Exists, "master secret %d is held already", generation)
	}
	s.secrets[generation] = b
	return nil
}

// Use makes a generation the current one. It never goes back. The error is
// NotFound.
func (s *Set) Use(generation uint32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, held := s.secrets[generation]; !held {
		return kms.Errorf(kms.NotFound, "this node does not hold master secret %d", generation)
	}
	s.current = max(s.current, generation)
	return nil
}

// Drop wipes a generation.
func (s *Set) Drop(generation uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b, held := s.secrets[generation]; held {
		b.Wipe()
		delete(s.secrets, generation)
	}
}

// Held lists the generations, in order.
func (s *Set) Held() []uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Sorted(maps.Keys(s.secrets))
}
