package clienttest

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"hash"
	"sync"
	"time"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// payload is every member that any action has.
type payload struct {
	KeyID       string `json:"keyid"`
	KeySpec     string `json:"keyspec"`
	Origin      string `json:"origin"`
	KeyUsage    string `json:"keyusage"`
	Exportable  bool   `json:"exportable"`
	Plaintext   []byte `json:"plaintext"`
	Ciphertext  []byte `json:"ciphertext"`
	AAD         []byte `json:"aad"`
	KeyLen      int    `json:"keylen"`
	Message     []byte `json:"message"`
	MessageType string `json:"message_type"`
	PaddingMode string `json:"padding_mode"`
	DigestMode  string `json:"digest_mode"`
	Signature   []byte `json:"signature"`
	MAC         []byte `json:"mac"`
	Target      string `json:"ukeyid"`
	OldDataKey  []byte `json:"olddatakey_base"`
	Material    []byte `json:"key_material"`
	Token       string `json:"importToken"`
	Challenge   []byte `json:"challenge"`
	Quote       []byte `json:"quote"`
	Nonce       []byte `json:"nonce"`
	Collateral  []byte `json:"collateral"`
	PolicyID    string `json:"policyId"`
	MRENCLAVE   string `json:"mr_enclave"`
	MRSIGNER    string `json:"mr_signer"`
}

// A key is one of an app's.
type key struct {
	id         kms.KeyID
	spec       *kms.Capability
	usages     kms.Usages
	secret     any // []byte, *rsa.PrivateKey, *ecdsa.PrivateKey or ed25519.PrivateKey; nil until it is imported
	imported   bool
	exportable bool
	off        bool
	created    time.Time

	wrapping *rsa.PrivateKey // while an import is under way
	token    string
}

// never is the expireTime of a key that does not expire.
const never = 253_402_300_799_000

var actions = map[string]func(*tenant, payload) (fields, *refusal){
	"CreateKey": createKey, "ListKey": listKeys, "DeleteKey": deleteKey, "DeleteAllKey": deleteAll,
	"EnableKey":  func(a *tenant, p payload) (fields, *refusal) { return a.switchKey(p, false) },
	"DisableKey": func(a *tenant, p payload) (fields, *refusal) { return a.switchKey(p, true) },
	"Encrypt":    encrypt, "Decrypt": decrypt,
	"GenerateDataKey":                 dataKey,
	"GenerateDataKeyWithoutPlaintext": wrappedOnly,
	"AsymmetricEncrypt":               asymmetricEncrypt,
	"AsymmetricDecrypt":               asymmetricDecrypt,
	"ExportDataKey":                   exportDataKey,
	"Sign":                            sign, "Verify": verify, "GetPublicKey": publicKey,
	"GenerateMac": generateMAC, "VerifyMac": verifyMAC,
	"GetParametersForImport": importParameters, "ImportKeyMaterial": importMaterial, "ExportKey": exportKey,
	"GenerateQuote": generateQuote, "VerifyQuote": verifyQuote, "UploadQuotePolicy": uploadQuotePolicy, "GetQuotePolicy": getQuotePolicy,
}

var (
	misused       = &refusal{500, "Server exception."}
	badDigest     = &refusal{400, "Parameter invalid, The digest_mode type is incorrect."}
	badPadding    = &refusal{400, "Parameter invalid, The padding_mode type is incorrect."}
	badSpec       = &refusal{400, "Parameter invalid, The keyspec type is incorrect."}
	undecryptable = &refusal{400, "Decryption failed, Please confirm that your parameters are correct."}
)

// What the specs are made of. Specs that are in none of these are refused.
var (
	curves = map[kms.Spec]elliptic.Curve{kms.ECP224: elliptic.P224(), kms.ECP256: elliptic.P256(),
		kms.ECP384: elliptic.P384(), kms.ECP521: elliptic.P521()}
	hashes = map[kms.Spec]func() hash.Hash{kms.HMACSHA224: sha256.New224, kms.HMACSHA256: sha256.New,
		kms.HMACSHA384: sha512.New384, kms.HMACSHA512: sha512.New}
	aesBytes = map[kms.Spec]int{kms.AES128GCM: 16, kms.AES192GCM: 24, kms.AES256GCM: 32}

	// rsaKeys are the same for every server of a process: they take long to make.
	rsaKeys = map[kms.Spec]func() *rsa.PrivateKey{kms.RSA2048: onceRSA(2048), kms.RSA3072: onceRSA(3072), kms.RSA4096: onceRSA(4096)}
)

