package clienttest

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/sgx"
	"github.com/holdfast-kms/holdfast/kms"
)

// What quotes of this server are bound to.
var (
	Domain       = kms.DomainID{1}
	PolicyDigest = [32]byte{2}
)

// PolicySerial goes with PolicyDigest.
const PolicySerial = 3

// Quoting gives the server a TEE: f is asked for SGX evidence. Without one there
// are no quotes. Those that it verifies may be under any root.
func (s *Server) Quoting(f func(reportData [64]byte) (attest.Evidence, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quoting = f
}

func generateQuote(a *tenant, p payload) (fields, *refusal) {
	if a.server.quoting == nil {
		return nil, &refusal{404, "API Not Found"}
	}
	ev, err := a.server.quoting(attest.ReportData(attest.ForChallenge, attest.Binding{
		Domain: Domain, PolicySerial: PolicySerial, PolicyDigest: PolicyDigest, Nonce: p.Challenge}))
	if err != nil {
		return nil, &refusal{500, "Server internal error, please contact the administrator."}
	}
	return fields{"challenge": p.Challenge, "quote": ev.Quote, "tee": ev.TEE, "collateral": ev.Collateral, "domain": Domain,
		"policy_serial": PolicySerial, "policy_digest": hex.EncodeToString(PolicyDigest[:])}, nil
}

func verifyQuote(a *tenant, p payload) (fields, *refusal) {
	claims, err := sgx.Verify(attest.Evidence{Quote: p.Quote, Collateral: p.Collateral}, time.Now())
	if err != nil {
		return nil, &refusal{400, "Quote refused (" + string(attest.ReasonOf(err)) + "): " + err.Error()}
	}
	if p.PolicyID != "" {
		id, _ := kms.ParseQuotePolicyID(p.PolicyID)
		policy, ok := a.policies[id]
		switch {
		case !ok:
			return nil, &refusal{400, "Invalid  policyId."}
		case !claims.SGX.MRENCLAVE.Equal(policy.MRENCLAVE[:]) || !claims.SGX.MRSIGNER.Equal(policy.MRSIGNER[:]):
			return nil, &refusal{400, "Quote refused (" + string(attest.IdentityNotAdmitted) + "): another program"}
		}
	}
	f := fields{"result": true, "nonce": p.Nonce, "mr_enclave": claims.SGX.MRENCLAVE, "mr_signer": claims.SGX.MRSIGNER,
		"report_data": claims.ReportData, "tee": claims.TEE, "simulated": claims.Simulated, "tcb_status": claims.Status,
		"tcb_advisories": claims.Advisories, "valid_from": claims.ValidFrom, "valid_until": claims.ValidUntil}
	if p.PolicyID != "" {
		f["policyId"] = p.PolicyID
	}
	f["sign"] = a.signReply(f)
	return f, nil
}

// signReply is the MAC of a result, in base64.
func (a *tenant) signReply(f fields) string {
	object, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	text, err := wire.Canonical(object)
	if err != nil {
		panic(err)
	}
	return base64.StdEncoding.EncodeToString(wire.MAC([]byte(a.apiKey.Reveal()), text))
}

func uploadQuotePolicy(a *tenant, p payload) (fields, *refusal) {
	policy := kms.QuotePolicy{ID: kms.QuotePolicyID(newID()), Created: time.Now()}
	for into, text := range map[*[32]byte]string{&policy.MRENCLAVE: p.MRENCLAVE, &policy.MRSIGNER: p.MRSIGNER} {
		b, err := hex.DecodeString(text)
		if err != nil || len(b) != len(into) {
			return nil, &refusal{400, "Parameter invalid, The mr_enclave format wrong."}
		}
		copy(into[:], b)
	}
	a.policies[policy.ID] = policy
	return fields{"policyId": policy.ID}, nil
}

func getQuotePolicy(a *tenant, p payload) (fields, *refusal) {
	id, _ := kms.ParseQuotePolicyID(p.PolicyID)
	f := fields{"policyId": p.PolicyID}
	if policy, ok := a.policies[id]; ok {
		f["mr_enclave"], f["mr_signer"] = hex.EncodeToString(policy.MRENCLAVE[:]), hex.EncodeToString(policy.MRSIGNER[:])
		f["createTime"] = policy.Created.UnixMilli()
	}
	return f, nil
}
