package load

import (
	"io"
	"testing"
)

// ReadFloorHello reads what a floor says of itself; it is told through stdin.
func ReadFloorHello(t *testing.T, stdout io.Reader, stdin io.WriteCloser) *Floor {
	t.Helper()
	f := &Floor{stdin: stdin}
	if err := f.greet(stdout); err != nil {
		t.Fatal(err)
	}
	return f
}
