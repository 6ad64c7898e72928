package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")
	shellWord    = regexp.MustCompile(`'[^']*'|\S+`)
)

// TestSecretDocs runs every command of docs/secrets.md, in order.
func TestSecretDocs(t *testing.T) {
	page, err := os.ReadFile("../../docs/secrets.md")
	if err != nil {
		t.Fatal(err)
	}
	term := newNodeTerminal(t)
	commands := 0
	for _, block := range consoleBlock.FindAllStringSubmatch(string(page), -1) {
		for line := range strings.Lines(block[1]) {
			line, isCommand := strings.CutPrefix(strings.TrimSpace(line), "$ ")
			if !isCommand {
				t.Fatalf("not a command: %q", line)
			}
			stdin := ""
			if value, rest, piped := strings.Cut(line, " | "); piped {
				line, stdin = rest, strings.Trim(strings.TrimPrefix(value, "printf %s "), "'")
			}
			args := shellWord.FindAllString(line, -1)
			for i := range args {
				args[i] = strings.Trim(args[i], "'")
			}
			if args[0] != "holdfast" {
				t.Fatalf("%q is no command of ours", line)
			}
			term.ok(stdin, args[1:]...)
			commands++
		}
	}
	if commands < 25 {
		t.Errorf("only %d commands were run", commands)
	}
}

// TestSecretsOnANode goes through a secret's life with the command line.
func TestSecretsOnANode(t *testing.T) {
	term := newNodeTerminal(t)
	value := "line one\nline two\x00\xff"
	if out := term.ok(value, "secret", "create", "a b\x1b"); out != "\"a b\\x1b\" is made, version 1\n" {
		t.Errorf("printed %q", out)
	}
	if got := term.ok("", "secret", "get", "a b\x1b"); got != value {
		t.Errorf("got %q", got)
	}
	if msg := term.fails(exitFailed, "x", "secret", "create", "a b\x1b"); !strings.Contains(msg, "a secret of this name") {
		t.Errorf("said %q", msg)
	}
	term.ok("first", "secret", "create", "db", "--rotate", "7d")
	if out := term.ok("second", "secret", "put", "db"); out != "version 2 of db is current\n" {
		t.Errorf("printed %q", out)
	}
	if doc := term.json("", "secret", "get", "db", "--version", "1"); doc["value"] != "Zmlyc3Q=" || doc["version"] != 1.0 {
		t.Errorf("read %v", doc)
	}
	doc := term.json("", "secret", "describe", "db")
	if doc["rotation"] != "7d" || doc["last_rotation"] == nil || doc["next_rotation"] == nil || doc["current_version"] != 2.0 || len(doc["labels"].([]any)) != 2 {
		t.Errorf("described as %v", doc)
	}
	key := term.id("key", "create")
	term.ok("", "secret", "rekey", "db", "--to", key)
	if msg := term.fails(exitFailed, "", "key", "delete", key, "--yes"); !strings.Contains(msg, `"db"`) {
		t.Errorf("said %q", msg)
	}
	if msg := term.fails(exitFailed, "", "key", "schedule-deletion", key); !strings.Contains(msg, `"db"`) || !strings.Contains(msg, "SetSecretKey") {
		t.Errorf("said %q", msg)
	}
	if out := term.ok("", "secret", "rekey", "--from", key); out != "db is protected by another key\n" {
		t.Errorf("printed %q", out)
	}
	term.ok("", "key", "delete", key, "--yes")
	if got := term.ok("", "secret", "get", "db"); got != "second" {
		t.Errorf("got %q", got)
	}
	if out := term.ok("", "secret", "delete", "db", "--days", "7"); !strings.Contains(out, "secret restore db") {
		t.Errorf("printed %q", out)
	}
	term.fails(exitFailed, "", "secret", "get", "db")
	term.ok("", "secret", "restore", "db")
	if msg := term.fails(exitFailed, "", "secret", "delete", "db", "--force"); !strings.Contains(msg, "--yes") {
		t.Errorf("said %q", msg)
	}
	term.ok("", "secret", "delete", "db", "--force", "--yes")
	if doc := term.json("", "secret", "list"); len(doc["secrets"].([]any)) != 1 {
		t.Errorf("listed %v", doc)
	}
	for _, args := range [][]string{{"secret", "create", "x", "--rotate", "5h"}, {"secret", "label", "x", "current", "--version", "1"}, {"secret", "label", "x", "y"},
		{"secret", "rekey"}, {"secret", "delete", "x", "--days", "366"}, {"secret", "get", "x", "--version", "1", "--label", "y"}, {"secret", "get", strings.Repeat("x", 65)}} {
		term.fails(exitUsage, "v", args...)
	}
	term.fails(exitFailed, "", "secret", "create", "empty")
}
