package main

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/holdfast-kms/holdfast/api/signature"
	"github.com/holdfast-kms/holdfast/attest"
	"github.com/holdfast-kms/holdfast/attest/simtee"
	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/host/disk"
	"github.com/holdfast-kms/holdfast/host/wallclock"
	"github.com/holdfast-kms/holdfast/internal/mount"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// A devHome is the folder of a domain for development. The owner's key and the
// charter lie apart from the node's state: so state that is missing is noticed.
type devHome struct {
	dir       string
	temporary bool
	tuning    devTuning
	api       mount.Program
}

// devTuning makes a node's files small, for tests of what happens at their ends.
type devTuning struct {
	SnapshotEvery int `hidden:"" help:"Log entries between snapshots. Default: as in production."`
	SegmentSize   int `hidden:"" help:"Bytes of a log file. Default: as in production."`

	Metrics string `help:"Address to show metrics and health at, in clear, to whoever asks: :PORT is at loopback. Default: nowhere." placeholder:"HOST:PORT"`

	Audit    bool   `help:"Keep an audit log in the folder, and have the policy of a new domain require it."`
	AuditWeb string `placeholder:"URL" help:"Post the audit log to a web service, and have the policy of a new domain require that. To be said at each start."`

	devSimulated
}

// devSimulated is what a simulated machine pretends, for a command that serves nobody.
type devSimulated struct {
	SimMRENCLAVE attest.Hex `name:"sim-mrenclave" placeholder:"HEX" help:"MRENCLAVE that the simulated machine shows: 64 hexadecimal digits."`
	SimMRSIGNER  attest.Hex `name:"sim-mrsigner" placeholder:"HEX" help:"MRSIGNER that the simulated machine shows: 64 hexadecimal digits."`

	SimTEE string `name:"sim-tee" enum:",sgx,tdx,snp" default:"" placeholder:"KIND" help:"Kind of TEE that the simulated machine is: sgx, tdx (which has no sealing key) or snp. Default: sgx."`

	SimCollateralEnds time.Duration `hidden:"" help:"The simulated vendor publishes nothing new: what there is ends so long after the start."`
}

// serves reports whether a flag is there that means something to a node that serves.
func (t devTuning) serves() bool { return t.Metrics != "" || t.Audit || t.AuditWeb != "" }

func (t devSimulated) validate() error {
	for flag, v := range map[string]attest.Hex{"--sim-mrenclave": t.SimMRENCLAVE, "--sim-mrsigner": t.SimMRSIGNER} {
		if n := len(v); n != 0 && n != 32 {
			return kms.Errorf(kms.Invalid, "%d bytes, a measurement has 32", n).WithField(flag)
		}
	}
	return nil
}

func (t devTuning) flags() []string {
	return []string{"--snapshot-every", strconv.Itoa(t.SnapshotEvery), "--segment-size", strconv.Itoa(t.SegmentSize), "--metrics", t.Metrics,
		"--audit-web", t.AuditWeb, "--sim-tee", t.SimTEE, "--sim-collateral-ends", t.SimCollateralEnds.String()}
}

const (
	charterFile     = "charter.json"
	bootstrapFile   = "bootstrap.json"
	policyFile      = "policy.json" // the first; later ones are where they were signed
	ownerFile       = "owner.key"   // submits policies
	signerFile      = "signer.key"  // signs policies
	operatorFile    = "operator.key"
	machineFile     = "machine.json"
	fusesDir        = "fuses" // the simulated machine
	nodeDir         = "node"  // sealed state
	caFile          = "ca.pem"
	credentialsName = "credentials.json"
	logFile         = "node.log"
	auditDir        = "audit"
	auditFile       = "audit.log"
	auditSink       = "file" // as the policy names it
	auditWebSink    = "web"
)

// program is what the API says of this program, and who is told of requests.
func (h *devHome) program() mount.Program {
	if h.api == (mount.Program{}) {
		return program()
	}
	return h.api
}

func (h *devHome) path(name string) string { return filepath.Join(h.dir, name) }

// leave removes a temporary home.
func (h *devHome) leave() error {
	if !h.temporary {
		return nil
	}
	return os.RemoveAll(h.dir)
}

