package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-kms/holdfast/host/peer"
	"github.com/holdfast-kms/holdfast/kms"
)

// addressesFile keeps where a node of dev listens: others know it by that, so it
// is the same after a restart.
const addressesFile = "addresses.json"

// devAddresses is that file.
type devAddresses struct {
	API         string `json:"api"`
	Peers       string `json:"peers"`
	PeerAddress string `json:"peer_address,omitempty"` // that others dial, where it is not Peers
	Name        string `json:"name,omitempty"`
}

// devListening is where a node listens, as its command line says.
type devListening struct {
	Listen      string `placeholder:"HOST:PORT" help:"Address to serve the API at. Default: where it served before; at first 127.0.0.1:9000, or any free port for a node that joins."`
	PeerListen  string `placeholder:"HOST:PORT" help:"Address to listen at for other nodes. Default: where it did before; at first any free port of 127.0.0.1."`
	PeerAddress string `placeholder:"HOST:PORT" help:"Address that the other nodes dial. Default: that of --peer-listen."`
	Name        string `placeholder:"NAME" help:"What people call the node."`
}

// devPlacing is that, and whom it joins.
type devPlacing struct {
	devListening
	Join     []string `placeholder:"HOST:PORT" help:"Address at which a member of the domain listens for other nodes; several times for several. A node that is a member already does not ask again."`
	Approval string   `placeholder:"FILE" help:"An operator's approval, where the policy wants one for each node."`
}

// check refuses what cannot be meant, before anything is made.
func (p *devPlacing) check() error {
	if len(p.Join) == 0 && p.Approval != "" {
		return misusef("say which domain with --join HOST:PORT", "--approval is for a node that joins")
	}
	for flag, addresses := range map[string][]string{"--join": p.Join, "--peer-address": {p.PeerAddress}} {
		for _, a := range addresses {
			if a == "" && flag != "--join" {
				continue
			}
			if err := peer.CheckAddress(a); err != nil {
				return misusef(kms.HintOf(err), "%s: %v", flag, err)
			}
		}
	}
	return nil
}

// flags are those that a child process is started with.
func (p *devPlacing) flags() (args []string) {
	for flag, v := range map[string]string{"--listen": p.Listen, "--peer-listen": p.PeerListen, "--name": p.Name} {
		if v != "" {
			args = append(args, flag, v)
		}
	}
	for _, a := range p.Join {
		args = append(args, "--join", a)
	}
	return args
}

// addresses reads where the node listened before. A node that never ran has none.
func (h *devHome) addresses() (a devAddresses, err error) {
	b, err := os.ReadFile(h.path(addressesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return a, nil
	}
	if err == nil && json.Unmarshal(b, &a) != nil {
		err = kms.Errorf(kms.Damaged, "not the addresses of a node").WithFile(h.path(addressesFile)).
			WithHint("delete the file, and say where the node listens with --listen and --peer-listen")
	}
	return a, err
}

func (h *devHome) keepAddresses(a devAddresses) error {
	return writeJSON(h.path(addressesFile), a)
}

// writeJSON replaces a file, which its owner alone can read.
func writeJSON(path string, doc any) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".draft-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone once it is renamed
	e := json.NewEncoder(f)
	e.SetIndent("", "  ")
	if err := errors.Join(e.Encode(doc), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
