// Package versions builds two versions of cmd/holdfast, for tests of what becomes
// of a domain when its program changes. The second one has one more command of the
// log and a newer feature level: a changed flag would not do.
package versions

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/pluginpb"

	_ "github.com/holdfast-kms/holdfast/trusted/server" // for the description of the log's commands
)

const module = "github.com/holdfast-kms/holdfast"

// The next version of the program is this one, changed as a developer changes it
// who adds an operation to the log: the command is added to the descriptor of
// command.proto, from which protoc-gen-go makes the code; the lines below are put
// in; and the files of testdata/next are added. `go build -overlay` builds that,
// and nothing of it is ever written into the tree.
//
// What the line is that an edit looks for may change with the program: then the
// build fails here and says which. Another line that does the same is to be put in
// its place.
var edits = []struct{ file, before, after string }{
	{"trusted/internal/state/machine.go", "const FeatureLevel = 1", "const FeatureLevel = 2"},
	{"trusted/internal/state/machine.go", "\tcase *command.Command_DeleteAppKeys:",
		"\tcase *command.Command_DisableAppKeys:\n\t\treturn m.disableAppKeys(c.GetPrincipal())\n\tcase *command.Command_DeleteAppKeys:"},
	{"trusted/internal/state/features.go", "\tswitch c.GetOp().(type) {", "\tswitch c.GetOp().(type) {\n\tcase *command.Command_DisableAppKeys:\n\t\treturn 2"},
	{"api/ehsm/ehsm.go", "\tDeleteAllKeys(ctx context.Context) error", "\tDeleteAllKeys(ctx context.Context) error\n\tDisableAllKeys(ctx context.Context) error"},
	{"api/ehsm/routes.go", "\t{\"DeleteAllKey\", exact,", "\t{\"DisableAllKey\", exact, nil, disableAllKey, nextErrors},\n\t{\"DeleteAllKey\", exact,"},
	{"cmd/holdfast/key.go", "type keyCmd struct {", "type keyCmd struct {\n\tDisableAll keyDisableAllCmd `cmd:\"\" help:\"Stop every use of every key of the app.\"`"},
	{"attest/simtee/simtee.go", "\"" + measurementLabel + "1\"", "\"" + measurementLabel + "2\""},
}

// measurementLabel is what the measurement of a program on a simulated platform
// is made of, together with its version: a simulated platform cannot measure.
const measurementLabel = "holdfast development measurement v"

// Measurement is the MRENCLAVE of a version, of which this one is 1.
func Measurement(version int) string {
	m := sha256.Sum256(fmt.Append(nil, measurementLabel, version))
	return hex.EncodeToString(m[:])
}

// Build builds this version as one file and the next one as another, for a test of
// a package two folders below the module's. dir is for what it needs meanwhile.
func Build(dir, this, next string) error {
	if err := goBuild("-o", this, module+"/cmd/holdfast"); err != nil {
		return err
	}
	replaced, err := nextVersion(dir)
	if err != nil {
		return fmt.Errorf("the next version's source: %w", err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		return err
	}
	return goBuild("-overlay", file, "-o", next, module+"/cmd/holdfast")
}

func goBuild(args ...string) error {
	if out, err := exec.Command("go", append([]string{"build"}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// nextVersion makes what the next version has in the place of this one's files.
func nextVersion(dir string) (replaced map[string]string, err error) {
	root, err := filepath.Abs("../..")
	if err != nil {
		return nil, err
	}
	o := &overlay{root: root, dir: filepath.Join(dir, "next"), replaced: map[string]string{}}
	code, err := generated(dir)
	if err != nil {
		return nil, err
	}
	return o.replaced, errors.Join(o.put("trusted/internal/command/command.pb.go", code), o.edit(), o.add(filepath.Join(root, "test", "versions", "testdata", "next")))
}

// An overlay is a set of files that stand for others of the module.
type overlay struct {
	root, dir string
	replaced  map[string]string
}

func (o *overlay) put(file string, text []byte) error {
	to := filepath.Join(o.dir, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	o.replaced[filepath.Join(o.root, filepath.FromSlash(file))] = to
	return os.WriteFile(to, text, 0o600)
}

func (o *overlay) edit() error {
	for _, e := range edits {
		from := filepath.Join(o.root, filepath.FromSlash(e.file))
		if before, ok := o.replaced[from]; ok {
			from = before
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if n := bytes.Count(text, []byte(e.before)); n != 1 {
			return fmt.Errorf("%s has %q %d times, not once", e.file, e.before, n)
		}
		if err := o.put(e.file, bytes.Replace(text, []byte(e.before), []byte(e.after), 1)); err != nil {
			return err
		}
	}
	return nil
}

func (o *overlay) add(from string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		return o.put(filepath.ToSlash(file), text)
	})
}

// generated is the code of the log's commands, with one that this version has not.
func generated(dir string) ([]byte, error) {
	file, err := protoregistry.GlobalFiles.FindFileByPath("command.proto")
	if err != nil {
		return nil, err
	}
	doc := protodesc.ToFileDescriptorProto(file)
	addCommand(doc)
	ask, err := proto.Marshal(&pluginpb.CodeGeneratorRequest{FileToGenerate: []string{doc.GetName()},
		Parameter: proto.String("paths=source_relative"), ProtoFile: []*descriptorpb.FileDescriptorProto{doc}})
	if err != nil {
		return nil, err
	}
	plugin := filepath.Join(dir, "protoc-gen-go.exe")
	if err := goBuild("-o", plugin, "google.golang.org/protobuf/cmd/protoc-gen-go"); err != nil {
		return nil, err
	}
	cmd := exec.Command(plugin)
	cmd.Stdin = bytes.NewReader(ask)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("protoc-gen-go: %w", err)
	}
	var made pluginpb.CodeGeneratorResponse
	if err := proto.Unmarshal(out, &made); err != nil {
		return nil, err
	}
	if made.Error != nil || len(made.GetFile()) != 1 {
		return nil, fmt.Errorf("protoc-gen-go: %d files, %s", len(made.GetFile()), made.GetError())
	}
	return []byte(made.GetFile()[0].GetContent()), nil
}

// addCommand adds an operation to the commands of the log.
func addCommand(doc *descriptorpb.FileDescriptorProto) {
	doc.MessageType = append(doc.MessageType, &descriptorpb.DescriptorProto{Name: proto.String("DisableAppKeys")})
	for _, m := range doc.GetMessageType() {
		if m.GetName() != "Command" {
			continue
		}
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{Name: proto.String("disable_app_keys"), JsonName: proto.String("disableAppKeys"),
			Number: proto.Int32(1000), OneofIndex: proto.Int32(0), Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			Type: descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), TypeName: proto.String("." + doc.GetPackage() + ".DisableAppKeys")})
	}
}
