package state_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

const hour = int64(time.Hour)

// cred is a credential's record; expires counts from start, 0 is never.
func cred(app, n uint64, p kms.Permissions, expires int64) *command.Credential {
	if expires != 0 {
		expires += start
	}
	return &command.Credential{Id: id(n), App: id(app), Name: "a name", Permissions: uint32(p), Created: start,
		Expires: expires, Wrapped: []byte("w")}
}

func putCred(c *command.Credential) *command.Command {
	return &command.Command{Op: &command.Command_PutCredential{PutCredential: &command.PutCredential{Credential: c, MaxCredentials: kms.MaxCredentials}}}
}

// ending is a change of when credential n ends, seen from start.
func (m *machine) ending(n uint64, expires int64) *command.SetCredential {
	return &command.SetCredential{Id: id(n), Revision: m.credential(n).Revision, Expires: start + expires, Wrapped: []byte("again"), Generation: 3}
}

func (m *machine) rotate(fresh *command.Credential, n uint64, expires int64) *command.Command {
	c := putCred(fresh)
	c.GetPutCredential().Replaces = m.ending(n, expires)
	return c
}

func (m *machine) setCred(n uint64, expires int64) *command.Command {
	return &command.Command{Op: &command.Command_SetCredential{SetCredential: m.ending(n, expires)}}
}

func (m *machine) revoke(n uint64) *command.Command {
	return &command.Command{Op: &command.Command_RevokeCredential{RevokeCredential: &command.RevokeCredential{
		Id: id(n), Revision: m.credential(n).Revision}}}
}

func (m *machine) credential(n uint64) *state.Credential {
	c, ok := m.View().Credential(kms.CredentialID(id(n)))
	if !ok {
		return &state.Credential{}
	}
	return c
}

// ids are the credentials of an app, in order.
func (m *machine) ids(app uint64) (all []byte) {
	for _, c := range m.View().CredentialsOf(kms.AppID(id(app))) {
		all = append(all, c.ID[7])
	}
	return all
}

func (m *machine) refused(what string, r state.Result, want kms.Kind) {
	m.t.Helper()
	if r.Err == nil || r.Err.Kind != want {
		m.t.Errorf("%s: %v, want %v", what, r.Err, want)
	}
}

func TestCredentialLifeCycle(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(m.by(1), putCred(cred(1, 30, kms.PermUse, 0))))
	m.must(m.do(m.by(1), putCred(cred(1, 20, kms.PermAll, 0))))
	if diff := cmp.Diff([]byte{1, 20, 30}, m.ids(1)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	first, other := m.credential(1).Revision, m.credential(20).Revision
	if first == other || other == m.credential(30).Revision {
		t.Error("two credentials at one revision")
	}
	// A rotation: both halves in one command, and the old one goes on for a while.
	m.must(m.do(m.by(1), m.rotate(cred(1, 21, kms.PermAll, 0), 20, hour)))
	if c := m.credential(20); c.Expires != start+hour || string(c.Wrapped) != "again" || c.Generation != 3 || c.Revision == other {
		t.Errorf("the old one: %+v", c)
	}
	// Without a grace time it is gone, though it is the one that asked.
	self := &command.Principal{App: id(1), Credential: id(21), CredentialRevision: m.credential(21).Revision}
	m.must(m.do(self, m.rotate(cred(1, 22, kms.PermAll, 0), 21, 0)))
	m.refused("of a credential that is gone", m.do(self, putKey(1, 100)), kms.Conflict)
	if diff := cmp.Diff([]byte{1, 20, 22, 30}, m.ids(1)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	m.must(m.do(m.by(1), m.revoke(30)))
	// What expired is swept when another one comes, by the time of that command.
	m.time += hour
	m.must(m.do(m.by(1), putCred(cred(1, 40, kms.PermRead, 0))))
	if diff := cmp.Diff([]byte{1, 22, 40}, m.ids(1)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]byte{2}, m.ids(2)); diff != "" {
		t.Errorf("another app's (-want +got):\n%s", diff)
	}
}

