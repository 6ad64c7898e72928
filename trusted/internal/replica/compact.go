package replica

import "github.com/holdfast-kms/holdfast/kms"

// Compact takes a snapshot and ends the log up to it, but for what is being
// written meanwhile: what the state has forgotten is then in neither.
func (r *Replica) Compact() error {
	usual := r.raft.ReloadableConfig()
	none := usual
	none.TrailingLogs = 0
	if err := r.raft.ReloadConfig(none); err != nil {
		return kms.Errorf(kms.Internal, "%w", err)
	}
	err := r.Snapshot()
	if back := r.raft.ReloadConfig(usual); back != nil && err == nil {
		err = kms.Errorf(kms.Internal, "%w", back)
	}
	return err
}

// Compacted reports whether the log has no entry up to an index any more.
func (r *Replica) Compacted(index uint64) bool {
	first, err := r.cfg.Store.Log().FirstIndex()
	return err == nil && (first == 0 || first > index)
}
