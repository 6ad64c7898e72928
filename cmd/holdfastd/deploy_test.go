package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v2"

	"github.com/holdfast-kms/holdfast/api"
	"github.com/holdfast-kms/holdfast/host/config"
)

const deployed = "../../deploy/"

func deployedFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(deployed + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// takes has the program read a command line as it would; --config files are on
// other machines, so the line goes without, and with what the file is for.
func takes(t *testing.T, where string, args []string) {
	t.Helper()
	var n node
	named := false
	var rest []string
	for i := 0; i < len(args); i++ {
		name, _, joined := strings.Cut(args[i], "=")
		if name != "--config" {
			rest = append(rest, args[i])
			continue
		}
		if named = true; !joined {
			i++
		}
	}
	if !named {
		t.Errorf("%s: no --config in %q", where, args)
	}
	if len(rest) == 0 { // the file says the command
		return
	}
	f := n.set.flags(rest[0])
	if err := f.Parse(rest[1:]); err != nil || f.NArg() > 0 {
		t.Errorf("%s: %q: %v, left %q", where, args, err, f.Args())
	}
}

// TestDeployConfigs: the examples have no fault, and each is a node of a domain of many.
func TestDeployConfigs(t *testing.T) {
	for _, tee := range []string{"sgx", "tdx", "snp"} {
		path := deployed + "config/" + tee + ".json"
		if _, err := config.Read(path); err != nil {
			t.Fatal(err)
		}
		var n node
		if _, err := n.parse([]string{"serve", "--config", path}); err != nil {
			t.Errorf("%s: %v", tee, err)
		}
		if n.set.peers.listen == "" || n.set.dir == "" || (tee == "snp") != (n.set.pcs == "") || len(n.set.peers.join) < 2 {
			t.Errorf("%s: %+v", tee, n.set)
		}
	}
}

// TestDeployCommands: each example file is one that a line without a command takes,
// and does what its name says.
func TestDeployCommands(t *testing.T) {
	all, err := filepath.Glob(deployed + "config/*.json")
	if err != nil || len(all) < 8 {
		t.Fatalf("%q, %v", all, err)
	}
	want := map[string]string{"sgx": "serve", "tdx": "serve", "snp": "serve", "sgx-prepare": "found", "sgx-found": "found", "sgx-survey": "survey", "sgx-recover": "recover",
		"tdx-found": "found", "tdx-recover": "recover"}
	for _, path := range all {
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		if name == "pccs" { // of another program
			continue
		}
		f, faults, err := config.Faults(path)
		if err != nil || len(faults) > 0 || len(f.Missing()) > 0 {
			t.Errorf("%s: %v, faults %v, missing %q", name, err, faults, f.Missing())
		}
		var n node
		if _, err := n.parse([]string{"--config", path}); err != nil || n.command != want[name] {
			t.Errorf("%s: %v, command %q, want %q", name, err, n.command, want[name])
		}
	}
}

// TestDeployManifest: the enclave's command line is one that holdfastd takes, and
// nothing that Gramine calls insecure is switched on.
func TestDeployManifest(t *testing.T) {
	text := deployedFile(t, "gramine/holdfastd.manifest.template")
	argv := regexp.MustCompile(`(?m)^loader\.argv = \[(.*)\]$`).FindStringSubmatch(text)
	if argv == nil {
		t.Fatal("no loader.argv")
	}
	var args []string
	for _, quoted := range strings.Split(argv[1], ",") {
		args = append(args, strings.Trim(strings.TrimSpace(quoted), `"`))
	}
	if takes(t, "manifest", args[1:]); len(args) != 3 {
		t.Errorf("an enclave whose line says more than where its file is can do no more than that: %q", args)
	}
	for _, line := range strings.Split(text, "\n") {
		if strings.Contains(line, "insecure__") && line != "sys.insecure__allow_eventfd = false" && !strings.HasPrefix(line, "#") {
			t.Errorf("insecure: %s", line)
		}
	}
	for _, want := range []string{"sgx.debug = false", `sgx.remote_attestation = "dcap"`, `sgx.file_check_policy = "strict"`, "sys.disallow_subprocesses = true", "sgx.use_exinfo = true", "sgx.enclave_size", "sgx.max_threads", "sgx.isvprodid", "sgx.isvsvn",
		"loader.entrypoint.uri", "libos.entrypoint", "sgx.edmm_enable", "sgx.trusted_files", "sys.experimental__enable_flock = true", "sys.insecure__allow_eventfd = false"} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(want)).MatchString(text) {
			t.Errorf("the manifest lacks %s", want)
		}
	}
	if regexp.MustCompile(`(?m)^loader\.env\.\w+ = \{ *passthrough`).MatchString(text) || strings.Contains(text, "use_host_env") {
		t.Error("the host's environment comes in")
	}
	// What is in the folders that only the host vouches for is what the example names.
	for _, place := range []string{"/config", "/state"} {
		if !strings.Contains(text, `path = "`+place+`"`) || !strings.Contains(deployedFile(t, "config/sgx.json"), `"`+place+"/") {
			t.Errorf("%s: the manifest and config/sgx.json do not agree", place)
		}
	}
}

