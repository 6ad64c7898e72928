package govern

import "github.com/holdfast-kms/holdfast/kms"

// VerifyBootstrap verifies the bootstrap of a domain as Found does, for who has
// a later policy before him and not policy 1: Standing.Amend and
// Standing.OpenPolicy lead from there to the one in force. The error is
// Invalid, TooLarge or Denied.
func VerifyBootstrap(charter *Charter, envelope []byte) (*Bootstrap, Standing, error) {
	if charter == nil {
		return nil, Standing{}, kms.Errorf(kms.Invalid, "charter: none")
	}
	if err := charter.Validate(); err != nil {
		return nil, Standing{}, err
	}
	b, err := openBootstrap(charter, envelope)
	if err != nil {
		return nil, Standing{}, err
	}
	return b, newStanding(charter, b), nil
}
