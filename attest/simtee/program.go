package simtee

import (
	"crypto/sha256"
	"crypto/sha512"
)

// FMSPC is the processor model of every simulated machine: "SIMTEE" in ASCII.
// Intel's begin with a zero or end in zeros.
var FMSPC = [6]byte{'S', 'I', 'M', 'T', 'E', 'E'}

// A Program is what evidence says runs on the platform, apart from MRENCLAVE,
// which is the measurement. Registers that are zero follow from the measurement.
type Program struct {
	MRSIGNER  [32]byte // zero: DevSigner
	ISVProdID uint16
	ISVSVN    uint16

	MRTD [48]byte
	RTMR [4][48]byte

	SNPMeasurement [48]byte
	HostData       [32]byte // stays zero
	FamilyID       [16]byte // stays zero
	ImageID        [16]byte // stays zero
	IDKeyDigest    [48]byte // stays zero: no ID block
	GuestSVN       uint32
}

// DevSigner is the MRSIGNER of every development build.
func DevSigner() [32]byte { return sha256.Sum256([]byte("holdfast development signer v1")) }

// filled is the program with nothing left open.
func (p Program) filled(measurement [32]byte) Program {
	if p.MRSIGNER == ([32]byte{}) {
		p.MRSIGNER = DevSigner()
	}
	follow := func(register *[48]byte, name string) {
		if *register == ([48]byte{}) {
			*register = sha512.Sum384(append([]byte("holdfast development "+name+" v1"), measurement[:]...))
		}
	}
	follow(&p.MRTD, "MRTD")
	for i, name := range []string{"RTMR0", "RTMR1", "RTMR2", "RTMR3"} {
		follow(&p.RTMR[i], name)
	}
	follow(&p.SNPMeasurement, "SNP measurement")
	return p
}

func tdxModule() []byte {
	sum := sha512.Sum384([]byte("holdfast development TDX module, " + developmentOnly))
	return sum[:]
}
