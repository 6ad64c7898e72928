package trustedtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/holdfast-kms/holdfast/backup"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/govern/governtest"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// NewRecoverable is NewDomain with three holders of recovery keys, two of whom
// bring a domain back.
func NewRecoverable(t testing.TB, n int) *Domain {
	t.Helper()
	return newDomain(t, n, governtest.Recoverable(t))
}

// Recovery is what owner and threshold sign so that a node carries on, as edit
// changes it.
func (d *Domain) Recovery(c *server.Claimant, edit func(*govern.Recovery)) []byte {
	d.t.Helper()
	return d.SignRecovery(c, edit, append([]*govern.PrivateKey{d.Rulers.Owner}, d.Rulers.Signers[:2]...)...)
}

// SignRecovery is so, with signatures of these keys.
func (d *Domain) SignRecovery(c *server.Claimant, edit func(*govern.Recovery), keys ...*govern.PrivateKey) []byte {
	d.t.Helper()
	doc := &govern.Recovery{Version: govern.RecoveryVersion, Domain: c.Request.Domain, CharterDigest: d.Rulers.Charter.Digest(),
		Head: c.Request.Head, Survivor: c.Request.Node}
	rand.Read(doc.Nonce[:])
	if edit != nil {
		edit(doc)
	}
	return d.Rulers.Sign(govern.RecoveryType, doc.Canonical(), keys...)
}

// Backup orders a backup of a node that runs, and returns it.
func (n *Node) Backup() []byte {
	n.domain.t.Helper()
	var out bytes.Buffer
	if err := n.node.BackupDomain(context.Background(), n.BackupOrder(), &out); err != nil {
		n.domain.t.Fatal(err)
	}
	return out.Bytes()
}

// BackupOrder is an operator's order to make a backup.
func (n *Node) BackupOrder() []byte {
	o := &govern.Order{Version: govern.OrderVersion, Domain: n.node.Status().DomainID, Deed: govern.DeedBackup,
		Expires: n.Clock.Now().Add(time.Hour).UTC().Truncate(time.Second)}
	rand.Read(o.Nonce[:])
	return n.domain.Rulers.Sign(govern.OrderType, o.Canonical(), n.domain.Rulers.Operator)
}

// Hand has a holder open his share in a backup for a node.
func (d *Domain) Hand(from []byte, c *server.Claimant, holder *govern.PrivateKey) []byte {
	d.t.Helper()
	h, _, err := backup.Read(bytes.NewReader(from))
	if err != nil {
		d.t.Fatal(err)
	}
	handed, err := h.Hand(holder, &c.Request)
	if err != nil {
		d.t.Fatal(err)
	}
	b, err := handed.Encode()
	if err != nil {
		d.t.Fatal(err)
	}
	return b
}

// Survey looks at what the node's disk has left.
func (n *Node) Survey() (c *server.Claimant, err error) {
	err = n.look(disk.Open, func(ctx context.Context, cfg server.Config) error { c, err = server.Survey(ctx, cfg); return err })
	return c, err
}

// PrepareRestore readies the node to restore a domain.
func (n *Node) PrepareRestore(from []byte) (c *server.Claimant, err error) {
	err = n.look(disk.Create, func(ctx context.Context, cfg server.Config) error {
		c, err = server.PrepareRestore(ctx, cfg, bytes.NewReader(from))
		return err
	})
	return c, err
}

// look does something with the node's disk that does not start it.
func (n *Node) look(open func(string) (*disk.Disk, error), do func(context.Context, server.Config) error) error {
	d, err := open(n.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	cfg, err := n.config(d)
	if err != nil {
		return err
	}
	if cfg.Peers != nil {
		defer cfg.Peers.Listener.Close()
	}
	return do(context.Background(), cfg)
}

// Recover has the node carry on alone, and start.
func (n *Node) Recover(document []byte) error {
	return n.start(disk.Open, func(cfg server.Config) (*server.Node, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return server.Recover(ctx, cfg, document)
	})
}

// Restore has the node restore a domain, and start.
func (n *Node) Restore(from, document []byte, shares ...[]byte) error {
	return n.start(disk.Open, func(cfg server.Config) (*server.Node, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return server.Restore(ctx, cfg, server.Restoration{Backup: bytes.NewReader(from), Recovery: document, Shares: shares})
	})
}
