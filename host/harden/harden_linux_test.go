package harden_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/holdfast-kms/holdfast/host/harden"
)

// childVariable makes the test program the child that hardens itself, so that
// the tests' own process stays as it was.
const childVariable = "HOLDFAST_TEST_HARDEN"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	before := state()
	if os.Getenv(childVariable) == withoutPrctl {
		if err := takePrctl(); err != nil {
			fmt.Println("SKIP:", err)
			os.Exit(0)
		}
	}
	if err := harden.Process(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Printf("%s; %s\n", before, state())
}

// state is what the kernel says of this process.
func state() string {
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil {
		return err.Error()
	}
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("core %d/%d dumpable %d", core.Cur, core.Max, dumpable)
}

func TestProcess(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	before, after, _ := strings.Cut(strings.TrimSpace(string(out)), "; ")
	if !strings.HasSuffix(before, "dumpable 1") {
		t.Errorf("before: %q; the test shows nothing unless it is dumpable", before)
	}
	if want := "core 0/0 dumpable 0"; after != want {
		t.Errorf("after: %q, want %q", after, want)
	}
}

// withoutPrctl is a child whose kernel answers prctl with ENOSYS.
const withoutPrctl = "without prctl"

// takePrctl has the kernel say to this thread that it has no prctl, as a container's
// seccomp profile can.
func takePrctl() error {
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the call's number
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_PRCTL, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}

// TestWithoutPrctl: a kernel that says it has no prctl, where there is no library OS,
// is not believed.
func TestWithoutPrctl(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childVariable+"="+withoutPrctl)
	out, err := cmd.CombinedOutput()
	if strings.HasPrefix(string(out), "SKIP:") {
		t.Skipf("!!! SKIPPED: no seccomp here: %s", out)
	}
	if err == nil || !strings.Contains(string(out), "function not implemented") {
		t.Errorf("%v: %s", err, out)
	}
}
