package peer_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/holdfast-kms/holdfast/host/peer"
	"github.com/holdfast-kms/holdfast/kms"
)

func TestListenAndDial(t *testing.T) {
	s, err := peer.Listen("127.0.0.1:0", "", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Listener.Close()
	if s.Address != s.Listener.Addr().String() {
		t.Errorf("others dial %s, it listens at %s", s.Address, s.Listener.Addr())
	}
	go func() {
		if c, err := s.Listener.Accept(); err == nil {
			_, _ = c.Write([]byte("!"))
			_ = c.Close()
		}
	}()
	c, err := peer.Dial(t.Context(), s.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); n != 1 {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	for _, address := range []string{"10.0.0.7:9001", "[::1]:1", "kms-1.example:65535", "localhost:9001"} {
		if err := peer.CheckAddress(address); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"", ":9001", "0.0.0.0:9001", "[::]:9001", "kms-1.example", "kms-1.example:", "kms-1.example:0", "kms-1.example:65536", "https://kms-1.example:9001", "a:b:c"} {
		err := peer.CheckAddress(address)
		if !errors.Is(err, kms.Invalid) || kms.HintOf(err) == "" {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, c := range []struct {
		listen, address string
		want            error
	}{
		{"127.0.0.1:0", "0.0.0.0:1", kms.Invalid},
		{"0.0.0.0:0", "", kms.Invalid},
		{":0", "", kms.Invalid},
		{"nonsense", "", kms.Invalid},
		{"192.0.2.1:1", "", kms.Unavailable}, // no address of any machine
		{"127.0.0.1:0", "kms-1.example:9001", nil},
	} {
		s, err := peer.Listen(c.listen, c.address, nil)
		if !errors.Is(err, c.want) || err != nil && kms.HintOf(err) == "" {
			t.Errorf("%+v: %v", c, err)
		}
		if err == nil {
			if s.Address != c.address {
				t.Errorf("%+v: others dial %s", c, s.Address)
			}
			_ = s.Listener.Close()
		}
	}
}
