package ehsm

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/kms"
)

// An answer is a refusal. Its HTTP status is 200 and the code is in the JSON:
// the Python SDK raises on any other status before it looks.
type answer struct {
	code    int
	message string
	null    bool // result is null, as in the answers of eHSM's core, not {} as in its manager's
	drop    bool // the connection is closed after it
	page    bool // not JSON: an HTML page with the code as HTTP status
}

// Error makes an answer what an action may return where no kind of error says it.
func (a *answer) Error() string { return a.message }

// Answers to malformed requests. The spelling is eHSM's.
var (
	pageNotFound      = answer{code: http.StatusNotFound, page: true}
	pageTooLarge      = answer{code: http.StatusRequestEntityTooLarge, page: true}
	pageBadRequest    = answer{code: http.StatusBadRequest, page: true}
	invalidJSON       = answer{code: 400, message: "Invalid JSON", drop: true}
	missingParameters = answer{code: 400, message: "Missing required parameters"}
	paramType         = answer{code: 400, message: "param type error"}
	nonceLength       = answer{code: 400, message: "Nonce length error"}
	timestampLength   = answer{code: 400, message: "Timestamp length error"}
	timestampError    = answer{code: 400, message: "Timestamp error"}
	apiNotFound       = answer{code: 404, message: "API Not Found"}
)

// Answers to requests that could not be served.
var (
	replayed        = answer{code: 400, message: "Timestamp can't be repeated in 20 minutes"}
	signError       = answer{code: 400, message: "sign error"}
	unexpectedError = answer{code: 400, message: "Unexpected Error"}
	databaseError   = answer{code: 400, message: "database error"}
	internalError   = answer{code: 500, message: "Server internal error, please contact the administrator."}
	serverException = answer{code: 500, message: "Server exception.", null: true}
	argumentBad     = answer{code: 500, message: "Argument bad.", null: true}
	decryptFailed   = answer{code: 400, message: "Decryption failed, Please confirm that your parameters are correct.", null: true}
	noSuchKey       = answer{code: 400, message: "keyid error"}
	otherApp        = answer{code: 400, message: "appid error"}
	keyDisabled     = answer{code: 400, message: "keyid is disabled"}
	keyExpired      = answer{code: 400, message: "keyid expire"}
	keyNotFound     = answer{code: 400, message: "not find this keyid"}
	enrollFailed    = answer{code: 500, message: "enroll user info failed"}

	importFailed   = answer{code: 500, message: "ImportKeyMaterial failed."}
	tokenRefused   = answer{code: 500, message: "ImportToken failed."}
	tokenExpired   = answer{code: 500, message: `Token validity time is 24 hours. Try to send "GetParametersForImport" request again.`}
	materialFailed = answer{code: 500, message: "Import key failed."}

	noSuchPolicy = answer{code: 400, message: "Invalid  policyId."} // with two spaces
)

// Answers that eHSM does not have, for failures that it does not have, or hides.
// Their codes are those of HTTP for the same thing; the HTTP status stays 200.
var (
	denied       = answer{code: 403, message: "The credential does not allow this action."}
	enrollDenied = answer{code: 403, message: "Enrolment is not open to everybody here."}
	exists       = answer{code: 409, message: "It exists already."}
	conflict     = answer{code: 409, message: "The state has changed meanwhile, please try again."}
	exhausted    = answer{code: 429, message: "A quota or rate is used up, please try again later."}
	unavailable  = answer{code: 503, message: "The service is unavailable, please try again later. The request may have taken effect."}
	notExported  = answer{code: 403, message: "The key was not made exportable, or cannot be exported now."}
	needsV2      = answer{code: 403, message: "This action needs a request signature of version 2."}
	notWaiting   = answer{code: 500, message: "ImportKeyMaterial failed. The key does not wait for key material: it has it already, or is not external."}
	notYet       = answer{code: 501, message: "Not every node runs a program that knows this yet."}
	notCurrent   = answer{code: 503, message: "The service cannot confirm that its state is current, please try again later."}
)

