package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/root"
	"github.com/holdfast-kms/holdfast/trusted/internal/state"
)

const (
	// rewrapPause is how far apart the steps of re-wrapping are: so that requests
	// hardly notice, and 100,000 keys take half a minute.
	rewrapPause = 5 * time.Millisecond
	// countShare is what part of the time goes into counting at most what is wrapped
	// under which generation: anybody may ask, and it takes a walk through the
	// whole state.
	countShare = 20
)

// generations is a node's part in the life of master secrets. The order of
// things, so that a crash at any moment loses nothing:
//
//	rotate: sealed root file with S_{g+1} on every node, then the log, then use
//	retire: the log, then memory, then the root file, then snapshot and log
//
// A generation in the file that the state does not know is a candidate; one that
// the state knows and the file lacks is taken from another node, and where there
// is none it is an error. What the node was about to do when it stopped is read
// off the state.
type generations struct {
	node   *Node
	sealer *sealer
	set    *root.Set
	wake   chan struct{}
	known  atomic.Pointer[state.Authority]

	mu         sync.Mutex // held by who changes which generations there are
	candidates []candidate
	drawn      drawn
	newest     uint64 // the last entry when one of them was made or offered
	life       uint64 // how many entries later none of them can be named
	unwritten  bool   // the root file has other generations than the set

	statusMu sync.Mutex
	trouble  error // why the last walk left something where it was
	counted  state.Wrapped
	exposed  int       // keys that are to be replaced
	index    uint64    // that counted is of
	recount  time.Time // not before

	dealing atomic.Int32 // of the compromises that were declared, how many remedy has seen
}

// newGenerations starts with what the root file had: which of it the domain knows,
// the state has to say.
func newGenerations(n *Node, s *sealer, set *root.Set, filed []candidate) *generations {
	return &generations{node: n, sealer: s, set: set, candidates: filed, wake: make(chan struct{}, 1), life: candidateLife}
}

// adopt compares the master secrets that the root file had with the chain that
// the state knows, and begins to use them. What is missing is taken from other
// nodes. The error is Damaged and names the root file.
func (g *generations) adopt(ctx context.Context, view *state.View) error {
	g.mu.Lock()
	g.settle(view)
	missing := g.missing(view)
	g.mu.Unlock()
	if len(missing) > 0 && g.node.members != nil && len(g.node.members.others(view)) > 0 {
		if err := g.fetch(ctx); err != nil {
			return err
		}
	}
	var previous []byte
	for _, known := range view.Generations() {
		if known.Retired == 0 {
			if err := g.verify(known, previous); err != nil {
				return err
			}
		}
		previous = known.Checksum
	}
	g.known.Store(view.Authority())
	return g.set.Use(view.Generation())
}

func (g *generations) verify(known state.Generation, previous []byte) error {
	if _, err := g.set.Secret(known.Number); err != nil {
		return kms.Errorf(kms.Damaged, "master secret %d, which the domain uses, is not in the file: it is older than the log", known.Number).
			WithFile(rootFile).WithHint(lostHint)
	}
	err := g.node.root.VerifyChecksum(known.Number, previous, known.Checksum)
	if err == nil {
		var public []byte
		if public, err = g.node.root.SigningKey(known.Number); err == nil && string(public) != string(known.SigningKey) {
			err = kms.Errorf(kms.Damaged, "master secret %d makes another signing key than the domain knows", known.Number)
		}
	}
	if err != nil {
		return kms.Errorf(kms.Damaged, "%w", err).WithFile(rootFile).WithHint(lostHint)
	}
	return nil
}

// drop wipes a generation that is not in use.
func (g *generations) drop(generation uint32) {
	g.set.Drop(generation)
	g.node.root.Forget(generation)
	g.unwritten = true
}

func (g *generations) write() error {
	all := slices.Clone(g.candidates)
	for _, number := range g.set.Held() {
		if s, err := g.set.Secret(number); err == nil {
			all = append(all, candidate{number, s})
		}
	}
	err := g.sealer.writeRoot(g.node.who.domain, all)
	g.unwritten = err != nil
	return err
}

// authority is the domain's certificate authority as it is wrapped now; once the
// node has stopped, as it was last seen.
func (g *generations) authority() *state.Authority {
	if view, err := g.node.replica.Local(); err == nil {
		g.known.Store(view.Authority())
	}
	return g.known.Load()
}

// nudge has run look after what there is to do.
func (g *generations) nudge() {
	select {
	case g.wake <- struct{}{}:
	default: // it is about to look
	}
}

