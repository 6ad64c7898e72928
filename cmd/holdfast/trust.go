package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/client"
	"github.com/holdfast-kms/holdfast/kms"
)

// trustCmd is `holdfast trust`.
type trustCmd struct {
	Node           string `arg:"" name:"url" placeholder:"https://HOST:PORT" help:"The node that is to prove what it is."`
	Charter        string `required:"" placeholder:"FILE" help:"The charter of the domain, from who founded it and not from a node."`
	Out            string `required:"" placeholder:"FILE" help:"Where the CA certificate goes, in PEM. What is there is replaced. - is standard output."`
	Domain         string `placeholder:"ID" help:"The domain that is meant, where several were founded on the charter."`
	MinSerial      uint64 `placeholder:"N" help:"Refuse a policy with a lower serial: for a first contact. Later ones know what they saw."`
	AllowSimulated bool   `help:"Accept a simulated platform, which protects nothing."`
	Policy         string `placeholder:"FILE" help:"An attestation policy that must admit the node's evidence too, beside the domain's."`
}

// Help is the rest of what --help says.
func (trustCmd) Help() string {
	return "The node shows evidence for a fresh nonce, the key of this TLS connection and the domain's CA, and the documents that its policy rests on. " +
		"All of it is verified; then the CA certificate is written, for programs that cannot verify evidence themselves: curl --cacert FILE.\n\n" + caOnly
}

// caOnly is what has to be said with the file.
const caOnly = "A program that is given the file and nothing else does not attest. It trusts every node that holds the CA's key, or ever held it, " +
	"until the domain replaces its CA: also one that the policy has expelled since. Run this again after that, " +
	"or let each connection be attested: --charter in the other commands, Config.Trust in the SDK."

// Run attests the node and writes the CA.
func (c *trustCmd) Run(s *session) error {
	if c.Out == "-" && s.json {
		return misusef("name a file with --out", "--json and --out - both want standard output")
	}
	v, err := c.attest(s)
	if err != nil {
		return err
	}
	if err := c.write(s, v.CA()); err != nil {
		return err
	}
	if c.Out == "-" {
		return nil
	}
	return s.show(trustDoc(v, c.Out), func(w io.Writer) { printTrust(w, v, c.Out) })
}

func (c *trustCmd) attest(s *session) (*client.Verified, error) {
	trust := trustSettings{Charter: c.Charter, Domain: c.Domain, AllowSimulated: c.AllowSimulated}
	t, err := trust.read(".", seenBeside(s, ""))
	if err != nil {
		return nil, err
	}
	t.MinSerial = c.MinSerial
	if c.Policy != "" {
		if t.Require, err = readAttestPolicy(c.Policy); err != nil {
			return nil, err
		}
	}
	cl, err := client.New(client.Config{URL: c.Node, Trust: t})
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	return cl.Attest(s.ctx)
}

func readAttestPolicy(path string) (*attest.Policy, error) {
	b, err := readDocument(path)
	if err != nil {
		return nil, because(err, "", "reading the policy")
	}
	p, err := attest.ParsePolicy(b)
	if err != nil {
		return nil, because(err, "", path)
	}
	return &p, nil
}

func (c *trustCmd) write(s *session, pem []byte) error {
	out, err := s.newOutput(c.Out)
	if err != nil {
		return because(err, "name another file with --out", "writing the CA")
	}
	_, err = out.Write(pem)
	if err == nil && out.temp {
		err = out.file.Chmod(0o644) // a certificate is for everyone
	}
	if err != nil {
		out.discard()
		return because(err, "", "writing the CA")
	}
	return out.commit()
}

// A trusted is what `holdfast trust --json` prints.
type trusted struct {
	Domain      string           `json:"domain"`
	DomainID    string           `json:"domain_id"`
	Node        string           `json:"node_id"`
	TEE         attest.TEE       `json:"tee"`
	Measurement any              `json:"measurement"`
	Platform    attest.Platform  `json:"platform"`
	Status      attest.TCBStatus `json:"tcb_status,omitempty"`
	Advisories  []string         `json:"advisories,omitempty"`
	Debug       bool             `json:"debug"`
	Simulated   bool             `json:"simulated"`
	Policy      trustedPolicy    `json:"policy"`
	Until       time.Time        `json:"until"` // by when to ask again
	CA          string           `json:"ca"`    // the file
	Meaning     string           `json:"meaning"`
}

type trustedPolicy struct {
	Serial     uint64    `json:"serial"`
	Digest     string    `json:"digest"`
	ValidUntil time.Time `json:"valid_until"`
}

func trustDoc(v *client.Verified, path string) trusted {
	c := v.Claims
	doc := trusted{
		Domain: v.Name, DomainID: v.Domain.String(), Node: v.Node.String(), TEE: c.TEE, Platform: c.Platform, Status: c.Status,
		Advisories: c.Advisories, Debug: c.Debug, Simulated: c.Simulated, Until: v.Until.UTC(), CA: path, Meaning: caOnly,
		Policy: trustedPolicy{v.Policy.Serial, v.Policy.Digest().String(), v.Policy.ValidUntil.UTC()},
	}
	switch {
	case c.SGX != nil:
		doc.Measurement = c.SGX
	case c.TDX != nil:
		doc.Measurement = c.TDX
	case c.SNP != nil:
		doc.Measurement = c.SNP
	}
	return doc
}

