package kms

import "time"

// A Generation is what anybody may know of a generation of a domain's master
// secret.
type Generation struct {
	Number     uint32    `json:"generation"`
	Checksum   []byte    `json:"checksum"`    // 32 bytes, which link it to the generation before
	SigningKey []byte    `json:"signing_key"` // Ed25519: signs runtimes' public keys
	Created    time.Time `json:"created"`
	Retired    time.Time `json:"retired,omitzero"` // zero: in use
	Wrapped    int       `json:"wrapped"`          // secrets that are wrapped under it; it may lag a little
}

// MasterSecrets are the generations of a domain's master secret.
type MasterSecrets struct {
	Generations []Generation `json:"generations"`            // oldest first; the last one is the newest
	Left        int          `json:"left"`                   // secrets that are to be re-wrapped; it may lag a little
	NextAt      time.Time    `json:"next_rotation,omitzero"` // zero: on demand alone
	Compromises []Compromise `json:"compromises,omitempty"`  // of generations, oldest first
	Troubles    []string     `json:"troubles,omitempty"`     // what does not go on by itself
}

// A Retirement is what became of a generation that was retired.
type Retirement struct {
	Generation uint32
	// Remains says where the generation still is, or may be, or what is lost with it.
	Remains []string
}
