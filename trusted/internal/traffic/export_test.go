package traffic

// Queue has n requests wait for a processor, as if none were free, until the func
// is called.
func (g *Gate) Queue(n int) (drain func()) {
	for range n {
		g.crowd.arrive()
	}
	return func() {
		for range n {
			g.crowd.begin()
		}
	}
}

// Long is how many wait where the queue is long.
func (g *Gate) Long() int { return int(g.crowd.long) }
