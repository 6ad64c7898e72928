package simtee

import (
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
)

// A Vendor answers requests about one machine as the vendors' services do: the
// paths of Intel's PCS and its caches (PCS API version 4), and of AMD's key
// distribution service (AMD 57230).
type Vendor struct {
	Platform *Platform
	At       time.Time // what was published by then
	// PCS answers as Intel does itself; false as a cache (PCCS) does, which has the
	// root's list among the other paths, in hexadecimal, and another name for the
	// chain of the TCB info.
	PCS bool
}

// Answer answers one request. What there is nothing of is not found. The error
// is that of Published or of Evidence, and nothing is answered then.
func (v Vendor) Answer(w http.ResponseWriter, r *http.Request) error {
	if strings.HasPrefix(r.URL.Path, "/vcek/") {
		return v.answerAMD(w, r)
	}
	tee := attest.SGX
	if strings.HasPrefix(r.URL.Path, "/tdx/") {
		tee = attest.TDX
	}
	said, err := v.Platform.Published(tee, v.At)
	if err != nil {
		return err
	}
	v.answerIntel(w, r, said)
	return nil
}

func (v Vendor) answerIntel(w http.ResponseWriter, r *http.Request, said Published) {
	tcbChain := "SGX-TCB-Info-Issuer-Chain"
	if v.PCS {
		tcbChain = "TCB-Info-Issuer-Chain"
	}
	switch path := r.URL.Path; {
	case strings.HasSuffix(path, "/certification/v4/tcb"):
		w.Header().Set(tcbChain, url.PathEscape(said.TCBInfoChain))
		w.Write(said.TCBInfo)
	case strings.HasSuffix(path, "/certification/v4/qe/identity"):
		w.Header().Set("SGX-Enclave-Identity-Issuer-Chain", url.QueryEscape(said.QEIdentityChain))
		w.Write(said.QEIdentity)
	case path == "/sgx/certification/v4/pckcrl" && r.URL.RawQuery == "ca=platform&encoding=der":
		w.Header().Set("SGX-PCK-CRL-Issuer-Chain", url.PathEscape(said.PCKCRLChain))
		w.Write(said.PCKCRL)
	case path == "/sgx/certification/v4/rootcacrl" && !v.PCS:
		w.Write([]byte(hex.EncodeToString(said.RootCRL)))
	case path == "/IntelSGXRootCA.der":
		w.Write(said.RootCRL)
	default:
		http.NotFound(w, r)
	}
}

func (v Vendor) answerAMD(w http.ResponseWriter, r *http.Request) error {
	ev, err := v.Platform.Evidence(attest.SNP, [64]byte{}, v.At)
	if err != nil {
		return err
	}
	var blocks []*pem.Block // leaf, ASK, ARK, list
	for block, rest := pem.Decode(ev.Collateral); block != nil; block, rest = pem.Decode(rest) {
		blocks = append(blocks, block)
	}
	const chip, chipEnd = 0x1a0, 0x1e0 // in a report
	switch r.URL.Path {
	case "/vcek/v1/Milan/cert_chain":
		w.Write(append(pem.EncodeToMemory(blocks[1]), pem.EncodeToMemory(blocks[2])...))
	case "/vcek/v1/Milan/crl":
		w.Write(blocks[3].Bytes)
	case "/vcek/v1/Milan/" + hex.EncodeToString(ev.Quote[chip:chipEnd]):
		w.Write(blocks[0].Bytes)
	default:
		http.Error(w, "no such chip", http.StatusNotFound)
	}
	return nil
}
