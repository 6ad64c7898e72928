package main

import (
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
	Nodes  int    `placeholder:"N" help:"How many nodes, each a process on a simulated machine of its own. More than the folder has join. Default: those that it has, and one at first."`
	Listen string `help:"Address to serve at; with several nodes, the first one's. Default: 127.0.0.1:9000, or any free port with --exit." placeholder:"HOST:PORT"`
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
	if c.Nodes < 0 || c.Nodes > maxDevNodes {
		return misusef("three lose one and go on; five lose two", "--nodes is 1 to %d", maxDevNodes)
	}
	home, err := c.home(s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, home.leave()) }()
	if err := home.found(s.ctx); err != nil {
		return err
	}
	domain, err := newDevDomain(s, home, c.Nodes, c.listen())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, domain.stop()) }()
	p := newDomainProof(s, domain)
	if err := p.run(); err != nil {
		return err
	}
	if err := c.ready(s, domain, p.status); err != nil || c.Exit {
		return err
	}
	return domain.wait(s.ctx)
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

	Nodes []devReadyNode `json:"nodes"`
}

type devReadyNode struct {
	Name  string `json:"name"`
	Node  string `json:"node_id"`
	URL   string `json:"url"`
	Peers string `json:"peers"` // where other nodes reach it, and one that joins
	Dir   string `json:"dir"`

	Metrics string `json:"metrics,omitempty"` // URL
}

// ready says that the proof held, and where everything is.
func (c *devCmd) ready(s *session, d *devDomain, st kms.Status) error {
	home := d.homes[0]
	cred, err := home.readCredentials()
	if err != nil {
		return err
	}
	ready := devReady{URL: d.nodes[0].URL, CA: home.path(caFile), AppID: cred.AppID, APIKey: cred.APIKey, Dir: home.dir, Metrics: d.nodes[0].Metrics}
	for k, n := range d.nodes {
		ready.Nodes = append(ready.Nodes, devReadyNode{Name: d.name(k), Node: n.Node, URL: n.URL, Peers: n.Peers, Dir: n.home.dir, Metrics: n.Metrics})
	}
	return s.show(ready, func(w io.Writer) {
		domainSummary(w, st)
		if !c.Exit {
			d.tour(w, cred.AppID)
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
func (d *devDomain) tour(w io.Writer, app string) {
	h, url := d.homes[0], d.nodes[0].URL
	cred, self := h.path(credentialsName), selfCommand()
	fmt.Fprintf(w, "\n")
	for k, n := range d.nodes {
		fmt.Fprintf(w, "%s\t%s\tprocess %d, other nodes reach it at %s\n", d.name(k), n.URL, n.pid(), n.Peers)
	}
	for k, n := range d.nodes {
		if n.Metrics != "" {
			fmt.Fprintf(w, "%s\tmetrics at %s\n", d.name(k), n.Metrics)
		}
	}
	fmt.Fprintf(w, "\nURL\t%s\nCA\t%s\nAppID\t%s\nAPIKey\tin %s\n\n", url, h.path(caFile), app, cred)
	fmt.Fprintf(w, "Try it in another terminal:\n\n")
	fmt.Fprintf(w, "  curl --cacert %s '%s/ehsm?Action=GetVersion'\n", h.path(caFile), url)
	fmt.Fprintf(w, "  export HOLDFAST_CREDENTIALS=%s\n", cred)
	fmt.Fprintf(w, "  %s key create --spec AES-256-GCM\n", self)
	fmt.Fprintf(w, "  %s key list\n", self)
	fmt.Fprintf(w, "  echo hello | %s encrypt --key KEYID\n", self)
	fmt.Fprintf(w, "  %s bench --duration 5s\n", self)
	fmt.Fprintf(w, "  %s dev node --join %s --dir ANOTHER --charter %s\n\nServing until Ctrl-C.\n", self, d.nodes[0].Peers, h.path(charterFile))
}

// selfCommand is how this program can be started again: `go run` leaves a
// binary that is gone when it ends.
func selfCommand() string {
	if exe, err := os.Executable(); err != nil || strings.Contains(exe, "go-build") {
		return "go run ./cmd/holdfast"
	}
	return os.Args[0]
}
