package ehsm

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/holdfast-kms/holdfast/kms"
)

// Limits of a request. Lengths of text are in characters, which eHSM counts as
// UTF-16 code units.
const (
	maxBody       = 100 << 10 // bytes; more is HTTP status 413
	maxNonce      = 64
	lenTimestamp  = 13
	lenKeyID      = 36
	maxText       = 8192            // base64 of 6144 bytes
	maxCiphertext = 8236            // base64 of 6144 bytes and 32 that SM4-CBC adds; eHSM's 8232 left that unreadable
	maxSignature  = 512             // bytes; of longer ones there are only those of ML-DSA
	maxDataKey    = kms.MaxDataKey  // bytes
	maxChallenge  = 4096            // base64 of kms.MaxChallenge bytes
	maxQuote      = 10924           // base64 of kms.MaxQuote bytes
	maxCollateral = 65536           // base64 of kms.MaxCollateral bytes
	lenMRENCLAVE  = 64              // hexadecimal digits, of MRSIGNER too
	maxKeys       = kms.MaxKeysPage // that ListKey lists
	maxSecretData = 4096            // characters of a secret's value
	maxVersionID  = 1<<31 - 1
	lenRotation   = 5                   // characters of an interval
	never         = 253_402_300_799_000 // expireTime of a key that does not expire: 9999-12-31T23:59:59Z
)

// A field is a member of an action's payload.
type field struct {
	name     string
	required bool
	min, max int // of a text's characters, or of a number's value
	read     func(x *exchange, f *field, v value) *answer
	also     []string // other spellings, of eHSM's documents and SDKs; the first that is set counts
}

var (
	keyid         = field{"keyid", true, lenKeyID, lenKeyID, readKeyID, nil}
	ukeyid        = field{"ukeyid", true, 1, maxText, readTarget, nil}
	plaintext     = field{"plaintext", true, 1, maxText, readData, nil}
	ciphertext    = field{"ciphertext", true, 1, maxCiphertext, readData, nil}
	rsaCiphertext = field{"ciphertext", true, 1, maxText, readData, nil}
	oldDataKey    = field{"olddatakey_base", true, 1, maxCiphertext, readData, []string{"olddatakey", "old_data_key"}}
	keyMaterial   = field{"key_material", true, 1, maxText, readData, nil}
	message       = field{"message", true, 1, maxText, readData, nil}
	aad           = field{"aad", false, 0, maxText, readAAD, nil}
	signature     = field{"signature", true, 1, maxText, readSignature, nil}
	mac           = field{"mac", true, 1, maxText, readProof, nil}
	importToken   = field{"importToken", false, 1, maxText, readToken, []string{"ImportToken"}}
	keylen        = field{"keylen", true, 1, maxDataKey, readLength, nil}
	keyspec       = field{"keyspec", true, 0, 0, readSpec, nil}
	origin        = field{"origin", true, 0, 0, readOrigin, nil}
	keyusage      = field{"keyusage", false, 0, 0, readUsages, nil}
	exportable    = field{"exportable", false, 0, 0, readExportable, nil}
	paddingMode   = field{"padding_mode", false, 0, 0, readPadding, nil}
	wrappingMode  = field{"padding_mode", true, 0, 0, readWrapping, nil}
	digestMode    = field{"digest_mode", false, 0, 0, readDigest, nil}
	messageType   = field{"message_type", true, 0, 0, readMessageType, nil}
	challenge     = field{"challenge", true, 1, maxChallenge, readChallenge, nil}
	quote         = field{"quote", true, 1, maxQuote, readData, nil}
	quoteNonce    = field{"nonce", true, 1, maxChallenge, readQuoteNonce, nil}
	collateral    = field{"collateral", false, 1, maxCollateral, readCollateral, nil}
	policyID      = field{"policyId", false, lenKeyID, lenKeyID, readPolicyID, nil}
	askedPolicy   = field{"policyId", true, lenKeyID, lenKeyID, readAskedPolicy, nil}
	mrEnclave     = field{"mr_enclave", true, lenMRENCLAVE, lenMRENCLAVE, readMRENCLAVE, nil}
	mrSigner      = field{"mr_signer", true, lenMRENCLAVE, lenMRENCLAVE, readMRSIGNER, nil}
	secretName    = field{"secretName", true, 1, kms.MaxSecretName, readSecretName, nil}
	listedName    = field{"secretName", false, 1, kms.MaxSecretName, readSecretName, nil}
	secretData    = field{"secretData", true, 1, maxSecretData, readSecretData, nil}
	encryptionKey = field{"encryptionKeyId", false, lenKeyID, lenKeyID, readKeyID, nil}
	description   = field{"description", false, 0, kms.MaxSecretDescription, readDescription, nil}
	rotation      = field{"rotationInterval", false, 1, lenRotation, readRotation, nil}
	secretVersion = field{"versionId", false, 1, maxVersionID, readLength, nil}
	recoveryDays  = field{"recoveryPeriod", false, kms.MinRecoveryDays, kms.MaxRecoveryDays, readLength, nil}
	forceDelete   = field{"forceDelete", false, 1, maxText, readForce, []string{"force_delete"}}
)

