package config

import (
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/holdfast-kms/holdfast/host/peer"
	"github.com/holdfast-kms/holdfast/kms"
)

// Serve is the command of a file that names none.
const Serve = "serve"

// commands are those that a file may name, in the order in which people come to them.
var commands = []string{"found", Serve, "survey", "recover"}

// A member is a setting that a file may have.
type member struct {
	name string
	of   []string // the commands that take it; none: all
	list bool     // several values, as a JSON array
	form func(value string) error
	hint string // an example of what to write
}

var (
	serving = []string{Serve, "recover"}
	comes   = []string{"found", Serve, "recover"} // to serve; found does with stay
	making  = []string{"found"}
)

// members are the flags of holdfastd's commands, all but --config, and which command
// it is. A test of that program compares them.
var members = []member{
	{name: commandName, form: isCommand, hint: `"command": "serve"`},
	{name: "dir", form: given, hint: `"dir": "/var/lib/holdfast/node"`},
	{name: "charter", form: given, hint: `"charter": "/etc/holdfast/charter.json"`},
	{name: "listen", of: comes, form: address, hint: `"listen": ":9000"`},
	{name: "metrics", of: comes, form: address, hint: `"metrics": "127.0.0.1:9100"`},
	{name: "peer-listen", of: comes, form: address, hint: `"peer-listen": ":9001"`},
	{name: "peer-address", of: comes, form: peer.CheckAddress, hint: `"peer-address": "kms-1.example:9001"`},
	{name: "name", of: serving, form: given, hint: `"name": "kms-1"`},
	{name: "name", of: making, list: true, form: given, hint: `"name": ["kms-0.example"]`},
	{name: "node-name", of: making, form: given, hint: `"node-name": "kms-0"`},
	{name: "stay", of: []string{"found", "recover"}, form: choice, hint: `"stay": "true"`},
	{name: "join", of: []string{Serve}, list: true, form: peer.CheckAddress, hint: `"join": ["kms-0.example:9001"]`},
	{name: "approval", of: []string{Serve}, form: given, hint: `"approval": "/etc/holdfast/approval.json"`},
	{name: "out", of: []string{"found", "survey", "recover"}, form: given, hint: `"out": "/var/lib/holdfast/founder.json"`},
	{name: "bootstrap", of: making, form: given, hint: `"bootstrap": "/etc/holdfast/bootstrap.signed.json"`},
	{name: "policy", of: making, form: given, hint: `"policy": "/etc/holdfast/policy-1.signed.json"`},
	{name: "backup", of: []string{"survey", "recover"}, form: given, hint: `"backup": "/etc/holdfast/domain.backup"`},
	{name: "recovery", of: []string{"recover"}, form: given, hint: `"recovery": "/etc/holdfast/recovery.signed.json"`},
	{name: "share", of: []string{"recover"}, list: true, form: given, hint: `"share": ["/etc/holdfast/anna.share"]`},
	{name: "pcs", form: service, hint: `"pcs": "https://pccs.example:8081"`},
	{name: "collateral-cache", form: given, hint: `"collateral-cache": "/var/lib/holdfast/collateral"`},
	{name: "collateral-bundle", form: given, hint: `"collateral-bundle": "/etc/holdfast/collateral.json"`},
	{name: "drain-on-term", of: comes, form: choice, hint: `"drain-on-term": "true"`},
	{name: "audit", of: comes, list: true, form: sink, hint: `"audit": ["main=file:/var/log/holdfast/audit.log"]`},
	{name: "log-level", of: comes, form: Level, hint: `"log-level": "info"`},
}

const commandName = "command"

// Commands are those that a file may name.
func Commands() []string { return slices.Clone(commands) }

// Names are the settings that a file of a command may have, sorted.
func Names(command string) []string {
	var all []string
	for _, m := range members {
		if m.fits(command) {
			all = append(all, m.name)
		}
	}
	slices.Sort(all)
	return all
}

// fits is whether a command takes the setting. One that is none takes all: what is
// wrong with it is told once.
func (m member) fits(command string) bool {
	return m.of == nil || slices.Contains(m.of, command) || !slices.Contains(commands, command)
}

func memberOf(command, name string) (member, bool) {
	i := slices.IndexFunc(members, func(m member) bool { return m.name == name && m.fits(command) })
	if i < 0 {
		return member{}, false
	}
	return members[i], true
}

func isCommand(value string) error {
	if !slices.Contains(commands, value) {
		return errors.New("it is none of " + strings.Join(commands, ", "))
	}
	return nil
}

func given(value string) error {
	if value == "" {
		return errors.New("it is empty")
	}
	return nil
}

func choice(value string) error {
	if value != "true" && value != "false" {
		return errors.New(`it is neither "true" nor "false"`)
	}
	return nil
}

func address(value string) error {
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		return errors.New("it is no address to listen at, HOST:PORT or :PORT")
	}
	return nil
}

