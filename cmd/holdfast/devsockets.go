package main

import (
	"errors"
	"net"

	"github.com/holdfast-kms/holdfast/host/listen"
	"github.com/holdfast-kms/holdfast/host/peer"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// devSockets are the open sockets of a node.
type devSockets struct {
	peers *peer.Socket
	api   *listen.Listener // nil until the node can serve, see open
	at    devAddresses
}

// open opens them where the flags say, else where the node listened before. The
// API's is tried, and opened when the node serves: until then clients are refused, and do not
// wait. A port of which nobody knows is taken at once, so that others can be told.
func (r *devRun) openSockets() (s *devSockets, err error) {
	before, err := r.home.addresses()
	if err != nil {
		return nil, err
	}
	at := devAddresses{API: orElse(r.at.Listen, orElse(before.API, r.firstListen())), Peers: orElse(r.at.PeerListen, orElse(before.Peers, freeListen)),
		PeerAddress: r.at.PeerAddress, Name: orElse(r.at.Name, before.Name)}
	if at.PeerAddress == "" && at.Peers == before.Peers {
		at.PeerAddress = before.PeerAddress
	}
	s = &devSockets{at: at}
	if s.peers, err = r.openPeers(at.Peers, at.PeerAddress); err != nil {
		return nil, err
	}
	s.at.Peers = s.peers.Listener.Addr().String()
	if _, port, splits := net.SplitHostPort(at.API); splits == nil && port == "0" {
		err = s.openAPI(r)
	} else if err = listen.Try(at.API); err != nil { // told now, before the node joins and has to leave again
		err = because(err, orElse(kms.HintOf(err), "choose another address with --listen"), "listening")
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err = r.home.keepAddresses(s.at); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// openPeers takes another port where nobody has asked for one and that of the last
// time is taken: the others are told.
func (r *devRun) openPeers(at, address string) (*peer.Socket, error) {
	s, err := peer.Listen(at, address, r.logger)
	if errors.Is(err, kms.Unavailable) && r.at.PeerListen == "" && r.child {
		r.logger.Warn("the port for other nodes is taken, so it is another one now", "cause", err)
		s, err = peer.Listen(freeListen, address, r.logger)
	}
	if err != nil {
		return nil, because(err, "choose another address with --peer-listen, and one that others can dial with --peer-address", "listening for other nodes")
	}
	return s, nil
}

func (s *devSockets) openAPI(r *devRun) (err error) {
	if s.api != nil {
		return nil
	}
	if s.api, err = listen.TCP(s.at.API, listen.Config{Log: r.logger}); err != nil {
		return because(err, orElse(kms.HintOf(err), "choose another address with --listen"), "listening")
	}
	s.at.API = s.api.Addr().String()
	return nil
}

func (s *devSockets) url() string { return "https://" + s.at.API }

// server is what the node is told of them.
func (s *devSockets) server() *server.Peers {
	return &server.Peers{Listener: s.peers.Listener, Socket: s.peers.Address, API: s.url(), Name: s.at.Name, Dial: peer.Dial}
}

func (s *devSockets) close() error {
	err := s.peers.Listener.Close()
	if s.api != nil {
		err = errors.Join(err, s.api.Close())
	}
	return err
}