func TestCredentialRefusals(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(m.by(1), putCred(cred(1, 10, kms.PermUse, 0))))
	m.must(m.do(m.by(1), putCred(cred(1, 11, kms.PermUse, 10*hour))))
	m.time += 11 * hour // 11 is over, and not swept
	edit := func(f func(*command.Credential)) *command.Command {
		c := cred(1, 12, kms.PermUse, 0)
		f(c)
		return putCred(c)
	}
	moved := m.revoke(10)
	moved.GetRevokeCredential().Revision++
	for _, c := range []struct {
		name string
		by   *command.Principal
		cmd  *command.Command
		want kms.Kind
	}{
		{"for another app", m.by(2), putCred(cred(1, 12, kms.PermUse, 0)), kms.Invalid},
		{"by nobody", nil, putCred(cred(1, 12, kms.PermUse, 0)), kms.Invalid},
		{"without permissions", m.by(1), edit(func(c *command.Credential) { c.Permissions = 0 }), kms.Invalid},
		{"with permissions there are not", m.by(1), edit(func(c *command.Credential) { c.Permissions = 32 }), kms.Invalid},
		{"with permissions that wrap around", m.by(1), edit(func(c *command.Credential) { c.Permissions = 257 }), kms.Invalid},
		{"with a name that steers", m.by(1), edit(func(c *command.Credential) { c.Name = "\x1b[2J" }), kms.Invalid},
		{"over already", m.by(1), edit(func(c *command.Credential) { c.Expires = start + 11*hour }), kms.Invalid},
		{"before 1970", m.by(1), edit(func(c *command.Credential) { c.Expires = -1 }), kms.Invalid},
		{"with a short id", m.by(1), edit(func(c *command.Credential) { c.Id = c.Id[1:] }), kms.Invalid},
		{"with an id that is taken", m.by(1), edit(func(c *command.Credential) { c.Id = id(2) }), kms.Exists},
		{"without a limit", m.by(1), &command.Command{Op: &command.Command_PutCredential{PutCredential: &command.PutCredential{
			Credential: cred(1, 12, kms.PermUse, 0)}}}, kms.Exhausted},
		{"revoke another app's", m.by(2), m.revoke(10), kms.Foreign},
		{"revoke what is not there", m.by(1), m.revoke(99), kms.NotFound},
		{"revoke what is over", m.by(1), m.revoke(11), kms.NotFound},
		{"bring back what is over", m.by(1), m.setCred(11, 20*hour), kms.NotFound},
		{"revoke what moved", m.by(1), moved, kms.Conflict},
		{"revoke the last that keeps the app", m.by(1), m.revoke(1), kms.Misused},
		{"end the last that keeps the app", m.by(1), m.setCred(1, 20*hour), kms.Misused},
		{"end the last at once", m.by(1), m.setCred(1, 0), kms.Misused},
		{"rotate the last to less", m.by(1), m.rotate(cred(1, 12, kms.PermUse, 0), 1, 0), kms.Misused},
		{"rotate the last to one that ends", m.by(1), m.rotate(cred(1, 12, kms.PermAll, 20*hour), 1, 0), kms.Misused},
		{"rotate another app's", m.by(2), m.rotate(cred(2, 12, kms.PermAll, 0), 10, 0), kms.Foreign},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := m.View()
			m.t = t
			m.refused("", m.do(c.by, c.cmd), c.want)
			after := m.View()
			if diff := cmp.Diff(before.CredentialsOf(kms.AppID(id(1))), after.CredentialsOf(kms.AppID(id(1)))); diff != "" {
				t.Errorf("changed all the same (-before +after):\n%s", diff)
			}
		})
	}
}

// An app that can be managed for good by another credential may lose this one.
func TestLastCredential(t *testing.T) {
	m := newMachine(t)
	m.must(m.do(m.by(1), putCred(cred(1, 10, kms.PermManage|kms.PermUse, 0))))
	m.must(m.do(m.by(1), m.revoke(1)))
	by := &command.Principal{App: id(1), Credential: id(10), CredentialRevision: m.credential(10).Revision}
	m.refused("the last", m.do(by, m.revoke(10)), kms.Misused)
	// One that ends does not keep it.
	m.must(m.do(by, putCred(cred(1, 11, kms.PermAll, hour))))
	m.refused("the last that stays", m.do(by, m.revoke(10)), kms.Misused)
	m.must(m.do(by, m.revoke(11)))
}

func TestCredentialLimit(t *testing.T) {
	m := newMachine(t)
	for n := uint64(0); n < kms.MaxCredentials-1; n++ {
		expires := int64(0)
		if n == 0 {
			expires = hour
		}
		m.must(m.do(m.by(1), putCred(cred(1, 10+n, kms.PermUse, expires))))
	}
	m.refused("one too many", m.do(m.by(1), putCred(cred(1, 90, kms.PermUse, 0))), kms.Exhausted)
	m.refused("a rotation that keeps the old one", m.do(m.by(1), m.rotate(cred(1, 90, kms.PermUse, 0), 11, hour)), kms.Exhausted)
	m.must(m.do(m.by(1), m.rotate(cred(1, 90, kms.PermUse, 0), 11, 0)))
	m.time += hour
	m.must(m.do(m.by(1), putCred(cred(1, 91, kms.PermUse, 0))))
	if n := len(m.ids(1)); n != kms.MaxCredentials {
		t.Errorf("%d credentials", n)
	}
}

