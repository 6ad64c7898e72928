package boundary

// Groups of packages that several rows name.
var (
	// shared is the root of the tree: it touches neither keys nor the machine.
	shared = []string{"./kms/...", "./attest/...", "./govern/...", "./audit/...", "./api/...", "./proto/..."}
	// isolated may not touch the machine.
	isolated = append([]string{"./trusted/..."}, shared...)
	// generated is printed by protoc-gen-go.
	generated = []string{"./trusted/internal/command", "./trusted/internal/member/wire", "./proto/..."}
)

// rules are those of this module.
var rules = Rules{
	Areas: append([]string{"./trusted/...", "./host/...", "./client/...", "./cmd/...", "./internal/boundary", "./internal/mount", "./examples/...", "./test/..."}, shared...),

	Imports: []ImportRule{
		{From: []string{"./kms/..."}, Never: []string{"./..."},
			Reason: "it is the vocabulary that everything else speaks, so it depends on nothing"},
		{From: shared, Never: []string{"./host/...", "./trusted/...", "./client/...", "./cmd/..."},
			Reason: "a shared package is used on both sides of the wire and touches neither keys nor the machine"},
		{From: []string{"./trusted/..."}, Except: []string{"./trusted/trustedtest/..."}, Never: []string{"./host/..."},
			Reason: "trusted code touches the machine only through what server.Config hands it; trustedtest plays the host"},
		{From: []string{"./trusted/..."}, Never: []string{"./client/...", "./cmd/..."},
			Reason: "they are the other side of the wire"},
		{From: []string{"./trusted/..."}, Except: []string{"./trusted/trustedtest/..."}, Never: []string{"./api/..."},
			Reason: "the core does not know its facades: a command mounts them"},
		{From: []string{"./host/..."}, Never: []string{"./trusted/...", "./govern/...", "./api/...", "./client/...", "./cmd/..."},
			Reason: "the host sees sealed bytes and sockets, never a key, a document or a request"},
		{From: []string{"./client/...", "./examples/..."}, Never: []string{"./trusted/...", "./host/...", "./cmd/..."},
			Reason: "a program that uses the SDK links no server"},
		{From: []string{"./internal/boundary"}, Never: []string{"./..."},
			Reason: "what judges the others depends on none of them"},
		{From: isolated, Except: generated, Never: []string{"unsafe"},
			Reason: "with it a package reaches any memory, and by go:linkname any function, unseen by these rules; generated code alone needs it"},
		{From: isolated, Never: []string{"C", "plugin"},
			Reason: "what it loads is not checked"},
		{From: isolated, Never: []string{"math/rand", "math/rand/v2"},
			Reason: "what is random here is a key, a nonce or an id: crypto/rand"},
		{From: []string{"./..."}, Never: []string{"net/http/pprof", "expvar"},
			Reason: "importing it adds debug endpoints, and they show memory"},
	},

	Reserved: []Reserved{
		{Package: "./attest/simtee", By: []string{"./cmd/holdfast", "./trusted/trustedtest"}, AnyTest: true,
			Reason: "it only pretends to protect; the measured server must not be able to take it for a TEE"},
		{Package: "./attest/intel/inteltest", AnyTest: true,
			Reason: "it mints evidence under any name for tests; what plays a platform is simtee"},
		{Package: "./trusted/trustedtest/...", AnyTest: true,
			Reason: "its host lies and its platform is simulated"},
		{Package: "./client/clienttest", AnyTest: true,
			Reason: "it is a server that protects nothing"},
		{Package: "./internal/mount", By: []string{"./cmd/holdfast", "./cmd/holdfastd"}, AnyTest: true,
			Reason: "it knows the facades and the node: what runs a node puts one in front of the other"},
		{Package: "./govern/governtest", By: []string{"./trusted/trustedtest"}, AnyTest: true,
			Reason: "its signers sign whatever a test wants"},
		{Package: "./trusted/internal/...", By: []string{"./trusted/server", "./trusted/trustedtest"},
			Reason: "trusted/server is the one way in"},
		{Package: "./cmd/...",
			Reason: "a command is a main package; what others need of it belongs elsewhere"},
	},

	Modules: []Module{
		{By: []string{"./trusted/internal/replica/..."}, Imports: []string{"github.com/hashicorp/raft", "github.com/hashicorp/raft-wal", "github.com/hashicorp/raft-wal/segment", "github.com/hashicorp/raft-wal/types"},
			Reason: "consensus and its log, proven in Consul and Vault; raft-wal/metadb is left out, for bbolt crashes on hostile files"},
		{By: []string{"./trusted/internal/replica/..."}, Imports: []string{"github.com/hashicorp/go-hclog"},
			Reason: "raft logs through it; its lines are handed on to slog"},
		{By: []string{"./host/disk", "./host/disk/faultdisk"}, Imports: []string{"github.com/hashicorp/raft-wal/types"},
			Reason: "the files it opens are of the type that raft-wal writes to"},
		{By: []string{"./trusted/internal/state"}, Imports: []string{"github.com/tidwall/btree"},
			Reason: "copy-on-write maps: 279 bytes a record with three indexes, where go-memdb takes 1,044 and more"},
		{By: []string{"./trusted/internal/...", "./trusted/server"}, Imports: []string{"google.golang.org/protobuf/proto"},
			Reason: "the log's commands and the records of the state are protobuf"},
		{By: []string{"./trusted/internal/state"}, TestsOnly: true, Imports: []string{"google.golang.org/protobuf/reflect/protoreflect"},
			Reason: "a test changes every field of every record, so that the state's digest forgets none"},
		{By: generated, Imports: []string{"google.golang.org/protobuf/reflect/protoreflect", "google.golang.org/protobuf/runtime/protoimpl", "google.golang.org/protobuf/types/known/timestamppb"},
			Reason: "generated code rests on it"},
		{By: []string{"./proto/...", "./api/native", "./client/..."}, Imports: []string{"connectrpc.com/connect"},
			Reason: "the native API is gRPC and JSON from one definition, over net/http"},
		{By: []string{"./api/native"}, Imports: []string{"google.golang.org/protobuf/encoding/protojson", "google.golang.org/protobuf/proto", "google.golang.org/protobuf/reflect/protoreflect", "google.golang.org/protobuf/reflect/protoregistry"},
			Reason: "codecs that refuse what connect's own would ignore, and the names of procedures, for metrics"},
		{By: []string{"./api/native", "./client/..."}, Imports: []string{"google.golang.org/protobuf/types/known/timestamppb"},
			Reason: "times in the native API's messages"},
		{By: []string{"./trusted/internal/keyring", "./trusted/internal/authn", "./trusted/internal/session"}, Imports: []string{"github.com/hashicorp/golang-lru/v2"},
			Reason: "the bounded caches of parsed keys, opened credentials and sessions"},
		{By: []string{"./trusted/internal/alg/sm"}, Imports: []string{"github.com/emmansun/gmsm/sm2", "github.com/emmansun/gmsm/sm3", "github.com/emmansun/gmsm/sm4"},
			Reason: "the Chinese standards, which the standard library lacks"},
		{By: []string{"./trusted/internal/alg/secp256k1"}, Imports: []string{"github.com/decred/dcrd/dcrec/secp256k1/v4", "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"},
			Reason: "field, scalars and verification over a curve that the standard library lacks"},
		{By: []string{"./trusted/internal/alg"}, TestsOnly: true, Imports: []string{"github.com/emmansun/gmsm/sm2", "github.com/emmansun/gmsm/sm4", "github.com/decred/dcrd/dcrec/secp256k1/v4", "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"},
			Reason: "the benchmarks run each operation next to the library alone"},
		{By: []string{"./trusted/internal/alg"}, Imports: []string{"filippo.io/bigmod"},
			Reason: "the constant-time arithmetic under crypto/rsa, published by its author: crypto/rsa does not hand out the number under a PKCS #1 v1.5 padding, and math/big takes time by its value"},
		{By: []string{"./trusted/internal/alg"}, Imports: []string{"filippo.io/mldsa"},
			Reason: "ML-DSA of the Go FIPS module, constant-time, which the standard library shows from Go 1.27 on; it is the same code under the same API"},
		{By: []string{"./cmd/holdfast/internal/raw"}, Imports: []string{"filippo.io/mldsa"},
			Reason: "bench shows each operation next to the library alone"},
		{By: []string{"./api/...", "./client/...", "./attest/...", "./govern", "./audit"}, Imports: []string{"github.com/go-json-experiment/json", "github.com/go-json-experiment/json/jsontext"},
			Reason: "encoding/json takes a member that is there twice; this one refuses it, and four times faster"},
		{By: []string{"./cmd/holdfast/internal/raw"}, Imports: []string{"github.com/emmansun/gmsm/sm2", "github.com/emmansun/gmsm/sm4", "github.com/decred/dcrd/dcrec/secp256k1/v4", "github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"},
			Reason: "bench shows each operation next to the library alone"},
		{By: []string{"./cmd/holdfast"}, Imports: []string{"github.com/alecthomas/kong"},
			Reason: "commands, flags and help from one struct"},
		{By: []string{"./cmd/holdfast"}, Imports: []string{"golang.org/x/term"},
			Reason: "a passphrase that is asked for is not shown"},
		{By: []string{"./host/telemetry"}, Imports: []string{"github.com/prometheus/client_golang/prometheus", "github.com/prometheus/client_golang/prometheus/collectors", "github.com/prometheus/client_golang/prometheus/promhttp"},
			Reason: "metrics as Prometheus reads them; of expvar, which it links, nothing is served"},
		{By: []string{"./host/...", "./cmd/holdfast/..."}, Imports: []string{"golang.org/x/sys/unix", "golang.org/x/sys/windows"},
			Reason: "system calls that package syscall lacks"},
		{By: []string{"./attest/snp"}, Imports: []string{"github.com/google/go-sev-guest/abi", "github.com/google/go-sev-guest/kds", "github.com/google/go-sev-guest/proto/sevsnp",
			"github.com/google/go-sev-guest/validate", "github.com/google/go-sev-guest/verify", "github.com/google/go-sev-guest/verify/trust"},
			Reason: "AMD's reports, chains and policy, from v0.15.0 on, which refuses chains that are not AMD's"},
		{By: []string{"./trusted/internal/tee/tsm"}, Imports: []string{"github.com/google/go-configfs-tsm/configfs/configfsi", "github.com/google/go-configfs-tsm/report"},
			Reason: "the kernel's protocol for reports of TDX and SEV-SNP, with its generation counter"},
		{By: []string{"./trusted/internal/tee/tsm"}, Imports: []string{"github.com/google/go-sev-guest/abi", "github.com/google/go-sev-guest/client", "github.com/google/go-sev-guest/client/linuxabi", "github.com/google/go-sev-guest/proto/sevsnp"},
			Reason: "reports, the host's table of certificates and the ioctl for a derived key, which without it would take unsafe"},
		{By: []string{"./trusted/internal/tee/..."}, TestsOnly: true, Imports: []string{"github.com/google/go-configfs-tsm/configfs/configfsi", "github.com/google/go-configfs-tsm/configfs/faketsm",
			"github.com/google/go-sev-guest/abi", "github.com/google/go-sev-guest/client/linuxabi"},
			Reason: "a kernel to test against, that its users wrote"},
		{By: []string{"./host/collateral"}, Imports: []string{"github.com/google/go-sev-guest/abi", "github.com/google/go-sev-guest/kds", "github.com/go-json-experiment/json"},
			Reason: "which addresses AMD's service has for a report; strict JSON for what is kept"},
		{By: []string{"./host/collateral"}, TestsOnly: true, Imports: []string{"github.com/google/go-sev-guest/verify/trust"},
			Reason: "AMD's own certificates, as its service would answer"},
		{By: []string{"./host/config"}, Imports: []string{"github.com/go-json-experiment/json/jsontext"},
			Reason: "where in a configuration file something is wrong, to the line; a name that is there twice is refused"},
		{By: []string{"./internal/boundary"}, Imports: []string{"golang.org/x/tools/go/packages"},
			Reason: "type information for these rules"},
		{By: []string{"./..."}, TestsOnly: true, Imports: []string{"github.com/google/go-cmp/cmp", "github.com/google/go-cmp/cmp/cmpopts"},
			Reason: "a test that fails shows the difference"},
	},

	Links: []Link{
		{Command: "./cmd/holdfastd", Lacks: []string{"./attest/simtee", "./trusted/trustedtest/..."},
			Reason: "the measured server takes real TEEs only"},
	},

	Isolated: isolated,
	Symbols:  machine,

	Literals: []Literal{
		{In: isolated, Package: "crypto/x509", Type: "VerifyOptions", Field: "CurrentTime",
			Reason: "without it the host's clock decides what has expired"},
		{In: []string{"./trusted/..."}, Package: "crypto/tls", Type: "Config", Field: "Time",
			Reason: "without it the host's clock decides what has expired"},
	},

	Exceptions: []Exception{
		{Package: "./attest/simtee", May: []string{"os"},
			Reason: "it plays hardware, and its fuses are a file"},
		{Package: "./trusted/internal/tee/...", May: []string{"os", "syscall"},
			Reason: "a TEE is reached through a device node"},
		{Package: "./trusted/trustedtest/...", May: []string{"*"},
			Reason: "it plays the host for tests, which alone may import it"},
	},

	Future: []Future{},
}

