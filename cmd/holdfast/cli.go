package main

import (
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/holdfast-kms/holdfast/api/ehsm/wire"
	"github.com/holdfast-kms/holdfast/kms"
)

// cli is the whole command line. Each command is a struct of its flags with a
// method Run(*session) error.
type cli struct {
	JSON bool `name:"json" help:"Print the result as one JSON document, and an error too."`

	Dev    devCmds   `cmd:"" help:"Start a whole domain on this machine, to try things out."`
	Enroll enrollCmd `cmd:"" help:"Make a new app and keep its credential in a file."`
	Key    keyCmd    `cmd:"" help:"Create, list and look after keys."`
	Secret secretCmd `cmd:"" help:"Keep, read and look after secrets."`

	Credential credentialCmd `cmd:"" help:"Make, list, rotate and revoke the app's credentials."`
	Ticket     ticketCmd     `cmd:"" help:"Issue tickets that let others enroll."`

	Signer    signerCmd    `cmd:"" help:"Make keys that sign documents of governance."`
	Charter   charterCmd   `cmd:"" help:"Write the document that a domain is founded on, and amend it."`
	Bootstrap bootstrapCmd `cmd:"" help:"Write and sign the document that founds a domain."`
	Policy    policyCmd    `cmd:"" help:"Write, sign and submit who may be a node, ask for keys, and operate."`

	Encrypt encryptCmd `cmd:"" help:"Encrypt up to 6144 bytes under a key."`
	Decrypt decryptCmd `cmd:"" help:"Open what encrypt or datakey made."`
	Seal    sealCmd    `cmd:"" help:"Encrypt a file or a pipe of any length."`
	Open    openCmd    `cmd:"" help:"Open what seal made."`
	Datakey dataKeyCmd `cmd:"" help:"Make a data key, in clear and wrapped under a key."`
	Sign    signCmd    `cmd:"" help:"Sign a message, or the digest of one."`
	Verify  verifyCmd  `cmd:"" help:"Check a signature."`
	Mac     macCmd     `cmd:"" help:"Authenticate a message with a secret key, or check that."`
	Trust   trustCmd   `cmd:"" help:"Have a node prove what it is, and write the CA certificate to trust."`
	Attest  attestCmd  `cmd:"" help:"Judge or show evidence of a TEE."`
	Runtime runtimeCmd `cmd:"" help:"Keys of attested runtimes."`

	Collateral collateralCmd `cmd:"" help:"Fetch what vendors publish about platforms."`

	Domain   domainCmd   `cmd:"" help:"Look after the domain as a whole: master secrets, certificate authority, backups."`
	Recovery recoveryCmd `cmd:"" help:"Bring a domain back that has lost most of its nodes, or all."`
	Audit    auditCmd    `cmd:"" help:"Read, search, check and keep the record of who did what."`
	Node     nodeCmd     `cmd:"" help:"List, approve, drain and remove the nodes of the domain."`
	Status   statusCmd   `cmd:"" help:"Show what a node says of itself and its domain."`
	Events   eventsCmd   `cmd:"" help:"Show what happened to the domain and to the app's keys, and go on showing it."`
	Doctor   doctorCmd   `cmd:"" help:"Examine a node, and say what to do about what is found."`
	Config   configCmd   `cmd:"" help:"Check the configuration file of holdfastd."`
	Version  versionCmd  `cmd:"" help:"Show the version of this program, and of a node."`
	Bench    benchCmd    `cmd:"" help:"Load a node and measure it."`

	Completion completionCmd `cmd:"" help:"Write a script that completes commands and flags in your shell."`

	// Child processes of dev and bench.
	DevNode    devNodeCmd    `cmd:"" hidden:"" help:"Serve as the node of dev."`
	BenchFloor benchFloorCmd `cmd:"" hidden:"" help:"Serve as the floor that bench compares with."`
}

const description = `Keys that exist in clear only inside trusted hardware.

Credentials come from a file that only you can read (--credentials, $HOLDFAST_CREDENTIALS, or credentials.json in your
configuration folder, where enroll puts it), or from HOLDFAST_URL, HOLDFAST_CA, HOLDFAST_APPID and HOLDFAST_APIKEY. Never
from the command line.`

// The exit statuses.
const (
	exitOK         = 0
	exitFailed     = 1
	exitUsage      = 2
	exitIncomplete = 3 // standard output has a part of what it should
)

// run parses args, runs the command and returns the exit status.
func run(args []string, s *session) int {
	if len(args) == 0 {
		args = []string{"--help"}
	}
	s.json = slices.Contains(args, "--json")
	asked := -1 // the status that --help asks to exit with
	parser, err := newParser(s, func(status int) { asked = status })
	if err != nil {
		return s.fail("", err)
	}
	parsed, err := parser.Parse(args)
	switch {
	case asked >= 0:
		return asked
	case err != nil:
		return s.fail("", usageError(err))
	}
	return s.fail(commandName(parsed), parsed.Run(s))
}

func newParser(s *session, exit func(int)) (*kong.Kong, error) {
	return kong.New(&cli{},
		kong.Name("holdfast"),
		kong.Description(description),
		kong.Writers(s.stdout, s.stderr),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 120}),
		kong.ExplicitGroups([]kong.Group{{Key: "node", Title: "Node and credential:"}}),
		kong.Vars{"digests": strings.Join(digestNames(), ","), "benchops": benchOpNames()},
	)
}

// commandName is "key delete" of "key delete <id>".
func commandName(c *kong.Context) string {
	name, _, _ := strings.Cut(c.Command(), " <")
	return name
}

// specNames lists the specs that the protocol can ask for.
func specNames() []string {
	var names []string
	for _, c := range kms.Capabilities() {
		if _, ok := wire.SpecName(c.Spec); ok {
			names = append(names, c.Name)
		}
	}
	return names
}
