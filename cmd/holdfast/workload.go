package main

import (
	"errors"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// workloadFlags say what vouches for this program where it has to prove what it
// is: the TEE that it runs in, or a simulated machine.
type workloadFlags struct {
	Machine   string     `name:"simulated-machine" placeholder:"DIR" help:"Pretend to run on the simulated machine in this folder, made if it is not there: to try things out."`
	MRENCLAVE attest.Hex `name:"sim-mrenclave" placeholder:"HEX" help:"MRENCLAVE that it shows: 64 hexadecimal digits."`
	MRSIGNER  attest.Hex `name:"sim-mrsigner" placeholder:"HEX" help:"MRSIGNER that it shows: 64 hexadecimal digits."`
}

// workload is this program as a TEE knows it.
func (f *workloadFlags) workload(s *session) (*client.Workload, error) {
	switch {
	case f.Machine != "":
		return f.simulated()
	case len(f.MRENCLAVE)+len(f.MRSIGNER) > 0:
		return nil, misusef("give --simulated-machine DIR too", "only a simulated machine shows what it is told to")
	case s.workload != nil:
		return s.workload, nil
	}
	platform, err := server.Detect(s.ctx)
	if err != nil {
		return nil, because(err, hintOf(err), "this program cannot prove what it is")
	}
	return &client.Workload{Evidence: platform.Evidence}, nil
}

func (f *workloadFlags) simulated() (*client.Workload, error) {
	tuning := devSimulated{SimMRENCLAVE: f.MRENCLAVE, SimMRSIGNER: f.MRSIGNER}
	if err := tuning.validate(); err != nil {
		return nil, err
	}
	machine, err := tuning.simulated().Open(f.Machine)
	if errors.Is(err, kms.NotFound) {
		machine, err = tuning.simulated().Create(f.Machine)
	}
	if err != nil {
		return nil, err
	}
	return &client.Workload{Evidence: machine.Guest(attest.SGX, time.Now).Evidence}, nil
}
