package raw

import (
	"filippo.io/mldsa"

	"github.com/holdfast-kms/holdfast/kms"
)

func moduleLattice(spec kms.Spec, message []byte) (Operations, error) {
	params := map[kms.Spec]mldsa.Parameters{kms.MLDSA44: mldsa.MLDSA44(), kms.MLDSA65: mldsa.MLDSA65(), kms.MLDSA87: mldsa.MLDSA87()}[spec]
	priv, err := mldsa.GenerateKey(params)
	if err != nil {
		return Operations{}, err
	}
	sig, err := priv.Sign(nil, message, nil)
	return Operations{
		Create: func() error { _, err := mldsa.GenerateKey(params); return err },
		Sign:   func() error { _, err := priv.Sign(nil, message, nil); return err },
		Verify: func() error { return mldsa.Verify(priv.PublicKey(), message, sig, nil) },
	}, err
}
