package member

import (
	"net"
	"net/netip"
	"slices"
	"sync"
)

// A door bounds how many are inside. When it is full the one is put out who came
// first from the address that most came from, so that who comes from another
// address still gets in, and so does who is quick.
type door struct {
	limit int
	mu    sync.Mutex
	in    []*guest // in the order that they came in
}

type guest struct {
	from   string
	putOut func()
}

func newDoor(limit int) *door { return &door{limit: limit} }

// enter lets one in, who calls leave. putOut may be called meanwhile, once.
func (d *door) enter(from net.Addr, putOut func()) (leave func()) {
	g := &guest{origin(from), putOut}
	d.mu.Lock()
	var out *guest
	if len(d.in) >= d.limit {
		out = d.crowd()
		d.remove(out)
	}
	d.in = append(d.in, g)
	d.mu.Unlock()
	if out != nil {
		out.putOut()
	}
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.remove(g)
	}
}

// crowd is the oldest guest from the address that has most.
func (d *door) crowd() (oldest *guest) {
	count := map[string]int{}
	for _, g := range d.in {
		count[g.from]++
	}
	for _, g := range d.in {
		if oldest == nil || count[g.from] > count[oldest.from] {
			oldest = g
		}
	}
	return oldest
}

func (d *door) remove(g *guest) {
	if i := slices.Index(d.in, g); i >= 0 {
		d.in = slices.Delete(d.in, i, i+1)
	}
}

// origin is where a connection comes from: an address, or the network of 64 bits
// that one has in IPv6.
func origin(a net.Addr) string {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return a.String()
	}
	bits := 64
	if at.Addr().Unmap().Is4() {
		bits = 32
	}
	prefix, err := at.Addr().Unmap().Prefix(bits)
	if err != nil {
		return a.String()
	}
	return prefix.String()
}
