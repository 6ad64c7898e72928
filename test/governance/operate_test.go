package governance_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const operatePage = "../../docs/operate.md"

// TestOperatePage builds a domain of three processes, upgrades it to another
// program, loses all of it and brings it back from shares, by the page's commands.
func TestOperatePage(t *testing.T) { run(t, operatePage, 70) }

// TestRecoveryPage and TestUpgradePage go on from the domain of three that the page
// builds before its upgrade.
func TestRecoveryPage(t *testing.T) { runAfter(t, "../../docs/recovery.md", 18) }

func TestUpgradePage(t *testing.T) { runAfter(t, "../../docs/upgrade.md", 35) }

func runAfter(t *testing.T, page string, least int) {
	t.Parallel()
	all, before := steps(t, page), steps(t, operatePage)
	if len(all) < least {
		t.Fatalf("the page has %d commands: are its blocks marked sh?", len(all))
	}
	upgrade := slices.IndexFunc(before, func(s step) bool { return strings.Contains(s.command, "holdfast-next") })
	d := newDesk(t)
	d.goThrough(before[:upgrade])
	d.goThrough(all)
}

// TestOperatePageSays: the page has no command that is not run.
func TestOperatePageSays(t *testing.T) {
	text, err := os.ReadFile(operatePage)
	if err != nil {
		t.Fatal(err)
	}
	for i, block := range regexp.MustCompile("(?m)^```.*$").FindAllString(string(text), -1) {
		if want := []string{"```sh", "```"}[i%2]; block != want {
			t.Errorf("the page has a block that begins or ends %q", block)
		}
	}
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "    holdfast") {
			t.Errorf("not in a block: %s", line)
		}
	}
}
