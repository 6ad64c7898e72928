package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/holdfast-kms/holdfast/host/config"
	"github.com/holdfast-kms/holdfast/host/peer"
	"github.com/holdfast-kms/holdfast/internal/revival"
	"github.com/holdfast-kms/holdfast/kms"
)

// The exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const usage = `holdfastd runs a node of a domain inside a TEE.

  holdfastd found --dir DIR --charter FILE --out FILE
      First step of founding: make the node's key, and write evidence for it that owner and signers look at.
  holdfastd found --dir DIR --charter FILE --bootstrap FILE --policy FILE [--name NAME]...
      Second step: found the domain by the documents that they signed.
  holdfastd found --stay --dir DIR --charter FILE --out FILE --bootstrap FILE --policy FILE [--name NAME]... [--peer-listen HOST:PORT …, as serve]
      Both steps in one process, which waits for those documents, and serves: the only way in a TEE without a sealing key (TDX).
      There the charter's restart mode is "rejoin", and nothing is served to apps before two other nodes have joined and vote.
  holdfastd serve --dir DIR --charter FILE [--listen HOST:PORT] [--audit NAME=PLACE]... [--peer-listen HOST:PORT [--peer-address HOST:PORT] [--name NAME]]
      Serve. With --peer-listen other nodes can reach it: the domain can have several.
  holdfastd serve --dir DIR --charter FILE --peer-listen HOST:PORT --join HOST:PORT... [--approval FILE]
      Join the domain of the charter by a member of it, and serve. On a folder of a node that has joined it only serves, so that
      the same line starts it again.
  holdfastd survey --dir DIR --charter FILE [--backup FILE] --out FILE
      Where a domain has lost most of its nodes for good: look at what is left in DIR, and write what owner and signers look at. With
      --backup, where no log is left: make keys in DIR for a node that restores the domain, and write evidence for them.
  holdfastd recover --dir DIR --charter FILE --recovery FILE [--backup FILE [--share FILE]...] [--listen HOST:PORT …, as serve]
      Carry the domain on as the recovery says that they signed, from what is left in DIR or from a backup, and serve. The part of
      all other nodes ends: new ones join this one.
  holdfastd recover --stay --dir DIR --charter FILE --backup FILE --out FILE --recovery FILE [--share FILE]... [--listen HOST:PORT …, as serve]
      The same from a backup in one process, which writes what a survey would, and waits for the signed recovery and the shares: the
      only way in a TEE without a sealing key (TDX). There nothing is served to apps before two other nodes have joined and vote.
  holdfastd --config FILE
      Any of these by a file: one JSON object with flags as members, and with "command", without which it is serve. Flags of the line go
      before it. ` + "`holdfast config check FILE`" + ` explains what is wrong with one.

SIGTERM and Ctrl-C end it in order: what is under way is finished, and another node takes the lead; with --drain-on-term it also leaves
the domain for good. A second one ends it at once.
SIGHUP has it read --config again, and take up the level of its log and its collateral; the rest waits for the next start.