// found founds the domain, unless the folder holds one. Everything is made in
// a folder beside it, which takes its place in one rename: a start that is cut
// short leaves nothing half there.
func (h *devHome) found(ctx context.Context) error {
	if err := h.tuning.validate(); err != nil {
		return err
	}
	if h.tuning.kind() != attest.SGX {
		return misusef("found one by hand, with `holdfast dev node`: docs/tdx.md", "a domain that `holdfast dev` founds is of simulated SGX machines")
	}
	switch empty, err := h.empty(); {
	case err != nil:
		return err
	case !empty:
		return h.check()
	}
	parent := filepath.Dir(filepath.Clean(h.dir))
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return because(err, "choose another --dir", "making the folder")
	}
	draft, err := os.MkdirTemp(parent, ".holdfast-founding-")
	if err != nil {
		return because(err, "choose another --dir", "making the folder")
	}
	defer os.RemoveAll(draft) // nothing is left of it once it is renamed
	if err := (&devHome{dir: draft, tuning: h.tuning}).fill(ctx); err != nil {
		return err
	}
	if err := os.Remove(h.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return because(err, "choose another --dir", "taking the folder's place")
	}
	if err := os.Rename(draft, h.dir); err != nil {
		return because(err, "choose another --dir", "taking the folder's place")
	}
	return nil
}

func (h *devHome) empty() (bool, error) {
	entries, err := os.ReadDir(h.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, because(err, "choose another --dir", "opening the folder")
	}
	return len(entries) == 0, nil
}

// check refuses a folder that is something else, or that lacks its charter.
func (h *devHome) check() error {
	if _, err := os.Stat(h.path(charterFile)); err == nil {
		return h.loadMachine()
	}
	if _, err := os.Stat(h.path(nodeDir)); err == nil {
		return kms.Errorf(kms.Damaged, "the folder holds a node's state, but not the charter of its domain").
			WithFile(h.path(charterFile)).WithHint("put the charter back, or choose another --dir")
	}
	return problemf("choose an empty or new folder with --dir", "%s is not empty and holds no domain", h.dir)
}

// fill founds a domain in an empty folder: it does what an operator does for a
// real one, with one person in every part.
func (h *devHome) fill(ctx context.Context) error {
	rulers, err := h.newRulers()
	if err != nil {
		return err
	}
	if err := errors.Join(h.saveMachine(), h.makeAudit()); err != nil {
		return err
	}
	platform, err := h.tuning.simulated().Create(h.path(fusesDir))
	if err != nil {
		return err
	}
	d, err := disk.Create(h.path(nodeDir))
	if err != nil {
		return err
	}
	cfg := h.serverConfig(platform, d, rulers.charter.Canonical(), slog.New(slog.DiscardHandler))
	founder, err := server.Prepare(ctx, cfg)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	bootstrap, policy, err := rulers.found(founder, h.tuning)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	err = server.Found(ctx, cfg, bootstrap, policy)
	return errors.Join(err, h.writeDocument(policyFile, policy), h.writeDocument(bootstrapFile, bootstrap), d.Close())
}

// serverConfig is how the node of dev runs.
func (h *devHome) serverConfig(p *simtee.Platform, d *disk.Disk, charter []byte, logger *slog.Logger) server.Config {
	guest := p.Guest(h.tuning.kind(), wallclock.Clock{}.Now)
	return server.Config{Platform: guest, Collateral: guest.Collateral, Development: true, Disk: d, Clock: wallclock.Clock{},
		Charter: charter, Mount: h.program().Handler, ConnContext: signature.ConnContext, Logger: logger,
		SnapshotEvery: h.tuning.SnapshotEvery, SegmentSize: h.tuning.SegmentSize}
}

func (h *devHome) writeDocument(name string, b []byte) error {
	return os.WriteFile(h.path(name), append(b, '\n'), 0o644)
}

// devRulers is everybody who rules a domain for development.
type devRulers struct {
	charter                 *govern.Charter
	owner, signer, operator *govern.PrivateKey
}

// newRulers makes their keys, kept in clear beside the charter, and the charter.
func (h *devHome) newRulers() (*devRulers, error) {
	var r devRulers
	for _, k := range []struct {
		file string
		key  **govern.PrivateKey
	}{{ownerFile, &r.owner}, {signerFile, &r.signer}, {operatorFile, &r.operator}} {
		key, err := govern.NewPrivateKey(govern.Ed25519)
		if err != nil {
			return nil, err
		}
		pem, err := key.EncodePEM(nil)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(h.path(k.file), pem, 0o600); err != nil {
			return nil, err
		}
		*k.key = key
	}
	r.charter = &govern.Charter{Version: govern.CharterVersion, Name: "dev", Owner: r.owner.Public(),
		Signers: []govern.PublicKey{r.signer.Public()}, Threshold: 1, RestartMode: govern.Sealed,
		Intervals: govern.DefaultIntervals()}
	return &r, h.writeDocument(charterFile, r.charter.Canonical())
}

// devPolicyLife is how long the first policy of a domain for development is good.
const devPolicyLife = 10 * 365 * 24 * time.Hour

