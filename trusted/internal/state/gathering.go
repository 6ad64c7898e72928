package state

import "github.com/holdfast-kms/holdfast/attest"

// Gathered is how many nodes have to vote in a domain whose only node keeps nothing
// over a restart before anything is acknowledged to an app: then one can end, and the
// others still have it.
const Gathered = 3

// Gathering reports whether the domain was founded, or carried on, by a node without a
// sealing key, and three nodes have not voted at once since. Once they have it is over,
// also where fewer vote later.
func (v *View) Gathering() bool { return v.gathering }

// forgets reports whether a node with these claims keeps nothing over a restart: its
// kind of TEE derives no sealing key.
func forgets(c attest.Claims) bool { return c.TEE == attest.TDX }
