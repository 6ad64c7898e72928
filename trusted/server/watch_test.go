package server_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/trusted/trustedtest"
)

// TestStatusOfAStoppedNode: a stream of the status outlives what the node does,
// and says why it stopped: what is wrong, and with which of its files, and no
// path of the machine.
func TestStatusOfAStoppedNode(t *testing.T) {
	t.Parallel()
	n := trustedtest.NewDomain(t, 1).Nodes[0]
	enough, reason := errors.New("enough"), ""
	begun := false
	err := n.Server().WatchStatus(t.Context(), func() error {
		if st := n.Server().Status(); !st.Ready {
			reason = st.Reason
			return enough
		}
		if begun {
			return nil
		}
		begun = true
		return os.Truncate(filepath.Join(n.Dir, "head"), 0)
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if !strings.Contains(reason, "stored state is damaged") || !strings.Contains(reason, "head") || strings.Contains(reason, n.Dir) {
		t.Errorf("reason %q", reason)
	}
}
