package attest

import "errors"

// ErrNoSealingKey is the cause where a kind of TEE derives no key that a program
// could seal its files under: TDX. What such a program writes to a disk opens
// nowhere once it has ended.
var ErrNoSealingKey = errors.New("this kind of TEE derives no keys")
