package harden_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

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
