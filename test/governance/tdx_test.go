package governance_test

import "testing"

// TestTDXPage founds a domain of simulated TDX guests alone, loses all of it and brings
// it back, by the page's commands.
func TestTDXPage(t *testing.T) {
	t.Parallel()
	all := steps(t, "../../docs/tdx.md")
	if len(all) < 40 {
		t.Fatalf("the page has %d commands: are its blocks marked sh?", len(all))
	}
	newDesk(t).goThrough(all)
}
