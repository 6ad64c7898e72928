package root

// Labels separate what is derived from a master secret: each is the
// customization string of one derivation, and no two are the same. One
// deployment uses one set.
type Labels struct {
	Checksum string
	Wrapping string // keys, credentials, the authority
	Signing  string // the Ed25519 seed that signs runtimes' public keys
	Backup   string
	Runtime  string // the root of runtimes' long-term keys
	Audit    string // the Ed25519 seed that signs heads of audit logs
}

// HoldfastLabels are ours.
var HoldfastLabels = Labels{
	Checksum: "holdfast/v1/master-secret-checksum",
	Wrapping: "holdfast/v1/wrapping-key",
	Signing:  "holdfast/v1/runtime-signing-key",
	Backup:   "holdfast/v1/backup-key",
	Runtime:  "holdfast/v1/runtime-derivation-root",
	Audit:    "holdfast/v1/audit-signing-key",
}