func onceRSA(bits int) func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			panic(err)
		}
		return k
	})
}

// generate makes a key of a spec, nil for one that this server does not have.
func generate(spec kms.Spec) any {
	if n, ok := aesBytes[spec]; ok {
		return random(n)
	}
	if h, ok := hashes[spec]; ok {
		return random(h().Size())
	}
	if k, ok := rsaKeys[spec]; ok {
		return k()
	}
	if c, ok := curves[spec]; ok {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			panic(err)
		}
		return k
	}
	if spec == kms.Ed25519 {
		return ed25519.NewKeyFromSeed(random(ed25519.SeedSize))
	}
	return nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func createKey(a *tenant, p payload) (fields, *refusal) {
	spec, _ := wire.ParseSpec(p.KeySpec)
	capability, ok := spec.Capability()
	if !ok {
		return nil, badSpec
	}
	usages, known := wire.ParseUsages(p.KeyUsage)
	if p.KeyUsage == "" {
		usages, known = capability.UsageSets[0], true
	}
	origin, _ := wire.ParseOrigin(p.Origin)
	if !known || !capability.Admits(usages) || !origin.Valid() {
		return nil, misused
	}
	k := &key{id: kms.KeyID(newID()), spec: capability, usages: usages, imported: origin == kms.Imported, exportable: p.Exportable, created: time.Now()}
	if !k.imported {
		if k.secret = generate(spec); k.secret == nil {
			return nil, badSpec
		}
	}
	a.keys[k.id] = k
	return fields{"keyid": k.id}, nil
}

// find returns the key that p names if it may be used.
func (a *tenant) find(id string) (*key, *refusal) {
	parsed, err := kms.ParseKeyID(id)
	if err != nil {
		return nil, &refusal{400, "Parameter invalid, The keyid format wrong."}
	}
	k, ok := a.keys[parsed]
	switch {
	case !ok:
		return nil, &refusal{400, "keyid error"}
	case k.off:
		return nil, &refusal{400, "keyid is disabled"}
	}
	return k, nil
}

func listKeys(a *tenant, _ payload) (fields, *refusal) {
	list := []fields{}
	for _, k := range a.keys {
		state := 1
		if k.off {
			state = 0
		}
		name, _ := wire.SpecName(k.spec.Spec)
		list = append(list, fields{"keyid": k.id, "creationDate": k.created.UnixMilli(), "expireTime": never,
			"alias": "", "keyspec": name, "keyState": state})
	}
	return fields{"list": list}, nil
}

func (a *tenant) switchKey(p payload, off bool) (fields, *refusal) {
	id, _ := kms.ParseKeyID(p.KeyID)
	k, ok := a.keys[id]
	if !ok {
		return nil, &refusal{400, "not find this keyid"}
	}
	k.off = off
	return fields{}, nil
}

func deleteKey(a *tenant, p payload) (fields, *refusal) {
	id, _ := kms.ParseKeyID(p.KeyID)
	delete(a.keys, id)
	return fields{}, nil
}

func deleteAll(a *tenant, _ payload) (fields, *refusal) {
	clear(a.keys)
	return fields{}, nil
}

// publicKey sends RSA keys in PKCS #1, as eHSM does.
func publicKey(a *tenant, p payload) (fields, *refusal) {
	k, no := a.find(p.KeyID)
	if no != nil {
		return nil, no
	}
	switch priv := k.secret.(type) {
	case *rsa.PrivateKey:
		return fields{"keyid": k.id, "pubkey": rsaPEM(&priv.PublicKey)}, nil
	case *ecdsa.PrivateKey:
		return fields{"keyid": k.id, "pubkey": spkiPEM(&priv.PublicKey)}, nil
	case ed25519.PrivateKey:
		return fields{"keyid": k.id, "pubkey": spkiPEM(priv.Public())}, nil
	}
	return nil, misused
}

func rsaPEM(pub *rsa.PublicKey) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(pub)}))
}

func spkiPEM(pub any) string {
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