// found signs the documents that name the founder.
func (r *devRulers) found(f *server.Founder, tuning devTuning) (bootstrap, policy []byte, err error) {
	simulated := attest.Terms{Simulated: true}
	p := &govern.Policy{
		Version: govern.PolicyVersion, CharterDigest: r.charter.Digest(), Serial: 1,
		ValidUntil:  time.Now().Add(devPolicyLife).UTC().Truncate(time.Second),
		Attestation: govern.Requirements{SGX: simulated, TDX: simulated, SNP: simulated},
		Nodes:       []govern.NodeEntry{{Name: "dev", Identity: govern.Identity{SGX: &attest.SGXIdentity{MRENCLAVE: f.Claims.SGX.MRENCLAVE}}}},
		Enrolment:   govern.Enrolment{Mode: govern.EnrolOpen},
		Operators:   []govern.PublicKey{r.operator.Public()}, Admission: govern.AdmitAttested,
		EphemeralAge: attest.Age(time.Hour), EvidenceAge: attest.Age(24 * time.Hour),
	}
	p.AuditSinks = tuning.requiredSinks()
	if policy, err = signed(govern.PolicyType, p.Canonical(), r.signer); err != nil {
		return nil, nil, err
	}
	b := &govern.Bootstrap{Version: govern.BootstrapVersion, CharterDigest: r.charter.Digest(), Founder: f.Node, PolicyDigest: p.Digest()}
	bootstrap, err = signed(govern.BootstrapType, b.Canonical(), r.owner, r.signer)
	return bootstrap, policy, err
}

// signed puts a document into an envelope with a signature of each key.
func signed(t govern.PayloadType, payload []byte, keys ...*govern.PrivateKey) (envelope []byte, err error) {
	envelope = govern.NewEnvelope(t, payload)
	for _, k := range keys {
		if envelope, err = govern.Sign(envelope, k); err != nil {
			return nil, err
		}
	}
	return envelope, nil
}

// devMachine is what the simulated machine pretends, kept beside its fuses: a
// program that says something else at its next start does not open what it sealed.
type devMachine struct {
	MRENCLAVE attest.Hex `json:"mrenclave,omitempty"`
	MRSIGNER  attest.Hex `json:"mrsigner,omitempty"`
	TEE       string     `json:"tee,omitempty"`
}

func (h *devHome) saveMachine() error {
	b, err := json.Marshal(devMachine{MRENCLAVE: h.tuning.SimMRENCLAVE, MRSIGNER: h.tuning.SimMRSIGNER, TEE: h.tuning.SimTEE})
	if err != nil {
		return err
	}
	return os.WriteFile(h.path(machineFile), append(b, '\n'), 0o644)
}

// loadMachine takes up what the machine was made with. What the command line
// says must be the same.
func (h *devHome) loadMachine() error {
	b, err := os.ReadFile(h.path(machineFile))
	if err != nil {
		return because(err, "put the file back, or choose another --dir", "reading what the simulated machine pretends")
	}
	var m devMachine
	if err := json.Unmarshal(b, &m); err != nil {
		return kms.Errorf(kms.Damaged, "not the description of a simulated machine").WithFile(h.path(machineFile))
	}
	for _, v := range []struct {
		asked *attest.Hex
		made  attest.Hex
		flag  string
	}{{&h.tuning.SimMRENCLAVE, m.MRENCLAVE, "--sim-mrenclave"}, {&h.tuning.SimMRSIGNER, m.MRSIGNER, "--sim-mrsigner"}} {
		if len(*v.asked) > 0 && !v.asked.Equal(v.made) {
			return problemf("leave "+v.flag+" out, or choose another --dir", "the domain in %s was made with another %s", h.dir, v.flag)
		}
		*v.asked = v.made
	}
	if asked := h.tuning.SimTEE; asked != "" && h.tuning.kind() != (devSimulated{SimTEE: m.TEE}).kind() {
		return problemf("leave --sim-tee out, or choose another --dir", "the machine in %s was made as another kind of TEE", h.dir)
	}
	h.tuning.SimTEE = m.TEE
	return nil
}

// kind is the kind of TEE that the machine is.
func (t devSimulated) kind() attest.TEE { return attest.TEE(orElse(t.SimTEE, string(attest.SGX))) }

// simulated is what the simulated platform pretends.
func (t devSimulated) simulated() simtee.Config {
	var c simtee.Config
	copy(c.Measurement[:], t.SimMRENCLAVE)
	copy(c.Program.MRSIGNER[:], t.SimMRSIGNER)
	if t.SimCollateralEnds > 0 {
		c.Misfortune.Ends = time.Now().Add(t.SimCollateralEnds)
	}
	return c
}

func (h *devHome) readCredentials() (credentialsFile, error) {
	var c credentialsFile
	b, err := readPrivate(h.path(credentialsName))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, kms.Errorf(kms.Damaged, "not a credentials file").WithFile(h.path(credentialsName))
	}
	return c, nil
}
