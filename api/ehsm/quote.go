package ehsm

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// A Quoter makes and judges quotes. A Caller that is none has no such actions.
type Quoter interface {
	// GenerateQuote binds the quote to the challenge, the domain and the policy in
	// force: see kms.Quote.
	GenerateQuote(ctx context.Context, r kms.QuoteRequest) (kms.Quote, error)

	// VerifyQuote checks signatures, chains, revocation lists and collateral, and
	// the measurements of the policy that is named. Valid is said only under a
	// vendor's root (in a development domain also under another), of a program
	// that cannot be debugged, on a platform whose firmware is the vendor's
	// current one: UpToDate, SWHardeningNeeded, ConfigurationNeeded or
	// ConfigurationAndSWHardeningNeeded. Errors: NotFound and Foreign for the
	// policy; Unavailable where collateral cannot be had.
	VerifyQuote(ctx context.Context, r kms.VerifyQuoteRequest) (kms.QuoteVerdict, error)

	// SignReply returns the MAC of text under the caller's credential in
	// SchemeEHSMv1, the one that requests are signed in; nil, without an error, for
	// a caller that has no such key. It must refuse a text for which
	// kms.IsQuoteReply is false.
	SignReply(ctx context.Context, text []byte) ([]byte, error)
}

// QuotePolicies keeps which programs quotes are to be of. A Quoter is one too.
// The errors of QuotePolicy are NotFound, and Foreign for another app's.
type QuotePolicies interface {
	PutQuotePolicy(ctx context.Context, r kms.PutQuotePolicyRequest) (kms.QuotePolicy, error)
	QuotePolicy(ctx context.Context, id kms.QuotePolicyID) (kms.QuotePolicy, error)
}

// eHSM's words for success with policies.
const (
	policyUploaded = "Upload quote policy success."
	policyQueried  = "Query quote policy success."
)

func generateQuote(ctx context.Context, x *exchange) error {
	quoter, ok := x.caller.(Quoter)
	if !ok {
		return &apiNotFound
	}
	q, err := quoter.GenerateQuote(ctx, kms.QuoteRequest{Challenge: x.args.data})
	if err != nil {
		return err
	}
	x.begin(success)
	x.text("challenge", string(x.args.echo))
	x.base64("quote", q.Quote)
	x.text("tee", q.TEE)
	if len(q.Collateral) > 0 {
		x.base64("collateral", q.Collateral)
	}
	x.text("domain", q.Domain.String())
	x.integer("policy_serial", int64(q.PolicySerial))
	x.hex("policy_digest", q.PolicyDigest[:])
	return nil
}

func verifyQuote(ctx context.Context, x *exchange) error {
	quoter, ok := x.caller.(Quoter)
	switch {
	case !ok:
		return &apiNotFound
	case x.args.noPolicy:
		return kms.NotFound
	}
	r := kms.VerifyQuoteRequest{Quote: x.args.data, Collateral: x.args.collateral}
	if x.args.hasPolicy {
		r.Policy = &x.args.policy
	}
	v, err := quoter.VerifyQuote(ctx, r)
	if err != nil {
		return err
	}
	if !v.Valid || !printsPlainly(&v) {
		return quoteRefused(&v)
	}
	x.begin(success)
	return x.signed(func() { x.verdict(&v) }, func(text []byte) ([]byte, error) { return quoter.SignReply(ctx, text) })
}

// verdict appends the members of a verdict. In what is signed of them the one
// with the measurement stands first: see signed.
func (x *exchange) verdict(v *kms.QuoteVerdict) {
	for _, m := range []struct {
		name  string
		value []byte
	}{
		{"mr_enclave", v.MRENCLAVE}, {"mr_signer", v.MRSIGNER},
		{"mrtd", v.MRTD}, {"rtmr0", v.RTMR[0]}, {"rtmr1", v.RTMR[1]}, {"rtmr2", v.RTMR[2]}, {"rtmr3", v.RTMR[3]},
		{"measurement", v.Measurement}, {"report_data", v.ReportData},
	} {
		if m.value != nil {
			x.hex(m.name, m.value)
		}
	}
	x.boolean("result", true)
	x.text("nonce", string(x.args.echo))
	if x.args.hasPolicy {
		x.text("policyId", x.args.policy.String())
	}
	x.text("tee", v.TEE)
	x.boolean("simulated", v.Simulated)
	if v.Status != "" {
		x.text("tcb_status", v.Status)
	}
	x.name("tcb_advisories")
	x.append("[")
	for _, a := range v.Advisories {
		x.comma()
		x.append(`"`, a, `"`) // printsPlainly has looked at it
	}
	x.append("]")
	x.text("valid_from", v.ValidFrom.UTC().Format(time.RFC3339))
	x.text("valid_until", v.ValidUntil.UTC().Format(time.RFC3339))
}

