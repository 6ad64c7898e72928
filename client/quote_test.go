package client_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	ehsmwire "github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/client/clienttest"
	"github.com/holdfast-kms/holdfast/kms"
)

// quoting gives a server a simulated TEE.
func quoting(t *testing.T, s *clienttest.Server, cfg simtee.Config) *simtee.Platform {
	t.Helper()
	p, err := cfg.Create(t.TempDir())
	ok(t, err)
	s.Quoting(func(reportData [64]byte) (attest.Evidence, error) {
		return p.Evidence(attest.SGX, reportData, time.Now())
	})
	return p
}

func TestQuoteAnswersItsChallenge(t *testing.T) {
	s := clienttest.NewServer(t)
	p := quoting(t, s, simtee.Config{})
	for _, v1 := range []bool{false, true} {
		cfg := s.Enroll()
		cfg.SignatureV1 = v1
		c := newClient(t, cfg)
		challenge := []byte("challenge")
		q, err := c.GenerateQuote(t.Context(), challenge)
		ok(t, err)
		if q.Domain != clienttest.Domain || q.PolicySerial != clienttest.PolicySerial || q.PolicyDigest != clienttest.PolicyDigest {
			t.Errorf("bound to %v", q)
		}
		m := p.Measurement()
		policy := attest.Policy{SGX: attest.SGXPolicy{Terms: attest.Terms{Simulated: true}, Identities: []attest.SGXIdentity{{MRENCLAVE: m[:]}}}}
		verifiers := attest.Verifiers{SGX: sgx.Verify}
		if _, err := verifiers.Verify(q.Evidence, policy.BoundTo(q.ReportData(challenge)), time.Now()); err != nil {
			t.Error(err)
		}
		if _, err := verifiers.Verify(q.Evidence, policy.BoundTo(q.ReportData([]byte("other"))), time.Now()); !errors.Is(err, attest.WrongReportData) {
			t.Errorf("another challenge: %v", err)
		}
		q.Domain[0]++
		if _, err := verifiers.Verify(q.Evidence, policy.BoundTo(q.ReportData(challenge)), time.Now()); !errors.Is(err, attest.WrongReportData) {
			t.Errorf("another domain: %v", err)
		}
	}
}

