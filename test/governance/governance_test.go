// Package governance_test runs pages of docs/ for operators: what people are told to
// type is what is tested.
package governance_test

import (
	"regexp"
	"strings"
	"testing"
)

const (
	page      = "../../docs/governance.md"
	nodesPage = "../../docs/nodes.md"
)

func TestPage(t *testing.T) { run(t, page, 50) }

func TestNodesPage(t *testing.T) { run(t, nodesPage, 30) }

func TestLimitsPage(t *testing.T) { run(t, "../../docs/limits.md", 10) }

// run goes through a page of that many commands at least.
func run(t *testing.T, page string, least int) {
	t.Parallel()
	all := steps(t, page)
	if len(all) < least {
		t.Fatalf("the page has %d commands: are its blocks marked sh?", len(all))
	}
	newDesk(t).goThrough(all)
}

// TestPageSays: each of the page's refusals is one that a person can look up,
// and no command of it trusts a simulated node without being told.
func TestPageSays(t *testing.T) {
	noun := regexp.MustCompile(`^holdfast (signer|charter|policy|bootstrap|dev node|trust) `)
	for _, s := range steps(t, page) {
		if strings.HasPrefix(s.command, "holdfast") && !noun.MatchString(s.command) {
			t.Errorf("line %d: %s", s.line, s.command)
		}
		if strings.Contains(s.command, "https://") && strings.HasPrefix(s.command, "holdfast") && !strings.Contains(s.command, "--charter") {
			t.Errorf("line %d talks to a node without the charter: %s", s.line, s.command)
		}
	}
}
