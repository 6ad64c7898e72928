package client

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// A Quote is evidence that a node made for a challenge, and what it says that
// the evidence is bound to. Nothing of it is to be believed before it is
// verified.
type Quote struct {
	Evidence     attest.Evidence // without collateral where the node has none
	Domain       kms.DomainID    // to be compared with the one that is meant
	PolicySerial uint64          // of the policy that the node obeys
	PolicyDigest [32]byte
}

// ReportData is what the report data of q must be if q answers challenge:
// attest.ReportData for the purpose ForChallenge, without keys. Bind the policy
// that judges the evidence to it:
//
//	claims, err := verifiers.Verify(q.Evidence, policy.BoundTo(q.ReportData(challenge)), now)
func (q Quote) ReportData(challenge []byte) [64]byte {
	return attest.ReportData(attest.ForChallenge, attest.Binding{
		Domain: q.Domain, PolicySerial: q.PolicySerial, PolicyDigest: q.PolicyDigest, Nonce: challenge})
}

type quoteResult struct {
	Challenge    []byte     `json:"challenge"`
	Quote        []byte     `json:"quote"`
	TEE          attest.TEE `json:"tee"`
	Collateral   []byte     `json:"collateral"`
	Domain       string     `json:"domain"`
	PolicySerial uint64     `json:"policy_serial"`
	PolicyDigest string     `json:"policy_digest"`
}

// GenerateQuote asks the node's TEE for a quote that answers a challenge of 1 to
// kms.MaxChallenge bytes, which should be random and new. It proves something
// only to who verifies it: see Quote.ReportData.
// Errors: Invalid where the node has no TEE to ask, Unavailable.
func (c *Client) GenerateQuote(ctx context.Context, challenge []byte) (Quote, error) {
	if n := len(challenge); n == 0 || n > kms.MaxChallenge {
		return Quote{}, misuse(actQuote, kms.Invalid, "", "a challenge has 1 to %d bytes, not %d", kms.MaxChallenge, n)
	}
	r, err := call[quoteResult](ctx, c, actQuote, struct {
		Challenge []byte `json:"challenge"`
	}{challenge})
	if err != nil {
		return Quote{}, err
	}
	q := Quote{Evidence: attest.Evidence{TEE: r.TEE, Quote: r.Quote, Collateral: r.Collateral}, PolicySerial: r.PolicySerial}
	if len(r.Quote) == 0 || !unhex(q.Domain[:], r.Domain) || !unhex(q.PolicyDigest[:], r.PolicyDigest) {
		return Quote{}, garbled(actQuote, 0, nil)
	}
	return q, nil
}

type verifyQuotePayload struct {
	Quote      []byte             `json:"quote"`
	Nonce      []byte             `json:"nonce"`
	Policy     *kms.QuotePolicyID `json:"policyId,omitempty"`
	Collateral []byte             `json:"collateral,omitempty"`
}

type verdictResult struct {
	Result      *bool      `json:"result"`
	Nonce       []byte     `json:"nonce"`
	Policy      string     `json:"policyId"`
	Sign        string     `json:"sign"`
	TEE         string     `json:"tee"`
	MRENCLAVE   attest.Hex `json:"mr_enclave"`
	MRSIGNER    attest.Hex `json:"mr_signer"`
	MRTD        attest.Hex `json:"mrtd"`
	RTMR0       attest.Hex `json:"rtmr0"`
	RTMR1       attest.Hex `json:"rtmr1"`
	RTMR2       attest.Hex `json:"rtmr2"`
	RTMR3       attest.Hex `json:"rtmr3"`
	Measurement attest.Hex `json:"measurement"`
	ReportData  attest.Hex `json:"report_data"`
	Status      string     `json:"tcb_status"`
	Advisories  []string   `json:"tcb_advisories"`
	Simulated   bool       `json:"simulated"`
	ValidFrom   time.Time  `json:"valid_from"`
	ValidUntil  time.Time  `json:"valid_until"`
}

// VerifyQuote has the node verify a quote, for programs that cannot; others ask
// package attest and need not trust the node's word. A verdict that is returned
// is Valid, and was signed under the app's API key for this very call; a workload
// that calls without an app has none, and believes the connection. A quote that
// is refused is an error: its kind is Denied, and errors.Is(err, attest.Revoked),
// and so on, ask for the reason.
// Other errors: NotFound for a policy that the app does not have, Unavailable
// where the node cannot get collateral; then it may be given.
func (c *Client) VerifyQuote(ctx context.Context, req kms.VerifyQuoteRequest) (kms.QuoteVerdict, error) {
	switch n := len(req.Quote); {
	case n == 0 || n > kms.MaxQuote:
		return kms.QuoteVerdict{}, misuse(actVerifyQuote, kms.Invalid, "", "a quote has 1 to %d bytes, not %d", kms.MaxQuote, n)
	case len(req.Collateral) > kms.MaxCollateral:
		return kms.QuoteVerdict{}, misuse(actVerifyQuote, kms.TooLarge, "", "the collateral has more than %d bytes", kms.MaxCollateral)
	}
	p := verifyQuotePayload{Quote: req.Quote, Nonce: make([]byte, 32), Policy: req.Policy, Collateral: req.Collateral}
	rand.Read(p.Nonce)
	raw, err := call[json.RawMessage](ctx, c, actVerifyQuote, p)
	if err != nil {
		return kms.QuoteVerdict{}, asVerdict(err)
	}
	r, err := c.openVerdict(raw, p)
	if err != nil {
		return kms.QuoteVerdict{}, garbled(actVerifyQuote, 0, err)
	}
	return kms.QuoteVerdict{Valid: true, TEE: r.TEE, MRENCLAVE: r.MRENCLAVE, MRSIGNER: r.MRSIGNER, MRTD: r.MRTD,
		RTMR: [4][]byte{r.RTMR0, r.RTMR1, r.RTMR2, r.RTMR3}, Measurement: r.Measurement, ReportData: r.ReportData,
		Status: r.Status, Advisories: r.Advisories, Simulated: r.Simulated, ValidFrom: r.ValidFrom, ValidUntil: r.ValidUntil}, nil
}

