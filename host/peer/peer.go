// Package peer is how a node reaches the others of its domain on the network,
// and they it. What runs over its connections proves who is at the other end:
// a name that leads elsewhere, and a host that listens in their place, gain
// nothing.
package peer

import (
	"context"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/kms"
)

const (
	// maxConns bounds the connections of other nodes, and of strangers who only
	// say that they are: 30 others have a few each.
	maxConns = 500
	// dialTime bounds one attempt. A node that is asleep is tried again.
	dialTime = 5 * time.Second
)

// A Socket is where other nodes reach this one.
type Socket struct {
	Listener *listen.Listener
	Address  string // HOST:PORT that others dial
}

// Listen listens for other nodes at addr, as listen.TCP does. address is what
// they dial, where that is not addr: behind a translated address, or by a DNS
// name; empty: where it listens. The error is Invalid where nobody could dial
// that, else Unavailable.
func Listen(addr, address string, log *slog.Logger) (*Socket, error) {
	if address != "" {
		if err := CheckAddress(address); err != nil {
			return nil, err
		}
	}
	l, err := listen.TCP(addr, listen.Config{MaxConns: maxConns, Log: log})
	if err != nil {
		return nil, err
	}
	if address == "" {
		address = l.Addr().String()
		if CheckAddress(address) != nil {
			_ = l.Close()
			return nil, kms.Errorf(kms.Invalid, "listening at every address of the machine, it is not known by which one the other nodes reach it").
				WithHint("say it with --peer-address HOST:PORT")
		}
	}
	return &Socket{Listener: l, Address: address}, nil
}

// Dial dials another node.
func Dial(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTime, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return d.DialContext(ctx, "tcp", address)
}

// CheckAddress refuses what nobody can dial. It looks no name up.
func CheckAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	number, bad := strconv.ParseUint(port, 10, 16)
	if ip := net.ParseIP(host); err != nil || bad != nil || number == 0 || host == "" || ip != nil && ip.IsUnspecified() {
		return kms.Errorf(kms.Invalid, "%q is no address that another node can dial", address).
			WithHint("an address is a name or an IP and a port, as in kms-1.example:9001 or 10.0.0.7:9001")
	}
	return nil
}