// An attribute says how an action is served.
type attribute uint8

const (
	open   attribute = 1 << iota // by GET, and neither signed nor authenticated; all others are POST
	crypto                       // must have a payload
	exact                        // refuses what is not its own, see checkOwn
	onlyV2                       // takes no v1 signature, which would fit another action's request
	whole                        // refuses texts in which a v1 signature would let members hide, see checkWhole
)

// A route is one action.
type route struct {
	action string
	attribute
	fields []field
	do     func(ctx context.Context, x *exchange) error // nil: there is no such action
	errors map[kms.Kind]answer                          // where they differ from the common ones
}

func (rt *route) is(a attribute) bool { return rt.attribute&a != 0 }

// The actions, and what each takes.
var routes = []route{
	// action, attributes, payload, what it does, errors of its own
	{"GetVersion", open, nil, getVersion, nil},
	{"Enroll", open, nil, enroll, enrollErrors},

	{"CreateKey", crypto | exact, []field{keyspec, origin, keyusage, exportable}, createKey, nil},
	{"Encrypt", crypto, []field{keyid, plaintext, aad}, encrypt, nil},
	{"Decrypt", crypto, []field{keyid, ciphertext, aad}, decrypt, nil},
	{"AsymmetricEncrypt", crypto, []field{keyid, plaintext, paddingMode}, asymmetricEncrypt, asymmetricErrors},
	{"AsymmetricDecrypt", crypto, []field{keyid, rsaCiphertext, paddingMode}, asymmetricDecrypt, nil},
	{"Sign", crypto | exact, []field{keyid, paddingMode, messageType, digestMode, message}, sign, nil},
	{"Verify", crypto, []field{keyid, paddingMode, messageType, digestMode, message, signature}, verify, nil},
	{"GenerateMac", crypto | exact, []field{keyid, message}, generateMAC, nil},
	{"VerifyMac", crypto, []field{keyid, message, mac}, verifyMAC, nil},
	{"GenerateDataKey", crypto, []field{keyid, keylen, aad}, generateDataKey, nil},
	{"GenerateDataKeyWithoutPlaintext", crypto, []field{keyid, keylen, aad}, wrapDataKey, nil},
	{"ExportDataKey", crypto, []field{keyid, ukeyid, oldDataKey, aad}, exportDataKey, rewrapErrors},
	{"GetPublicKey", crypto, []field{keyid}, getPublicKey, nil},
	{"GetParametersForImport", crypto, []field{keyid, keyspec}, importParameters, nil},
	{"ImportKeyMaterial", crypto | exact, []field{keyid, wrappingMode, keyMaterial, importToken}, importKey, importErrors},
	{"ExportKey", crypto | exact | onlyV2, []field{keyid}, exportKey, exportErrors},

	{"ListKey", 0, nil, listKey, nil},
	{"DeleteKey", exact, []field{keyid}, deleteKey, nil},
	{"DeleteAllKey", exact, nil, deleteAllKey, nil},
	{"DeleteALLKey", exact, nil, deleteAllKey, nil}, // as eHSM's documents spell it
	{"EnableKey", exact, []field{keyid}, enableKey, switchErrors},
	{"DisableKey", exact, []field{keyid}, disableKey, switchErrors},

	{"GenerateQuote", exact, []field{challenge}, generateQuote, quoteErrors},
	{"VerifyQuote", exact, []field{quote, quoteNonce, policyID, collateral}, verifyQuote, verifyQuoteErrors},
	{"UploadQuotePolicy", exact, []field{mrEnclave, mrSigner}, uploadQuotePolicy, nil},
	{"GetQuotePolicy", 0, []field{askedPolicy}, getQuotePolicy, nil},

	{"CreateSecret", exact | whole, []field{secretName, secretData, encryptionKey, description, rotation}, createSecret, nil},
	{"UpdateSecretDesc", exact | whole, []field{secretName, description}, updateSecretDesc, nil},
	{"PutSecretValue", exact | whole, []field{secretName, secretData}, putSecretValue, nil},
	{"ListSecretVersionIds", 0, []field{secretName}, listSecretVersionIDs, nil},
	{"ListSecrets", 0, []field{listedName}, listSecrets, nil},
	{"DescribeSecret", 0, []field{secretName}, describeSecret, nil},
	{"DeleteSecret", exact | whole, []field{secretName, recoveryDays, forceDelete}, deleteSecret, nil},
	{"GetSecretValue", exact | whole, []field{secretName, secretVersion}, getSecretValue, nil},
	{"RestoreSecret", exact | whole, []field{secretName}, restoreSecret, nil},
}