// run does what there is to do until ctx ends.
func (g *generations) run(ctx context.Context) {
	for {
		changed := g.node.replica.LeaderChanged()
		g.maintain(ctx)
		select {
		case <-ctx.Done():
			return
		case <-g.wake:
		case <-changed: // it may be this node's work now
		}
	}
}

func (g *generations) maintain(ctx context.Context) {
	if g.node.replica.Leads() && g.node.core.RotationDue() {
		if _, err := g.rotate(ctx, nil); err != nil {
			g.node.cfg.Logger.Error("the master secret's rotation is due and does not succeed", "cause", err)
		}
	}
	if err := g.finishLocked(); err != nil {
		g.node.cfg.Logger.Error("a retired master secret is still on the disk", "cause", err)
	}
	if err := g.deal(ctx); err != nil {
		g.node.cfg.Logger.Error("the recovery key is not dealt to those whom the charter names now", "cause", err)
	}
	g.rewrap(ctx)
	g.remedy(ctx)
}

// nudgeIfDue has run rotate soon after the policy's interval has passed, and do
// what another node was told of; what else it does walks through the state.
func (g *generations) nudgeIfDue() {
	if g.holdsRetired() || g.node.replica.Leads() && (g.node.core.RotationDue() || g.unseen()) {
		g.nudge()
	}
}

// holdsRetired reports whether a master secret is in memory that the domain uses
// no more.
func (g *generations) holdsRetired() bool {
	view, err := g.node.replica.Local()
	if err != nil {
		return false
	}
	known := view.Generations()
	return slices.ContainsFunc(g.set.Held(), func(number uint32) bool { return int(number) < len(known) && known[number].Retired != 0 })
}

// rotate makes the next generation and puts it in use.
func (g *generations) rotate(ctx context.Context, order []byte) (uint32, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next, err := g.node.core.Rotate(ctx, order, g.prepare)
	if err != nil {
		return 0, err
	}
	view := g.node.machine.View()
	g.settle(view)
	if err := g.use(view); err != nil {
		return 0, err
	}
	g.node.cfg.Logger.Info("master secret rotated", "generation", next)
	g.nudge()
	return next, nil
}

// RotateMasterSecret makes the next generation of the domain's master secret, as
// an order of an operator or the owner says. It is in use when this returns;
// what is wrapped under older ones is re-wrapped in the background. The errors
// are those of govern, Exists (the order was obeyed before), Expired, Conflict
// (it is for another generation), Exhausted and Unavailable.
func (n *Node) RotateMasterSecret(ctx context.Context, order []byte) (kms.Generation, error) {
	if len(order) == 0 {
		return kms.Generation{}, kms.Errorf(kms.Invalid, "there is no order").WithField("order")
	}
	next, err := n.generations.rotate(ctx, order)
	if err != nil {
		return kms.Generation{}, err
	}
	view, err := n.replica.Local()
	if err != nil {
		return kms.Generation{}, err
	}
	return shown(view.Generations()[next], 0), nil
}

// RetireGeneration ends all use of a generation in the running domain, as an
// order of the signers' threshold says, and says what is beyond its reach. The
// errors are those of RotateMasterSecret, NotFound, and Misused for the newest
// generation and while something is wrapped under it.
func (n *Node) RetireGeneration(ctx context.Context, order []byte) (kms.Retirement, error) {
	g := n.generations
	g.mu.Lock()
	defer g.mu.Unlock()
	retired, err := n.core.Retire(ctx, order)
	if err != nil {
		if errors.Is(err, kms.Unavailable) { // it may have happened, and something be left that nobody was told of
			g.nudge()
		}
		return kms.Retirement{}, err
	}
	n.cfg.Logger.Info("master secret retired", "generation", retired)
	r := kms.Retirement{Generation: retired, Remains: n.remains(retired)}
	if err := g.finish(); err != nil {
		n.cfg.Logger.Error("a retired master secret is still on the disk", "cause", err)
		r.Remains = append(r.Remains, "this node's disk, which did not take the change: the node tries again every minute")
	}
	return r, nil
}

// remains says what retiring a generation does not reach, and what it ends.
func (n *Node) remains(generation uint32) []string {
	all := []string{
		"copies of this node's disk that were made before, among them files that its host has set aside and not removed yet: whoever has them and this machine can open them",
		"backups, and shares of this generation, made before",
		fmt.Sprintf("import tokens and sessions made under generation %d are not good any more: clients ask for others", generation),
	}
	if view, err := n.replica.Local(); err == nil {
		if names := runtimeNames(view); len(names) > 0 {
			all = append(all, fmt.Sprintf("long-term keys of generation %d can be had no more by any runtime: %s", generation, strings.Join(names, ", ")))
		}
	}
	return all
}

