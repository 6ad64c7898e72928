package govern

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"

	"github.com/holdfast-kms/holdfast/kms"
)

// The PEM types of a key's file.
const (
	plainPEM  = "PRIVATE KEY"
	sealedPEM = "ENCRYPTED PRIVATE KEY"
)

const (
	// kdfRounds is what OWASP asks of PBKDF2 with HMAC-SHA-256.
	kdfRounds = 600_000
	// maxRounds bounds how long a hostile file keeps its reader busy.
	maxRounds  = 5_000_000
	kdfSaltLen = 16
	// maxKeyFile is far above what a P-256 key takes.
	maxKeyFile = 16 << 10
)

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// encryptedKey is EncryptedPrivateKeyInfo (RFC 5958, section 3) with PBES2
// parameters (RFC 8018, appendix A.4).
type encryptedKey struct {
	Algorithm struct {
		ID         asn1.ObjectIdentifier
		Parameters pbes2
	}
	Data []byte
}

type pbes2 struct {
	KDF struct {
		ID         asn1.ObjectIdentifier
		Parameters kdfParameters
	}
	Cipher struct {
		ID asn1.ObjectIdentifier
		IV []byte
	}
}

type kdfParameters struct {
	Salt   []byte
	Rounds int
	KeyLen int `asn1:"optional"`
	PRF    pkix.AlgorithmIdentifier
}

// EncodePEM prints the key as PKCS #8 in PEM. With a passphrase it is encrypted:
// PBES2 with PBKDF2-HMAC-SHA-256 and AES-256-CBC, which openssl reads. Without
// one it lies open, which is for development alone. The caller clears what it
// gets. The error is Invalid.
func (k *PrivateKey) EncodePEM(passphrase []byte) ([]byte, error) {
	if k == nil || k.der == nil {
		return nil, kms.Errorf(kms.Invalid, "private key: none")
	}
	der, err := k.der()
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "private key: %w", err)
	}
	defer clear(der)
	if len(passphrase) == 0 {
		return pem.EncodeToMemory(&pem.Block{Type: plainPEM, Bytes: der}), nil
	}
	sealed, err := sealKey(der, passphrase)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: sealedPEM, Bytes: sealed}), nil
}

// ParsePrivateKey reads what EncodePEM prints, and what openssl prints with the
// same algorithms: one PEM block and nothing else. A passphrase that the file
// does not need, or lacks, is an error. A wrong passphrase is
// Unauthenticated; every other error is Invalid.
func ParsePrivateKey(file, passphrase []byte) (*PrivateKey, error) {
	if len(file) > maxKeyFile {
		return nil, kms.Errorf(kms.TooLarge, "private key: %d bytes, at most %d are read", len(file), maxKeyFile)
	}
	block, rest := pem.Decode(file)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 || len(block.Headers) > 0 {
		return nil, kms.Errorf(kms.Invalid, "private key: not one PEM block of PKCS #8")
	}
	defer clear(block.Bytes)
	switch {
	case block.Type == plainPEM && len(passphrase) > 0:
		return nil, kms.Errorf(kms.Invalid, "private key: lies open").WithHint("give no passphrase for it, or encrypt it")
	case block.Type == plainPEM:
		return parsePKCS8(block.Bytes)
	case block.Type == sealedPEM && len(passphrase) == 0:
		return nil, kms.Errorf(kms.Unauthenticated, "private key: is encrypted").WithHint("give its passphrase")
	case block.Type == sealedPEM:
		return openKey(block.Bytes, passphrase)
	}
	return nil, kms.Errorf(kms.Invalid, "private key: a PEM block of the type %q", block.Type)
}

func parsePKCS8(der []byte) (*PrivateKey, error) {
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		// The cause may quote what was decrypted.
		return nil, kms.Errorf(kms.Invalid, "private key: not PKCS #8")
	}
	return newPrivateKey(key)
}

