package perf_test

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/kms"
)

// A place is where requests go.
type place struct {
	name    string
	to      []target
	metered []*process // every node of the domains
	against *place     // what it is compared with; nil: nothing
	sum     result
	rounds  []result
}

// encrypt compares an Encrypt on three nodes with one on nodes that are alone.
// All run, and are loaded in turn: what else the machine does then hits each.
func (f *figures) encrypt(t *testing.T) {
	var alone []*process
	var apart []target
	for range 3 {
		c := f.newCluster(t, 1)
		defer c.end()
		alone, apart = append(alone, c.nodes[0]), append(apart, target{c.nodes[0], c.encryptForm(t)})
	}
	c := f.newCluster(t, 3)
	defer c.end()
	form, lead := c.encryptForm(t), c.leader(t)
	one := &place{name: "one node", to: apart[:1], metered: alone[:1]}
	three := &place{name: "three nodes, each alone", to: apart, metered: alone}
	places := []*place{one,
		{name: "a domain of three, all load at the leader", to: targets(form, c.nodes[lead]), metered: c.nodes, against: one},
		{name: "a domain of three, all load at a follower", to: targets(form, c.nodes[(lead+1)%3]), metered: c.nodes, against: one},
		three,
		{name: "a domain of three, load on all", to: targets(form, c.nodes...), metered: c.nodes, against: three},
	}
	fmt.Printf("\nWithout requests: %s of processor time a second for one node, %s for a domain of three.\n", idle(t, alone[:1]), idle(t, c.nodes))
	for _, x := range []struct {
		conns, rounds int
	}{{64, 12}, {1, 5}} {
		for range x.rounds {
			for _, p := range places {
				r := load(t, p.to, x.conns, p.metered, 200*time.Millisecond, time.Second)
				p.rounds = append(p.rounds, r)
				p.sum.add(r)
			}
		}
		showEncrypt(x.conns, places)
	}
}

// showEncrypt prints a table, and forgets.
func showEncrypt(conns int, places []*place) {
	heading(fmt.Sprintf("Encrypt of 1 KiB, connections: %d", conns), "requests/s", "CPU/request, all nodes", "more than", "p50", "p99")
	for _, p := range places {
		row(p.name, fmt.Sprintf("%.0f", p.sum.rate()), micros(p.sum.each()), p.beyond(), millis(p.sum.quantile(0.5)), millis(p.sum.quantile(0.99)))
	}
	for _, p := range places {
		p.sum, p.rounds = result{}, nil
	}
}

// beyond is the processor time of a request beyond that of what it is compared
// with in the same round: the median of the rounds, and the quarters about it.
func (p *place) beyond() string {
	if p.against == nil {
		return ""
	}
	var all []time.Duration
	for i, r := range p.rounds {
		all = append(all, r.each()-p.against.rounds[i].each())
	}
	slices.SortFunc(all, cmp.Compare)
	n := len(all)
	return fmt.Sprintf("%s: %s (%s to %s)", p.against.name, micros((all[(n-1)/2]+all[n/2])/2), micros(all[n/4]), micros(all[n-1-n/4]))
}

func (c *cluster) encryptForm(t *testing.T) *form {
	t.Helper()
	key, err := c.nodes[0].client.CreateKey(t.Context(), kms.CreateKeyRequest{Spec: kms.AES256GCM, Origin: kms.Generated})
	if err != nil {
		t.Fatal(err)
	}
	return c.form(t, "Encrypt", fmt.Sprintf(`{"keyid":"%v","plaintext":%q}`, key, base64.StdEncoding.EncodeToString(make([]byte, 1024))))
}

// idle is what nodes take in a second without requests.
func idle(t *testing.T, nodes []*process) string {
	t.Helper()
	const long = 4 * time.Second
	before := cpuOf(t, nodes)
	time.Sleep(long)
	return millis(time.Duration(float64(cpuOf(t, nodes)-before) / long.Seconds()))
}
