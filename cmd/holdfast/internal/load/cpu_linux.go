package load

import (
	"bufio"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ProcessCPU returns the user and system time of a process with all its
// threads.
func ProcessCPU(pid int) (time.Duration, error) {
	if pid <= 0 {
		return 0, errors.ErrUnsupported
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(processClock(pid), &ts); err != nil {
		return 0, err
	}
	return time.Duration(ts.Nano()), nil
}

// processClock is the clock that clock_getcpuclockid(3) finds. Unlike
// /proc/PID/stat, which counts in 10 ms, it tells all the kernel knows.
func processClock(pid int) int32 {
	const scheduled = 2 // CPUCLOCK_SCHED of the kernel's posix-timers.h
	return int32(^pid<<3 | scheduled)
}

// ListenerPID finds the process that listens at a loopback address of this
// machine. It sees processes of other users only as root.
func ListenerPID(addr netip.AddrPort) (int, error) {
	var inodes []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		inodes = append(inodes, listeners(bufio.NewScanner(f), addr)...)
		f.Close()
	}
	return socketOwner(inodes)
}

// stateListen is TCP_LISTEN.
const stateListen = "0A"

// listeners returns the inodes of the sockets of a /proc/net/tcp table that
// listen at addr, or at every address of its port.
func listeners(table *bufio.Scanner, addr netip.AddrPort) (inodes []string) {
	for table.Scan() {
		f := strings.Fields(table.Text())
		if len(f) < 10 || f[3] != stateListen {
			continue
		}
		at, ok := parseSocketAddr(f[1])
		if !ok || at.Port() != addr.Port() {
			continue
		}
		if ip := at.Addr(); ip == addr.Addr() || ip.IsUnspecified() {
			inodes = append(inodes, f[9])
		}
	}
	return inodes
}

// parseSocketAddr reads "0100007F:2328": 32-bit words as this machine holds
// them in memory, in hexadecimal, and the port.
func parseSocketAddr(s string) (netip.AddrPort, bool) {
	host, port, _ := strings.Cut(s, ":")
	b, err1 := hex.DecodeString(host)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if err1 != nil || err2 != nil {
		return netip.AddrPort{}, false
	}
	if littleEndian {
		for word := range slices.Chunk(b, 4) {
			slices.Reverse(word)
		}
	}
	ip, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(ip.Unmap(), uint16(p)), ok
}

// socketOwner finds the process that holds one of the sockets open.
func socketOwner(inodes []string) (int, error) {
	fds, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil || len(inodes) == 0 {
		return 0, errors.Join(err, net.ErrClosed)
	}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if err != nil {
			continue // another user's, or gone meanwhile
		}
		inode, isSocket := strings.CutPrefix(to, "socket:[")
		if isSocket && slices.Contains(inodes, strings.TrimSuffix(inode, "]")) {
			return strconv.Atoi(strings.Split(fd, "/")[2])
		}
	}
	return 0, errors.New("the listening process belongs to another user")
}
