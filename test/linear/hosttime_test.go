//go:build unix && hosttime

package linear_test

import "github.com/hashicorp/raft"

// With the tag hosttime, and raft as overlay.hostTime has it, the host also has the
// clock in its hand by which raft tells how long the others have been silent: in a
// TEE there is no other.
func init() { setSteady = raft.SetHost }
