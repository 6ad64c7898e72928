package perf_test

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// keysOfJoin is how many keys a domain has that nodes join; HOLDFAST_FIGURES_KEYS
// says another number.
const keysOfJoin = 1_000_000

// join tells how long nodes take to start and to join, and what memory they
// take, without keys and with very many.
func (f *figures) join(t *testing.T) {
	many := keysOfJoin
	if s := os.Getenv("HOLDFAST_FIGURES_KEYS"); s != "" {
		var err error
		if many, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	heading("domain", "what", "time until it serves", "until it votes", "resident memory, each node")
	for _, keys := range []int{0, many} {
		c := f.newCluster(t, 1)
		if keys > 0 {
			took := c.fill(t, keys)
			row(fmt.Sprintf("%d keys", keys), "made over HTTPS", fmt.Sprintf("(%v)", took.Round(time.Second)), "", c.memories(t))
		}
		c.starts(t, keys)
		c.end()
	}
}

// fill creates keys, and returns how long it took. They are two apps', since one
// may have no more than a million.
func (c *cluster) fill(t *testing.T, keys int) time.Duration {
	t.Helper()
	const conns, slice = 96, 5 * time.Second // an app may have 128 requests under way
	form, begin, half := c.form(t, "CreateKey", createAES), time.Now(), keys/2
	for made := 0; made < keys; {
		if made > half {
			form, half = c.another(t).form(t, "CreateKey", createAES), keys
		}
		r := load(t, targets(form, c.nodes...), conns, c.nodes, 0, slice)
		if made += r.n; t.Failed() {
			t.Fatalf("%d of %d keys are made", made, keys)
		}
	}
	return time.Since(begin)
}

// another is the cluster for another app.
func (c *cluster) another(t *testing.T) *cluster {
	t.Helper()
	cred, err := c.nodes[0].client.Enroll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := *c
	second.cred.AppID, second.cred.APIKey = cred.AppID.String(), cred.APIKey.Reveal()
	return &second
}

// starts has a node start again, two join, and one of those start again.
func (c *cluster) starts(t *testing.T, keys int) {
	t.Helper()
	domain := fmt.Sprintf("%d keys", keys)
	show := func(what string, serves time.Duration, votes string) {
		time.Sleep(3 * time.Second) // what a start needs once is freed
		row(domain, what, seconds(serves), votes, c.memories(t))
	}
	c.nodes[0].kill()
	show("the only node starts after kill -9", c.again(t, 0).took, "")
	c.nodes[0].stop()
	show("the only node starts after it was stopped", c.again(t, 0).took, "")
	for _, what := range []string{"a second node joins", "a third node joins"} {
		serves, votes := c.grow(t)
		show(what, serves, seconds(votes))
	}
	follower := (c.leader(t) + 1) % 3
	c.nodes[follower].kill()
	show("a follower starts after kill -9", c.again(t, follower).took, "")
}

// memories lists what each node has resident.
func (c *cluster) memories(t *testing.T) (list string) {
	t.Helper()
	for i, p := range c.nodes {
		if i > 0 {
			list += ", "
		}
		list += fmt.Sprint(p.memory(t))
	}
	return list + " MB"
}
