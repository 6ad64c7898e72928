package boundary

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// synthetic is a module in which every row of the tables is broken once.
// Beside each line that breaks one stands a comment "want" with a piece of
// each message in backquotes; a line without is in order.
const synthetic = "testdata/module"

func TestSyntheticModule(t *testing.T) {
	found, err := rules.Check(synthetic)
	if err != nil {
		t.Fatal(err)
	}
	wants := readWants(t)
	for _, v := range found {
		if !v.Pos.IsValid() {
			continue // TestWithoutPosition's
		}
		place := lineOf(v.Pos)
		i := slices.IndexFunc(wants[place], func(want string) bool { return strings.Contains(v.Text, want) })
		if i < 0 {
			t.Errorf("unexpected: %v", v)
			continue
		}
		wants[place] = slices.Delete(wants[place], i, i+1)
	}
	for place, left := range wants {
		for _, want := range left {
			t.Errorf("%s:%d: not found: %s", place.file, place.line, want)
		}
	}
}

// TestEveryRowBites holds the tables to the synthetic module: a row that
// nothing there breaks is not known to work.
func TestEveryRowBites(t *testing.T) {
	found, err := rules.Check(synthetic)
	if err != nil {
		t.Fatal(err)
	}
	bites := func(start, reason string) bool {
		return slices.ContainsFunc(found, func(v Violation) bool {
			return strings.HasPrefix(v.Text, start) && strings.HasSuffix(v.Text, ": "+reason)
		})
	}
	for _, r := range rules.Imports {
		if !bites("", r.Reason) {
			t.Errorf("import rule: %s", r.Reason)
		}
	}
	for _, r := range rules.Reserved {
		if !bites("", r.Reason) {
			t.Errorf("reserved: %s", r.Package)
		}
	}
	for _, r := range rules.Symbols {
		if !slices.ContainsFunc(found, func(v Violation) bool {
			return strings.Contains(v.Text, " may not use "+r.Package+".") && strings.HasSuffix(v.Text, r.Reason)
		}) {
			t.Errorf("symbols: %s %v", r.Package, r.Names)
		}
	}
	for _, r := range rules.Literals {
		if !bites("", r.Reason) {
			t.Errorf("literal: %s.%s", r.Package, r.Type)
		}
	}
	for _, r := range rules.Links {
		for _, lacks := range r.Lacks {
			if !bites(r.Command+" contains "+lacks, r.Reason) {
				t.Errorf("link: %s lacks %s", r.Command, lacks)
			}
		}
	}
}

func TestWithoutPosition(t *testing.T) {
	early := rules
	early.Future = []Future{{Package: "./audit/...", Issue: "audit log"}}
	found, err := early.Check(synthetic)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"./audit/... is there now: take it off Future",
		"./cmd/holdfastd contains ./attest/simtee, by way of ./cmd/holdfastd → ./trusted/server → ./trusted/bad → ./attest/simtee: ",
		"./elsewhere lies in none of the Areas",
		"./kms/clock_plan9.go is not built on this machine",
		"./trusted/bad/cgo.go is not built on this machine",
		"a rule names ./trusted/internal/keyring, and there is no such package",
		"nothing under ./cmd/holdfast imports github.com/alecthomas/kong any more",
	} {
		if !slices.ContainsFunc(found, func(v Violation) bool { return !v.Pos.IsValid() && strings.HasPrefix(v.Text, want) }) {
			t.Errorf("not found: %s", want)
		}
	}
	for _, v := range found {
		if strings.Contains(v.Text, "does not compile") {
			t.Error(v)
		}
	}
}

func TestCheckTables(t *testing.T) {
	tree := &tree{packages: map[string]*pkg{
		"./a":   {path: "./a", imports: []imported{{path: "example.com/x"}, {path: "example.com/t", test: true}}},
		"./b/c": {path: "./b/c"},
	}}
	fine := Rules{
		Areas:   []string{"./a", "./b/...", "./later/..."},
		Imports: []ImportRule{{From: []string{"./..."}, Except: []string{"./b/c"}, Never: []string{"./a", "os"}}},
		Modules: []Module{{By: []string{"./a"}, Imports: []string{"example.com/x"}}, {By: []string{"./..."}, TestsOnly: true, Imports: []string{"example.com/t"}}},
		Future:  []Future{{Package: "./later/...", Issue: "later"}},
	}
	tests := []struct {
		name string
		edit func(*Rules)
		want string
	}{
		{"in order", func(*Rules) {}, ""},
		{"outside every area", func(r *Rules) { r.Areas = []string{"./a", "./later/..."} }, "./b/c lies in none"},
		{"a row names what is not there", func(r *Rules) { r.Reserved = []Reserved{{Package: "./b"}} }, "a rule names ./b,"},
		{"future that came", func(r *Rules) { r.Future = append(r.Future, Future{Package: "./b/..."}) }, "./b/... is there now"},
		{"module that nobody uses", func(r *Rules) {
			r.Modules = append(r.Modules, Module{By: []string{"./b/..."}, Imports: []string{"example.com/x"}})
		}, "nothing under ./b/... imports example.com/x"},
		{"test module that only code uses", func(r *Rules) {
			r.Modules = append(r.Modules, Module{By: []string{"./a"}, TestsOnly: true, Imports: []string{"example.com/x"}})
		}, "nothing under ./a imports example.com/x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := fine
			tt.edit(&r)
			var texts []string
			for _, v := range r.checkTables(tree) {
				texts = append(texts, v.Text)
			}
			if tt.want == "" && len(texts) > 0 || tt.want != "" && (len(texts) != 1 || !strings.HasPrefix(texts[0], tt.want)) {
				t.Errorf("found %q, want one that begins %q", texts, tt.want)
			}
		})
	}
}

