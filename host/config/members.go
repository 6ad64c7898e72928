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

// A member is a setting that a file may have.
type member struct {
	name string
	list bool // several values, as a JSON array
	form func(value string) error
	hint string // an example of what to write
}

// members are the flags of `holdfastd serve`, all but --config. A test of that
// command compares them.
var members = []member{
	{name: "dir", form: given, hint: `"dir": "/var/lib/holdfast/node"`},
	{name: "charter", form: given, hint: `"charter": "/etc/holdfast/charter.json"`},
	{name: "listen", form: address, hint: `"listen": ":9000"`},
	{name: "metrics", form: address, hint: `"metrics": "127.0.0.1:9100"`},
	{name: "peer-listen", form: address, hint: `"peer-listen": ":9001"`},
	{name: "peer-address", form: peer.CheckAddress, hint: `"peer-address": "kms-1.example:9001"`},
	{name: "name", form: given, hint: `"name": "kms-1"`},
	{name: "join", list: true, form: peer.CheckAddress, hint: `"join": ["kms-0.example:9001"]`},
	{name: "approval", form: given, hint: `"approval": "/etc/holdfast/approval.json"`},
	{name: "pcs", form: service, hint: `"pcs": "https://pccs.example:8081"`},
	{name: "collateral-cache", form: given, hint: `"collateral-cache": "/var/lib/holdfast/collateral"`},
	{name: "collateral-bundle", form: given, hint: `"collateral-bundle": "/etc/holdfast/collateral.json"`},
	{name: "audit", list: true, form: sink, hint: `"audit": ["main=file:/var/log/holdfast/audit.log"]`},
	{name: "log-level", form: Level, hint: `"log-level": "info"`},
}

// Names are the settings that a file may have, sorted.
func Names() []string {
	var all []string
	for _, m := range members {
		all = append(all, m.name)
	}
	slices.Sort(all)
	return all
}

func memberOf(name string) (member, bool) {
	i := slices.IndexFunc(members, func(m member) bool { return m.name == name })
	if i < 0 {
		return member{}, false
	}
	return members[i], true
}

func given(value string) error {
	if value == "" {
		return errors.New("it is empty")
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
		if there && other != r.needs {
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
}

const needPeers = `add "peer-listen": ":9001", or leave it out on a domain of one node`

var rules = []rule{
	{"peer-address", "peer-listen", true, "peer-address without peer-listen: no other node reaches this one", needPeers},
	{"name", "peer-listen", true, "name without peer-listen: no other node reaches this one", needPeers},
	{"join", "peer-listen", true, "join without peer-listen: no other node reaches this one", needPeers},
	{"approval", "peer-listen", true, "approval without peer-listen: no other node reaches this one", needPeers},
	{"approval", "join", true, "approval without join: it is for a node that joins", `add "join": ["kms-0.example:9001"]`},
	{"collateral-bundle", "pcs", false, "collateral-bundle and pcs: a bundle stands in place of the network", "leave one of them out"},
	{"collateral-bundle", "collateral-cache", false, "collateral-bundle and collateral-cache: a bundle stands in place of what is fetched", "leave one of them out"},
}