`

// errUsage is the cause of what the command line is at fault for.
var errUsage = errors.New("the command line makes no sense")

// settings are the command line.
type settings struct {
	dir, charter           string
	out, bootstrap, policy string
	stay                   bool // one process does all steps
	given                  map[string]bool
	names                  []string
	listen, metrics        string
	peers                  peering
	revive                 revival.Files
	pcs, bundle, cache     string
	audit                  []string
	drain                  bool // when it is told to end
	config, level          string
}

// peering is how the other nodes of the domain reach this one, and how it becomes
// one of them.
type peering struct {
	listen, address, name string
	join                  []string
	approval              string
}

// flags are those of one command. The flag package's own set is left alone:
// a library puts flags into it.
func (s *settings) flags(command string) *flag.FlagSet {
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(io.Discard) // what is wrong is logged
	f.StringVar(&s.dir, "dir", "", "`folder` of the node's sealed state")
	f.StringVar(&s.charter, "charter", "", "`file` with the domain's charter")
	f.StringVar(&s.pcs, "pcs", "", "`URL` of Intel's certification service, or of a cache of it; default: Intel's own")
	f.StringVar(&s.cache, "collateral-cache", "", "`folder` to keep fetched collateral in; default: in memory")
	f.StringVar(&s.bundle, "collateral-bundle", "", "`file` with collateral, in place of the network")
	f.StringVar(&s.config, "config", "", "`file` with flags as members of a JSON object; those of the command line go before it")
	switch command {
	case "found":
		f.StringVar(&s.out, "out", "", "`file` to write the founder's evidence to: the first step")
		f.StringVar(&s.bootstrap, "bootstrap", "", "`file` with the signed bootstrap: the second step")
		f.StringVar(&s.policy, "policy", "", "`file` with the signed policy 1: the second step")
		f.Func("name", "DNS `name` or IP address that the node is reached by, for its certificate; may be given several times; default: loopback",
			func(name string) error { s.names = append(s.names, name); return nil })
		f.BoolVar(&s.stay, "stay", false, "do both steps in this process: write --out, wait until --bootstrap and --policy are there, found the domain, and serve")
		s.servingFlags(f, command)
	case "survey":
		f.StringVar(&s.out, "out", "", "`file` to write what this node shows to")
		revivalFlags(f, &s.revive, command)
	case "serve", "recover":
		if command == "recover" {
			revivalFlags(f, &s.revive, command)
			f.BoolVar(&s.stay, "stay", false, "do it all in this process, without a survey before: write --out, wait until --recovery and every --share are there, restore the --backup, and serve")
			f.StringVar(&s.out, "out", "", "`file` to write what this node shows to, with --stay")
		}
		s.servingFlags(f, command)
	}
	return f
}

// servingFlags are those of a process that comes to serve.
func (s *settings) servingFlags(f *flag.FlagSet, command string) {
	f.Func("audit", "`NAME=PLACE` of an audit sink, by the name that the policy requires it by: file:PATH, stdout, or the https address of a service that takes lines of JSON; may be given several times; default: none",
		func(sink string) error { s.audit = append(s.audit, sink); return nil })
	s.level = "info"
	f.Func("log-level", "lowest `level` of what is logged: debug, info, warn or error; default: info", s.setLogLevel)
	f.StringVar(&s.listen, "listen", ":9000", "`address` to serve at")
	f.StringVar(&s.metrics, "metrics", "", "`address` to show metrics and health at, in clear, to whoever asks: :PORT is at loopback; default: nowhere")
	f.BoolVar(&s.drain, "drain-on-term", false, "when it is told to end, have the node leave the domain for good: for a machine that does not come back. Where too few would be left to vote it stays a member, and says so")
	s.peers.flags(f, command)
}

func (p *peering) flags(f *flag.FlagSet, command string) {
	f.StringVar(&p.listen, "peer-listen", "", "`address` to listen at for the other nodes of the domain; default: it is a domain of one")
	f.StringVar(&p.address, "peer-address", "", "`address` that the other nodes dial, a DNS name or an IP and a port; default: that of --peer-listen")
	name := "name"
	if command == "found" { // where that is what the certificate is for
		name = "node-name"
	}
	f.StringVar(&p.name, name, "", "`name` that people know the node by")
	if command != "serve" { // it carries a domain on alone, and others join it
		return
	}
	f.Func("join", "`address` at which a member listens for other nodes; may be given several times; a node that is a member already does not ask again",
		func(address string) error { p.join = append(p.join, address); return nil })
	f.StringVar(&p.approval, "approval", "", "`file` with an operator's approval, where the policy wants one for each node; it may be submitted later instead")
}

// check refuses what cannot be meant, before anything is opened.
func (p *peering) check() error {
	if p.listen == "" {
		for flag, given := range map[string]bool{"--peer-address": p.address != "", "--name (found: --node-name)": p.name != "", "--join": len(p.join) > 0, "--approval": p.approval != ""} {
			if given {
				return misuse("%s needs --peer-listen: without it no other node reaches this one", flag)
			}
		}
	}
	if p.approval != "" && len(p.join) == 0 {
		return misuse("--approval is for a node that joins, with --join")
	}
	if p.address != "" {
		if err := peer.CheckAddress(p.address); err != nil {
			return misuse("--peer-address: %v", err)
		}
	}
	for _, a := range p.join {
		if err := peer.CheckAddress(a); err != nil {
			return misuse("--join: %v", err)
		}
	}
	return nil
}

// run does what args say and returns the exit status.
func run(ctx context.Context, args []string, stdout io.Writer, n node) int {
	do, err := n.parse(args)
	if errors.Is(err, flag.ErrHelp) {
		help(stdout)
		return exitOK
	}
	if err != nil {
		fail(n.log, err)
		return exitUsage
	}
	if err := do(ctx); err != nil {
		return fail(n.log, err)
	}
	return exitOK
}

// parse says what to do, and fills in the settings.
func (n *node) parse(args []string) (do func(context.Context) error, err error) {
	if len(args) == 0 {
		return nil, misuse("no command")
	}
	if slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]) {
		return nil, flag.ErrHelp
	}
	command, rest, err := commandOf(args)
	if err != nil {
		return nil, err
	}
	f := n.set.flags(command)
	switch err := f.Parse(rest); {
	case errors.Is(err, flag.ErrHelp):
		return nil, err
	case err != nil:
		return nil, misuse("%s: %v", command, err)
	case f.NArg() > 0:
		return nil, misuse("%s: %q is no flag", command, f.Arg(0))
	}
	if err := n.set.fill(command, f); err != nil {
		return nil, err
	}
	n.set.given = map[string]bool{}
	f.Visit(func(one *flag.Flag) { n.set.given[one.Name] = true })
	n.args, n.command = args, command
	return n.choose(command)
}

// commandOf is the command of a line. One that begins with a file has the file say
// it: that is for who cannot change the line, as in an enclave, which is measured
// with it. Nothing is widened by that: what a command may do is for signed documents
// to say, and who runs the program chooses its command everywhere else, too.
func commandOf(args []string) (command string, flags []string, err error) {
	if !strings.HasPrefix(args[0], "-") {
		if !slices.Contains(config.Commands(), args[0]) {
			return "", nil, misuse("no command %q", args[0])
		}
		return args[0], args[1:], nil
	}
	name, path, joined := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	if !joined && len(args) > 1 {
		path = args[1]
	}
	if name != "config" || path == "" {
		return "", nil, misuse("no command")
	}
	file, err := config.Read(path)
	return file.Command(), args, err
}

// choose finds out which step it is, and what is missing for it.
func (n *node) choose(command string) (func(context.Context) error, error) {
	s := &n.set
	second := s.bootstrap != "" || s.policy != ""
	switch {
	case s.dir == "" || s.charter == "":
		return nil, misuse("%s needs --dir and --charter", command)
	case s.bundle != "" && (s.pcs != "" || s.cache != ""):
		return nil, misuse("--collateral-bundle stands in place of --pcs and --collateral-cache")
	case command == "serve":
		return n.serve, s.peers.check()
	case command == "recover":
		return n.serve, s.checkRecover()
	case command == "survey" && s.out == "":
		return nil, misuse("survey needs --out")
	case command == "survey":
		return n.survey, nil
	case s.stay:
		return n.serve, s.checkStaying()
	case s.servesInVain() != "":
		return nil, misuse("%s: --%s goes with --stay, in which this process serves", command, s.servesInVain())
	case second && (s.bootstrap == "" || s.policy == ""):
		return nil, misuse("--bootstrap and --policy belong together")
	case second && s.out != "":
		return nil, misuse("--out is for the first step, --bootstrap and --policy are for the second")
	case second:
		return n.found, nil
	case s.out == "":
		return nil, misuse("found needs --out, or --bootstrap and --policy")
	}
	return n.prepare, nil
}

func misuse(format string, args ...any) error {
	return kms.Errorf(kms.Invalid, "%w: %s", errUsage, fmt.Sprintf(format, args...)).WithHint("run `holdfastd --help`")
}

// fail says why it does not go on, and what a person can do about it.
func fail(log *slog.Logger, err error) int {
	log.Error("holdfastd stops", "cause", err.Error(), "hint", kms.HintOf(err))
	return exitFailed
}

func help(w io.Writer) {
	fmt.Fprint(w, usage)
	for _, command := range config.Commands() {
		fmt.Fprintf(w, "Flags of %s:\n\n", command)
		new(settings).flags(command).VisitAll(func(f *flag.Flag) {
			kind, text := flag.UnquoteUsage(f)
			fmt.Fprintf(w, "  %s\n      %s", strings.TrimSpace("--"+f.Name+" "+strings.ToUpper(kind)), text)
			if f.DefValue != "" && f.DefValue != "false" {
				fmt.Fprintf(w, "; default: %s", f.DefValue)
			}
			fmt.Fprintln(w)
		})
		fmt.Fprintln(w)
	}
}