// answers says how each kind of error is answered: while the caller is
// authenticated, and after that. While authenticating, everything that is about
// the caller looks alike.
var answers = api.ErrorTable[struct{ authenticating, serving *answer }]{
	//                     authenticating    serving
	kms.Internal:        {&databaseError, &internalError},
	kms.Invalid:         {&signError, &serverException},
	kms.Unauthenticated: {&signError, &signError},
	kms.Denied:          {&signError, &denied},
	kms.Foreign:         {&signError, &otherApp},
	kms.Misused:         {&signError, &serverException},
	kms.NotFound:        {&signError, &noSuchKey},
	kms.Exists:          {&signError, &exists},
	kms.Conflict:        {&conflict, &conflict},
	kms.Disabled:        {&signError, &keyDisabled},
	kms.Expired:         {&signError, &keyExpired},
	kms.Stale:           {&timestampError, &notCurrent},
	kms.Replayed:        {&replayed, &replayed},
	kms.TooLarge:        {&unexpectedError, &argumentBad},
	kms.Exhausted:       {&exhausted, &exhausted},
	kms.Unavailable:     {&unavailable, &unavailable},
	kms.DecryptFailed:   {&signError, &decryptFailed},
	kms.Damaged:         {&databaseError, &internalError},
	kms.Unsupported:     {&signError, &notYet},
}

// switchErrors are those of EnableKey and DisableKey.
var switchErrors = map[kms.Kind]answer{kms.NotFound: keyNotFound, kms.Foreign: keyNotFound}

// enrollErrors are those of Enroll. NotFound: nobody can enrol here.
var enrollErrors = map[kms.Kind]answer{
	kms.Internal: enrollFailed, kms.Damaged: enrollFailed, kms.Denied: enrollDenied, kms.NotFound: apiNotFound}

// asymmetricErrors are those of actions where eHSM's core found a plaintext too
// long for the key, or a wrapped key that does not open.
var (
	asymmetricErrors = map[kms.Kind]answer{kms.TooLarge: serverException}
	rewrapErrors     = map[kms.Kind]answer{kms.TooLarge: serverException, kms.DecryptFailed: serverException}
)

// importErrors are those of ImportKeyMaterial. By then the caller is
// authenticated, so that what is not is the token.
var importErrors = map[kms.Kind]answer{
	kms.Unauthenticated: tokenRefused, kms.Invalid: tokenRefused, kms.Expired: tokenExpired,
	kms.DecryptFailed: materialFailed, kms.TooLarge: materialFailed,
	kms.Misused: notWaiting, kms.Exists: notWaiting,
}

// quoteErrors are those of GenerateQuote. NotFound: there is no TEE to ask.
var quoteErrors = map[kms.Kind]answer{kms.NotFound: apiNotFound}

// verifyQuoteErrors are those of VerifyQuote. What is wrong with a quote is no
// error but a verdict.
var verifyQuoteErrors = map[kms.Kind]answer{kms.NotFound: noSuchPolicy, kms.Foreign: noSuchPolicy}

// exportErrors are those of ExportKey.
var exportErrors = map[kms.Kind]answer{kms.Misused: notExported}

// Answers to payloads. F is the member's name.

func emptyField(f *field) *answer {
	return &answer{code: 400, message: "Missing required parameters, The " + f.name + " cannot be empty."}
}

func invalidField(name, what string) *answer {
	return &answer{code: 400, message: "Parameter invalid, The " + name + " " + what + "."}
}

func tooSmall(f *field) *answer {
	return invalidField(f.name, fmt.Sprintf("value must be greater than or equal to %d", f.min))
}

func tooGreat(f *field) *answer {
	return invalidField(f.name, fmt.Sprintf("value must be less than or equal to %d", f.max))
}

// foreignField names a member that the sender chose: cut, since it may be long.
func foreignField(name []byte, rt *route) *answer {
	const enough = 64
	s := string(name[:min(len(name), enough)])
	return invalidField(strings.ToValidUTF8(s, ""), "is not a parameter of "+rt.action)
}
