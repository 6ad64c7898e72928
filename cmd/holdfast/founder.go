package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// readFounder reads a founder's file, unverified.
func (s *session) readFounder(path string) (*govern.Founder, error) {
	b, err := s.readLong(path)
	if err != nil {
		return nil, err
	}
	f, err := govern.ParseFounder(b)
	if err != nil {
		return nil, problemf("it takes what `holdfastd found --out FILE` writes, or `holdfast dev node prepare`", "%s is not the evidence of a founder: %v", path, err)
	}
	return f, nil
}

// founderRefused says what is wrong with a founder.
func founderRefused(hint, format string, args ...any) error {
	return problemf(hint, "the founder is refused: %s", fmt.Sprintf(format, args...))
}

// verifyFounder is what its evidence proves, once everything holds: a node in a TEE
// made this key, for founding a domain on this charter, and it is not in debug
// mode. Simulated evidence proves nothing and is taken only if that is wanted.
func verifyFounder(f *govern.Founder, charter *govern.Charter, simulated bool, at time.Time) (id kms.NodeID, claims attest.Claims, err error) {
	id = f.Node
	if f.CharterDigest != charter.Digest() {
		return id, claims, founderRefused("give the node this charter, and have it prepared again", "it was prepared for another charter, %s", f.CharterDigest)
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