// runtimeNames lists the runtimes that the policy in force knows.
func runtimeNames(view *state.View) (names []string) {
	for _, entry := range view.Policy().Nodes {
		for _, r := range entry.MayQuery {
			names = append(names, r.Runtime)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (g *generations) finishLocked() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.finish()
}

// finish removes what was retired from memory, the root file, and by a snapshot
// from the log. It does again what did not succeed before.
func (g *generations) finish() error {
	view, err := g.node.replica.Local()
	if err != nil {
		return err
	}
	behind := false
	for _, known := range view.Generations() {
		if known.Retired == 0 {
			continue
		}
		if _, err := g.set.Secret(known.Number); err == nil {
			g.drop(known.Number)
		}
		behind = behind || !g.node.replica.Compacted(known.RetiredIndex)
	}
	if g.unwritten {
		if err := g.write(); err != nil {
			return err
		}
	}
	if behind {
		return g.node.replica.Compact()
	}
	return nil
}

// rewrap walks through the state until a walk finds nothing to move, or nothing
// that can be moved. The node that leads does, and goes on where another one left
// off.
func (g *generations) rewrap(ctx context.Context) {
	total := 0
	for ctx.Err() == nil && g.node.replica.Leads() {
		view, err := g.node.replica.Local()
		if err != nil || view.Wrapped().Before(view.Generation()) == 0 {
			break
		}
		moved, err := g.walk(ctx)
		total += moved
		if err != nil || moved == 0 {
			break
		}
	}
	if total > 0 {
		g.node.cfg.Logger.Info("re-wrapped under the newest master secret", "secrets", total)
	}
}

// walk goes through the state once.
func (g *generations) walk(ctx context.Context) (moved int, err error) {
	w := g.node.core.NewRewrapping(authoritySlot)
	walking, done := context.WithCancel(ctx)
	defer done()
	g.node.cfg.Clock.Every(walking, rewrapPause, func() {
		var over bool
		if over, err = w.Step(walking); over || err != nil || !g.node.replica.Leads() {
			done()
		}
	})
	moved, stuck := w.Moved()
	if stuck != nil {
		g.node.cfg.Logger.Error("a secret cannot be re-wrapped", "cause", stuck)
	}
	g.statusMu.Lock()
	g.trouble = stuck
	g.statusMu.Unlock()
	return moved, err
}

// MasterSecrets is what anybody may know of the domain's master secrets. The
// error is Unavailable.
func (n *Node) MasterSecrets(context.Context) (kms.MasterSecrets, error) {
	view, err := n.replica.Local()
	if err != nil {
		return kms.MasterSecrets{}, err
	}
	counted, trouble := n.generations.count(view)
	m := kms.MasterSecrets{Left: counted.Before(view.Generation()), NextAt: view.NextRotation()}
	for _, known := range view.Generations() {
		m.Generations = append(m.Generations, shown(known, counted[known.Number]))
	}
	m.Compromises = n.compromises(view)
	if trouble != nil { // which record it is, the node's log says
		m.Troubles = append(m.Troubles, "a secret cannot be re-wrapped: see the node's log")
	}
	return m, nil
}

// count counts what is wrapped under which generation, or remembers it for a
// while; see countShare.
func (g *generations) count(view *state.View) (state.Wrapped, error) {
	g.statusMu.Lock()
	defer g.statusMu.Unlock()
	start := g.node.cfg.Clock.Now()
	if g.counted == nil || g.index != view.Index() && !start.Before(g.recount) {
		g.counted, g.exposed, g.index = view.Wrapped(), view.ToReplace(), view.Index()
		end := g.node.cfg.Clock.Now()
		g.recount = end.Add(countShare * max(0, end.Sub(start)))
	}
	return g.counted, g.trouble
}

func shown(g state.Generation, wrapped int) kms.Generation {
	out := kms.Generation{Number: g.Number, Checksum: slices.Clone(g.Checksum), SigningKey: slices.Clone(g.SigningKey),
		Created: time.Unix(0, g.Created).UTC(), Wrapped: wrapped}
	if g.Retired != 0 {
		out.Retired = time.Unix(0, g.Retired).UTC()
	}
	return out
}
