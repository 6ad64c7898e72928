package main

import (
	"context"
	"errors"
	"net"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/host/peer"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A place is where a node serves.
type place struct {
	api, peers string // HOST:PORT
	ca         []byte
}

// serve opens the node, or has it join, and serves until ctx ends.
func (n *node) serve(ctx context.Context) (err error) {
	api := program()
	if n.metrics, err = mount.ListenMetrics(n.set.metrics, &api, n.log); err != nil {
		return err
	}
	defer n.metrics.Close()
	open := disk.Open
	if len(n.set.peers.join) > 0 || n.set.revive.Backup != "" || n.set.stay {
		open = disk.Create // as it is, where it is there from a start before
	}
	return n.with(ctx, open, func(cfg server.Config, d *disk.Disk) (err error) {
		if n.set.peers.listen != "" {
			socket, err := peer.Listen(n.set.peers.listen, n.set.peers.address, n.log)
			if err != nil {
				return kms.Errorf(kms.KindOf(err), "for other nodes: %w", err).WithHint("choose another --peer-listen, and with --peer-address what the others dial")
			}
			defer socket.Listener.Close()
			cfg.Peers = &server.Peers{Listener: socket.Listener, Socket: socket.Address, API: n.url(socket.Address), Name: n.set.peers.name, Dial: peer.Dial}
			n.log.Info("listening for other nodes", "address", socket.Listener.Addr().String(), "they_dial", socket.Address)
		}
		if err := listen.Try(n.set.listen); err != nil { // told now, before the node joins and has to leave again
			return err
		}
		cfg.Mount = api.Handler
		if cfg.AuditSinks, err = n.auditSinks(); err != nil {
			return err
		}
		opened, err := n.open(ctx, cfg)
		switch {
		case err != nil && ctx.Err() != nil:
			n.log.Info("ends as it was asked to, before it served", "cause", err)
			return nil
		case err != nil:
			return err
		}
		defer func() { err = errors.Join(err, opened.Close()) }()
		if err := d.PurgeAside(); err != nil { // what the last run set aside is not needed: everything verified
			n.log.Warn("files set aside were not removed", "cause", err)
		}
		if err := n.publish(ctx, opened, cfg.Peers); err != nil || !n.set.drain {
			return err
		}
		return opened.Drain(context.WithoutCancel(ctx))
	})
}

// open opens the node, or has it join. How far it has come is in the log.
func (n *node) open(ctx context.Context, cfg server.Config) (*server.Node, error) {
	p := &n.set.peers
	if n.command == "found" {
		return n.foundStaying(ctx, cfg)
	}
	if n.set.stay {
		return n.restoreStaying(ctx, cfg)
	}
	if n.set.revive.Recovery != "" {
		return n.set.revive.Revive(ctx, cfg)
	}
	if len(p.join) == 0 {
		return server.Open(ctx, cfg)
	}
	last := ""
	j := server.Joining{Sponsors: p.join, Progress: func(what string) {
		if what != last { // it waits, and says so again and again
			n.log.Info("joining", "progress", what)
		}
		last = what
	}}
	if p.approval != "" {
		var err error
		if j.Approval, err = readFile(p.approval, govern.MaxEnvelope, "give the approval that an operator signed"); err != nil {
			return nil, err
		}
	}
	return server.Join(ctx, cfg, j)
}

// publish serves.
func (n *node) publish(ctx context.Context, opened *server.Node, peers *server.Peers) error {
	l, err := listen.TCP(n.set.listen, listen.Config{Log: n.log})
	if err != nil {
		return err
	}
	at := place{api: l.Addr().String(), ca: opened.CA()}
	if peers != nil {
		at.peers = peers.Socket
	}
	n.log.Info("serving", "address", at.api, "node", opened.Status().Node.String(), "peers", at.peers)
	if n.serving != nil {
		n.serving(at)
	}
	defer n.metrics.Serve(opened, l)()
	return opened.Serve(ctx, l)
}

// url is what people are told of the API: the host that other nodes dial, unless
// the API has one of its own.
func (n *node) url(peerAddress string) string {
	host, port, err := net.SplitHostPort(n.set.listen)
	if err != nil || port == "0" {
		return ""
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host, _, _ = net.SplitHostPort(peerAddress) // it was checked
	}
	return "https://" + net.JoinHostPort(host, port)
}