// A command that is sent twice is done once, however much happened between.
func TestCredentialRetry(t *testing.T) {
	m := newMachine(t)
	make10 := putCred(cred(1, 10, kms.PermUse, 0))
	by := m.by(1)
	m.must(m.do(by, make10))
	m.must(m.do(m.by(1), m.revoke(10)))
	m.must(m.do(by, make10))
	if diff := cmp.Diff([]byte{1}, m.ids(1)); diff != "" {
		t.Errorf("came back (-want +got):\n%s", diff)
	}
}

// admission is the right of app n to enrol.
func admission(n uint64, a *command.Admission) *command.Command {
	c := putApp(n)
	c.GetPutApp().Admission = a
	return c
}

func (m *machine) enrolment(mode govern.EnrolmentMode) {
	m.t.Helper()
	m.must(m.do(nil, &command.Command{Op: &command.Command_SetPolicy{SetPolicy: &command.SetPolicy{
		Envelope: m.rulers.Next(func(p *govern.Policy) { p.Enrolment = govern.Enrolment{Mode: mode} })}}}))
}

func TestAdmissions(t *testing.T) {
	m := newMachine(t)
	m.enrolment(govern.EnrolTicket)
	ticket := func(n uint64, expires int64) *command.Admission {
		return &command.Admission{Id: id(n), Expires: start + expires, PolicySerial: 2}
	}
	m.refused("without one", m.do(nil, admission(10, nil)), kms.Denied)
	m.must(m.do(nil, admission(10, ticket(7, hour))))
	m.refused("used", m.do(nil, admission(11, ticket(7, hour))), kms.Exists)
	m.refused("used, with another end", m.do(nil, admission(11, ticket(7, 9*hour))), kms.Exists)
	m.refused("over", m.do(nil, admission(11, ticket(8, 0))), kms.Expired)
	m.refused("without an id", m.do(nil, admission(11, &command.Admission{Expires: start + hour, PolicySerial: 2})), kms.Invalid)
	m.refused("with an id of zeros", m.do(nil, admission(11, ticket(0, hour))), kms.Invalid)
	m.refused("of another policy", m.do(nil, admission(11, &command.Admission{Id: id(8), Expires: start + hour, PolicySerial: 1})), kms.Conflict)
	// A refusal uses nothing up.
	m.refused("app that exists", m.do(nil, admission(10, ticket(9, hour))), kms.Exists)
	m.must(m.do(nil, admission(11, ticket(9, 2*hour))))
	if n := m.View().Admissions(); n != 2 {
		t.Errorf("%d admissions are remembered", n)
	}
	// Once time has passed it, one is forgotten, and still refused.
	m.time += hour
	m.must(m.do(nil, admission(12, ticket(10, 3*hour))))
	if m.View().Admitted([16]byte(id(7))) || m.View().Admissions() != 2 {
		t.Error("an admission that is over is still remembered")
	}
	m.refused("forgotten", m.do(nil, admission(13, ticket(7, hour))), kms.Expired)
	m.enrolment(govern.EnrolClosed)
	m.refused("closed", m.do(nil, admission(13, nil)), kms.Denied)
}

// What a snapshot restores is what there was: the order of an app's
// credentials, and which admissions were used.
func TestCredentialsAndAdmissionsSurvive(t *testing.T) {
	m := newMachine(t)
	m.enrolment(govern.EnrolTicket)
	used := &command.Admission{Id: id(7), Expires: start + 9*hour, PolicySerial: 2}
	m.must(m.do(nil, admission(10, used)))
	for _, n := range []uint64{40, 20, 30} {
		m.must(m.do(m.by(10), putCred(cred(10, n, kms.PermUse, hour*int64(n)))))
	}
	again := &machine{Machine: state.New(), rulers: m.rulers, t: t, index: m.index, time: m.time}
	if err := again.Restore(bytes.NewReader(snapshot(t, m.Machine))); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(snapshot(t, m.Machine), snapshot(t, again.Machine)) {
		t.Error("the snapshot of what was restored is another one")
	}
	app := kms.AppID(id(10))
	if diff := cmp.Diff(m.View().CredentialsOf(app), again.View().CredentialsOf(app)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
	again.refused("a ticket used before the snapshot", again.do(nil, admission(11, used)), kms.Exists)
}
