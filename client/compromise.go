package client

import (
	"context"
	"errors"
	"iter"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/holdfast-kms/holdfast/kms"
	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

var (
	actDeclareCompromise = action{name: "DeclareCompromise", unsigned: true}
	actListExposed       = action{name: "ListExposed", unsigned: true, repeatable: true}
	actReplaceAuthority  = action{name: "ReplaceAuthority", unsigned: true}
)

// DeclareCompromise says that others know a generation of the master secret. The
// order's envelope is signed by the threshold of the signers. The domain then
// replaces what it can by itself: DomainStatus says how far it is, Exposed what is
// left to do. Errors: those of RotateMasterSecret; NotFound.
func (c *Client) DeclareCompromise(ctx context.Context, order []byte) (uint32, error) {
	r, err := callNative(ctx, c, actDeclareCompromise, c.domain().DeclareCompromise, &holdfastv1.DeclareCompromiseRequest{Order: string(order)})
	return r.GetGeneration(), err
}

// ReplaceAuthority has the domain make another certificate authority and end the
// one there is. The order's envelope is signed by an operator or the owner. What
// is returned is the new certificate, PEM: to compare with what trust finds, and
// not to be trusted for itself. Errors: those of RotateMasterSecret.
func (c *Client) ReplaceAuthority(ctx context.Context, order []byte) ([]byte, error) {
	r, err := callNative(ctx, c, actReplaceAuthority, c.domain().ReplaceAuthority, &holdfastv1.ReplaceAuthorityRequest{Order: string(order)})
	return []byte(r.GetCertificate()), err
}

// Exposed goes through what others may know, of every app, and through what is to
// be done about it. The order is one that declared a compromise, obeyed or not.
// Errors: Invalid, Denied, Unavailable; the sequence ends with one.
func (c *Client) Exposed(ctx context.Context, order []byte) iter.Seq2[kms.Exposed, error] {
	return func(yield func(kms.Exposed, error) bool) {
		for after := ""; ; {
			r, err := callNative(ctx, c, actListExposed, c.domain().ListExposed, &holdfastv1.ListExposedRequest{Order: string(order), After: after})
			if err != nil {
				yield(kms.Exposed{}, err)
				return
			}
			for _, m := range r.GetExposed() {
				x, err := readExposed(m)
				if err != nil {
					err = garbled(actListExposed, 0, err)
				}
				if !yield(x, err) || err != nil {
					return
				}
			}
			if r.GetNext() == "" || r.GetNext() == after {
				return
			}
			after = r.GetNext()
		}
	}
}

func readExposed(m *holdfastv1.Exposed) (x kms.Exposed, err error) {
	x = kms.Exposed{Replaced: m.GetReplaced(), Refused: whenOf(m.GetRefusedFrom()), Secret: kms.SecretName(printable(m.GetSecret())), Advice: printable(m.GetAdvice())}
	if x.App, err = kms.ParseAppID(m.GetAppId()); err != nil {
		return x, err
	}
	switch {
	case m.GetKeyId() != "":
		if x.Key, err = kms.ParseKeyID(m.GetKeyId()); err == nil {
			x.Spec, err = kms.ParseSpec(m.GetSpec())
		}
	case m.GetCredentialId() != "":
		x.Credential, err = kms.ParseCredentialID(m.GetCredentialId())
	case m.GetSecret() == "":
		err = errors.New("something exposed that has no name")
	}
	for _, v := range m.GetVersions() {
		x.Versions = append(x.Versions, kms.KeyVersion(v))
	}
	for _, v := range m.GetValues() {
		x.Values = append(x.Values, kms.SecretVersion(v))
	}
	return x, err
}

func readCompromises(all []*holdfastv1.Compromise) (out []kms.Compromise) {
	for _, m := range all {
		out = append(out, kms.Compromise{Generation: m.GetGeneration(), Declared: whenOf(m.GetDeclared()), Refused: whenOf(m.GetCredentialsRefusedFrom()),
			Finished: whenOf(m.GetFinished()), Left: int(m.GetKeysLeft())})
	}
	return out
}

// whenOf is zero where there is none.
func whenOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