// noAction stands for every unknown action.
var noAction = route{}

var routeOf = func() map[string]*route {
	byAction := make(map[string]*route, len(routes))
	for i := range routes {
		byAction[routes[i].action] = &routes[i]
	}
	return byAction
}()

// findRoute returns the route of a query's Action, which is case-sensitive.
func findRoute(rawQuery string) *route {
	if rt := routeOf[actionOf(rawQuery)]; rt != nil {
		return rt
	}
	return &noAction
}

func actionOf(rawQuery string) string {
	// What every SDK sends, without the map that parsing a query makes.
	if action, ok := strings.CutPrefix(rawQuery, "Action="); ok && !strings.ContainsAny(action, "&;%+") {
		return action
	}
	query, err := url.ParseQuery(rawQuery)
	if actions := query["Action"]; err == nil && len(actions) == 1 {
		return actions[0]
	}
	return "" // none, or two that a proxy and we might choose differently from
}

// isEndpoint reports whether a path is /ehsm or /ehsm/ in any case. Both must
// answer by themselves: eHSM's Python SDK sends the slash, all others do not,
// and none follows a redirect.
func isEndpoint(path string) bool {
	const endpoint = "/ehsm/"
	switch len(path) {
	case len(endpoint), len(endpoint) - 1:
		return strings.EqualFold(path, endpoint[:len(path)])
	}
	return false
}

// ServeHTTP answers as eHSM's router: GET serves the open actions, POST all
// others. eHSM checks a request's parameters before it looks at the path, so
// that a GET of anything else lacks parameters, with HTTP status 200, and a POST
// elsewhere is not found only once it is authenticated.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rt, here := findRoute(r.URL.RawQuery), isEndpoint(r.URL.Path)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodPost, rt.is(open) && !here:
		send(w, &pageNotFound)
	case rt.is(open) && r.Method == http.MethodGet:
		h.serveOpen(w, r, rt)
	case rt.is(open):
		send(w, &apiNotFound)
	case r.Method == http.MethodGet:
		send(w, &missingParameters) // whatever its body says: GET has none
	default:
		h.serveSigned(w, r, rt, here)
	}
}
