package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/holdfast-kms/holdfast/govern"
)

// maxDevNodes is more than anybody wants on one machine.
const maxDevNodes = 9

// A devDomain is the nodes of `holdfast dev`: each a process with a folder and a
// simulated machine of its own. The first one's folder is the domain's, and the
// others lie in it.
type devDomain struct {
	s      *session
	homes  []*devHome
	listen string     // of the first node's API; where it serves, once it has
	nodes  []*devNode // as homes; nil: not running
}

// newDevDomain finds out which nodes there are, and which there are to be. want is
// 0 where that is for the folder to say.
func newDevDomain(s *session, first *devHome, want int, listen string) (*devDomain, error) {
	d := &devDomain{s: s, homes: []*devHome{first}, listen: listen}
	for k := 2; k <= maxDevNodes; k++ {
		h := &devHome{dir: filepath.Join(first.dir, fmt.Sprint("node", k)), tuning: first.tuning}
		h.tuning.Metrics = portAfter(first.tuning.Metrics, k)
		if !h.exists() && k > want {
			break
		}
		d.homes = append(d.homes, h)
	}
	if want > 0 && len(d.homes) > want {
		return nil, misusef(fmt.Sprintf("leave --nodes out, or start all of them with --nodes %d; a node that is to go is removed from the domain first", len(d.homes)),
			"the domain in %s has %d nodes", first.dir, len(d.homes))
	}
	d.nodes = make([]*devNode, len(d.homes))
	return d, nil
}

// exists reports whether a node was made here.
func (h *devHome) exists() bool {
	_, err := os.Stat(h.path(charterFile))
	return err == nil
}

func (d *devDomain) name(k int) string { return fmt.Sprint("node", k+1) }

// start starts all nodes: together those that are there, for they need each other,
// and then those that are to join. It reports how many did.
func (d *devDomain) start(ctx context.Context) (joined int, err error) {
	var old, fresh []int
	for k, h := range d.homes {
		if h.exists() {
			old = append(old, k)
		} else {
			fresh = append(fresh, k)
		}
	}
	if err := d.startSome(ctx, old); err != nil {
		return 0, err
	}
	for _, k := range fresh {
		if err := d.settle(d.homes[k]); err != nil {
			return 0, err
		}
	}
	return len(fresh), d.startSome(ctx, fresh)
}

// settle makes a machine for a node that is to join.
func (d *devDomain) settle(h *devHome) error {
	b, err := readDocument(d.homes[0].path(charterFile))
	if err != nil {
		return err
	}
	charter, err := govern.ParseCharter(b)
	if err != nil {
		return err
	}
	if d.homes[0].audits() { // the domain's policy may require it of every node
		h.tuning.Audit = true
	}
	return h.settle(charter)
}

// startSome starts nodes at once, and waits until all of them serve. Where one does
// not, no other is waited for.
func (d *devDomain) startSome(ctx context.Context, which []int) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, len(which))
	for _, k := range which {
		go func() {
			at, err := d.placing(k)
			if err == nil {
				d.nodes[k], err = startNode(ctx, d.homes[k], at, func(what string) { d.s.note("%s: %s", d.name(k), oneLine(what)) })
			}
			if err != nil {
				err = because(err, hintOf(err), d.name(k))
				cancel() // the others may wait for this one
			} else if k == 0 {
				d.listen = strings.TrimPrefix(d.nodes[0].URL, "https://")
			}
			failed <- err
		}()
	}
	for range which {
		if e := <-failed; err == nil { // the others' are that they were told to end
			err = e
		}
	}
	return err
}

// placing is where a node listens, and whom it asks where it is not a member yet.
func (d *devDomain) placing(k int) (p devPlacing, err error) {
	p.Name = d.name(k)
	if k == 0 {
		p.Listen = d.listen
		return p, nil
	}
	for other, h := range d.homes {
		a, err := h.addresses()
		if err != nil {
			return p, err
		}
		if other != k && a.Peers != "" {
			p.Join = append(p.Join, a.Peers)
		}
	}
	return p, nil
}

// kill ends nodes as a power cut would.
func (d *devDomain) kill(which ...int) (err error) {
	for _, k := range which {
		err = errors.Join(err, d.nodes[k].kill())
		d.nodes[k] = nil
	}
	return err
}

// all are the numbers of all nodes, and others those without one.
func (d *devDomain) all() []int { return d.others(-1) }

func (d *devDomain) others(than int) (which []int) {
	for k := range d.homes {
		if k != than {
			which = append(which, k)
		}
	}
	return which
}

// stop asks all nodes to finish, and waits.
func (d *devDomain) stop() (err error) {
	var running []*devNode
	for k, n := range d.nodes {
		if n != nil {
			running = append(running, n)
			_ = n.in.Close() // all are asked before any is waited for
		}
		d.nodes[k] = nil
	}
	for _, n := range running {
		err = errors.Join(err, n.stop())
	}
	return err
}

// wait serves until Ctrl-C, or until no node is left: one of several, people may
// have ended to see what the others do.
func (d *devDomain) wait(ctx context.Context) error {
	ended := make(chan int, len(d.nodes))
	for k, n := range d.nodes {
		go func() { <-n.done; ended <- k }()
	}
	for range d.nodes {
		select {
		case <-ctx.Done():
			return nil
		case k := <-ended:
			n := d.nodes[k]
			d.s.note("%s ended by itself (%v): see %s; start it again with `%s dev node serve --dir %s`", d.name(k), n.err, n.home.path(logFile), selfCommand(), n.home.dir)
		}
	}
	return problemf("start it again on the same folder", "no node is left")
}

// portAfter is addr with the k-th port after its own; where that is any, or there
// is none, addr itself.
func portAfter(addr string, k int) string {
	host, port, err := net.SplitHostPort(addr)
	n, perr := strconv.Atoi(port)
	if err != nil || perr != nil || n == 0 {
		return addr
	}
	return net.JoinHostPort(host, strconv.Itoa(n+k))
}
