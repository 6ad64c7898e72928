package collateral

import (
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// A State is how something that is kept stands.
type State string

// The states.
const (
	Missing State = "missing" // it was asked for and never got
	Fresh   State = "fresh"   // in the first half of its life
	Ageing  State = "ageing"  // in the second half: it should have been renewed
	Ended   State = "ended"   // verifiers refuse it
	NotYet  State = "not_yet" // verifiers refuse it still: it begins later
)

// A Status says how one thing in use stands. It is for people and their tools.
type Status struct {
	Item    string // its name, which is also that of its file in the cache
	Title   string // what it is
	Source  string // where it is asked for; empty: it is from a bundle
	State   State
	Fetched time.Time // zero: never
	From    time.Time // in force from
	Until   time.Time // in force until, both inclusive
	// Evaluation is Intel's serial of the verdict; 0 where there is none.
	Evaluation uint32
	Tried      time.Time // when the service was last asked; zero: not by this process
	Failures   int       // since it last answered
	Err        error     // of the last attempt; nil: it went well
	Next       time.Time // not before this is it asked again; zero: any time
	Advice     string    // what a person can do; empty: nothing needs doing
}

// Status says how everything in use stands, by name.
func (c *Client) Status() []Status {
	now := c.cfg.Now()
	var all []Status
	for _, e := range c.kept(everything) {
		all = append(all, e.status(now))
	}
	return all
}

func (e *entry) status(now time.Time) Status {
	tried := e.attempts()
	s := Status{Item: e.item.name, Title: e.item.title, Source: e.item.url, State: Missing,
		Tried: tried.last, Failures: tried.failures, Err: tried.err, Next: tried.next}
	if e.client.bundle != nil {
		s.Source = ""
	}
	if a := e.current.Load(); a != nil {
		s.State, s.Fetched, s.From, s.Until = a.state(now), a.at, a.from, a.until
		if !e.item.lasting {
			s.Evaluation = a.evaluation
		}
	}
	s.Advice = e.advice(s)
	return s
}

func (a *answer) state(now time.Time) State {
	switch {
	case now.After(a.until):
		return Ended
	case now.Before(a.from):
		return NotYet
	case now.Before(a.half()):
		return Fresh
	}
	return Ageing
}

func (e *entry) advice(s Status) string {
	switch {
	case s.State == Fresh:
		return ""
	case s.State == NotYet:
		return "check this machine's clock"
	case e.client.bundle != nil:
		return "make a new bundle with `holdfast collateral bundle`, where there is a network"
	case s.Err == nil && s.State == Ageing:
		return "have the service at " + e.item.url + " refresh what it keeps: it answers, with nothing newer"
	}
	return orElse(kms.HintOf(s.Err), "see that "+e.item.url+" can be reached from here")
}