func service(value string) error {
	u, err := url.Parse(value)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return errors.New("it is not the address of a service")
	}
	return nil
}

func sink(value string) error {
	name, place, ok := strings.Cut(value, "=")
	kind, rest, _ := strings.Cut(place, ":")
	switch {
	case !ok || name == "":
		return errors.New("it is not NAME=PLACE")
	case place != "stdout" && (kind != "file" && kind != "https" && kind != "http" || rest == ""):
		return errors.New("no such kind of place: file:PATH, stdout, or an https address")
	}
	return nil
}

// Level refuses what is no level of the log.
func Level(value string) error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, value) {
		return kms.Errorf(kms.Invalid, "%q is none of debug, info, warn and error", value)
	}
	return nil
}

// Check finds settings that contradict each other. A flag may still add what is
// missing, so that dir and charter are absent is no fault of a file.
func (f File) Check() []Fault {
	var all []Fault
	at := func(name string) (line int, ok bool) {
		for _, s := range f {
			if s.Name == name {
				return s.Line, true
			}
		}
		return 0, false
	}
	for _, r := range rules {
		line, there := at(r.name)
		_, other := at(r.other)
		if there && other != r.needs && (r.of == nil || slices.Contains(r.of, f.Command())) && (r.unless == "" || f.Value(r.unless) != "true") {
			all = append(all, Fault{Line: line, What: r.what, Hint: r.hint})
		}
	}
	return all
}

// A rule is broken where a setting is there and another is not, or is too.
type rule struct {
	name, other string
	needs       bool // the other one has to be there; else it must not
	what, hint  string
	of          []string // the commands that it counts for; nil: all
	unless      string   // a choice with which it does not count
}

const needPeers = `add "peer-listen": ":9001", or leave it out on a domain of one node`

const alone = `add "stay": "true", or leave it out`

var rules = []rule{
	{name: "peer-address", other: "peer-listen", needs: true, what: "peer-address without peer-listen: no other node reaches this one", hint: needPeers},
	{name: "name", other: "peer-listen", needs: true, what: "name without peer-listen: no other node reaches this one", hint: needPeers, of: serving},
	{name: "join", other: "peer-listen", needs: true, what: "join without peer-listen: no other node reaches this one", hint: needPeers},
	{name: "approval", other: "peer-listen", needs: true, what: "approval without peer-listen: no other node reaches this one", hint: needPeers},
	{name: "approval", other: "join", needs: true, what: "approval without join: it is for a node that joins", hint: `add "join": ["kms-0.example:9001"]`},
	{name: "collateral-bundle", other: "pcs", what: "collateral-bundle and pcs: a bundle stands in place of the network", hint: "leave one of them out"},
	{name: "collateral-bundle", other: "collateral-cache", what: "collateral-bundle and collateral-cache: a bundle stands in place of what is fetched", hint: "leave one of them out"},
	{name: "bootstrap", other: "policy", needs: true, what: "bootstrap without policy: they belong together", hint: `add "policy": "/etc/holdfast/policy-1.signed.json"`},
	{name: "policy", other: "bootstrap", needs: true, what: "policy without bootstrap: they belong together", hint: `add "bootstrap": "/etc/holdfast/bootstrap.signed.json"`},
	{name: "out", other: "bootstrap", unless: "stay", what: "out and bootstrap: the first is for the first step of founding, the other for the second", hint: `leave one of them out, or add "stay": "true"`},
	{name: "node-name", other: "peer-listen", needs: true, what: "node-name without peer-listen: no other node reaches this one", hint: needPeers},
	{name: "listen", other: "stay", needs: true, of: making, what: "listen without stay: found does not serve", hint: alone},
	{name: "peer-listen", other: "stay", needs: true, of: making, what: "peer-listen without stay: found does not serve", hint: alone},
	{name: "out", other: "stay", needs: true, of: []string{"recover"}, what: "out without stay: a survey writes it", hint: alone},
	{name: "stay", other: "out", needs: true, what: "stay without out: it writes what people look at", hint: `add "out": "/var/lib/holdfast/founder.json"`},
	{name: "share", other: "backup", needs: true, what: "share without backup: shares open a backup", hint: `add "backup": "/etc/holdfast/domain.backup"`},
}

// Missing are the settings without which the command does not run, and which have
// to be flags then.
func (f File) Missing() (all []string) {
	wanted := []string{"dir", "charter"}
	switch f.Command() {
	case "survey":
		wanted = append(wanted, "out")
	case "recover":
		wanted = append(wanted, "recovery")
	case "found":
		if f.Value("stay") == "true" {
			wanted = append(wanted, "out", "bootstrap", "policy")
		} else if f.Value("bootstrap") == "" {
			wanted = append(wanted, "out")
		}
	}
	for _, name := range wanted {
		if f.Value(name) == "" {
			all = append(all, name)
		}
	}
	return all
}