// TestDeployUnits: the units start holdfastd by flags that it has; systemd itself
// reads them where it is here.
func TestDeployUnits(t *testing.T) {
	unit := deployedFile(t, "systemd/holdfastd.service")
	start := regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/holdfastd (.*)$`).FindStringSubmatch(unit)
	if start == nil {
		t.Fatal("no ExecStart")
	}
	takes(t, "holdfastd.service", strings.Fields(start[1]))
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("!!! SKIPPED: no systemd-analyze here")
	}
	for _, name := range []string{"holdfastd.service", "holdfastd-sgx.service"} {
		there := regexp.MustCompile(`(?m)^ExecStart=\S+`).ReplaceAllString(deployedFile(t, "systemd/"+name), "ExecStart=/bin/true")
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(there), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || bytes.Contains(out, []byte(name)) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// A manifest is what this looks at of a Kubernetes object.
type manifest struct {
	Kind     string
	Metadata struct{ Name, Namespace string }
	Data     map[string]string
	Spec     struct {
		ServiceName              string `yaml:"serviceName"`
		ClusterIP                string `yaml:"clusterIP"`
		PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
		Template                 struct {
			Spec struct{ Containers []container }
		}
	}
}

type container struct {
	Args  []string
	Ports []struct {
		Name          string
		ContainerPort int `yaml:"containerPort"`
	}
	Startup   kubeProbe `yaml:"startupProbe"`
	Liveness  kubeProbe `yaml:"livenessProbe"`
	Readiness kubeProbe `yaml:"readinessProbe"`
}

type kubeProbe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	all := map[string]manifest{}
	d := yaml.NewDecoder(strings.NewReader(deployedFile(t, "kubernetes/holdfast.yaml")))
	for {
		var m manifest
		switch err := d.Decode(&m); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatal(err)
		}
		all[m.Kind+" "+m.Metadata.Name] = m
	}
}

// TestDeployKubernetes: command line, configuration, ports, probes and services fit
// together.
func TestDeployKubernetes(t *testing.T) {
	all := manifests(t)
	set, peers := all["StatefulSet holdfast"], all["Service "+all["StatefulSet holdfast"].Spec.ServiceName]
	if peers.Spec.ClusterIP != "None" || !peers.Spec.PublishNotReadyAddresses || len(set.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("%+v", all)
	}
	c := set.Spec.Template.Spec.Containers[0]
	takes(t, "StatefulSet", c.Args)
	file, faults := config.Parse([]byte(all["ConfigMap holdfast"].Data["holdfastd.json"]))
	if faults = append(faults, file.Check()...); len(faults) > 0 {
		t.Fatal(faults)
	}
	var ports []string
	for _, p := range c.Ports {
		ports = append(ports, p.Name)
		setting := map[string]string{"api": "listen", "peers": "peer-listen", "metrics": "metrics"}[p.Name]
		if !strings.HasSuffix(file.Value(setting), ":"+strconv.Itoa(p.ContainerPort)) {
			t.Errorf("port %s is %d, and %s is %q", p.Name, p.ContainerPort, setting, file.Value(setting))
		}
	}
	for _, p := range []struct {
		probe kubeProbe
		path  string
	}{{c.Startup, api.AlivePath}, {c.Liveness, api.AlivePath}, {c.Readiness, api.ReadyPath}} {
		if p.probe.HTTPGet.Path != p.path || p.probe.HTTPGet.Port != "metrics" || !slices.Contains(ports, "metrics") {
			t.Errorf("%+v, want %s at metrics", p.probe, p.path)
		}
	}
	for _, arg := range c.Args {
		if address, ok := strings.CutPrefix(arg, "--join="); ok && !strings.Contains(address, "."+peers.Metadata.Name+"."+peers.Metadata.Namespace+".svc:9001") {
			t.Errorf("%s is no pod behind the headless service", arg)
		}
	}
}
