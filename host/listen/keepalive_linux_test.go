package listen_test

import (
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/host/listen"
)

// TestKeepAlive reads back what the kernel was told.
func TestKeepAlive(t *testing.T) {
	l := listener(t, listen.Config{})
	defer l.Close()
	dial(t, l)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	read := func(fd uintptr, name string, level, option int) {
		value, err := syscall.GetsockoptInt(int(fd), level, option)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got[name] = value
	}
	if err := raw.Control(func(fd uintptr) {
		read(fd, "on", syscall.SOL_SOCKET, syscall.SO_KEEPALIVE)
		read(fd, "idle", syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE)
		read(fd, "interval", syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL)
		read(fd, "count", syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT)
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"on": 1, "idle": 30, "interval": 10, "count": 3}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
