package load_test

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-kms/holdfast/cmd/holdfast/internal/load"
)

func TestListenerPID(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"} {
		t.Run(at, func(t *testing.T) {
			l, err := net.Listen("tcp", at)
			if err != nil {
				t.Skip(err)
			}
			defer l.Close()
			addr := l.Addr().(*net.TCPAddr).AddrPort()
			ask := addr
			if addr.Addr().IsUnspecified() {
				ask = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), addr.Port())
			}
			pid, err := load.ListenerPID(ask)
			if err != nil || pid != os.Getpid() {
				t.Errorf("process %d (%v), want %d", pid, err, os.Getpid())
			}
		})
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().(*net.TCPAddr).AddrPort()
	l.Close()
	if pid, err := load.ListenerPID(free); err == nil {
		t.Errorf("process %d listens at a closed port", pid)
	}
}

func TestListeners(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1 0000000000000000 100 0 0 10 0
   1: 0100007F:2328 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 12 1 0000000000000000 100 0 0 10 0
   2: 0200007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 13 1 0000000000000000 100 0 0 10 0
   3: 00000000:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 14 1 0000000000000000 100 0 0 10 0
   4: 0000000000000000FFFF00000100007F:2328 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 15 1
   5: nonsense:zzzz 00000000:0000 0A 0:0 0:0 0 0 0 16 1
   6: 0100007F:2329 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17 1
`
	got := load.Listeners(table, netip.MustParseAddrPort("127.0.0.1:9000"))
	if diff := cmp.Diff([]string{"11", "14", "15"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestProcessCPU(t *testing.T) {
	before, err := load.ProcessCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 300*time.Millisecond; {
	}
	after, err := load.ProcessCPU(os.Getpid())
	if used := after - before; err != nil || used < 20*time.Millisecond || used > 5*time.Second {
		t.Errorf("300 ms of work took %v of CPU time (%v)", after-before, err)
	}
	if _, err := load.ProcessCPU(0); err == nil {
		t.Error("process 0 has CPU time")
	}
}
