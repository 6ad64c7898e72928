package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/holdfast-kms/holdfast/host/backlog"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/harden"
	"github.com/holdfast-kms/holdfast/host/heap"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// devNodeCmd is the node process of `holdfast dev`. It says on standard output,
// in one line of JSON, where it serves or why it does not, and ends when its
// standard input does: so it never outlives who started it.
type devNodeCmd struct {
	Dir    string `required:"" type:"path"`
	Listen string `required:""`
	devTuning
}

// heapFloor is a few times what a node allocates in a tenth of a second under load.
const heapFloor = 64 << 20

// devHello is that line.
type devHello struct {
	URL   string `json:"url,omitempty"`
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`

	Metrics string `json:"metrics,omitempty"` // URL
}

func (c *devNodeCmd) Run(s *session) error {
	ctx, stop := context.WithCancel(s.ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, s.stdin) // returns when the parent is gone
		stop()
	}()
	err := c.serve(ctx, s)
	if err != nil {
		f := describe("", err)
		_ = s.encode(s.stdout, devHello{Error: f.Message, Hint: f.Hint})
		return errQuiet
	}
	return nil
}

func (c *devNodeCmd) serve(ctx context.Context, s *session) (err error) {
	if err := harden.Process(); err != nil {
		return err
	}
	defer heap.Floor(heapFloor)()
	home := &devHome{dir: c.Dir, tuning: c.devTuning, api: program()}
	log, err := os.OpenFile(home.path(logFile), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	logger := slog.New(slog.NewJSONHandler(log, nil))
	metrics, err := mount.ListenMetrics(c.Metrics, &home.api, logger)
	if err != nil {
		return err
	}
	defer metrics.Close()
	probe, err := backlog.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, probe.Close()) }()
	home.delay = probe.Delay
	node, d, err := home.open(ctx, logger)
	if err != nil {
		logger.Error("node did not start", "cause", err)
		return err
	}
	defer func() { err = errors.Join(err, node.Close(), d.Close()) }()
	if err := os.WriteFile(home.path(caFile), node.CA(), 0o644); err != nil {
		return err
	}
	l, err := listen.TCP(c.Listen, listen.Config{Log: logger})
	if err != nil {
		return err
	}
	defer metrics.Serve(node, l)()
	if err := s.encode(s.stdout, devHello{URL: "https://" + l.Addr().String(), Metrics: metrics.URL()}); err != nil {
		return err
	}
	logger.Info("serving", "address", l.Addr().String())
	return node.Serve(ctx, l)
}

// open starts the node on the state in its folder.
func (h *devHome) open(ctx context.Context, logger *slog.Logger) (*server.Node, *disk.Disk, error) {
	charter, err := os.ReadFile(h.path(charterFile))
	if err != nil {
		return nil, nil, because(err, "put the charter back, or choose another --dir", "reading the charter")
	}
	if err := h.loadMachine(); err != nil {
		return nil, nil, err
	}
	platform, err := h.tuning.simulated().Open(h.path(fusesDir))
	if err != nil {
		return nil, nil, err
	}
	d, err := disk.Open(h.path(nodeDir))
	if errors.Is(err, disk.ErrInUse) {
		return nil, nil, because(err, "stop the process that serves this domain, or choose another --dir", "opening the node's state")
	}
	if err != nil {
		return nil, nil, because(err, "a charter is there, so the node's state should be: put the folder back, or choose another --dir",
			"opening the node's state")
	}
	cfg := h.serverConfig(platform, d, charter, logger)
	if cfg.AuditSinks, err = h.auditSinks(); err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	node, err := server.Open(ctx, cfg)
	if err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	if err := d.PurgeAside(); err != nil { // what the last run set aside is not needed: everything verified
		logger.Warn("files set aside were not removed", "cause", err)
	}
	return node, d, nil
}

// program is what the API says of this program.
func program() mount.Program {
	v := versionInfo()
	return mount.Program{Version: v.Version, Revision: v.Revision}
}

// A devNode is a running node process.
type devNode struct {
	home *devHome
	url  string
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan struct{}
	err  error // once done is closed

	metrics string // URL; "": there are none
}

// startNode starts a node process and waits until it serves.
func startNode(ctx context.Context, home *devHome, listen string) (*devNode, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{"dev-node", "--dir", home.dir, "--listen", listen}, home.tuning.flags()...)...)
	// Not our process group's Ctrl-C: the node is to stop when we say so.
	detach(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, because(err, "", "starting the node")
	}
	n := &devNode{home: home, cmd: cmd, in: in, done: make(chan struct{})}
	hello, err := n.greet(ctx, out)
	go func() {
		_, _ = io.Copy(io.Discard, out)
		n.err = cmd.Wait()
		close(n.done)
	}()
	if err != nil {
		return nil, errors.Join(err, n.kill())
	}
	n.url, n.metrics = hello.URL, hello.Metrics
	return n, nil
}

// greet reads the line in which the node says where it serves.
func (n *devNode) greet(ctx context.Context, out io.Reader) (hello devHello, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute) // opening a large domain verifies all of it
	defer cancel()
	line := make(chan []byte, 1)
	go func() {
		b, _ := bufio.NewReader(out).ReadBytes('\n')
		line <- b
	}()
	select {
	case <-ctx.Done():
		return hello, fmt.Errorf("waiting for the node: %w", ctx.Err())
	case b := <-line:
		if json.Unmarshal(b, &hello) != nil {
			return hello, problemf("see "+n.home.path(logFile), "the node did not start")
		}
	}
	if hello.Error != "" {
		return hello, problemf(hello.Hint, "the node did not start: %s", hello.Error)
	}
	return hello, nil
}

// kill ends the process as a power cut would, and waits until it is gone.
func (n *devNode) kill() error {
	if err := n.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-n.done
	return nil
}

// stop asks the node to finish, and waits.
func (n *devNode) stop() error {
	_ = n.in.Close() // which is how it is asked
	select {
	case <-n.done:
		return nil
	case <-time.After(patience):
		return n.kill()
	}
}
