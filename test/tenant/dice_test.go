package tenant_test

import (
	"crypto/rand"
	"io"
	"sync"
)

// dice is what all randomness of this process comes from: the system's, but for
// rolls that a test has loaded. Published test vectors name ids and keys that
// the node would otherwise draw.
var dice = &loadedDice{real: rand.Reader}

type loadedDice struct {
	real io.Reader
	mu   sync.Mutex
	next [][]byte
}

// load makes the next reads of these lengths give these bytes, in this order.
func (d *loadedDice) load(rolls ...[]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = rolls
}

// left is how many rolls nobody has made.
func (d *loadedDice) left() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.next)
}

func (d *loadedDice) Read(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.next) > 0 && len(d.next[0]) == len(p) {
		copy(p, d.next[0])
		d.next = d.next[1:]
		return len(p), nil
	}
	return d.real.Read(p)
}
