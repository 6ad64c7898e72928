//go:build unix && hosttime

package linear_test

import "time"

// With the tag hosttime, and package time as steady builds it, the host has all of
// the node's clocks in its hand: in a TEE there is no other.
func init() { setSteady = time.SetHost }
