// Package ehsm serves eHSM-KMS' REST API: it translates between eHSM's requests
// and the core's, and decides nothing itself. It canonicalises what was signed;
// the core computes the MAC, judges time and replay, and says who is calling.
//
// The protocol is eHSM's to the byte, with these differences, each of them
// stricter or kinder than eHSM, none visible to its SDKs:
//
//   - A caller is authenticated before the payload is looked at. eHSM did it
//     the other way round, and wrote replay state for anyone who asked.
//   - JSON with repeated member names, invalid UTF-8, more than 32 levels or
//     more than 1024 values is "Invalid JSON".
//   - A timestamp is 13 decimal digits; JavaScript also took other spellings of
//     the same number.
//   - An unknown appid is answered like a wrong signature: "sign error".
//   - digest_mode may be missing, and so may padding_mode for keys that have
//     none, and keyusage, as eHSM's documents promised.
//   - Actions that change state, and those that sign, refuse payload members that
//     are not theirs.
//   - A signature that is malformed is a bad one, not an exception.
//   - A decryption that fails is an error, never a plaintext.
//   - A quote answers the caller's challenge, and a verdict on one is true or an
//     error.
//   - Failures that a caller can wait out have codes of their own: see answers.
//
// Ours beyond eHSM: MAC keys, Ed25519, imported keys of every spec, exportable
// keys, and the request signature of package signature instead of eHSM's.
package ehsm

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/kms"
)

// A Caller is an app that has authenticated. Each method authorises what it
// does. The slices in a request are wiped when the method has returned; those
// in a result belong to the facade, which wipes plaintexts once they are sent.
// One that is a Quoter and a QuotePolicies has eHSM's quotes too.
type Caller interface {
	Keys
	Admin
	Cipher
	Signer
	Authenticator
	Importer
	Exporter
}

// Keys makes and describes keys.
type Keys interface {
	CreateKey(ctx context.Context, r kms.CreateKeyRequest) (kms.Key, error)
	ListKeys(ctx context.Context, r kms.ListKeysRequest) (kms.KeyPage, error)
	PublicKey(ctx context.Context, r kms.KeyRef) (kms.PublicKey, error)
}

// Admin changes keys.
type Admin interface {
	// DeleteKey returns nil for an unknown id and for another app's: as eHSM does.
	DeleteKey(ctx context.Context, id kms.KeyID) error
	DeleteAllKeys(ctx context.Context) error
	SetKeyEnabled(ctx context.Context, id kms.KeyID, enabled bool) error
}

// Cipher uses keys that encrypt. A request names the family that its action is
// for; a key of another is Misused.
type Cipher interface {
	Encrypt(ctx context.Context, r kms.EncryptRequest) (kms.Ciphertext, error)
	Decrypt(ctx context.Context, r kms.DecryptRequest) (kms.Plaintext, error)
	GenerateDataKey(ctx context.Context, r kms.DataKeyRequest) (kms.DataKey, error)
}

// Signer uses signing keys.
type Signer interface {
	Sign(ctx context.Context, r kms.SignRequest) (kms.Signature, error)
	Verify(ctx context.Context, r kms.VerifyRequest) (kms.Verification, error)
}

// Authenticator uses MAC keys.
type Authenticator interface {
	MAC(ctx context.Context, r kms.MACRequest) (kms.MessageMAC, error)
	VerifyMAC(ctx context.Context, r kms.VerifyMACRequest) (kms.Verification, error)
}

// Importer brings keys in. Its errors: Unauthenticated for a token that is not
// one for this key as it is now, Expired, Misused for a key that does not wait
// for material, DecryptFailed for material, whatever is wrong with it.
type Importer interface {
	ImportParameters(ctx context.Context, r kms.ImportParametersRequest) (kms.ImportParameters, error)
	ImportKey(ctx context.Context, r kms.ImportRequest) (kms.Key, error)
}

// Exporter lets keys out: a data key to another key, and a key that was made
// exportable to its owner. Any other is Misused.
type Exporter interface {
	Rewrap(ctx context.Context, r kms.RewrapRequest) (kms.Ciphertext, error)
	ExportKey(ctx context.Context, r kms.KeyRef) (kms.ExportedKey, error)
}

// Config is what the facade needs.
type Config struct {
	// Authenticate says who sent a request. Its errors: Stale where the time is
	// out of the window, Replayed where the request was accepted before,
	// Unauthenticated for an unknown credential as for a wrong MAC. It may not
	// keep the credential's slices. Required.
	Authenticate func(ctx context.Context, c kms.Credential) (Caller, error)

	// Enroll makes a new app. nil: there is no such action.
	Enroll func(ctx context.Context) (kms.Enrolment, error)

	Version string // what GetVersion says; "" is said as it is
	GitSHA  string

	Logger *slog.Logger // nil: nothing is logged

	// Watch is told of requests, and lets them in.
	Watch api.Watch
}

type handler struct{ Config }

// New returns the handler of /ehsm and /ehsm/ (any case). It answers every other
// path as eHSM does, above all GET / with HTTP status 200, which probes rely on;
// so it is to be mounted on all paths that nothing else serves. It panics
// without Authenticate.
func New(c Config) http.Handler {
	if c.Authenticate == nil {
		panic("ehsm: Config.Authenticate is nil")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &handler{c}
}
