package root

// The purposes of what attested runtimes' keys come from, by generation.
const (
	// RuntimeDerivations is the secret that a generation's long-term pairs are
	// derived from.
	RuntimeDerivations Purpose = "holdfast/v1/runtime-derivations"
	// RuntimeSigning is the seed of the Ed25519 key that signs runtimes' public keys.
	RuntimeSigning Purpose = "holdfast/v1/runtime-signing-key"
)