func sealKey(der, passphrase []byte) ([]byte, error) {
	var file encryptedKey
	file.Algorithm.ID = oidPBES2
	p := &file.Algorithm.Parameters
	p.KDF.ID, p.Cipher.ID = oidPBKDF2, oidAES256CBC
	p.KDF.Parameters = kdfParameters{Salt: make([]byte, kdfSaltLen), Rounds: kdfRounds,
		PRF: pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256, Parameters: asn1.NullRawValue}}
	p.Cipher.IV = make([]byte, aes.BlockSize)
	rand.Read(p.KDF.Parameters.Salt) // never fails: crypto/rand ends the process instead
	rand.Read(p.Cipher.IV)
	block, err := p.cipher(passphrase)
	if err != nil {
		return nil, err
	}
	padding := aes.BlockSize - len(der)%aes.BlockSize
	file.Data = append(bytes.Clone(der), bytes.Repeat([]byte{byte(padding)}, padding)...)
	cipher.NewCBCEncrypter(block, p.Cipher.IV).CryptBlocks(file.Data, file.Data)
	return asn1.Marshal(file)
}

func openKey(sealed, passphrase []byte) (*PrivateKey, error) {
	var file encryptedKey
	if rest, err := asn1.Unmarshal(sealed, &file); err != nil || len(rest) > 0 {
		return nil, badKeyFile()
	}
	p := file.Algorithm.Parameters
	if err := p.check(file.Algorithm.ID); err != nil {
		return nil, err
	}
	if len(file.Data) == 0 || len(file.Data)%aes.BlockSize != 0 {
		return nil, badKeyFile()
	}
	block, err := p.cipher(passphrase)
	if err != nil {
		return nil, err
	}
	defer clear(file.Data)
	cipher.NewCBCDecrypter(block, p.Cipher.IV).CryptBlocks(file.Data, file.Data)
	padding := int(file.Data[len(file.Data)-1])
	if padding == 0 || padding > aes.BlockSize ||
		!bytes.HasSuffix(file.Data, bytes.Repeat([]byte{byte(padding)}, padding)) {
		return nil, wrongPassphrase()
	}
	key, err := parsePKCS8(file.Data[:len(file.Data)-padding])
	if err != nil {
		return nil, wrongPassphrase()
	}
	return key, nil
}

func (p pbes2) check(scheme asn1.ObjectIdentifier) error {
	kdf := p.KDF.Parameters
	switch {
	case !scheme.Equal(oidPBES2) || !p.KDF.ID.Equal(oidPBKDF2) || !kdf.PRF.Algorithm.Equal(oidHMACSHA256) || !p.Cipher.ID.Equal(oidAES256CBC):
		return badKeyFile()
	case kdf.Rounds < 1 || kdf.Rounds > maxRounds:
		return kms.Errorf(kms.Invalid, "private key: %d rounds of PBKDF2, at most %d are done", kdf.Rounds, maxRounds)
	case len(p.Cipher.IV) != aes.BlockSize || len(kdf.Salt) < 8 || kdf.KeyLen != 0 && kdf.KeyLen != 32:
		return badKeyFile()
	}
	return nil
}

func (p pbes2) cipher(passphrase []byte) (cipher.Block, error) {
	key, err := pbkdf2.Key(sha256.New, string(passphrase), p.KDF.Parameters.Salt, p.KDF.Parameters.Rounds, 32)
	if err != nil {
		return nil, kms.Errorf(kms.Invalid, "private key: %w", err)
	}
	defer clear(key)
	return aes.NewCipher(key)
}

func badKeyFile() error {
	return kms.Errorf(kms.Invalid, "private key: not encrypted with PBES2, PBKDF2-HMAC-SHA-256 and AES-256-CBC").
		WithHint("convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256`")
}

func wrongPassphrase() error {
	return kms.Errorf(kms.Unauthenticated, "private key: wrong passphrase, or a damaged file")
}
