package kms

import (
	"bytes"
	"time"
)

// Limits of quotes and what belongs to them, in bytes.
const (
	MaxChallenge  = 3072  // what a quote is asked to answer
	MaxQuote      = 8192  // a quote that is to be verified
	MaxCollateral = 49152 // collateral that is given along with it
)

// A QuotePolicyID names a quote policy of an app; it is printed as a lower-case UUID.
type QuotePolicyID [idLen]byte

func (id QuotePolicyID) String() string { return formatUUID(id) }

// MarshalText prints the identifier as String does.
func (id QuotePolicyID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ParseQuotePolicyID reads the 36-character lower-case UUID form. The error is Invalid.
func ParseQuotePolicyID(s string) (QuotePolicyID, error) {
	id, err := parseUUID(s)
	return QuotePolicyID(id), err
}

// QuoteRequest asks the node's TEE for a quote that answers a challenge.
type QuoteRequest struct {
	Challenge []byte // the asker's: 1 to MaxChallenge bytes
}

// Quote is evidence that was made for a challenge. Its report data is that of
// package attest for the purpose ForChallenge: no keys, the domain, serial and
// digest of the policy that the node obeys, and the challenge as the nonce.
type Quote struct {
	TEE          string // as attest.TEE: "sgx", "tdx", "snp"
	Quote        []byte
	Collateral   []byte // as attest.Evidence has it; nil: the node has none
	Domain       DomainID
	PolicySerial uint64
	PolicyDigest [32]byte
}

// VerifyQuoteRequest asks whether a quote holds and, with a policy, whether it
// is of the program that the policy names.
type VerifyQuoteRequest struct {
	Quote      []byte         // as the platform made it; 1 to MaxQuote bytes
	Collateral []byte         // as attest.Evidence has it; nil: the node finds it
	Policy     *QuotePolicyID // of the caller's app; nil: of any program
}

// QuoteVerdict is the outcome of verifying a quote. One that is not Valid is
// not an error. The measurements are the quote's own; those of other TEEs than
// TEE are nil.
type QuoteVerdict struct {
	Valid  bool
	Reason string // why not, as attest.Reason; "" where Valid
	Detail string // the same for a person

	TEE         string // as attest.TEE
	MRENCLAVE   []byte // SGX; 32 bytes
	MRSIGNER    []byte // SGX; 32 bytes
	MRTD        []byte // TDX; 48 bytes
	RTMR        [4][]byte
	Measurement []byte // SNP; 48 bytes
	ReportData  []byte // 64 bytes
	Status      string // as attest.TCBStatus; "" for SNP
	Advisories  []string
	Simulated   bool
	ValidFrom   time.Time // the quote verifies from
	ValidUntil  time.Time // until, both inclusive
}

// PutQuotePolicyRequest asks to keep which program a quote is to be of.
type PutQuotePolicyRequest struct {
	MRENCLAVE [32]byte
	MRSIGNER  [32]byte
}

// QuotePolicy is a quote policy of an app. It never changes.
type QuotePolicy struct {
	ID        QuotePolicyID
	MRENCLAVE [32]byte
	MRSIGNER  [32]byte
	Created   time.Time
}

// replyStarts are what the text of a signed reply can begin with.
var replyStarts = [][]byte{[]byte("mr_enclave="), []byte("mrtd="), []byte("measurement=")}

// IsQuoteReply reports whether text can be what is signed of a reply to
// VerifyQuote, and nothing else that is ever MACed under an API key: what is
// signed of a v1 request begins with "appid=", and what the key of SchemeV2 is
// derived by with "holdfast ". Whoever MACs replies under an API key must
// refuse every other text, or it can be made to sign requests.
func IsQuoteReply(text []byte) bool {
	for _, start := range replyStarts {
		if bytes.HasPrefix(text, start) {
			return true
		}
	}
	return false
}
