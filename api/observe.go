package api

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
)

// An Observer is told of every request. Facades keep no time: it does.
type Observer interface {
	// Begin is called when a request has been read; what it returns goes to End.
	Begin() int64
	// End is called with what became of the request, before the answer is sent.
	End(begun int64, s kms.Served)
}

// A Gate lets requests in as long as the node can take more on.
type Gate interface {
	// Enter lets a request in, who must Leave. It waits for nothing but the request's
	// turn. The error is Exhausted, and comes at once.
	Enter(ctx context.Context) error
	Leave()
}

// A Watch is both, for a facade; the zero Watch watches nothing and lets
// everything in.
type Watch struct {
	Observer Observer // nil: nobody is told
	Gate     Gate     // nil: everything is let in
}

// Begin reads the observer's clock.
func (w Watch) Begin() int64 {
	if w.Observer == nil {
		return 0
	}
	return w.Observer.Begin()
}

// End tells the observer what became of a request.
func (w Watch) End(begun int64, s kms.Served) {
	if w.Observer != nil {
		w.Observer.End(begun, s)
	}
}

// Enter asks the gate. The error is Exhausted.
func (w Watch) Enter(ctx context.Context) error {
	if w.Gate == nil {
		return nil
	}
	return w.Gate.Enter(ctx)
}

// Leave leaves the gate.
func (w Watch) Leave() {
	if w.Gate != nil {
		w.Gate.Leave()
	}
}

// UnknownOperation stands for what a client asked for and nobody has, so that
// what clients write is never counted under names of their choice.
const UnknownOperation = "unknown"
