package alg

import (
	"crypto"
	"crypto/sha256"
	"crypto/sha512"
	"hash"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/alg/sm"
)

// digestOf hashes the message, or takes it as the digest that it says it is.
func digestOf(in kms.SigningInput) ([]byte, error) {
	if in.Prehashed {
		if n := in.Digest.Size(); n == 0 || len(in.Message) != n {
			return nil, kms.Errorf(kms.Misused, "digest has %d bytes, %s has %d", len(in.Message), in.Digest, n)
		}
		return in.Message, nil
	}
	switch in.Digest {
	case kms.SHA224:
		d := sha256.Sum224(in.Message)
		return d[:], nil
	case kms.SHA256:
		d := sha256.Sum256(in.Message)
		return d[:], nil
	case kms.SHA384:
		d := sha512.Sum384(in.Message)
		return d[:], nil
	case kms.SHA512:
		d := sha512.Sum512(in.Message)
		return d[:], nil
	case kms.SM3:
		d := sm.SM3(in.Message)
		return d[:], nil
	}
	return nil, errDigest(in.Digest)
}

func errDigest(d kms.Digest) error {
	return kms.Errorf(kms.Misused, "digest %s is not supported for this key", d)
}

// sha2 are the digests that the standard library knows by a number of its own.
var sha2 = map[kms.Digest]struct {
	id  crypto.Hash
	new func() hash.Hash
}{
	kms.SHA224: {crypto.SHA224, sha256.New224},
	kms.SHA256: {crypto.SHA256, sha256.New},
	kms.SHA384: {crypto.SHA384, sha512.New384},
	kms.SHA512: {crypto.SHA512, sha512.New},
}
