package member

import (
	"math"
	"net"
	"sync/atomic"

	"github.com/holdfast-kms/holdfast/kms"
)

// A meter bounds what is read of a node that has not proved yet what it is.
type meter struct {
	net.Conn
	left atomic.Int64
}

var errMeter = kms.Errorf(kms.Denied, "the other side sends more than a node has to say")

// allow sets how many bytes may be read from now on.
func (m *meter) allow(n int64) { m.left.Store(n) }

// free lifts the bound.
func (m *meter) free() { m.left.Store(math.MaxInt64) }

func (m *meter) Read(b []byte) (int, error) {
	left := m.left.Load()
	if left == math.MaxInt64 {
		return m.Conn.Read(b)
	}
	if left <= 0 {
		return 0, errMeter
	}
	n, err := m.Conn.Read(b[:min(int64(len(b)), left)])
	// Only one goroutine reads while there is a bound; free may come meanwhile.
	m.left.CompareAndSwap(left, left-int64(n))
	return n, err
}