func TestEveryRowHasAReason(t *testing.T) {
	var reasons []string
	for _, r := range rules.Imports {
		reasons = append(reasons, r.Reason)
	}
	for _, r := range rules.Reserved {
		reasons = append(reasons, r.Reason)
	}
	for _, r := range rules.Modules {
		reasons = append(reasons, r.Reason)
	}
	for _, r := range rules.Links {
		reasons = append(reasons, r.Reason)
	}
	for _, r := range rules.Symbols {
		reasons = append(reasons, r.Reason)
	}
	for _, r := range rules.Literals {
		reasons = append(reasons, r.Reason)
	}
	for _, r := range rules.Exceptions {
		reasons = append(reasons, r.Reason)
	}
	for _, r := range rules.Future {
		reasons = append(reasons, r.Issue)
	}
	if i := slices.Index(reasons, ""); i >= 0 {
		t.Errorf("row %d of %d gives none", i, len(reasons))
	}
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, path string
		want          bool
	}{
		{"./kms", "./kms", true},
		{"./kms", "./kms/x", false},
		{"./kms/...", "./kms", true},
		{"./kms/...", "./kms/x/y", true},
		{"./kms/...", "./kmsx", false},
		{"./...", "./kms", true},
		{"./...", "os", false},
		{"os", "os", true},
		{"os", "os/exec", false},
	} {
		if got := matches(tt.pattern, tt.path); got != tt.want {
			t.Errorf("matches(%q, %q) = %v", tt.pattern, tt.path, got)
		}
	}
}

func TestUnreadableModules(t *testing.T) {
	empty, broken := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(empty, "go.mod"):   "module example.test/empty\n",
		filepath.Join(broken, "go.mod"):  "module example.test/broken\n",
		filepath.Join(broken, "file.go"): "package broken\nimport \"",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{t.TempDir(), empty, broken} {
		if found, err := rules.Check(dir); err == nil {
			t.Errorf("%s: %d found and no error: it reads nothing and passes", dir, len(found))
		}
	}
}

// place is a line of the synthetic module.
type place struct {
	file string
	line int
}

func lineOf(pos token.Position) place { return place{pos.Filename, pos.Line} }

var backquoted = regexp.MustCompile("`([^`]+)`")

// readWants reads the comments of every file of the synthetic module.
func readWants(t *testing.T) map[place][]string {
	t.Helper()
	wants := map[place][]string{}
	total := 0
	err := filepath.WalkDir(synthetic, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		for _, group := range file.Comments {
			for _, comment := range group.List {
				text, ok := strings.CutPrefix(comment.Text, "// want ")
				if !ok {
					continue
				}
				at := lineOf(fset.Position(comment.Pos()))
				at.file = filepath.ToSlash(strings.TrimPrefix(at.file, filepath.FromSlash(synthetic)+string(filepath.Separator)))
				for _, want := range backquoted.FindAllStringSubmatch(text, -1) {
					wants[at] = append(wants[at], want[1])
					total++
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if total < 60 {
		t.Fatalf("only %d wants: the synthetic module is not read", total)
	}
	return wants
}

// TestWholeMessage shows one message as a person sees it.
func TestWholeMessage(t *testing.T) {
	found, err := rules.Check(synthetic)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(found, func(v Violation) bool { return v.Pos.Filename == "host/bad/bad_test.go" })
	if i < 0 {
		t.Fatal("host/bad/bad_test.go is in order")
	}
	want := `host/bad/bad_test.go:4: ./host/bad may not import example.com/unknown, for no row of Modules lets it. If the standard library will not do, add to rules.go:
	{By: []string{"./host/bad"}, TestsOnly: true, Imports: []string{"example.com/unknown"}, Reason: "why our own code or the standard library will not do"},`
	if diff := cmp.Diff(want, found[i].String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
