package main

import (
	"strings"
	"testing"
)

// TestKeyConditionOnANode sets, shows and narrows a condition; to widen it needs
// more than the owner's credential.
func TestKeyConditionOnANode(t *testing.T) {
	term := newNodeTerminal(t)
	key := term.id("key", "create")
	if doc := term.json("", "key", "condition", "get", key); doc["condition"] != nil {
		t.Errorf("a new key has the condition %v", doc["condition"])
	}
	condition := `{"rules":[{"operations":["encrypt"],"programs":[{"sgx":{"mrenclave":"` + strings.Repeat("ab", 32) + `"}}]}]}`
	set := term.json(condition, "key", "condition", "set", key, "--in", "-")
	got := term.json("", "key", "condition", "get", key)
	if got["condition"] == nil || got["revision"] != set["revision"] {
		t.Errorf("set %v, got %v", set, got)
	}
	if out := term.ok("", "key", "condition", "get", key); !strings.Contains(out, condition) {
		t.Errorf("shown as %q", out)
	}
	term.fails(exitFailed, "secret", "encrypt", "--key", key)
	term.fails(exitFailed, "", "key", "condition", "set", key, "--none")
	term.fails(exitFailed, `{"rules":[{}]}`, "key", "condition", "set", key, "--in", "-")
	term.fails(exitUsage, "", "key", "condition", "set", key)
}