// signed appends members and then one, "sign", with the MAC of their canonical
// form under the key that the caller signs its requests with.
//
// That must not make anybody a request. What is signed of a request begins with
// "appid=", for appid sorts before nonce, payload and timestamp and no request
// is taken without one. What is signed here begins with the measurement: names
// are ours and not the caller's, and of those that a verdict has,
// "measurement", "mr_enclave" or "mrtd" sorts before all others. The caller
// chooses the nonce, which stands behind that and is base64, without an & that
// could begin another member; the vendor, which in a development domain can be
// anyone, chooses the advisories, which must print plainly. kms.IsQuoteReply is
// this rule, and is asked on both sides of the interface.
func (x *exchange) signed(members func(), sign func(text []byte) ([]byte, error)) error {
	start := len(x.out.B) - 1 // the brace that opens the result
	members()
	object := append(append([]byte(nil), x.out.B[start:]...), '}')
	text, err := wire.Canonical(object)
	if err != nil {
		return kms.Errorf(kms.Internal, "canonical form of a reply: %w", err)
	}
	if !kms.IsQuoteReply(text) {
		return kms.Errorf(kms.Internal, "a reply that could be something else")
	}
	mac, err := sign(text)
	if err != nil {
		return err
	}
	if mac != nil {
		x.base64("sign", mac)
	}
	return nil
}

// printsPlainly reports whether every word of v is of letters, digits, dots,
// dashes and underscores, so that in canonical form, which escapes nothing, it
// stands for itself and nothing else; and whether it has what a verdict on a
// quote has.
func printsPlainly(v *kms.QuoteVerdict) bool {
	for _, word := range append([]string{v.TEE, v.Status}, v.Advisories...) {
		for i := range len(word) {
			c := word[i]
			letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
			if !letter && c != '.' && c != '-' && c != '_' {
				return false
			}
		}
	}
	return v.MRENCLAVE != nil || v.MRTD != nil || v.Measurement != nil
}

// maxRefusal bounds the words of a refused quote, in bytes.
const maxRefusal = 256

// quoteRefused says why a quote is not accepted.
func quoteRefused(v *kms.QuoteVerdict) *answer {
	reason := v.Reason
	if v.Valid || reason == "" {
		return &answer{code: 400, message: "Quote refused (malformed)"}
	}
	detail := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' { // parts of it may come from a certificate or from JSON of the sender's
			return -1
		}
		return r
	}, v.Detail)
	return &answer{code: 400, message: "Quote refused (" + reason + "): " + detail[:min(len(detail), maxRefusal)]}
}

func uploadQuotePolicy(ctx context.Context, x *exchange) error {
	policies, ok := x.caller.(QuotePolicies)
	if !ok {
		return &apiNotFound
	}
	p, err := policies.PutQuotePolicy(ctx, kms.PutQuotePolicyRequest{MRENCLAVE: x.args.mrenclave, MRSIGNER: x.args.mrsigner})
	if err != nil {
		return err
	}
	x.begin(policyUploaded)
	x.text("policyId", p.ID.String())
	return nil
}

// getQuotePolicy answers for an unknown id and for another app's with nothing
// but the id, as in eHSM.
func getQuotePolicy(ctx context.Context, x *exchange) error {
	policies, ok := x.caller.(QuotePolicies)
	if !ok {
		return &apiNotFound
	}
	var p kms.QuotePolicy
	err := error(kms.NotFound)
	if !x.args.noPolicy {
		p, err = policies.QuotePolicy(ctx, x.args.policy)
	}
	kind := kms.KindOf(err)
	missing := err != nil && (kind == kms.NotFound || kind == kms.Foreign)
	if err != nil && !missing {
		return err
	}
	x.begin(policyQueried)
	x.text("policyId", string(x.args.echo))
	if !missing {
		x.hex("mr_enclave", p.MRENCLAVE[:])
		x.hex("mr_signer", p.MRSIGNER[:])
		x.integer("createTime", p.Created.UnixMilli())
	}
	return nil
}

// hex appends a member with bytes in lower-case hexadecimal.
func (x *exchange) hex(name string, b []byte) {
	x.name(name)
	x.out.Reserve(2*len(b) + 2)
	x.out.B = append(x.out.B, '"')
	x.out.B = hex.AppendEncode(x.out.B, b)
	x.out.B = append(x.out.B, '"')
}
