package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/host/collateral"
)

// collateralCmd is `holdfast collateral`.
type collateralCmd struct {
	Fetch  collateralFetchCmd  `cmd:"" help:"Get what the vendor published about the platform of evidence, for attest verify."`
	Bundle collateralBundleCmd `cmd:"" help:"Get the same for several platforms, as one file for a node without a network."`
}

// collateralFlags says where collateral comes from.
type collateralFlags struct {
	Intel      string `name:"intel-url" placeholder:"URL" help:"Intel's service or a caching service (PCCS): what comes before /sgx and /tdx. Without it, Intel's."`
	IntelRoots string `name:"intel-root-crl-url" placeholder:"URL" help:"Where the revocation list of Intel's root CA is. Without it, where Intel or the PCCS has it."`
	AMD        string `name:"amd-url" placeholder:"URL" help:"AMD's service or one in its place: what comes before /vcek. Without it, AMD's."`
	Update     string `enum:",early,standard" default:"" help:"Which of Intel's verdicts to take while a TCB recovery is under way: early or standard."`
	Proxy      string `placeholder:"URL" help:"An HTTP proxy. The environment is not asked for one."`
	CA         string `name:"ca" placeholder:"FILE" help:"The CAs that may vouch for the service, PEM. Without it, the system's."`
}

// config reads the files that the flags name.
func (f *collateralFlags) config(s *session) (collateral.Config, error) {
	cfg := collateral.Config{IntelURL: f.Intel, IntelRootListURL: f.IntelRoots, AMDURL: f.AMD,
		Update: collateral.Update(f.Update), ProxyURL: f.Proxy}
	if f.CA == "" {
		return cfg, nil
	}
	b, err := s.readLong(f.CA)
	if err != nil {
		return cfg, err
	}
	cfg.Roots = x509.NewCertPool()
	if !cfg.Roots.AppendCertsFromPEM(b) {
		return cfg, problemf("it holds blocks that begin with -----BEGIN CERTIFICATE-----", "%s has no certificates in PEM", f.CA)
	}
	return cfg, nil
}

// collateralFetchCmd is `holdfast collateral fetch`.
type collateralFetchCmd struct {
	Evidence string   `arg:"" name:"evidence" help:"A file, or - for standard input: an SGX or TDX quote or an SNP report, raw or in base64 or hexadecimal, or evidence in JSON."`
	Cert     []string `sep:"none" placeholder:"FILE" help:"Of an SNP report: the certificate of the key that signed it, where the host hands it out. A VLEK's is to be had nowhere else."`
	From     string   `name:"bundle" placeholder:"FILE" help:"Take it from this bundle, and ask nobody."`
	Out      string   `short:"o" default:"-" placeholder:"FILE" help:"Where to write; - is standard output. A file that is there is replaced, once all went well."`
	collateralFlags
}

// Help is the rest of what --help says.
func (collateralFetchCmd) Help() string {
	return `What is written is JSON for SGX and TDX, and certificates with a revocation list in PEM for SNP. It is checked when evidence is verified with it (attest verify --collateral), and not before.`
}

// Run fetches.
func (c *collateralFetchCmd) Run(s *session) error {
	cfg, err := c.config(s)
	if err != nil {
		return err
	}
	if c.From != "" {
		if cfg.Bundle, err = s.readLong(c.From); err != nil {
			return err
		}
	}
	ev, err := c.evidence(s)
	if err != nil {
		return err
	}
	client, err := collateral.New(cfg)
	if err != nil {
		return err
	}
	document, err := client.Collateral(s.ctx, ev)
	if err != nil {
		return err
	}
	return s.writeCollateral(c.Out, document, map[string]any{"tee": teeOf(ev)}, func(w io.Writer) { fmt.Fprintln(w, c.Out) })
}

func (c *collateralFetchCmd) evidence(s *session) (attest.Evidence, error) {
	b, err := s.readLong(c.Evidence)
	if err != nil {
		return attest.Evidence{}, err
	}
	j := judgement{evidence: recognizeEvidence(b)}
	var certs [][]byte
	for _, path := range c.Cert {
		b, err := s.readLong(path)
		if err != nil {
			return attest.Evidence{}, err
		}
		certs = append(certs, b)
	}
	if err := j.add(given{certs: certs}); err != nil {
		return attest.Evidence{}, err
	}
	return j.evidence, j.unfit
}

// collateralBundleCmd is `holdfast collateral bundle`.
type collateralBundleCmd struct {
	Evidence []string `arg:"" name:"evidence" help:"Files with evidence of the platforms, one or more of each: quotes, reports, or evidence in JSON."`
	Out      string   `short:"o" required:"" placeholder:"FILE" help:"Where to write the bundle. A file that is there is replaced, once all went well."`
	collateralFlags
}

// Help is the rest of what --help says.
func (collateralBundleCmd) Help() string {
	return `A bundle serves any evidence of these platforms until the first thing in it ends, about 30 days from now; make a new one every two weeks. After an update of an AMD chip's firmware it has to be made again.`
}

// Run fetches.
func (c *collateralBundleCmd) Run(s *session) error {
	cfg, err := c.config(s)
	if err != nil {
		return err
	}
	var platforms []attest.Evidence
	for _, path := range c.Evidence {
		b, err := s.readLong(path)
		if err != nil {
			return err
		}
		platforms = append(platforms, recognizeEvidence(b))
	}
	client, err := collateral.New(cfg)
	if err != nil {
		return err
	}
	bundle, until, err := client.Bundle(s.ctx, platforms)
	if err != nil {
		return err
	}
	return s.writeCollateral(c.Out, bundle, map[string]any{"until": until.Format(time.RFC3339)}, func(w io.Writer) {
		fmt.Fprintf(w, "%s\tserves until %s\n", c.Out, until.Format(time.RFC3339))
	})
}

// writeCollateral writes what was fetched, and then says where it is. Standard
// output gets nothing else.
func (s *session) writeCollateral(path string, b []byte, doc map[string]any, people func(io.Writer)) error {
	if path == "-" && s.json {
		return misusef("name a file with --out", "--json and the data cannot both go to standard output")
	}
	out, err := s.newOutput(path)
	if err != nil {
		return err
	}
	if _, err := out.Write(b); err != nil {
		out.discard()
		return err
	}
	if err := out.commit(); err != nil || path == "-" {
		return err
	}
	doc["file"], doc["bytes"] = out.path, len(b)
	return s.show(doc, people)
}
