package load

import (
	"bufio"
	"net/netip"
	"strings"
)

// Listeners is listeners for a table that is given as text.
func Listeners(table string, addr netip.AddrPort) []string {
	return listeners(bufio.NewScanner(strings.NewReader(table)), addr)
}
