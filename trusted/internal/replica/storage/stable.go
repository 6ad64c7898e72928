package storage

import (
	"encoding/binary"

	"github.com/holdfast-kms/holdfast/kms"
)

// keyCurrentTerm is raft's name for its term.
const keyCurrentTerm = "CurrentTerm"

// stableStore is a Store as raft.StableStore.
type stableStore Store

func (s *stableStore) Set(key, value []byte) error { return s.anchor.SetStable(key, value) }

func (s *stableStore) Get(key []byte) ([]byte, error) { return s.anchor.GetStable(key) }

// SetUint64 keeps a number.
//
// A term that could not be kept is not reported: raft would panic, and a panic
// would take the node down without order. It is sound to stay silent because
// the store has latched. Every write of a vote or a log record fails from now
// on, so under the term that was not kept this node gives no vote and
// acknowledges no entry, which is all that keeping a term protects; a leader
// steps down at its first append; and the owner, told by OnLatch, cuts the
// transport and stops raft. After the restart the older term is true again.
func (s *stableStore) SetUint64(key []byte, value uint64) error {
	err := s.anchor.SetStable(key, binary.LittleEndian.AppendUint64(nil, value))
	if err != nil && string(key) == keyCurrentTerm {
		return nil
	}
	return err
}

func (s *stableStore) GetUint64(key []byte) (uint64, error) {
	value, err := s.anchor.GetStable(key)
	switch {
	case err != nil:
		return 0, err
	case len(value) == 0:
		return 0, nil
	case len(value) != 8:
		return 0, kms.Errorf(kms.Internal, "stable value %q is not a number", key)
	}
	return binary.LittleEndian.Uint64(value), nil
}
