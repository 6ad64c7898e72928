package state

import (
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// disableAppKeys disables every enabled key of the principal's app.
func (m *Machine) disableAppKeys(by *command.Principal) Result {
	var app kms.AppID
	if by == nil || !fill(app[:], by.GetApp()) {
		return refuse(kms.Invalid, "no app is named")
	}
	var all []*Key
	m.next.KeysOf(app, kms.KeyID{}, func(k *Key) bool { all = append(all, k); return true })
	for _, old := range all {
		if old.State != kms.Enabled {
			continue
		}
		k := *old
		k.State, k.Revision = kms.KeyDisabled, m.revise()
		m.setKey(&k)
	}
	return Result{}
}
