package state

import (
	"github.com/holdfast-kms/holdfast/kms"
)

// A Usage is how much an app has.
type Usage struct {
	Keys    uint32 // those that wait for their material, or to be destroyed, included
	Secrets uint32
}

// UsageOf is how much an app has.
func (v *View) UsageOf(app kms.AppID) Usage {
	u, _ := v.usage.Get(string(app[:]))
	return u
}

// Secrets is how many secrets there are.
func (v *View) Secrets() int { return v.secretCount }

// RoomForKey asks whether the policy in force lets an app have one more key. The
// error is Exhausted.
func (v *View) RoomForKey(app kms.AppID) error {
	if most := v.Policy().Limits.Of(app).MaxKeys(); v.UsageOf(app).Keys >= most {
		return kms.Errorf(kms.Exhausted, "the app has its full number of keys, %d", most).
			WithHint("delete keys, or have the domain's policy let the app have more")
	}
	return nil
}

// RoomForSecret asks the same of secrets.
func (v *View) RoomForSecret(app kms.AppID) error {
	if most := v.Policy().Limits.Of(app).MaxSecrets(); v.UsageOf(app).Secrets >= most {
		return kms.Errorf(kms.Exhausted, "the app has its full number of secrets, %d", most).
			WithHint("delete secrets, or have the domain's policy let the app have more")
	}
	return nil
}

// countKey and countSecret follow what an app has. The counts are in no snapshot:
// they follow from what is.
func (v *View) countKey(app kms.AppID, by int32) {
	u := v.UsageOf(app)
	u.Keys += uint32(by)
	v.setUsage(app, u)
}

func (v *View) countSecret(app kms.AppID, by int32) {
	u := v.UsageOf(app)
	u.Secrets += uint32(by)
	v.secretCount += int(by)
	v.setUsage(app, u)
}

func (v *View) setUsage(app kms.AppID, u Usage) {
	if u == (Usage{}) {
		v.usage.Delete(string(app[:]))
		return
	}
	v.usage.Set(string(app[:]), u)
}
