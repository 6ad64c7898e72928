package collateral

import "time"

// For fuzzing: what eats bytes from outside.
var (
	Unescape   = unescape
	RetryAfter = retryAfter
)

// ParseRecord reads a file of the cache and prints it again.
func ParseRecord(b []byte) (name string, body []byte, err error) {
	r, err := parseRecord(b)
	return r.Name, r.Body, err
}

// ReadAll offers an answer to the reader of everything that c knows.
func (c *Client) ReadAll(body []byte, chain string) (accepted int) {
	for _, e := range c.kept(everything) {
		if _, err := e.item.read(said{body: body, chain: chain, at: time.Unix(0, 0)}); err == nil {
			accepted++
		}
	}
	return accepted
}

// Names are the names of everything that c knows.
func (c *Client) Names() (all []string) {
	for _, e := range c.kept(everything) {
		all = append(all, e.item.name)
	}
	return all
}
