package simtee

import "time"

// A Misfortune is what hardware cannot be made to suffer on demand. The zero
// Misfortune is a machine in good order.
type Misfortune struct {
	// Revoked: the issuer of the platform's key lists it as revoked. AMD revokes
	// no single chip: SNP evidence has the key of the product line revoked.
	Revoked bool
	// Stale: everything that the vendor publishes is past its next update.
	Stale bool
	// Ends, where not zero, is when the last thing ends that the vendor publishes: it
	// came out with its usual life before that, and nothing comes after it.
	Ends time.Time
	// Recovery: the vendor has found a hole and published what closes it.
	Recovery Recovery
	// Debug: the host may look into the program.
	Debug bool
	// Foreign: the platform is certified by a root that is not Platform.Root.
	Foreign bool
}

// A Recovery is how far a machine got in a TCB recovery. Whenever its
// microcode changes, its sealing key and its certificate change too.
type Recovery int

const (
	// NoRecovery: nothing was published. The platform is UpToDate.
	NoRecovery Recovery = iota
	// Announced: an advisory is out and nothing was done about it. The platform
	// is OutOfDate and opens what it sealed.
	Announced
	// Partial: the machine got new microcode, but not new enough. The platform
	// is OutOfDate, and what it sealed before does not open.
	Partial
	// Applied: the machine got the microcode that closes the hole. The platform
	// is UpToDate, and what it sealed before does not open.
	Applied
)

// Advisory is what a platform in recovery is affected by. Intel counts from 1.
const Advisory = "INTEL-SA-00000"

// EvaluationNumber is Intel's serial of the verdict on the platform; a recovery
// raises it by one.
const EvaluationNumber = 20

func (r Recovery) evaluationNumber() int {
	if r == NoRecovery {
		return EvaluationNumber
	}
	return EvaluationNumber + 1
}

// The microcode of a machine by how far it got.
const (
	firstMicrocode   = 5
	partialMicrocode = 6
	fixedMicrocode   = 7
)

// level is what the machine runs.
func (r Recovery) level() tcbLevel {
	switch r {
	case Partial:
		return tcbLevel{partialMicrocode}
	case Applied:
		return tcbLevel{fixedMicrocode}
	}
	return tcbLevel{firstMicrocode}
}

// required is the lowest level that the vendor calls UpToDate.
func (r Recovery) required() tcbLevel {
	if r == NoRecovery {
		return tcbLevel{firstMicrocode}
	}
	return tcbLevel{fixedMicrocode}
}

// A tcbLevel is the state of a machine's firmware, of which only the microcode
// ever changes.
type tcbLevel struct{ microcode uint8 }

// pceSVN is the version of Intel's provisioning enclave.
const pceSVN = 13

// components are the versions that Intel counts. The CPUSVN, which hides them
// on real processors, spells them out here.
func (l tcbLevel) components() [16]byte {
	return [16]byte{l.microcode, l.microcode, 2, 2, 3, 1, 0, 3}
}

// versions are the parts that AMD counts: boot loader, TEE, SNP, microcode.
func (l tcbLevel) versions() (bootloader, tee, snp, microcode uint8) {
	return 4, 0, 22, 200 + l.microcode
}
