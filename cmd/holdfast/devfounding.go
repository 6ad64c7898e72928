package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// devCmds is `holdfast dev`, and `holdfast dev node …`.
type devCmds struct {
	Start devCmd      `cmd:"" default:"withargs" help:"The same as dev alone: found a domain where there is none, prove that it works, and serve."`
	Node  devNodeCmds `cmd:"" help:"Found and run a node by hand, on a simulated machine: what holdfastd does in a TEE."`
}

// Help is the rest of what --help says.
func (devCmds) Help() string {
	return "Without a command it is `holdfast dev start`, with the flags that `holdfast dev start --help` lists: --nodes, --dir, --listen, --exit and others."
}

// Help is the rest of what --help says.
func (devNodeCmds) Help() string {
	return "Without a command it is `holdfast dev node serve`, with the flags that `holdfast dev node serve --help` lists: --dir, --join, --charter and others."
}

// devNodeCmds are the steps that holdfastd takes, on the simulated platform.
type devNodeCmds struct {
	Prepare devPrepareCmd `cmd:"" help:"First step of founding: make the node's key, and write evidence for it that owner and signers look at."`
	Found   devFoundCmd   `cmd:"" help:"Second step: found the domain by the documents that they signed. With --stay both steps in one process, which then serves."`
	Serve   devServeCmd   `cmd:"" default:"withargs" help:"Serve; with --join, have the node join a domain first."`
	Survey  devSurveyCmd  `cmd:"" help:"Where a domain has lost most of its nodes: show what is left of it here, or a new node for a backup, with evidence."`
	Recover devRecoverCmd `cmd:"" help:"Carry such a domain on, alone, as owner and signers have signed, and serve."`
}

type devPrepareCmd struct {
	Dir     string `required:"" type:"path" placeholder:"DIR" help:"Folder of the node and its simulated machine; made if it is not there."`
	Charter string `required:"" placeholder:"FILE" help:"The charter; a copy stays beside the node's state."`
	Out     string `required:"" placeholder:"FILE" help:"Where the evidence goes."`
	Force   bool   `help:"Replace what is there."`
	devSimulated
}

// Run prepares the node. Done again it shows new evidence for the same key.
func (c *devPrepareCmd) Run(s *session) error {
	charter, err := readCharterFile(c.Charter)
	if err != nil {
		return err
	}
	if err := c.validate(); err != nil {
		return err
	}
	home := &devHome{dir: c.Dir, tuning: devTuning{devSimulated: c.devSimulated}}
	if err := home.settle(charter); err != nil {
		return err
	}
	var shown *server.Founder
	err = home.with(slog.New(slog.DiscardHandler), func(cfg server.Config, _ *disk.Disk) error {
		shown, err = server.Prepare(s.ctx, cfg)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.writeFile(c.Out, shown.Text(charter), c.Force); err != nil || c.Out == "-" {
		return err
	}
	return s.show(map[string]any{"node_id": shown.Node, "founder": c.Out, "claims": shown.Claims}, func(w io.Writer) {
		printClaims(w, shown.Node, shown.Claims)
		fmt.Fprintf(w, "evidence\t%s\n", c.Out)
	})
}

// settle makes the folder with a machine in it, or finds the one that was made
// for this charter. A folder with a charter and no machine or state is an error.
func (h *devHome) settle(charter *govern.Charter) error {
	if b, err := readDocument(h.path(charterFile)); err == nil {
		there, err := govern.ParseCharter(b)
		if err != nil || there.Digest() != charter.Digest() {
			return problemf("choose an empty or new folder with --dir", "%s belongs to another charter", h.dir)
		}
		return nil
	}
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return because(err, "choose another --dir", "making the folder")
	}
	empty, err := h.empty()
	if err != nil {
		return err
	}
	if !empty {
		return problemf("choose an empty or new folder with --dir", "%s is not empty and holds no node", h.dir)
	}
	if err := errors.Join(h.saveMachine(), h.makeAudit()); err != nil {
		return err
	}
	if _, err := h.tuning.simulated().Create(h.path(fusesDir)); err != nil {
		return err
	}
	d, err := disk.Create(h.path(nodeDir))
	if err != nil {
		return err
	}
	// Last: beside a charter, state that is missing is never made anew.
	return errors.Join(d.Close(), h.writeDocument(charterFile, charter.Canonical()))
}

// with does something with the node's machine and state, which are there.
func (h *devHome) with(logger *slog.Logger, do func(server.Config, *disk.Disk) error) (err error) {
	charter, err := readDocument(h.path(charterFile))
	if err != nil {
		return because(err, "put the charter back, or choose another --dir; a new node is prepared with `holdfast dev node prepare`, or joins a domain with --join", "reading the charter")
	}
	if err := h.loadMachine(); err != nil {
		return err
	}
	platform, err := h.platform()
	if err != nil {
		return err
	}
	d, err := disk.Open(h.path(nodeDir))
	if err != nil {
		return stateMissing(err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return do(h.serverConfig(platform, d, charter, logger), d)
}

func (h *devHome) platform() (*simtee.Platform, error) {
	return h.tuning.simulated().Open(h.path(fusesDir))
}

// stateMissing says why the folder of a node's state did not open.
func stateMissing(err error) error {
	if errors.Is(err, disk.ErrInUse) {
		return because(err, "stop the process that serves this domain, or choose another --dir", "opening the node's state")
	}
	return because(err, "a charter is there, so the node's state should be: put the folder back, or choose another --dir", "opening the node's state")
}

type devFoundCmd struct {
	Dir       string   `required:"" type:"path" placeholder:"DIR" help:"Folder of the node that was prepared; with --stay it is made if it is not there, and a simulated machine in it."`
	Bootstrap string   `required:"" placeholder:"FILE" help:"The bootstrap that owner and signers signed."`
	Policy    string   `required:"" placeholder:"FILE" help:"Policy 1, as the signers signed it."`
	Name      []string `placeholder:"NAME" help:"DNS name or IP address that the node is reached by; several times for several. Default: loopback."`
	devFoundStaying
	devTuning
}

// Run founds the domain.
func (c *devFoundCmd) Run(s *session) error {
	if c.Stay {
		return c.stay(s)
	}
	if c.serves() {
		return misusef("say it to `holdfast dev node serve`, or add --stay", "--metrics, --audit and --audit-web are for a node that serves")
	}
	if c.devFoundStaying != (devFoundStaying{}) {
		return misusef("add --stay, or leave them out", "--charter, --out, --listen, --peer-listen, --peer-address and --node-name go with --stay")
	}
	bootstrap, _, err := readEnvelope(c.Bootstrap, govern.BootstrapType)
	if err != nil {
		return err
	}
	policy, _, err := readEnvelope(c.Policy, govern.PolicyType)
	if err != nil {
		return err
	}
	home := &devHome{dir: c.Dir, tuning: c.devTuning}
	var founded *govern.Founding
	err = home.with(slog.New(slog.DiscardHandler), func(cfg server.Config, _ *disk.Disk) error {
		cfg.Names = c.Name
		if err := server.Found(s.ctx, cfg, bootstrap, policy); err != nil {
			return err
		}
		charter, err := govern.ParseCharter(cfg.Charter)
		if err == nil {
			founded, err = govern.Found(charter, bootstrap, policy)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.show(map[string]any{"domain": founded.Domain, "node_id": founded.Bootstrap.Founder, "dir": c.Dir}, func(w io.Writer) {
		fmt.Fprintf(w, "founded\tdomain %s\n", founded.Domain)
		fmt.Fprintf(w, "node\t%s\n", founded.Bootstrap.Founder)
	})
}
