package main

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/kms"
)

// TestEventTexts: every kind has words, and no placeholder that nothing fills.
func TestEventTexts(t *testing.T) {
	for _, k := range kms.EventKinds() {
		text := eventText(kms.Event{Kind: k, Number: 7, Alias: "alias/x", Reason: "why"})
		if text == "" || strings.Contains(strings.ReplaceAll(text, " % ", ""), "%") {
			t.Errorf("%s: %q", k, text)
		}
		if got, ok := kms.ParseEventKind(k.String()); !ok || got != k {
			t.Errorf("%s is read as %s", k, got)
		}
	}
	if text := eventText(kms.Event{Kind: kms.EventNodeRefuses, Reason: "a\x1b[2Jb\n"}); strings.ContainsAny(text, "\x1b\n") {
		t.Errorf("%q steers the terminal", text)
	}
}

// TestRefusalText: why a node was refused is told in words, whoever knows them.
func TestRefusalText(t *testing.T) {
	for _, tt := range []struct {
		e    kms.Event
		want string
	}{
		{kms.Event{Reason: "debug", Node: kms.NodeID{1}}, "node 01000000"},
		{kms.Event{Reason: "debug"}, "an unknown node refused: a debug program"},
		{kms.Event{Reason: "master_secret", Number: 3}, "no master secret of the domain (and 3 more, not told)"},
		{kms.Event{Reason: "of_a_newer_program"}, "refused: of_a_newer_program"},
	} {
		tt.e.Kind = kms.EventNodeRefused
		if got := eventText(tt.e); !strings.Contains(got, tt.want) {
			t.Errorf("%q, without %q", got, tt.want)
		}
	}
	for _, r := range kms.Refusals() {
		if r.Text() == "" || slices.Contains(attest.Reasons(), attest.Reason(r)) {
			t.Errorf("%q says nothing, or is a reason for evidence too", r)
		}
	}
}

func TestEventCommands(t *testing.T) {
	term := newNodeTerminal(t)
	key := term.id("key", "create")
	out := term.ok("", "events")
	if !strings.Contains(out, "key "+key+" created") || !strings.Contains(out, "app enrolled: there are 1") {
		t.Errorf("events: %s", out)
	}
	type doc struct {
		Index uint64 `json:"index"`
		Kind  string `json:"kind"`
		Key   string `json:"key_id"`
	}
	var created doc
	for line := range strings.Lines(term.ok("", "events", "--json")) {
		var last doc
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if last.Kind == "key_created" {
			created = last
		}
	}
	if created.Index == 0 || created.Key != key {
		t.Errorf("%+v", created)
	}
	second := term.id("key", "create")
	if out := term.ok("", "events", "--since", strconv.FormatUint(created.Index, 10)); strings.Contains(out, key) || !strings.Contains(out, second) {
		t.Errorf("since the first: %s", out)
	}
	if o := term.run("", "events", "--since", "999999"); o.status != exitFailed || !strings.Contains(o.stderr, "hint: ") {
		t.Errorf("from the future: %+v", o)
	}
	if o := term.run("", "events", "--since", "x"); o.status != exitUsage {
		t.Errorf("no place: %+v", o)
	}
}
