package state

import (
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// An Admission is why an app could enrol where not everybody may: a ticket, or
// evidence. It is kept until it expires, so that it admits once.
type Admission struct {
	ID      [16]byte
	Expires int64
}

// Admissions is how many were used and have not been forgotten.
func (v *View) Admissions() int { return v.admissions.Len() }

// Admitted reports whether an admission was used.
func (v *View) Admitted(id [16]byte) bool {
	_, used := v.admissions.Get(string(id[:]))
	return used
}

// putApp enrols an app with its first credential.
func (m *Machine) putApp(p *command.PutApp) Result {
	app, err := appFrom(p.GetApp())
	if err != nil {
		return refuse(kms.Invalid, "app record is malformed")
	}
	cred, err := credentialFrom(p.GetCredential())
	if err != nil || cred.App != app.ID || cred.Expired(m.next.time) {
		return refuse(kms.Invalid, "credential record is malformed")
	}
	if limit := p.GetMaxApps(); limit > 0 && m.next.apps.Len() >= int(limit) {
		return refuse(kms.Exhausted, "the domain has its full number of apps")
	}
	_, appTaken := m.next.App(app.ID)
	_, credTaken := m.next.Credential(cred.ID)
	if appTaken || credTaken {
		return refuse(kms.Exists, "app or credential exists already")
	}
	if r, ok := m.admit(p.GetAdmission()); !ok {
		return r
	}
	m.setApp(app)
	cred.Revision = m.revise()
	m.addCredential(cred)
	return Result{}
}

// admit checks an admission and uses it up. None is needed where everybody may
// enrol.
func (m *Machine) admit(p *command.Admission) (Result, bool) {
	policy := m.next.Policy()
	if p == nil {
		if policy.Enrolment.Mode != govern.EnrolOpen {
			return refuse(kms.Denied, "enrolment is not open to everybody"), false
		}
		return Result{}, true
	}
	a, err := admissionFrom(p)
	switch {
	case err != nil:
		return refuse(kms.Invalid, "admission is malformed"), false
	case p.GetPolicySerial() != policy.Serial:
		return refuse(kms.Conflict, "the policy changed meanwhile"), false
	case m.next.time >= a.Expires: // after that it is forgotten
		return refuse(kms.Expired, "the admission has expired"), false
	case m.next.Admitted(a.ID):
		return refuse(kms.Exists, "the admission was used before"), false
	}
	m.forgetAdmissions()
	m.setAdmission(a)
	return Result{}, true
}

// forgetAdmissions drops those that domain time has passed. There are at most
// as many as apps.
func (m *Machine) forgetAdmissions() {
	var over []string
	m.next.admissions.Scan(func(id string, a *Admission) bool {
		if m.next.time >= a.Expires {
			over = append(over, id)
		}
		return true
	})
	for _, id := range over {
		gone, _ := m.next.admissions.Delete(id)
		count(m, gone, nil)
	}
}

func (m *Machine) setAdmission(a *Admission) {
	old, _ := m.next.admissions.Set(string(a.ID[:]), a)
	count(m, old, a)
}

func admissionFrom(p *command.Admission) (*Admission, error) {
	a := &Admission{Expires: p.GetExpires()}
	if !fill(a.ID[:], p.GetId()) || a.ID == [16]byte{} {
		return nil, malformed("admission record")
	}
	return a, nil
}

func (a *Admission) proto() *command.Admission {
	return &command.Admission{Id: a.ID[:], Expires: a.Expires}
}
