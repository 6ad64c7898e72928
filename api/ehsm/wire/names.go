package wire

import "github.com/holdfast-kms/holdfast/kms"

// A name is a word of the protocol and what it stands for, which is never zero.
type name[T comparable] struct {
	text  string
	value T
}

type names[T comparable] []name[T]

// parse finds a word; the second result is false for an unknown one.
func (t names[T]) parse(text string) (value T, known bool) {
	for _, n := range t {
		if n.text == text {
			return n.value, true
		}
	}
	return value, false
}

// of finds the first word for a value.
func (t names[T]) of(value T) (text string, known bool) {
	var none T
	for _, n := range t {
		if n.value == value && value != none {
			return n.text, true
		}
	}
	return "", false
}

// The first name of a spec is what it is called in answers.
var specs = names[kms.Spec]{
	{"EH_AES_GCM_128", kms.AES128GCM}, {"EH_AES_GCM_192", kms.AES192GCM}, {"EH_AES_GCM_256", kms.AES256GCM},
	{"EH_RSA_2048", kms.RSA2048}, {"EH_RSA_3072", kms.RSA3072}, {"EH_RSA_4096", kms.RSA4096},
	{"EH_EC_P224", kms.ECP224}, {"EH_EC_P256", kms.ECP256}, {"EH_EC_P256K", kms.ECSecp256k1},
	{"EH_EC_P384", kms.ECP384}, {"EH_EC_P521", kms.ECP521},
	{"EH_SM2", kms.SM2}, {"EH_SM4_CTR", kms.SM4CTR}, {"EH_SM4_CBC", kms.SM4CBC},
	{"EH_HMAC", kms.HMACSHA256}, // a name that eHSM accepts and never implemented

	// Ours, in eHSM's style.
	{"EH_HMAC_SHA_224", kms.HMACSHA224}, {"EH_HMAC_SHA_256", kms.HMACSHA256},
	{"EH_HMAC_SHA_384", kms.HMACSHA384}, {"EH_HMAC_SHA_512", kms.HMACSHA512},
	{"EH_ED25519", kms.Ed25519}, {"EH_X25519", kms.X25519},
	{"EH_ML_KEM_768", kms.MLKEM768}, {"EH_ML_KEM_1024", kms.MLKEM1024},
	{"EH_ML_DSA_44", kms.MLDSA44}, {"EH_ML_DSA_65", kms.MLDSA65}, {"EH_ML_DSA_87", kms.MLDSA87},
}

var origins = names[kms.Origin]{
	{"EH_INTERNAL_KEY", kms.Generated}, {"EH_EXTERNAL_KEY", kms.Imported},
}

var usages = names[kms.Usages]{
	{"EH_KEYUSAGE_ENCRYPT_DECRYPT", kms.EncryptDecrypt}, {"EH_KEYUSAGE_SIGN_VERIFY", kms.SignVerify},
	{"EH_KEYUSAGE_GENERATE_VERIFY_MAC", kms.GenerateVerifyMAC}, // ours
	// Ours too; such keys are used over the native API. With RAW they hand out the
	// shared secret as it is.
	{"EH_KEYUSAGE_AGREE", kms.KeyAgreement}, {"EH_KEYUSAGE_AGREE_RAW", kms.KeyAgreement | kms.Usages(kms.UseRaw)},
	{"EH_KEYUSAGE_ENCAPSULATE", kms.Encapsulation}, {"EH_KEYUSAGE_ENCAPSULATE_RAW", kms.Encapsulation | kms.Usages(kms.UseRaw)},
}

var paddings = names[kms.Padding]{
	{"EH_PAD_NONE", kms.PaddingNone}, {"EH_RSA_PKCS1", kms.PaddingPKCS1},
	{"EH_RSA_PKCS1_PSS", kms.PaddingPSS}, {"EH_RSA_PKCS1_OAEP", kms.PaddingOAEP},
	// What eHSM's documents call them in places; its code refused these.
	{"EH_PAD_RSA_PKCS1", kms.PaddingPKCS1},
	{"EH_PAD_RSA_PKCS1_PSS", kms.PaddingPSS}, {"EH_PAD_RSA_PKCS1_OAEP", kms.PaddingOAEP},
}

// wrappings are what ImportKeyMaterial calls a padding_mode.
var wrappings = names[kms.Wrapping]{
	{"EH_RSA_PKCS1", kms.WrapPKCS1}, {"EH_RSA_PKCS1_OAEP", kms.WrapOAEP},
	{"EH_PAD_RSA_PKCS1", kms.WrapPKCS1}, {"EH_PAD_RSA_PKCS1_OAEP", kms.WrapOAEP}, // as the documents have them
	{"EH_RSA_AES_KEY_WRAP", kms.WrapOAEPAES}, // ours, for what is longer than one RSA block
	{"EH_PAD_NONE", kms.WrapSM2},             // to SM2, which has no padding
}

var digests = names[kms.Digest]{
	{"EH_SHA_224", kms.SHA224}, {"EH_SHA_256", kms.SHA256}, {"EH_SHA_384", kms.SHA384}, {"EH_SHA_512", kms.SHA512},
	{"EH_SM3", kms.SM3},
}

// A MessageType says what Sign and Verify are given.
type MessageType uint8

// The message types.
const (
	Raw    MessageType = iota + 1 // the message
	Digest                        // the message's digest
)

var messageTypes = names[MessageType]{{"EH_RAW", Raw}, {"EH_DIGEST", Digest}}

// SpecName returns the protocol's name of a spec, and false where it has none.
func SpecName(s kms.Spec) (string, bool) { return specs.of(s) }

// ParseSpec reads a keyspec. The second result is false for an unknown name.
func ParseSpec(s string) (kms.Spec, bool) { return specs.parse(s) }

// OriginName returns the protocol's name of an origin, and false where it has none.
func OriginName(o kms.Origin) (string, bool) { return origins.of(o) }

// ParseOrigin reads an origin.
func ParseOrigin(s string) (kms.Origin, bool) { return origins.parse(s) }

// UsagesName returns the protocol's name of a set of usages, and false where it has none.
func UsagesName(u kms.Usages) (string, bool) { return usages.of(u) }

// ParseUsages reads a keyusage.
func ParseUsages(s string) (kms.Usages, bool) { return usages.parse(s) }

// PaddingName returns the protocol's name of a padding, and false where it has none.
func PaddingName(p kms.Padding) (string, bool) { return paddings.of(p) }

// ParsePadding reads a padding_mode, in either of its spellings.
func ParsePadding(s string) (kms.Padding, bool) { return paddings.parse(s) }

// WrappingName returns the protocol's name of a wrapping, and false where it has none.
func WrappingName(w kms.Wrapping) (string, bool) { return wrappings.of(w) }

// ParseWrapping reads the padding_mode of an import, in either of its spellings.
func ParseWrapping(s string) (kms.Wrapping, bool) { return wrappings.parse(s) }

// DigestName returns the protocol's name of a digest, and false where it has none.
func DigestName(d kms.Digest) (string, bool) { return digests.of(d) }

// ParseDigest reads a digest_mode.
func ParseDigest(s string) (kms.Digest, bool) { return digests.parse(s) }

// MessageTypeName returns the protocol's name of a message type, and false where it has none.
func MessageTypeName(t MessageType) (string, bool) { return messageTypes.of(t) }

// ParseMessageType reads a message_type.
func ParseMessageType(s string) (MessageType, bool) { return messageTypes.parse(s) }
