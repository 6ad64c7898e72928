package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/holdfast-kms/holdfast/host/harden"
	"github.com/holdfast-kms/holdfast/host/heap"
	"github.com/holdfast-kms/holdfast/internal/mount"
)

// devNodeCmd is a node process of `holdfast dev`. It says on standard output, in
// lines of JSON, how far it has come and where it serves or why it does not, and
// ends when its standard input does: so it never outlives who started it.
type devNodeCmd struct {
	Dir string `required:"" type:"path"`
	devPlacing
	devTuning
}

// heapFloor is a few times what a node allocates in a tenth of a second under load.
const heapFloor = 64 << 20

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
	home := &devHome{dir: c.Dir, tuning: c.devTuning}
	logger, closeLog, err := home.log()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeLog()) }()
	run := devRun{home: home, at: c.devPlacing, logger: logger, child: true,
		progress: func(what string) { _ = s.encode(s.stdout, devHello{Progress: what}) },
		serving:  func(h devHello) error { return s.encode(s.stdout, h) }}
	if err = run.serve(ctx); err != nil && ctx.Err() == nil {
		logger.Error("the node stops", "cause", err)
	}
	return err
}

// program is what the API says of this program.
func program() mount.Program {
	v := versionInfo()
	return mount.Program{Version: v.Version, Revision: v.Revision}
}

// A devNode is a running node process.
type devNode struct {
	devHello
	home *devHome
	cmd  *exec.Cmd
	in   io.WriteCloser
	done chan struct{}
	err  error // once done is closed
}

// startNode starts a node process and waits until it serves. tell is told what
// takes so long, where it does.
func startNode(ctx context.Context, home *devHome, at devPlacing, tell func(what string)) (*devNode, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := append([]string{"dev-node", "--dir", home.dir}, at.flags()...)
	cmd := exec.Command(self, append(args, home.tuning.flags()...)...)
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
	err = n.greet(ctx, out, tell)
	go func() {
		_, _ = io.Copy(io.Discard, out)
		n.err = cmd.Wait()
		close(n.done)
	}()
	if err != nil {
		return nil, errors.Join(err, n.kill())
	}
	return n, nil
}

// greet reads what the node says until it serves.
func (n *devNode) greet(ctx context.Context, out io.Reader, tell func(what string)) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute) // opening a large domain verifies all of it
	defer cancel()
	lines := make(chan devHello)
	go readHellos(ctx, out, lines)
	wondering, last := time.After(slow), ""
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the node: %w", ctx.Err())
		case <-wondering:
			wondering = nil
		case h, ok := <-lines:
			switch {
			case !ok:
				return problemf("see "+n.home.path(logFile), "the node did not start")
			case h.Error != "":
				return problemf(h.Hint, "the node did not start: %s", h.Error)
			case h.URL != "":
				n.devHello = h
				return nil
			}
			last = h.Progress
		}
		if wondering == nil && last != "" {
			tell(last)
			last = ""
		}
	}
}

// readHellos reads lines until one says where the node serves or that it does not.
func readHellos(ctx context.Context, out io.Reader, lines chan<- devHello) {
	defer close(lines)
	r := bufio.NewReader(out)
	for {
		var h devHello
		b, err := r.ReadBytes('\n')
		if err != nil || json.Unmarshal(b, &h) != nil {
			return
		}
		select {
		case lines <- h:
		case <-ctx.Done():
			return
		}
		if h.URL != "" || h.Error != "" {
			return
		}
	}
}

// pid is the process's number.
func (n *devNode) pid() int { return n.cmd.Process.Pid }

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
