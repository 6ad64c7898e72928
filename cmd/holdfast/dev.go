package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// devCmd is `holdfast dev`: a whole domain, in one command.
type devCmd struct {
	Dir    string `help:"Folder of the domain; made if it is not there. Default: a temporary one, removed in the end." type:"path" placeholder:"DIR"`
	Listen string `help:"Address to serve at. Default: 127.0.0.1:9000, or any free port with --exit." placeholder:"HOST:PORT"`
	Exit   bool   `help:"Stop after the proof; the status is 0 only if all of it held."`
	devTuning
}

const (
	devListen  = "127.0.0.1:9000"
	freeListen = "127.0.0.1:0"
)

// patience bounds each step of the proof.
const patience = 30 * time.Second

// Run founds the domain where it must, proves it, and serves.
func (c *devCmd) Run(s *session) (err error) {
	home, err := c.home(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, home.leave()) }()
	if err := home.found(s.ctx); err != nil {
		return err
	}
	node, err := startNode(s.ctx, home, c.listen())
	if err != nil {
		return err
	}
	p := &proof{s: s, home: home, node: node}
	defer func() { err = errors.Join(err, p.node.stop()) }()
	p.begin()
	if err := p.run(); err != nil {
		return err
	}
	if err := c.ready(s, home, p); err != nil || c.Exit {
		return err
	}
	return p.node.wait(s.ctx)
}

func (c *devCmd) listen() string {
	switch {
	case c.Listen != "":
		return c.Listen
	case c.Exit:
		return freeListen
	}
	return devListen
}

// home names the folder of the domain, or makes a temporary one.
func (c *devCmd) home(s *session) (*devHome, error) {
	if c.Dir != "" {
		return &devHome{dir: c.Dir, tuning: c.devTuning}, nil
	}
	dir, err := os.MkdirTemp("", "holdfast-dev-")
	if err != nil {
		return nil, because(err, "name a folder with --dir", "making a temporary folder")
	}
	s.note("temporary folder %s, removed in the end; keep a domain with --dir DIR", dir)
	return &devHome{dir: dir, temporary: true, tuning: c.devTuning}, nil
}

// devReady is what --json prints when the domain is ready.
type devReady struct {
	URL    string `json:"url"`
	CA     string `json:"ca"`
	AppID  string `json:"appid"`
	APIKey string `json:"apikey"`
	Dir    string `json:"dir"`

	Metrics string `json:"metrics,omitempty"` // URL
}

// ready says that the proof held, and where everything is.
func (c *devCmd) ready(s *session, home *devHome, p *proof) error {
	cred, err := home.readCredentials()
	if err != nil {
		return err
	}
	ready := devReady{URL: p.node.url, CA: home.path(caFile), AppID: cred.AppID, APIKey: cred.APIKey, Dir: home.dir, Metrics: p.node.metrics}
	return s.show(ready, func(w io.Writer) {
		domainSummary(w, p.status)
		if !c.Exit {
			home.tour(w, p.node.url, cred.AppID)
			if p.node.metrics != "" {
				fmt.Fprintf(w, "Metrics at %s\n", p.node.metrics)
			}
		}
	})
}

func domainSummary(w io.Writer, st kms.Status) {
	fmt.Fprintf(w, "\nDomain %s: restart mode %s, rollback and fork protected: %t, time: %s\n",
		st.DomainID.String()[:16], st.RestartMode, st.Protected, st.Time)
	fmt.Fprintf(w, "Attestation: %s\n", st.Attestation)
	for _, warning := range st.Warnings {
		fmt.Fprintf(w, "  warning: %s\n", warning)
	}
}

// tour prints where everything is, and lines to paste.
func (h *devHome) tour(w io.Writer, url, app string) {
	cred, self := h.path(credentialsName), selfCommand()
	fmt.Fprintf(w, "\nURL\t%s\nCA\t%s\nAppID\t%s\nAPIKey\tin %s\n\n", url, h.path(caFile), app, cred)
	fmt.Fprintf(w, "Try it in another terminal:\n\n")
	fmt.Fprintf(w, "  curl --cacert %s '%s/ehsm?Action=GetVersion'\n", h.path(caFile), url)
	fmt.Fprintf(w, "  export HOLDFAST_CREDENTIALS=%s\n", cred)
	fmt.Fprintf(w, "  %s key create --spec AES-256-GCM\n", self)
	fmt.Fprintf(w, "  %s key list\n", self)
	fmt.Fprintf(w, "  echo hello | %s encrypt --key KEYID\n", self)
	fmt.Fprintf(w, "  %s bench --duration 5s\n\nServing until Ctrl-C.\n", self)
}

// selfCommand is how this program can be started again: `go run` leaves a
// binary that is gone when it ends.
func selfCommand() string {
	if exe, err := os.Executable(); err != nil || strings.Contains(exe, "go-build") {
		return "go run ./cmd/holdfast"
	}
	return os.Args[0]
}

// wait serves until Ctrl-C, or until the node ends by itself.
func (n *devNode) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-n.done:
		return problemf("see "+n.home.path(logFile), "the node ended by itself: %v", n.err)
	}
}
