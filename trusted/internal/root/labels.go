package root

// Labels separate what is derived from a master secret: each is the
// customization string of one derivation, and no two are the same. One
// deployment uses one set; Oasis' set reproduces Oasis' vectors.
type Labels struct {
	Checksum string
	Wrapping string // keys, credentials, the authority
	Signing  string // the Ed25519 seed that signs runtimes' public keys
	Backup   string
	// Runtime makes the root of runtimes' long-term keys. Empty: the master secret
	// itself is that root, as in Oasis.
	Runtime   string
	LongTerm  PairLabels // from the root of runtimes' keys
	Ephemeral PairLabels // from the secret of an epoch
}

// PairLabels are the two of a runtime's pair: for the secret that is derived
// first, and for the bytes that it is stretched to.
type PairLabels struct {
	Secret  string
	Stretch string
}

// HoldfastLabels are ours.
var HoldfastLabels = Labels{
	Checksum:  "holdfast/v1/master-secret-checksum",
	Wrapping:  "holdfast/v1/wrapping-key",
	Signing:   "holdfast/v1/runtime-signing-key",
	Backup:    "holdfast/v1/backup-key",
	Runtime:   "holdfast/v1/runtime-derivation-root",
	LongTerm:  PairLabels{"holdfast/v1/runtime-secret", "holdfast/v1/runtime-keys"},
	Ephemeral: PairLabels{"holdfast/v1/ephemeral-secret", "holdfast/v1/ephemeral-keys"},
}
