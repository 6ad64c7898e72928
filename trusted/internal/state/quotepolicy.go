package state

import (
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// QuotePolicy finds a quote policy of any app.
func (v *View) QuotePolicy(id kms.QuotePolicyID) (app kms.AppID, p kms.QuotePolicy, found bool) {
	rec, found := v.quotePolicies.Get(string(id[:]))
	if !found {
		return app, p, false
	}
	return rec.app, rec.QuotePolicy, true
}

type quotePolicy struct {
	kms.QuotePolicy
	app kms.AppID
}

func (m *Machine) putQuotePolicy(by *command.Principal, p *command.PutQuotePolicy) Result {
	rec, err := quotePolicyFrom(p.GetPolicy())
	if err != nil || by == nil || string(rec.app[:]) != string(by.GetApp()) {
		return refuse(kms.Invalid, "quote policy is malformed")
	}
	if _, taken := m.next.quotePolicies.Get(string(rec.ID[:])); taken {
		return refuse(kms.Exists, "the id is taken")
	}
	if m.next.quotePoliciesOf(rec.app) >= int(p.GetMaxPolicies()) {
		return refuse(kms.Exhausted, "the app has its full number of quote policies")
	}
	m.addQuotePolicy(rec)
	return Result{}
}

func (m *Machine) addQuotePolicy(rec *quotePolicy) {
	old, _ := m.next.quotePolicies.Set(string(rec.ID[:]), rec)
	count(m, old, rec)
	m.next.quotePoliciesByApp.Set(string(rec.app[:])+string(rec.ID[:]), struct{}{})
}

// quotePoliciesOf counts an app's.
func (v *View) quotePoliciesOf(app kms.AppID) (n int) {
	v.quotePoliciesByApp.Ascend(string(app[:]), func(key string, _ struct{}) bool {
		if key[:len(app)] != string(app[:]) {
			return false
		}
		n++
		return true
	})
	return n
}

func quotePolicyFrom(p *command.QuotePolicy) (*quotePolicy, error) {
	rec := &quotePolicy{QuotePolicy: kms.QuotePolicy{Created: time.Unix(0, p.GetCreated()).UTC()}}
	if !fill(rec.ID[:], p.GetId()) || !fill(rec.app[:], p.GetApp()) || rec.ID == (kms.QuotePolicyID{}) ||
		!fill(rec.MRENCLAVE[:], p.GetMrEnclave()) || !fill(rec.MRSIGNER[:], p.GetMrSigner()) {
		return nil, malformed("quote policy")
	}
	return rec, nil
}

func (q *quotePolicy) proto() *command.QuotePolicy {
	return &command.QuotePolicy{Id: q.ID[:], App: q.app[:], MrEnclave: q.MRENCLAVE[:], MrSigner: q.MRSIGNER[:], Created: q.Created.UnixNano()}
}
