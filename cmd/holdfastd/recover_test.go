package main

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
)

// recovery is what owner and signers sign once they have seen what a node shows.
func (r *rig) recovery(rulers *governtest.Rulers) []byte {
	r.t.Helper()
	b, err := os.ReadFile(r.path("shown"))
	if err != nil {
		r.t.Fatal(err)
	}
	shown, err := backup.ParseRequest(b)
	if err != nil {
		r.t.Fatal(err)
	}
	doc := &govern.Recovery{Version: govern.RecoveryVersion, Domain: shown.Domain, CharterDigest: rulers.Charter.Digest(), Head: shown.Head, Survivor: shown.Node}
	rand.Read(doc.Nonce[:])
	return rulers.Sign(govern.RecoveryType, doc.Canonical(), append([]*govern.PrivateKey{rulers.Owner}, rulers.Signers[:2]...)...)
}

// two serves a domain of two nodes, which both vote.
func two(t *testing.T, more ...string) (first, second *rig, stopFirst, stopSecond func() int) {
	t.Helper()
	first = newRig(t)
	first.found()
	at, stopFirst := first.serve("--peer-listen", freePort)
	second = first.guest(simtee.Config{})
	it, stopSecond := second.serve(append([]string{"--peer-listen", freePort, "--join", at.peers}, more...)...)
	for range 1000 {
		if get(t, it).Voters == 2 {
			return first, second, stopFirst, stopSecond
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it does not vote")
	return
}

// TestRecover: of two nodes one is lost. The other one is surveyed, carries the
// domain on as owner and signers say, and is started like any other afterwards.
func TestRecover(t *testing.T) {
	r, _, stop, stopSecond := two(t)
	stopSecond()
	stop()
	r.must(exitOK, `"members_that_would_go":1`, r.node(true), r.args("survey", "--out", r.path("shown"))...)
	r.write("recovery", r.recovery(r.rulers))
	r.must(exitFailed, "owner and signers", r.node(true), r.args("recover", "--recovery", r.path("none"), "--listen", freePort)...)
	carried, stop := r.startAs("recover", "--recovery", r.path("recovery"), "--peer-listen", freePort)
	at, ok := <-carried
	if !ok {
		t.Fatalf("status %d:\n%s", stop(), &r.log)
	}
	if s := get(t, at); s.Voters != 1 || !s.Ready {
		t.Errorf("carried on: %+v", s)
	}
	stop()
	r.must(exitFailed, "used", r.node(true), r.args("recover", "--recovery", r.path("recovery"), "--listen", freePort)...)
	at, _ = r.serve("--peer-listen", freePort)
	if s := get(t, at); s.Voters != 1 || !s.Ready {
		t.Errorf("started again: %+v", s)
	}
}

// TestDrainOnTerm: a node that is told to end leaves the domain, the last one
// excepted.
func TestDrainOnTerm(t *testing.T) {
	first, second, stopFirst, stopSecond := two(t, "--drain-on-term")
	if got := stopSecond(); got != exitOK || !strings.Contains(second.log.String(), "has left the domain") {
		t.Errorf("status %d:\n%s", got, &second.log)
	}
	stopFirst()
	at, stop := first.serve("--peer-listen", freePort, "--drain-on-term")
	if s := get(t, at); s.Voters != 1 || !s.Ready {
		t.Errorf("without it: %+v", s)
	}
	if got := stop(); got != exitFailed || !strings.Contains(first.log.String(), "would have none left") || !strings.Contains(first.log.String(), "let another node join") {
		t.Errorf("status %d:\n%s", got, &first.log)
	}
}
