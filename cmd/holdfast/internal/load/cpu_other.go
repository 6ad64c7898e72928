//go:build !linux

package load

import (
	"errors"
	"net/netip"
	"time"
)

// ProcessCPU is known on Linux only.
func ProcessCPU(int) (time.Duration, error) { return 0, errors.ErrUnsupported }

// ListenerPID is known on Linux only.
func ListenerPID(netip.AddrPort) (int, error) { return 0, errors.ErrUnsupported }
