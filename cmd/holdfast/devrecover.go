package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/internal/revival"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// devSurveyCmd is `holdfast dev node survey`.
type devSurveyCmd struct {
	Dir     string `required:"" type:"path" placeholder:"DIR" help:"Folder of the node; with --backup it is made if it is not there, and a simulated machine in it."`
	Charter string `placeholder:"FILE" help:"The domain's charter, for a folder that has none yet."`
	Backup  string `placeholder:"FILE" help:"A backup of the domain, where no node's log is left. Default: what is left in --dir."`
	Out     string `required:"" placeholder:"FILE" help:"Where what this node shows goes: holdfast recovery draft --to FILE."`
	Force   bool   `help:"Replace what is there."`
	devSimulated
}

// Help is the rest of what --help says.
func (devSurveyCmd) Help() string {
	return "It changes nothing of a node's state. Where a backup is to be restored it makes keys for a new node and keeps them sealed in the folder, " +
		"so that the same folder goes on with `holdfast dev node recover`. docs/recovery.md has all the steps, docs/operate.md a rehearsal."
}

// A shownSurvey is what --json prints.
type shownSurvey struct {
	File   string       `json:"file"`
	Node   kms.NodeID   `json:"node_id"`
	Domain kms.DomainID `json:"domain_id"`
	Head   any          `json:"head"`
	Lost   []kms.NodeID `json:"lost,omitempty"` // the members whose part would end
	Shares bool         `json:"shares"`         // it wants shares of the recovery key
}

// Run writes what the node shows.
func (c *devSurveyCmd) Run(s *session) error {
	home, files := &devHome{dir: c.Dir, tuning: devTuning{devSimulated: c.devSimulated}}, revival.Files{Backup: c.Backup}
	if err := home.revivable(c.Charter, c.Backup); err != nil {
		return err
	}
	var shown *server.Claimant
	var text []byte
	err := home.with(slog.New(slog.DiscardHandler), func(cfg server.Config, _ *disk.Disk) (err error) {
		shown, text, err = files.Survey(s.ctx, cfg)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.writeFile(c.Out, text, c.Force); err != nil || c.Out == "-" {
		return err
	}
	ask := shown.Request
	doc := shownSurvey{File: c.Out, Node: ask.Node, Domain: ask.Domain, Head: ask.Head, Lost: shown.Lost, Shares: len(ask.Receiver) > 0}
	return s.show(doc, func(w io.Writer) {
		printClaims(w, ask.Node, shown.Claims)
		printHead(w, ask.Head)
		for _, id := range shown.Lost {
			fmt.Fprintf(w, "would go\t%s\n", id)
		}
		fmt.Fprintf(w, "needs shares\t%s\nevidence\t%s\n", yesNo(doc.Shares), c.Out)
	})
}

// devRecoverCmd is `holdfast dev node recover`.
type devRecoverCmd struct {
	Dir      string   `required:"" type:"path" placeholder:"DIR" help:"Folder of the node that was surveyed."`
	Charter  string   `placeholder:"FILE" help:"The domain's charter; it lies in the folder since the survey."`
	Recovery string   `required:"" placeholder:"FILE" help:"The recovery that owner and signers have signed: holdfast recovery sign."`
	Backup   string   `placeholder:"FILE" help:"The backup that was surveyed. Default: what is left in --dir."`
	Share    []string `sep:"none" placeholder:"FILE" help:"A share that its holder has handed to this node (holdfast recovery open-share); several times for several."`
	Stay     bool     `help:"Do it all in this process, without a survey before: write --out, wait until --recovery and every --share are there, restore the --backup, and serve."`
	Out      string   `placeholder:"FILE" help:"With --stay, where what this node shows goes."`
	devListening
	devTuning
}

// Help is the rest of what --help says.
func (devRecoverCmd) Help() string {
	return "The part of all other nodes ends for good: who comes back joins anew, from an empty folder. Afterwards the node is started like any other, " +
		"with `holdfast dev node serve`."
}

// Run carries the domain on, and serves until Ctrl-C.
func (c *devRecoverCmd) Run(s *session) error {
	files := revival.Files{Recovery: c.Recovery, Backup: c.Backup, Shares: c.Share}
	at := devPlacing{devListening: c.devListening}
	if err := errors.Join(files.Check(), at.check()); err != nil {
		return err
	}
	if c.Stay != (c.Out != "") || c.Stay && c.Backup == "" {
		return misusef("give all three, or neither --stay nor --out", "--stay, --out and --backup go together: it writes the one, and restores the other")
	}
	home := &devHome{dir: c.Dir, tuning: c.devTuning}
	if err := home.revivable(c.Charter, c.Backup); err != nil {
		return err
	}
	run := &devRun{home: home, at: at, revive: &files}
	if c.Stay {
		run.begin = c.stay(s)
	}
	return s.serveDev(run)
}

// revivable finds the folder of a node, or makes one for a node that is to restore
// a backup.
func (h *devHome) revivable(charter, backup string) error {
	_, err := os.Stat(h.path(charterFile))
	switch missing := errors.Is(err, fs.ErrNotExist); {
	case missing && backup == "":
		return problemf("name the folder of one that is left; or a backup, with --backup FILE --charter FILE", "%s holds no node", h.dir)
	case missing && charter == "":
		return misusef("add --charter FILE, as its owner hands it out", "a backup is restored into the domain of a charter")
	case charter == "":
		return h.tuning.validate()
	}
	doc, err := readCharterFile(charter)
	if err == nil {
		err = h.tuning.validate()
	}
	if err != nil {
		return err
	}
	return h.settle(doc)
}
