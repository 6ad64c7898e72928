//go:build linux || darwin

package listen_test

import (
	"net"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/host/listen"
)

// TestIdleConnections opens as many connections as are allowed and says
// nothing on them; the next one is refused and the first still works.
func TestIdleConnections(t *testing.T) {
	const descriptors = 2*listen.DefaultMaxConns + 200 // both ends are ours
	if !raiseDescriptors(t, descriptors) {
		t.Skipf("NOT TESTED: this process may not open %d files; raise `ulimit -n`", descriptors)
	}
	l := listener(t, listen.Config{})
	echo(t, l)
	conns := make([]net.Conn, listen.DefaultMaxConns)
	for i := range conns {
		conns[i] = dial(t, l)
	}
	eventually(t, "all accepted", func() bool { return l.Stats().Open == listen.DefaultMaxConns })
	wantRefused(t, l)
	for _, i := range []int{0, len(conns) / 2, len(conns) - 1} {
		if err := echoes(conns[i]); err != nil {
			t.Errorf("connection %d while full: %v", i, err)
		}
	}
	if diff := cmp.Diff(listen.Stats{Open: listen.DefaultMaxConns, Refused: 1}, l.Stats()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "every place given back", func() bool { return l.Stats().Open == 0 })
	if err := echoes(dial(t, l)); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// raiseDescriptors reports whether this process may open n files, and asks for
// more where it may not.
func raiseDescriptors(t *testing.T, n uint64) bool {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur >= n {
		return true
	}
	limit.Cur, limit.Max = n, max(limit.Max, n)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) == nil
}