func printTrust(w io.Writer, v *client.Verified, path string) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s\t%s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	c := v.Claims
	kind := "genuine hardware"
	if c.Simulated {
		kind = "SIMULATED: it protects nothing"
	}
	row("domain", "%s", v.Name)
	row("domain id", "%s", v.Domain)
	row("node", "%s", v.Node)
	row("TEE", "%s, %s", c.TEE, kind)
	switch {
	case c.SGX != nil:
		row("MRENCLAVE", "%s", c.SGX.MRENCLAVE)
		row("MRSIGNER", "%s, product %d, security version %d", c.SGX.MRSIGNER, c.SGX.ISVProdID, c.SGX.ISVSVN)
	case c.TDX != nil:
		row("MRTD", "%s", c.TDX.MRTD)
		row("RTMRs", "%s %s %s %s", c.TDX.RTMR0, c.TDX.RTMR1, c.TDX.RTMR2, c.TDX.RTMR3)
	case c.SNP != nil:
		row("measurement", "%s", c.SNP.Measurement)
	}
	row("platform", "%s", c.Platform)
	if c.Status != "" {
		row("TCB status", "%s", strings.Join(append([]string{string(c.Status)}, c.Advisories...), ", "))
	}
	if c.Debug {
		row("DEBUG", "the host can read and change this program's memory")
	}
	row("policy", "serial %d, valid until %s", v.Policy.Serial, timeText(v.Policy.ValidUntil))
	row("ask again by", "%s", timeText(v.Until))
	row("CA", "%s", path)
	fmt.Fprintf(w, "\n%s\n", folded(caOnly, 100))
}

// folded breaks a text into lines of at most width characters.
func folded(text string, width int) string {
	var b strings.Builder
	used := 0
	for _, word := range strings.Fields(text) {
		switch {
		case used == 0:
		case used+1+len(word) > width:
			b.WriteByte('\n')
			used = 0
		default:
			b.WriteByte(' ')
			used++
		}
		b.WriteString(word)
		used += len(word)
	}
	return b.String()
}

// attestOnce is cfg for what dials by itself, with the CA of a node that was
// attested just now in place of a Trust.
func attestOnce(s *session, cfg client.Config) (client.Config, error) {
	if cfg.Trust == nil {
		return cfg, nil
	}
	cl, err := client.New(cfg)
	if err != nil {
		return cfg, err
	}
	defer cl.Close()
	v, err := cl.Attest(s.ctx)
	if err != nil {
		return cfg, err
	}
	cfg.Trust, cfg.CA = nil, v.CA()
	return cfg, nil
}

// trustFlags let commands that talk to a node attest it.
type trustFlags struct {
	Charter        string `group:"node" placeholder:"FILE" help:"The charter of the domain. The node then has to prove that it is one of the domain's before anything is sent to it, and no CA is needed."`
	Domain         string `group:"node" placeholder:"ID" help:"The domain that is meant, where several were founded on the charter."`
	AllowSimulated bool   `group:"node" help:"Accept a node on a simulated platform, which protects nothing."`
}

// add puts what the flags say on top of what file and environment said. Once a
// charter is named, no CA takes its place: a variable that is left over from
// something else must not switch attestation off.
func (f trustFlags) add(s *session, credentials string, cfg *client.Config) error {
	if f.Charter != "" || cfg.Trust == nil {
		t, err := trustSettings(f).read(".", seenBeside(s, credentials))
		if err != nil || t == nil {
			return err
		}
		cfg.Trust = t
	}
	cfg.Trust.AllowSimulated = cfg.Trust.AllowSimulated || f.AllowSimulated
	if f.Domain != "" {
		var err error
		if cfg.Trust.Domain, err = parseDomain(f.Domain); err != nil {
			return err
		}
	}
	cfg.CA = nil
	return nil
}

// trustSettings are what names a Trust, from flags, environment or file.
type trustSettings struct {
	Charter        string // the name of a file, or the document itself
	Domain         string
	AllowSimulated bool
}

// read makes the Trust, nil where no charter is named. Relative names lie in dir.
func (t trustSettings) read(dir string, memory client.Memory) (*client.Trust, error) {
	if t.Charter == "" {
		if t.Domain != "" || t.AllowSimulated {
			return nil, misusef("name the charter too, with --charter", "a domain is attested by its charter, and there is none")
		}
		return nil, nil
	}
	charter, err := readCharter(t.Charter, dir)
	if err != nil {
		return nil, err
	}
	trust := &client.Trust{Charter: charter, AllowSimulated: t.AllowSimulated, Memory: memory}
	if t.Domain != "" {
		if trust.Domain, err = parseDomain(t.Domain); err != nil {
			return nil, err
		}
	}
	return trust, nil
}

// readCharter returns charter itself where it is a document, else what the file
// of that name holds.
func readCharter(charter, dir string) ([]byte, error) {
	if strings.HasPrefix(strings.TrimSpace(charter), "{") {
		return []byte(charter), nil
	}
	b, err := readDocument(inFolder(dir, charter))
	if err != nil {
		return nil, because(err, "it is the document that the domain was founded on; ask who founded it", "reading the charter")
	}
	return b, nil
}

// readDocument reads a file that is no secret.
func readDocument(path string) ([]byte, error) {
	b, err := readBounded(path, maxCredentials)
	if err == nil && len(b) > maxCredentials {
		err = errors.New("it is too long for a document")
	}
	return b, err
}

func parseDomain(s string) (id kms.DomainID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, misusef("it is 64 hexadecimal digits; `holdfast status` shows it", "%q is not the id of a domain", s)
	}
	return kms.DomainID(b), nil
}
