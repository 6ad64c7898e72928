package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"strings"
	"testing"
)

func TestMisuse(t *testing.T) {
	needed := []string{"--dir", "d", "--charter", "c"}
	with := func(command string, more ...string) []string {
		return append(append([]string{command}, needed...), more...)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{nil, "no command"},
		{[]string{"dev"}, `no command \"dev\"`},
		{[]string{"--dir", "d"}, "no command"},
		{[]string{"serve"}, "needs --dir and --charter"},
		{[]string{"serve", "--dir", "d"}, "needs --dir and --charter"},
		{with("serve", "more"), "is no flag"},
		{with("serve", "--unknown"), "unknown"},
		{with("serve", "--development"), "development"},
		{with("serve", "--platform", "simulated"), "platform"},
		{with("serve", "--device-root", "/tmp"), "device-root"},
		{with("serve", "--name", "n"), "--peer-listen"},
		{with("serve", "--join", "a:1"), "--peer-listen"},
		{with("serve", "--peer-address", "a:1"), "--peer-listen"},
		{with("serve", "--approval", "f"), "--peer-listen"},
		{with("serve", "--peer-listen", ":1", "--approval", "f"), "a node that joins"},
		{with("serve", "--peer-listen", ":1", "--join", "a"), "no address that another node can dial"},
		{with("serve", "--peer-listen", ":1", "--join", ""), "no address that another node can dial"},
		{with("serve", "--peer-listen", ":1", "--peer-address", ":1"), "no address that another node can dial"},
		{with("serve", "--sev_guest_device_path", "/tmp/x"), "sev_guest_device_path"}, // a library's, on the flag package's own set
		{with("serve", "--pcs", "u", "--collateral-bundle", "b"), "in place of"},
		{with("found"), "needs --out"},
		{with("found", "--bootstrap", "b"), "belong together"},
		{with("found", "--policy", "b"), "belong together"},
		{with("found", "--bootstrap", "b", "--policy", "p", "--out", "o"), "first step"},
		{with("found", "--listen", ":1", "--out", "o"), "--listen goes with --stay"},
		{with("found", "--peer-listen", ":1", "--out", "o"), "--peer-listen goes with --stay"},
		{with("found", "--stay", "--out", "o"), "needs --out, --bootstrap and --policy"},
		{with("found", "--stay", "--out", "o", "--bootstrap", "b"), "needs --out, --bootstrap and --policy"},
		{with("found", "--stay", "--out", "o", "--bootstrap", "b", "--policy", "p", "--node-name", "n"), "--peer-listen"},
		{with("serve", "--stay"), "stay"},
		{with("found", "--join", "a:1"), "join"},
		{with("survey"), "needs --out"},
		{with("survey", "--out", "o", "--share", "s"), "share"},
		{with("recover"), "takes --recovery"},
		{with("recover", "--recovery", "r", "--out", "o"), "goes with --stay"},
		{with("recover", "--recovery", "r", "--stay", "--out", "o"), "needs --out and --backup"},
		{with("recover", "--recovery", "r", "--stay", "--backup", "b"), "needs --out and --backup"},
		{with("recover", "--recovery", "r", "--share", "s"), "goes with --backup"},
		{with("recover", "--recovery", "r", "--peer-listen", ":1", "--join", "a:1"), "join"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var stdout, log bytes.Buffer
			status := run(t.Context(), tt.args, &stdout, node{log: slog.New(slog.NewJSONHandler(&log, nil))})
			if status != exitUsage || stdout.Len() > 0 || !strings.Contains(log.String(), tt.says) || !strings.Contains(log.String(), "--help") {
				t.Errorf("status %d, want 2 and %q:\n%s%s", status, tt.says, &stdout, &log)
			}
			if !json.Valid(log.Bytes()) {
				t.Errorf("not one JSON object: %s", &log)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"help"}, {"--help"}, {"-h"}, {"serve", "--help"}, {"found", "-h"}} {
		var stdout, log bytes.Buffer
		status := run(t.Context(), args, &stdout, node{log: slog.New(slog.NewJSONHandler(&log, nil))})
		if status != exitOK || log.Len() > 0 || !strings.Contains(stdout.String(), "holdfastd serve") {
			t.Errorf("%q: status %d\n%s%s", args, status, &stdout, &log)
		}
	}
}

// TestFlags has each flag in the open: what a manifest or an image has to fix.
func TestFlags(t *testing.T) {
	for command, want := range map[string]string{
		"found":   "audit bootstrap charter collateral-bundle collateral-cache config dir drain-on-term listen log-level metrics name node-name out pcs peer-address peer-listen policy stay",
		"survey":  "backup charter collateral-bundle collateral-cache config dir out pcs",
		"recover": "audit backup charter collateral-bundle collateral-cache config dir drain-on-term listen log-level metrics name out pcs peer-address peer-listen recovery share stay",
		"serve":   "approval audit charter collateral-bundle collateral-cache config dir drain-on-term join listen log-level metrics name pcs peer-address peer-listen",
	} {
		var got []string
		new(settings).flags(command).VisitAll(func(f *flag.Flag) { got = append(got, f.Name) })
		if strings.Join(got, " ") != want {
			t.Errorf("%s takes %q, want %q", command, got, want)
		}
	}
}