func TestVerifyQuote(t *testing.T) {
	s := clienttest.NewServer(t)
	p := quoting(t, s, simtee.Config{})
	c := newClient(t, s.Enroll())
	q, err := c.GenerateQuote(t.Context(), []byte("challenge"))
	ok(t, err)
	want := kms.PutQuotePolicyRequest{MRENCLAVE: p.Measurement(), MRSIGNER: p.Program().MRSIGNER}
	id, err := c.UploadQuotePolicy(t.Context(), want)
	ok(t, err)
	stored, err := c.QuotePolicy(t.Context(), id)
	ok(t, err)
	if stored.ID != id || stored.MRENCLAVE != want.MRENCLAVE || stored.MRSIGNER != want.MRSIGNER || time.Since(stored.Created).Abs() > time.Hour {
		t.Errorf("stored %v", stored)
	}

	req := kms.VerifyQuoteRequest{Quote: q.Evidence.Quote, Collateral: q.Evidence.Collateral}
	for _, policy := range []*kms.QuotePolicyID{nil, &id} {
		req.Policy = policy
		v, err := c.VerifyQuote(t.Context(), req)
		ok(t, err)
		m, reportData := p.Measurement(), q.ReportData([]byte("challenge"))
		got := kms.QuoteVerdict{Valid: true, TEE: "sgx", MRENCLAVE: m[:], MRSIGNER: want.MRSIGNER[:], ReportData: reportData[:],
			Status: "UpToDate", Simulated: true, ValidFrom: v.ValidFrom, ValidUntil: v.ValidUntil}
		if diff := cmp.Diff(got, v); diff != "" || v.ValidFrom.After(time.Now()) || v.ValidUntil.Before(time.Now()) {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}

	refused := func(what string, want attest.Reason, req kms.VerifyQuoteRequest) {
		t.Helper()
		v, err := c.VerifyQuote(t.Context(), req)
		var e *client.Error
		if !errors.Is(err, want) || !errors.Is(err, kms.Denied) || v.Valid || !errors.As(err, &e) || e.Hint != want.Hint() {
			t.Errorf("%s: %v, %v", what, v, err)
		}
	}
	altered := req
	altered.Quote = append([]byte{}, req.Quote...)
	altered.Quote[200] ^= 1
	refused("altered", attest.BadSignature, altered)
	refused("not a quote", attest.Malformed, kms.VerifyQuoteRequest{Quote: []byte("q")})
	other, err := c.UploadQuotePolicy(t.Context(), kms.PutQuotePolicyRequest{})
	ok(t, err)
	req.Policy = &other
	refused("another policy", attest.IdentityNotAdmitted, req)

	req.Policy = &kms.QuotePolicyID{1}
	if _, err := c.VerifyQuote(t.Context(), req); !errors.Is(err, kms.NotFound) {
		t.Errorf("unknown policy: %v", err)
	}
	if _, err := c.QuotePolicy(t.Context(), kms.QuotePolicyID{1}); !errors.Is(err, kms.NotFound) {
		t.Errorf("unknown policy: %v", err)
	}
	if _, err := newClient(t, s.Enroll()).QuotePolicy(t.Context(), id); !errors.Is(err, kms.NotFound) {
		t.Errorf("another app's policy: %v", err)
	}
}

// TestVerdictsAreChecked: a verdict is good only for the call that asked, and
// under the app's own key.
func TestVerdictsAreChecked(t *testing.T) {
	s := clienttest.NewServer(t)
	quoting(t, s, simtee.Config{})
	cfg := s.Enroll()
	c := newClient(t, cfg)
	q, err := c.GenerateQuote(t.Context(), []byte("challenge"))
	ok(t, err)
	req := kms.VerifyQuoteRequest{Quote: q.Evidence.Quote, Collateral: q.Evidence.Collateral}
	id, err := c.UploadQuotePolicy(t.Context(), kms.PutQuotePolicyRequest{})
	ok(t, err)

	// signed is an answer under the app's own key: one to another call.
	signed := func(members string) string {
		text, err := ehsmwire.Canonical([]byte("{" + members + "}"))
		ok(t, err)
		return members + `,"sign":"` + base64.StdEncoding.EncodeToString(ehsmwire.MAC([]byte(cfg.APIKey.Reveal()), text)) + `"`
	}
	answer := func(body string) {
		s.Fault(func(w http.ResponseWriter, r *http.Request) bool {
			io.WriteString(w, body)
			return true
		})
	}
	result := func(members string) string { return `{"code":200,"message":"success!","result":{` + members + `}}` }
	good := `"result":true,"tee":"sgx","mr_enclave":"` + strings.Repeat("a", 64) + `","mr_signer":"` + strings.Repeat("b", 64) + `","nonce":"bm9uY2U="`
	for name, body := range map[string]string{
		"not signed":                 result(good),
		"signed by nobody":           result(good + `,"sign":"2anvRQOy0A1F9CtRwzBNpwj679YVQdi/Dfqd69+IeVk="`),
		"of another shape":           result(`"result":1`),
		"an older verdict of eHSM's": result(strings.Replace(good, "true", "0", 1) + `,"sign":""`),
		"nothing":                    result(""),
		"one on another call":        result(signed(good)),
		"one with a policy":          result(signed(good + `,"policyId":"` + id.String() + `"`)),
		"no verdict":                 result(signed(`"tee":"sgx"`)),
		"no object":                  `{"code":200,"message":"success!","result":[]}`,
	} {
		answer(body)
		v, err := c.VerifyQuote(t.Context(), req)
		if err == nil || v.Valid {
			t.Errorf("%s: %v", name, v)
		}
	}
	// Answers to this very call, each with one fault.
	for name, alter := range map[string]func(members string) string{
		"refused":           func(m string) string { return signed(strings.Replace(m, "true", "false", 1)) },
		"under a policy":    func(m string) string { return signed(m + `,"policyId":"` + id.String() + `"`) },
		"altered afterward": func(m string) string { return strings.Replace(signed(m), "sgx", "tdx", 1) },
		"":                  signed,
	} {
		s.Fault(func(w http.ResponseWriter, r *http.Request) bool {
			var body struct {
				Payload struct{ Nonce string }
			}
			json.NewDecoder(r.Body).Decode(&body)
			io.WriteString(w, result(alter(strings.Replace(good, "bm9uY2U=", body.Payload.Nonce, 1))))
			return true
		})
		if v, err := c.VerifyQuote(t.Context(), req); (err == nil) != (name == "") || v.Valid != (name == "") {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
	s.Fault(nil)
	req.Policy = &id
	if _, err := c.VerifyQuote(t.Context(), req); !errors.Is(err, attest.IdentityNotAdmitted) {
		t.Errorf("the policy is not asked: %v", err)
	}
}

func TestQuoteMisuse(t *testing.T) {
	s := clienttest.NewServer(t)
	c := newClient(t, s.Enroll())
	for name, err := range map[string]error{
		"no challenge":    second(c.GenerateQuote(t.Context(), nil)),
		"long challenge":  second(c.GenerateQuote(t.Context(), make([]byte, kms.MaxChallenge+1))),
		"no quote":        second(c.VerifyQuote(t.Context(), kms.VerifyQuoteRequest{})),
		"long quote":      second(c.VerifyQuote(t.Context(), kms.VerifyQuoteRequest{Quote: make([]byte, kms.MaxQuote+1)})),
		"long collateral": second(c.VerifyQuote(t.Context(), kms.VerifyQuoteRequest{Quote: []byte("q"), Collateral: make([]byte, kms.MaxCollateral+1)})),
	} {
		if k := kms.KindOf(err); err == nil || !errors.Is(err, kms.Invalid) && !errors.Is(err, kms.TooLarge) {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	if n := s.Calls("GenerateQuote") + s.Calls("VerifyQuote"); n != 0 {
		t.Errorf("%d calls", n)
	}
	if _, err := c.GenerateQuote(t.Context(), []byte("x")); !errors.Is(err, kms.Invalid) {
		t.Errorf("without a TEE: %v", err)
	}
	for _, body := range []string{
		`{"quote":"AAAA","domain":"00","policy_digest":"00"}`,
		fmt.Sprintf(`{"domain":"%064d","policy_digest":"%064d"}`, 0, 0),
	} {
		s.Fault(func(w http.ResponseWriter, _ *http.Request) bool {
			io.WriteString(w, `{"code":200,"message":"success!","result":`+body+`}`)
			return true
		})
		if _, err := c.GenerateQuote(t.Context(), []byte("x")); err == nil {
			t.Errorf("taken: %s", body)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestQuoteReportDataVector is the example of docs/ehsm.md.
func TestQuoteReportDataVector(t *testing.T) {
	q := client.Quote{PolicySerial: 1}
	for i := range q.Domain {
		q.Domain[i], q.PolicyDigest[i] = 0x11, 0x22
	}
	const want = "6f07cb7ee87ba1e25125e8eb96bedab30eb61170ba316327ec85a6dc327d5b70f13dbd12be662801ca175ecdcf913127ec5bfbde86d7a6f0769e0463e5bb2a3a"
	if got := fmt.Sprintf("%x", q.ReportData([]byte("challenge"))); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
