package main

import (
	"strings"
	"testing"
)

// TestKeyLifeOnANode goes through a key's life with the command line.
func TestKeyLifeOnANode(t *testing.T) {
	term := newNodeTerminal(t)
	key := term.id("key", "create", "--alias", "alias/main", "--description", "for bills", "--tag", "team=billing", "--tag", "hot", "--expires", "24h")
	sealed := term.ok("secret", "encrypt", "--key", key)
	doc := term.json("", "key", "describe", "alias/main")
	if doc["key_id"] != key || doc["description"] != "for bills" || doc["state"] != "enabled" || doc["expires"] == nil || len(doc["tags"].([]any)) != 2 {
		t.Errorf("described as %v", doc)
	}
	if doc := term.json("", "key", "rotate", "alias/main"); doc["current_version"] != 2.0 {
		t.Errorf("rotated: %v", doc)
	}
	if got := term.ok(sealed, "decrypt", "--key", key); got != "secret" {
		t.Errorf("opened %q", got)
	}
	if out := term.ok("", "key", "versions", key); !strings.Contains(out, "2        enabled (current)") {
		t.Errorf("printed %q", out)
	}
	term.ok("", "key", "versions", key, "--disable", "1")
	term.fails(exitFailed, sealed, "decrypt", "--key", key)
	term.fails(exitFailed, "", "key", "versions", key, "--destroy", "2", "--yes")
	if msg := term.fails(exitFailed, "", "key", "versions", key, "--destroy", "1"); !strings.Contains(msg, "--yes") {
		t.Errorf("said %q", msg)
	}
	if doc := term.json("", "key", "versions", key, "--destroy", "1", "--yes"); len(doc["versions"].([]any)) != 1 {
		t.Errorf("destroyed: %v", doc)
	}

	if doc := term.json("", "key", "tag", key, "team=ops", "cold"); len(doc["tags"].([]any)) != 3 {
		t.Errorf("tagged: %v", doc)
	}
	if out := term.ok("", "key", "tag", key, "--remove", "hot", "--remove", "cold"); out != "TAG   VALUE\nteam  ops\n" {
		t.Errorf("printed %q", out)
	}
	if out := term.ok("", "key", "describe", key, "--set", ""); strings.Contains(out, "bills") || !strings.Contains(out, "alias          alias/main") {
		t.Errorf("printed %q", out)
	}

	rsa := term.id("key", "create", "--spec", "EC-P256")
	if msg := term.fails(exitFailed, "", "key", "rotate", rsa); !strings.Contains(msg, "make a new key and have the alias name it") {
		t.Errorf("said %q", msg)
	}
	term.ok("", "key", "alias", "create", "alias/sign", "alias/main")
	term.fails(exitFailed, "", "key", "alias", "create", "alias/sign", rsa)
	if out := term.ok("", "key", "alias", "move", "alias/sign", rsa); out != "alias/sign is key "+rsa+"\n" {
		t.Errorf("printed %q", out)
	}
	if doc := term.json("", "key", "alias", "list", rsa); len(doc["aliases"].([]any)) != 1 {
		t.Errorf("listed: %v", doc)
	}
	if out := term.ok("", "key", "alias", "list"); strings.Count(out, "alias/") != 2 {
		t.Errorf("printed %q", out)
	}
	term.ok("", "key", "alias", "delete", "alias/sign")
	term.fails(exitFailed, "", "key", "describe", "alias/sign")

	if out := term.ok("", "key", "schedule-deletion", "alias/main", "--days", "7"); !strings.Contains(out, "cancel-deletion "+key) {
		t.Errorf("printed %q", out)
	}
	term.fails(exitFailed, "x", "encrypt", "--key", key)
	if out := term.ok("", "key", "cancel-deletion", "alias/main"); out != key+" is enabled\n" {
		t.Errorf("printed %q", out)
	}
	term.ok("x", "encrypt", "--key", key)
	for _, args := range [][]string{{"key", "schedule-deletion", key, "--days", "31"}, {"key", "rotate", "main"}, {"key", "alias", "create", "main", key},
		{"key", "tag", key, "=x"}, {"key", "tag", key, "a=b", "--remove", "a"}, {"key", "create", "--expires", "-1h"}} {
		term.fails(exitUsage, "", args...)
	}
}
