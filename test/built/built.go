// Package built builds the commands that tests run as processes.
package built

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Build builds a command of this module, such as "holdfast", into dir, in the
// environment of the tests and env, and returns the program's path.
func Build(dir, command string, env ...string) (string, error) {
	path := filepath.Join(dir, command+".exe") // the name that Windows wants will do everywhere
	build := exec.Command("go", "build", "-o", path, "github.com/holdfast-kms/holdfast/cmd/"+command)
	build.Env = append(os.Environ(), env...)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %v\n%s", command, err, out)
	}
	return path, nil
}

// Main is a TestMain's status: it builds a command as Build does, sets path to
// it, and runs the tests. Nothing of it is left.
func Main(m *testing.M, path *string, command string, env ...string) int {
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err == nil {
		defer os.RemoveAll(dir)
		*path, err = Build(dir, command, env...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
