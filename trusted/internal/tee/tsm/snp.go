package tsm

import (
	"crypto/rand"
	"fmt"

	"github.com/google/go-sev-guest/abi"
	"github.com/google/go-sev-guest/client"
	"github.com/google/go-sev-guest/client/linuxabi"
	"github.com/google/go-sev-guest/proto/sevsnp"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/snp"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/internal/tee/device"
)

const hintDerive = `give holdfastd the device /dev/sev-guest of a SEV-SNP guest, or use restart mode "rejoin" in the domain's charter`

// snpEvidence checks the report and makes the host's certificates its
// collateral.
func snpEvidence(a answer, reportData [64]byte) (attest.Evidence, *sevsnp.Report, error) {
	if len(a.report) != abi.ReportSize {
		return attest.Evidence{}, nil, kms.Errorf(kms.Unavailable, "the report has %d bytes, want %d", len(a.report), abi.ReportSize)
	}
	parsed, err := abi.ReportToProto(a.report)
	if err != nil {
		return attest.Evidence{}, nil, fmt.Errorf("the report: %w", err)
	}
	if err := device.Carries(parsed.ReportData, reportData); err != nil {
		return attest.Evidence{}, nil, err
	}
	ev := attest.Evidence{TEE: attest.SNP, Quote: a.report, Collateral: collateral(a.certificates, signedByVLEK(parsed))}
	return ev, parsed, nil
}

// signedByVLEK reports whether a cloud's key signed, and not the chip's.
func signedByVLEK(r *sevsnp.Report) bool {
	info, err := abi.ParseSignerInfo(r.SignerInfo)
	return err != nil || info.SigningKey == abi.VlekReportSigner // not known: the worse of the two
}

// collateral makes PEM of the table of certificates that the host gave. What
// does not parse, or lacks the key that signed, counts as nothing: it is the
// host's word, and whoever verifies needs another source then.
func collateral(table []byte, vlek bool) []byte {
	entries, err := abi.ParseSnpCertTableHeader(table)
	if err != nil {
		return nil
	}
	leaf := abi.VcekGUID
	if vlek {
		leaf = abi.VlekGUID
	}
	var chain [][]byte
	for _, guid := range []string{leaf, abi.AskGUID, abi.ArkGUID} {
		der := certificate(table, entries, guid)
		if der == nil {
			break // each certificate stands before the one that signed it
		}
		chain = append(chain, der)
	}
	if len(chain) == 0 {
		return nil
	}
	return snp.Bundle(chain, nil)
}

// certificate finds a certificate in the table; nil: there is none. The
// library's own Unmarshal adds offset and length in 32 bits, and ends in a panic
// where a host makes them overflow.
func certificate(table []byte, entries []abi.CertTableHeaderEntry, guid string) []byte {
	for _, e := range entries {
		if e.GUID.String() != guid {
			continue
		}
		begin, end := uint64(e.Offset), uint64(e.Offset)+uint64(e.Length)
		if begin == end || end > uint64(len(table)) {
			return nil
		}
		return table[begin:end]
	}
	return nil
}

// A KeyDevice is /dev/sev-guest, opened.
type KeyDevice interface {
	// Ioctl performs a command of package linuxabi.
	Ioctl(command uintptr, request any) (uintptr, error)
	Close() error
}

// openSEVGuest opens the device by the path that the kernel gives it.
func openSEVGuest() (KeyDevice, error) { return client.OpenDevice() }

// What a request for a key says (AMD 56860, MSG_KEY_REQ).
const (
	fieldPolicy      = 1 << 0
	fieldMeasurement = 1 << 3
	fieldGuestSVN    = 1 << 4
	fieldTCB         = 1 << 5

	rootDefault = 0      // the cloud's key (VLEK) where one is loaded, else the chip's (VCEK)
	rootChip    = 1 << 1 // KEY_SEL 1: the chip's; firmware that knows no VLEK refuses it

	statusInvalid = 0x16
	keyLabel      = "snp/derived key" // of the derivation; other label, other key
)

// sevGuestKey derives the sealing key from the chip's key and
//
//   - the launch measurement: another program gets another key;
//   - the guest policy: the same program launched with debugging allowed gets
//     another key, else the host could start it so and read the key;
//   - guest SVN and VMPL as the machine has them;
//   - the committed TCB: firmware that is rolled back behind it gets another key.
//
// So sealed files do not survive a change of program or firmware.
func (p *Platform) sevGuestKey() ([]byte, error) {
	self, err := p.self()
	if err != nil {
		return nil, err
	}
	keys, err := p.cfg.OpenKeys()
	if err != nil {
		return nil, err
	}
	defer keys.Close()
	hardware, status, err := derive(keys, rootChip, self)
	// Without a VLEK the default is the chip's key; with one it would be a key
	// of every chip in the cloud.
	if status == statusInvalid && !signedByVLEK(self) {
		hardware, _, err = derive(keys, rootDefault, self)
	}
	if err != nil {
		return nil, err
	}
	return device.SealingKey(keyLabel, hardware, len(linuxabi.SnpDerivedKeyRespABI{}.Data))
}

// self is what the firmware says of this machine. Nobody sees that report, so
// what it is over does not matter, but that it is ours.
func (p *Platform) self() (*sevsnp.Report, error) {
	var nonce [64]byte
	rand.Read(nonce[:])
	a, err := p.ask(nonce)
	if err != nil {
		return nil, err
	}
	_, self, err := snpEvidence(a, nonce)
	return self, err
}

func derive(keys KeyDevice, rootKey uint32, self *sevsnp.Report) (hardware []byte, status uint32, err error) {
	var response linuxabi.SnpDerivedKeyRespABI
	defer clear(response.Data[:])
	result, err := keys.Ioctl(linuxabi.IocSnpGetDerivedKey, &linuxabi.SnpUserGuestRequest{
		ReqData: &linuxabi.SnpDerivedKeyReqABI{
			RootKeySelect:    rootKey,
			GuestFieldSelect: fieldPolicy | fieldMeasurement | fieldGuestSVN | fieldTCB,
			Vmpl:             self.Vmpl,
			GuestSVN:         self.GuestSvn,
			TCBVersion:       self.CommittedTcb,
		},
		RespData: &response,
	})
	switch {
	case err != nil:
		return nil, response.Status, fmt.Errorf("asking the firmware for a key: %w", err)
	case result != 0 || response.Status != 0:
		return nil, response.Status, kms.Errorf(kms.Unavailable, "the firmware refused a key: result %d, status %#x", result, response.Status)
	}
	return append([]byte(nil), response.Data[:]...), 0, nil
}
