//go:build unix

package linear_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A host is the hostile host of all nodes: it lets one fault after another befall
// them, each of which ends.
type host struct {
	t      *testing.T
	domain *domain
	rng    *rand.Rand
	faults map[string]int
	odd    int // the node whose clock is wrong; -1: none
}

// A fault befalls a node. It returns when it is over.
type fault struct {
	name   string
	befall func(h *host, n *node)
}

var faults = []fault{
	{"kill -9", (*host).kill},
	{"kill -9 of two", (*host).killTwo},
	{"SIGSTOP", (*host).freeze},
	{"SIGSTOP and its packets kept", (*host).freezeHolding},
	{"partition", (*host).isolate},
	{"partition, packets lost", (*host).isolateLosing},
	{"deaf", (*host).deafen},
	{"mute", (*host).silence},
	{"partition of two", (*host).split},
	{"slow network", (*host).slow},
	{"slow replies, then cut off", (*host).slowReplies},
	{"replies held back", (*host).holdReplies},
	{"a single reply held back", (*host).holdOne},
	{"time stands, old news", (*host).stopTime},
	{"clock jumps", (*host).jump},
	{"clock stands", (*host).stand},
	{"clock is slow", (*host).lag},
}

func newHost(t *testing.T, d *domain, seed uint64) *host {
	return &host{t: t, domain: d, rng: rand.New(rand.NewPCG(seed, 1<<32)), faults: make(map[string]int), odd: -1}
}

// torment lets faults befall the domain until a time, or as many as are wanted:
// each kind in turn, in an order of chance.
func (h *host) torment(until time.Time, atLeast int) {
	for n := 0; time.Now().Before(until) || n < atLeast; {
		for _, i := range h.rng.Perm(len(faults)) {
			if !time.Now().Before(until) && n >= atLeast {
				return
			}
			h.befall(faults[i])
			n++
		}
	}
}

// befall chooses the leader half of the time.
func (h *host) befall(f fault) {
	victim := h.rng.IntN(len(h.domain.nodes))
	if l := h.domain.leads(); l >= 0 && h.rng.IntN(2) == 0 {
		victim = l
	}
	h.faults[f.name]++
	f.befall(h, h.domain.nodes[victim])
	h.revive()
	time.Sleep(h.between(200, 1500))
}

// superseded is why a node may stop by itself: only a start rids raft of entries that
// no leader has.
const superseded = "entries that were never committed made way for a snapshot"

// revive starts nodes again that have stopped by themselves.
func (h *host) revive() {
	for _, n := range h.domain.nodes {
		if why := n.stoppedBy(); why != "" {
			if !strings.Contains(why, superseded) {
				h.domain.fail("%s has stopped: %s", n.name, why)
			}
			h.faults["stopped by itself"]++
			n.kill()
			n.start(h.t)
		}
	}
}

// between is a time of chance, in ms.
func (h *host) between(least, most int) time.Duration {
	return time.Duration(least+h.rng.IntN(most-least)) * time.Millisecond
}

func (h *host) summary() string {
	var b strings.Builder
	sum := 0
	for _, k := range slices.Sorted(maps.Keys(h.faults)) {
		fmt.Fprintf(&b, "  %-40s %d\n", k, h.faults[k])
		sum += h.faults[k]
	}
	return fmt.Sprintf("%d faults:\n%s", sum, b.String())
}

func (h *host) restart(n *node) {
	n.kill()
	time.Sleep(h.between(0, 2500))
	n.start(h.t)
	if n.index == h.odd { // the new process has a clock of its own
		h.odd = -1
	}
}

func (h *host) kill(n *node) {
	h.restart(n)
	time.Sleep(h.between(100, 2000))
}

// killTwo leaves no quorum for a while.
func (h *host) killTwo(n *node) {
	other := h.domain.nodes[(n.index+1)%len(h.domain.nodes)]
	n.kill()
	other.kill()
	time.Sleep(h.between(0, 1000))
	h.restart(other)
	h.restart(n)
	other.awaitServing(h.t)
	n.awaitServing(h.t)
}

func (h *host) freeze(n *node) {
	n.signal(syscall.SIGSTOP)
	time.Sleep(h.between(300, 3000))
	n.signal(syscall.SIGCONT)
}

// freezeHolding stops a process and keeps what the others said to it just before: it
// wakes up to news that are old.
func (h *host) freezeHolding(n *node) {
	to, _ := h.domain.network.between(n.index)
	h.domain.network.set(rule{blocked: true}, to...)
	time.Sleep(h.between(0, 300))
	n.signal(syscall.SIGSTOP)
	time.Sleep(h.between(1000, 3500))
	h.domain.network.heal(to...)
	time.Sleep(h.between(0, 5))
	n.signal(syscall.SIGCONT)
}

func (h *host) cut(r rule, ways ...way) {
	h.domain.network.set(r, ways...)
	time.Sleep(h.between(500, 4000))
	h.domain.network.heal(ways...)
}

func (h *host) isolate(n *node) {
	to, from := h.domain.network.between(n.index)
	h.cut(rule{blocked: true}, append(to, from...)...)
}

func (h *host) isolateLosing(n *node) {
	to, from := h.domain.network.between(n.index)
	h.cut(rule{blocked: true, lost: true}, append(to, from...)...)
}

// deafen and silence cut one direction.
func (h *host) deafen(n *node) {
	to, _ := h.domain.network.between(n.index)
	h.cut(rule{blocked: true, lost: h.rng.IntN(2) == 0}, to...)
}