// openVerdict reads a verdict if it is signed and answers p.
func (c *Client) openVerdict(raw []byte, p verifyQuotePayload) (verdictResult, error) {
	var r verdictResult
	var members map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(raw, &r), json.Unmarshal(raw, &members)); err != nil {
		return r, errors.New("the verdict has another shape")
	}
	delete(members, "sign")
	object, err := json.Marshal(members)
	if err != nil {
		return r, err
	}
	text, err := wire.Canonical(object)
	if err != nil {
		return r, err
	}
	mac, err := base64.StdEncoding.DecodeString(r.Sign)
	policy := ""
	if p.Policy != nil {
		policy = p.Policy.String()
	}
	switch {
	case !c.key.IsZero() && (err != nil || !kms.IsQuoteReply(text) || !hmac.Equal(mac, wire.MAC([]byte(c.key.Reveal()), text))):
		return r, errors.New("the verdict is not signed under the app's API key")
	case !hmac.Equal(r.Nonce, p.Nonce) || r.Policy != policy || r.Result == nil || !*r.Result:
		return r, errors.New("the verdict is not one on this quote")
	}
	return r, nil
}

// What a refused quote is told by, and an unknown policy.
const (
	quoteRefused  = "Quote refused ("
	noQuotePolicy = "Invalid  policyId." // eHSM's, with two spaces
)

// asVerdict gives a refusal of VerifyQuote the kind and the reason that only
// its words say.
func asVerdict(err error) error {
	var e *Error
	if !errors.As(err, &e) || e.Code != http.StatusBadRequest {
		return err
	}
	if e.Message == noQuotePolicy {
		e.Kind, e.Hint = kms.NotFound, "name a policy that this app uploaded"
	}
	rest, refused := strings.CutPrefix(e.Message, quoteRefused)
	if !refused {
		return err
	}
	word, detail, _ := strings.Cut(rest, ")")
	reason := attest.Reason(word)
	e.Kind, e.Err, e.Hint = kms.Denied, reason, reason.Hint()
	e.Message = "the quote is refused"
	if detail = strings.TrimPrefix(detail, ": "); detail != "" {
		e.Message += " (" + detail + ")"
	}
	return e
}

// UploadQuotePolicy keeps, for the app, that a quote is to be of the SGX
// enclave with this MRENCLAVE and MRSIGNER. It is durable when the call returns.
func (c *Client) UploadQuotePolicy(ctx context.Context, req kms.PutQuotePolicyRequest) (kms.QuotePolicyID, error) {
	r, err := call[struct {
		ID string `json:"policyId"`
	}](ctx, c, actPutPolicy, struct {
		MRENCLAVE attest.Hex `json:"mr_enclave"`
		MRSIGNER  attest.Hex `json:"mr_signer"`
	}{req.MRENCLAVE[:], req.MRSIGNER[:]})
	if err != nil {
		return kms.QuotePolicyID{}, err
	}
	id, err := kms.ParseQuotePolicyID(r.ID)
	if err != nil {
		return kms.QuotePolicyID{}, garbled(actPutPolicy, 0, err)
	}
	return id, nil
}

// QuotePolicy returns a quote policy of the app. Errors: NotFound, also where
// it is another app's.
func (c *Client) QuotePolicy(ctx context.Context, id kms.QuotePolicyID) (kms.QuotePolicy, error) {
	r, err := call[struct {
		ID        string `json:"policyId"`
		MRENCLAVE string `json:"mr_enclave"`
		MRSIGNER  string `json:"mr_signer"`
		Created   int64  `json:"createTime"`
	}](ctx, c, actGetPolicy, struct {
		ID kms.QuotePolicyID `json:"policyId"`
	}{id})
	p := kms.QuotePolicy{ID: id, Created: time.UnixMilli(r.Created).UTC()}
	switch {
	case err != nil:
		return kms.QuotePolicy{}, err
	case r.ID != id.String():
		return kms.QuotePolicy{}, garbled(actGetPolicy, 0, nil)
	case r.MRENCLAVE == "" && r.MRSIGNER == "": // how the protocol says that there is none
		return kms.QuotePolicy{}, misuse(actGetPolicy, kms.NotFound, "name a policy that this app uploaded", "no quote policy %s", id)
	case !unhex(p.MRENCLAVE[:], r.MRENCLAVE) || !unhex(p.MRSIGNER[:], r.MRSIGNER):
		return kms.QuotePolicy{}, garbled(actGetPolicy, 0, nil)
	}
	return p, nil
}
