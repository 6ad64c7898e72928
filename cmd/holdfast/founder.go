package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A founder is what owner and signers look at before they sign the bootstrap
// that names it, as `holdfastd found` and `dev node prepare` write it. Nothing in
// it is believed before its evidence was verified.
type founder struct {
	Version       int             `json:"version"`
	Node          string          `json:"node"` // SHA-256 of Key, hexadecimal
	Key           []byte          `json:"key"`  // SubjectPublicKeyInfo
	CharterDigest string          `json:"charter_digest"`
	Evidence      attest.Evidence `json:"evidence"`
}

const founderVersion = 1

func founderText(f *server.Founder, charter *govern.Charter) ([]byte, error) {
	b, err := json.MarshalIndent(founder{Version: founderVersion, Node: f.Node.String(), Key: f.Key,
		CharterDigest: charter.Digest().String(), Evidence: f.Evidence}, "", "  ")
	return append(b, '\n'), err
}

// readFounder reads a founder's file, unverified.
func readFounder(path string) (*founder, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	d := json.NewDecoder(io.LimitReader(in, maxEvidence))
	d.DisallowUnknownFields()
	var f founder
	if err := d.Decode(&f); err != nil || d.More() {
		return nil, problemf("it takes what `holdfastd found --out FILE` writes, or `holdfast dev node prepare`", "%s is not the evidence of a founder", path)
	}
	if f.Version != founderVersion {
		return nil, problemf("use the holdfast command of the same version", "%s has version %d, this program reads %d", path, f.Version, founderVersion)
	}
	return &f, nil
}

// founderRefused says what is wrong with a founder.
func founderRefused(hint, format string, args ...any) error {
	return problemf(hint, "the founder is refused: %s", fmt.Sprintf(format, args...))
}

// verify is what its evidence proves, once everything holds: a node in a TEE
// made this key, for founding a domain on this charter, and it is not in debug
// mode. Simulated evidence proves nothing and is taken only if that is wanted.
func (f *founder) verify(charter *govern.Charter, simulated bool, at time.Time) (id kms.NodeID, claims attest.Claims, err error) {
	id = kms.NodeID(sha256.Sum256(f.Key))
	if f.CharterDigest != charter.Digest().String() {
		return id, claims, founderRefused("give the node this charter, and have it prepared again", "it was prepared for another charter, %s", f.CharterDigest)
	}
	if f.Node != id.String() {
		return id, claims, founderRefused("have it prepared again", "its id is not that of its key")
	}
	if claims, err = teeVerifiers.Prove(f.Evidence, at); err != nil {
		return id, claims, founderRefused(attest.ReasonOf(err).Hint(), "%v", err)
	}
	want := attest.ReportData(attest.ForBootstrap, attest.Binding{Keys: [][]byte{f.Key}, Domain: charter.Digest()})
	switch {
	case string(claims.ReportData) != string(want[:]):
		return id, claims, founderRefused("have it prepared again", "its evidence is for something else than founding a domain on this charter with this key")
	case claims.Debug:
		return id, claims, founderRefused(attest.DebugEnabled.Hint(), "it runs in debug mode: its host reads its memory")
	case claims.Simulated && !simulated:
		return id, claims, founderRefused("to try things out, say --allow-simulated", "it runs on a simulated platform, which protects nothing")
	}
	return id, claims, nil
}

// printClaims says what evidence proves of a node.
func printClaims(w io.Writer, id kms.NodeID, c attest.Claims) {
	kind := "genuine"
	if c.Simulated {
		kind = "SIMULATED: it protects nothing"
	}
	fmt.Fprintf(w, "node\t%s\n", id)
	fmt.Fprintf(w, "TEE\t%s, %s\n", c.TEE, kind)
	switch {
	case c.SGX != nil:
		fmt.Fprintf(w, "MRENCLAVE\t%s\n", c.SGX.MRENCLAVE)
		fmt.Fprintf(w, "MRSIGNER\t%s, product %d, security version %d\n", c.SGX.MRSIGNER, c.SGX.ISVProdID, c.SGX.ISVSVN)
	case c.TDX != nil:
		fmt.Fprintf(w, "MRTD\t%s\nRTMR1\t%s\nRTMR2\t%s\n", c.TDX.MRTD, c.TDX.RTMR1, c.TDX.RTMR2)
	case c.SNP != nil:
		fmt.Fprintf(w, "measurement\t%s\n", c.SNP.Measurement)
	}
	if c.Status != "" {
		fmt.Fprintf(w, "TCB status\t%s\n", strings.Join(append([]string{string(c.Status)}, c.Advisories...), ", "))
	}
}

// identityOf names the program that proved c: by its signer, where that is asked
// for, so that a later version of it is the same; else this very program.
func identityOf(c attest.Claims, bySigner bool) (id govern.Identity, err error) {
	switch {
	case c.SGX != nil && bySigner:
		product := c.SGX.ISVProdID
		id.SGX = &attest.SGXIdentity{MRSIGNER: c.SGX.MRSIGNER, ISVProdID: &product, MinISVSVN: c.SGX.ISVSVN}
	case bySigner:
		return id, misusef("leave --by-signer out", "only an SGX enclave is named by who signed it")
	default:
		id = govern.IdentityOf(c)
	}
	return id, id.Validate()
}
