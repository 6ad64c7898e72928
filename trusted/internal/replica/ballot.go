package replica

import (
	"context"
	"slices"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// slowAnswer is after how long a round asks the voters, too, whom it could do
// without.
const slowAnswer = 10 * time.Millisecond

// A ballot is a round among the voters, see Replica.View.
type ballot struct {
	r        *Replica
	question frame
	answers  chan reply
	need     int          // more answers
	unasked  []kms.NodeID // those who answered last come first
	asked    []asked      // who have not answered
}

type asked struct {
	node kms.NodeID
	link *link
}

// run asks and counts until there are enough answers with a term. At first it
// asks only as many as it takes: the others' answers would cost both sides more
// than all else that a read does, and be good for nothing.
func (b *ballot) run(ctx context.Context, term uint64) error {
	hurried, cancel := context.WithTimeout(ctx, slowAnswer)
	defer cancel()
	for wait := hurried; b.need > 0; {
		b.ask(b.need - len(b.asked))
		if b.need > len(b.asked) {
			return errNoQuorum
		}
		select {
		case a := <-b.answers:
			if err := b.count(a, term); err != nil {
				return err
			}
		case <-wait.Done():
			if ctx.Err() != nil {
				return errNoQuorum
			}
			b.ask(len(b.unasked))
			wait = ctx
		}
	}
	return nil
}

// ask asks n more, or as many as there are.
func (b *ballot) ask(n int) {
	for ; n > 0 && len(b.unasked) > 0; b.unasked = b.unasked[1:] {
		l := b.r.link(b.unasked[0])
		if l.call(b.question, func(a reply) { b.answers <- a }) {
			b.asked = append(b.asked, asked{b.unasked[0], l})
			n--
		}
	}
}

// count takes an answer, or a zero one from who could not be asked. The error is
// that there is a later term.
func (b *ballot) count(a reply, term uint64) error {
	i := slices.IndexFunc(b.asked, func(o asked) bool { return o.link == a.from })
	if i < 0 {
		return nil // he has answered
	}
	who := b.asked[i].node
	b.asked = slices.Delete(b.asked, i, i+1)
	if a.kind != answer {
		return nil
	}
	switch s := parseStanding(a.body); {
	case s.term > term:
		return errDeposed
	case s.term == term:
		b.need--
		b.r.noteAnswer(who)
	}
	return nil
}

// end drops the questions that are open.
func (b *ballot) end() {
	for _, o := range b.asked {
		o.link.forget(b.question.id)
	}
}

// byAnswer orders voters by who answered last. Only rounds call it.
func (r *Replica) byAnswer(voters []kms.NodeID) []kms.NodeID {
	place := func(v kms.NodeID) int {
		if i := slices.Index(r.answered, v); i >= 0 {
			return i
		}
		return len(r.answered)
	}
	slices.SortStableFunc(voters, func(a, b kms.NodeID) int { return place(a) - place(b) })
	return voters
}

// noteAnswer notes who answered.
func (r *Replica) noteAnswer(who kms.NodeID) {
	if len(r.answered) > 0 && r.answered[0] == who {
		return
	}
	others := slices.DeleteFunc(r.answered, func(v kms.NodeID) bool { return v == who })
	r.answered = slices.Insert(others, 0, who)
}
