package tenant_test

import (
	"sync"
	"time"
)

// A witness is a well-behaved client. It encrypts and decrypts while others
// attack, and never may anything but success be the answer.
type witness struct {
	*app
	key   string
	pause chan struct{}
	idle  sync.WaitGroup
}

// watch starts a witness, which ends with the test at the latest. The func ends
// it before.
func (a *arena) watch() (stop func()) {
	a.t.Helper()
	w := &witness{app: a.enrol().quiet(a.t), pause: make(chan struct{})}
	w.key = w.newKey(newAES)
	w.round() // its connection is there before any attack
	a.plant([]byte(witnessed))
	w.idle.Go(func() {
		for w.running() {
			w.round()
		}
	})
	stop = sync.OnceFunc(func() {
		close(w.pause)
		w.idle.Wait()
		w.round() // and after it
	})
	a.t.Cleanup(stop)
	return stop
}

const witnessed = "what the well-behaved client keeps to itself"

// running waits between two rounds, so that the machine has time for the attack.
func (w *witness) running() bool {
	select {
	case <-w.pause:
		return false
	case <-time.After(2 * time.Millisecond):
		return true
	}
}

// round encrypts and decrypts once.
func (w *witness) round() {
	sealed := w.call("Encrypt", encrypting(w.key, witnessed))
	opened := w.call("Decrypt", decrypting(w.key, sealed.field("ciphertext")))
	if opened.field("plaintext") != b64(witnessed) {
		w.t.Errorf("the well-behaved client got %+v and %+v", sealed, opened)
	}
}