// machine is what touching the machine is: files, sockets, processes, the
// environment, the clock. Deadlines of a context are left out: they end an
// operation early and decide nothing.
var machine = []Symbols{
	{Package: "os", Names: []string{"*"}, Reason: "files, processes and the environment are the host's; errors to compare with are in io/fs"},
	{Package: "os/exec", Names: []string{"*"}, Reason: "trusted code starts no process"},
	{Package: "os/signal", Names: []string{"*"}, Reason: "signals are the host's; take a context"},
	{Package: "os/user", Names: []string{"*"}, Reason: "it reads the host's files"},
	{Package: "syscall", Names: []string{"*"}, Reason: "system calls are the host's"},
	{Package: "io/ioutil", Names: []string{"*"}, Reason: "it opens files"},
	{Package: "path/filepath", Names: []string{"Abs", "EvalSymlinks", "Glob", "Walk", "WalkDir"}, Reason: "it reads folders"},
	{Package: "text/template", Names: []string{"ParseFiles", "ParseGlob", "Template.ParseFiles", "Template.ParseGlob"}, Reason: "it opens files"},
	{Package: "html/template", Names: []string{"ParseFiles", "ParseGlob", "Template.ParseFiles", "Template.ParseGlob"}, Reason: "it opens files"},

	{Package: "net", Names: []string{"Dial*", "Dialer", "Listen*", "ListenConfig", "Lookup*", "Resolve*", "Resolver", "DefaultResolver", "File*", "Interface*"},
		Reason: "sockets and names are the host's: take a dialler or a listener"},
	{Package: "crypto/tls", Names: []string{"Dial*", "Dialer", "Listen", "LoadX509KeyPair"}, Reason: "sockets and files are the host's; wrap a connection with tls.Client or tls.Server"},
	{Package: "crypto/x509", Names: []string{"SystemCertPool"}, Reason: "what the host trusts is no reason to trust"},
	{Package: "net/http", Names: []string{"Get", "Head", "Post", "PostForm", "DefaultClient", "DefaultTransport", "ListenAndServe*", "Server.ListenAndServe", "Server.ListenAndServeTLS", "ProxyFromEnvironment", "FileServer", "ServeFile", "Dir"},
		Reason: "it opens sockets or files by itself"},

	{Package: "time", Names: []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"},
		Reason: "the host sets its clock; take the time as an argument or a clock that the caller gave"},

	{Package: "log", Names: []string{"*"}, Reason: "it writes where the process decides; take a *slog.Logger"},
	{Package: "log/slog", Names: []string{"Debug", "DebugContext", "Info", "InfoContext", "Warn", "WarnContext", "Error", "ErrorContext", "Log", "LogAttrs", "With", "Default", "SetDefault"},
		Reason: "it writes where the process decides; take a *slog.Logger"},
	{Package: "fmt", Names: []string{"Print*", "Scan", "Scanf", "Scanln"}, Reason: "standard input and output are the command's"},
	{Package: "builtin", Names: []string{"print", "println"}, Reason: "standard output is the command's"},
	{Package: "runtime/pprof", Names: []string{"*"}, Reason: "a profile shows memory"},
	{Package: "runtime/debug", Names: []string{"WriteHeapDump", "SetCrashOutput"}, Reason: "a dump shows memory"},

	{Package: "github.com/hashicorp/raft", Names: []string{"NewTCPTransport*", "NewFileSnapshotStore*", "NewDiscardSnapshotStore"},
		Reason: "it opens sockets or unsealed files; ours run over attested channels and seal"},
	{Package: "github.com/hashicorp/raft", Names: []string{"Raft.VerifyLeader"},
		Reason: "it counts heartbeats from before the call, so a deposed leader passes; reads take a read index"},
}