func (h *host) silence(n *node) {
	_, from := h.domain.network.between(n.index)
	h.cut(rule{blocked: true, lost: h.rng.IntN(2) == 0}, from...)
}

// split cuts a node off from one of the others: the third reaches both.
func (h *host) split(n *node) {
	other := (n.index + 1 + h.rng.IntN(2)) % len(h.domain.nodes)
	h.cut(rule{blocked: true, lost: true}, way{n.index, other}, way{other, n.index})
}

func (h *host) all() (all []way) {
	for i := range h.domain.nodes {
		to, _ := h.domain.network.between(i)
		all = append(all, to...)
	}
	return all
}

func (h *host) slow(*node) {
	h.domain.network.set(rule{delay: h.between(20, 250)}, h.all()...)
	time.Sleep(h.between(1000, 4000))
	h.domain.network.heal(h.all()...)
}

// slowReplies delays what a node hears for longer than it takes to elect another
// leader, and then lets nothing out of it: what it hears from then on is old, and
// sounds as if it still led.
func (h *host) slowReplies(n *node) {
	to, from := h.domain.network.between(n.index)
	h.domain.network.set(rule{delay: 700 * time.Millisecond}, to...)
	time.Sleep(h.between(2000, 3000))
	h.domain.network.set(rule{blocked: true}, from...)
	time.Sleep(h.between(1500, 2500))
	h.domain.network.heal(append(to, from...)...)
}

// holdReplies keeps what is said to a node for about as long as it takes it to doubt
// that it leads, and to lead again, while the third node is away.
func (h *host) holdReplies(n *node) {
	other, third := (n.index+1)%len(h.domain.nodes), (n.index+2)%len(h.domain.nodes)
	away := []way{{n.index, third}, {third, n.index}, {other, third}, {third, other}}
	h.domain.network.set(rule{blocked: true, lost: true}, away...)
	time.Sleep(h.between(200, 500))
	h.domain.network.set(rule{blocked: true}, way{other, n.index})
	time.Sleep(h.between(600, 1600))
	h.domain.network.heal(way{other, n.index})
	time.Sleep(h.between(500, 1000))
	h.domain.network.heal(away...)
}

// holdOne holds back one reply, and what follows it on the same connection.
func (h *host) holdOne(n *node) {
	for range 8 {
		other := (n.index + 1 + h.rng.IntN(2)) % len(h.domain.nodes)
		_ = h.domain.network.holdBack(way{other, n.index}, h.rng.IntN, h.between(100, 3000)) // nothing may be connected
		time.Sleep(h.between(50, 400))
	}
}

// month is by how much clocks jump.
const month = 30 * 24 * time.Hour

// wrong sets a node's clock. Never more than one is wrong: time is what most of them
// say, and that is what this is to show.
func (h *host) wrong(n *node, s setting) {
	if h.odd >= 0 && h.odd != n.index {
		h.domain.nodes[h.odd].setClock(setting{0, 1})
	}
	h.odd = n.index
	n.setClock(s)
	time.Sleep(h.between(1000, 3000))
	if h.rng.IntN(2) == 0 { // else it stays wrong during what comes
		n.setClock(setting{0, 1})
		h.odd = -1
	}
}

func (h *host) jump(n *node) {
	by := month
	if h.rng.IntN(2) == 0 {
		by = -by
	}
	h.wrong(n, setting{by, 1})
}

func (h *host) stand(n *node) { h.wrong(n, setting{0, 0}) }

func (h *host) lag(n *node) { h.wrong(n, setting{0, 0.1}) }

// relent ends all faults, and returns when all nodes serve.
func (h *host) relent() {
	h.domain.network.heal(h.all()...)
	for _, n := range h.domain.nodes {
		n.setClock(setting{0, 1})
	}
	time.Sleep(2 * time.Second)
	h.revive()
	for _, n := range h.domain.nodes {
		n.awaitServing(h.t)
	}
}

// rivals has the two nodes that do not lead stand for election at the same time, out
// of each other's reach, with only the leader to vote.
func (h *host) rivals(n *node) {
	a, b := (n.index+1)%len(h.domain.nodes), (n.index+2)%len(h.domain.nodes)
	h.domain.network.set(rule{delay: 120 * time.Millisecond}, h.all()...)
	h.domain.network.set(rule{blocked: true, lost: true}, way{a, b}, way{b, a})
	n.signal(syscall.SIGSTOP)
	time.Sleep(h.between(900, 1300))
	n.signal(syscall.SIGCONT)
	time.Sleep(h.between(3000, 5000))
	h.domain.network.heal(h.all()...)
}

// stopTime has a node's clocks stand, so that it cannot notice how long the others
// have been silent, keeps what they said last, and lets it hear that once they have
// another leader: first the word of one, then that of the other.
func (h *host) stopTime(n *node) {
	a, b := (n.index+1)%len(h.domain.nodes), (n.index+2)%len(h.domain.nodes)
	_, from := h.domain.network.between(n.index)
	h.domain.network.set(rule{blocked: true}, way{a, n.index}, way{b, n.index})
	time.Sleep(h.between(120, 200))
	n.setClock(setting{0, 0})
	h.domain.network.set(rule{blocked: true}, from...)
	time.Sleep(h.between(2000, 3500))
	h.domain.network.heal(way{a, n.index})
	time.Sleep(h.between(100, 300))
	h.domain.network.heal(way{b, n.index})
	time.Sleep(h.between(100, 300))
	n.setClock(setting{0, 1})
	h.domain.network.heal(from...)
}
