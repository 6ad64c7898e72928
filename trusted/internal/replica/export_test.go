package replica

import (
	"bytes"
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// What a test that runs raft alone needs, to run it with the settings that a
// Replica runs it with.
var RaftConfig = raftConfig

const (
	RaftPool     = raftPool
	RaftTimeout  = raftTimeout
	RaftInFlight = raftInFlight
)

// ReadAndWriteFrame reads a frame and returns what it is printed as.
func ReadAndWriteFrame(data []byte) ([]byte, error) {
	f, err := readFrame(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return f.append(nil), nil
}

// ReadAndWriteVerdict does so with the body of an outcome.
func ReadAndWriteVerdict(data []byte) ([]byte, error) {
	v, err := parseVerdict(data)
	if err != nil {
		return nil, err
	}
	return v.bytes(), nil
}

// NewLane makes a lane of nobody's, and returns what joins a round, and then
// waits for it.
func NewLane(ctx context.Context, attempt func() (uint64, error)) (join func() (wait func() (uint64, error))) {
	l := &lane{limit: time.Minute, spawn: func(f func()) bool { go f(); return true }, ctx: ctx, logger: slog.New(slog.DiscardHandler), failing: new(atomic.Bool), enough: make(chan struct{}, 1),
		attempt: func(context.Context) (at point, err error) { at.index, err = attempt(); return at, err }}
	return func() func() (uint64, error) {
		rd, idle := l.enter()
		if idle {
			go func() {
				defer func() { _ = recover() }() // as who serves requests does
				l.serve()
			}()
		}
		return func() (uint64, error) {
			<-rd.done
			return rd.at.index, rd.err
		}
	}
}
