// Package traffic keeps tenants from each other's way: a rate for each app and
// class of work, and a bound on what a node takes on at once.
//
// Both bound what one node does; nothing of it is replicated. Over n nodes an
// app's rate is n times as high. The package reads no clock but the one that it is
// given, and holds at most one entry of 32 bytes for each app that ever had a limit
// to keep.
package traffic

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

const (
	classes = int(kms.SecretWork) + 1
	shards  = 64
)

// A Limiter keeps apps to their rates.
type Limiter struct {
	now    func() time.Time
	start  time.Time
	shards [shards]shard

	refused [classes]atomic.Uint64
}

type shard struct {
	mu       sync.Mutex
	apps     map[kms.AppID]*buckets
	underWay map[kms.AppID]int // no entry: none is
}

// buckets are those of one app, one for each class: each is the moment, in ns
// since the limiter's start, at which the bucket is full again. That is all of a
// token bucket that there is to know (GCRA, ITU-T I.371).
type buckets [classes - 1]int64

// NewLimiter makes a Limiter. Readings of now that are subtracted should give
// elapsed time; a step of the clock costs or gives an app one burst at most.
func NewLimiter(now func() time.Time) *Limiter {
	l := &Limiter{now: now, start: now()}
	for i := range l.shards {
		l.shards[i].apps, l.shards[i].underWay = map[kms.AppID]*buckets{}, map[kms.AppID]int{}
	}
	return l
}

// Take takes a token out of an app's bucket. The error is Exhausted and says when
// there will be one. An app without a limit is not remembered.
func (l *Limiter) Take(app kms.AppID, class kms.WorkClass, rate kms.Rate) error {
	if rate.PerSecond == 0 || !class.Valid() {
		return nil
	}
	now := int64(l.now().Sub(l.start))
	s := &l.shards[app[0]%shards]
	s.mu.Lock()
	b := s.apps[app]
	if b == nil {
		b = new(buckets)
		s.apps[app] = b
	}
	wait := take(&b[class-1], now, rate)
	s.mu.Unlock()
	if wait == 0 {
		return nil
	}
	l.refused[class].Add(1)
	return kms.Errorf(kms.Exhausted, "the app's rate of %s operations is used up", class).WithRetry(wait).
		WithHint("ask again later, and less often; the domain's policy sets the rate")
}

// take takes a token out of a bucket at a moment, or says how long there will be
// none.
func take(full *int64, now int64, rate kms.Rate) (wait time.Duration) {
	token := int64(time.Second) / int64(rate.PerSecond)
	burst := token * int64(max(rate.Burst, 1))
	at := max(*full, now) // a bucket that was full earlier has not overflowed
	if at > now+burst {   // the clock went back, or the rate was lowered: empty, and no emptier
		at = now + burst
	}
	if next := at + token; next <= now+burst {
		*full = next
		return 0
	}
	*full = at
	return time.Duration(at + token - burst - now)
}

// Begin notes that an operation of an app is under way, which must End. The error
// is Exhausted where the app has most of them under way.
func (l *Limiter) Begin(app kms.AppID, most int) error {
	s := &l.shards[app[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.underWay[app] >= most {
		return kms.Errorf(kms.Exhausted, "the app has as many operations under way as one app may").WithRetry(shedRetry).
			WithHint("ask again when others have been answered, or ask another node")
	}
	s.underWay[app]++
	return nil
}

// End notes that an operation has ended.
func (l *Limiter) End(app kms.AppID) {
	s := &l.shards[app[0]%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.underWay[app]--; s.underWay[app] <= 0 {
		delete(s.underWay, app)
	}
}

// Refused is how many requests of a class found no token.
func (l *Limiter) Refused(class kms.WorkClass) uint64 {
	if !class.Valid() {
		return 0
	}
	return l.refused[class].Load()
}
