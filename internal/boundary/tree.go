package boundary

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A tree is the source of a module as far as its imports.
type tree struct {
	dir      string
	module   string
	packages map[string]*pkg // by path, as "./kms"
}

type pkg struct {
	path    string
	imports []imported
	hasCode bool // has a file that is no test
}

type imported struct {
	path string // "./kms" for our own, else as written
	test bool   // by a test file
	pos  token.Position
}

// own reports whether an import is of this module.
func own(path string) bool { return path == "." || strings.HasPrefix(path, "./") }

// foreign reports whether an import is of another module: its first element
// is a domain name, which nothing in the standard library is.
func foreign(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !own(path) && strings.Contains(first, ".")
}

// readTree reads every Go file of the module, whatever it is built for.
// Folders that the go command skips, and modules within the module, are left out.
func readTree(dir string) (*tree, error) {
	dir, err := filepath.Abs(dir) // as type-checking will name its files
	if err != nil {
		return nil, err
	}
	module, err := modulePath(filepath.Join(dir, "go.mod"))
	if err != nil {
		return nil, err
	}
	t := &tree{dir: dir, module: module, packages: map[string]*pkg{}}
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skipped(dir, path)
		case strings.HasSuffix(path, ".go"):
			return t.readFile(path)
		}
		return nil
	})
	if err == nil && len(t.packages) == 0 {
		err = fmt.Errorf("%s holds no package", dir)
	}
	return t, err
}

func skipped(root, dir string) error {
	if dir == root {
		return nil
	}
	name := filepath.Base(dir)
	if name == "testdata" || name == "vendor" || name[0] == '.' || name[0] == '_' {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

func modulePath(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return strings.TrimSpace(path), nil
		}
	}
	return "", fmt.Errorf("%s names no module", file)
}

func (t *tree) readFile(path string) error {
	name, err := filepath.Rel(t.dir, path)
	if err != nil {
		return err
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	name = filepath.ToSlash(name)
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, parser.ImportsOnly)
	if err != nil {
		return err
	}
	p := t.pkg("./" + strings.TrimSuffix(name[:strings.LastIndex(name, "/")+1], "/"))
	test := strings.HasSuffix(name, "_test.go")
	p.hasCode = p.hasCode || !test
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		p.imports = append(p.imports, imported{path: t.relative(path), test: test, pos: fset.Position(spec.Pos())})
	}
	return nil
}

func (t *tree) pkg(path string) *pkg {
	if t.packages[path] == nil {
		t.packages[path] = &pkg{path: path}
	}
	return t.packages[path]
}

// relative gives the path of a package as the tables write it.
func (t *tree) relative(path string) string {
	if path == t.module {
		return "./"
	}
	if below, ok := strings.CutPrefix(path, t.module+"/"); ok {
		return "./" + below
	}
	return path
}

// sorted returns the packages in the order of their paths.
func (t *tree) sorted() []*pkg {
	var all []*pkg
	for _, p := range t.packages {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b *pkg) int { return strings.Compare(a.path, b.path) })
	return all
}

// reaches returns how the package at path comes to import one that a pattern
// names, tests apart, or nil if it does not.
func (t *tree) reaches(path string, patterns []string, seen map[string]bool) []string {
	if matchesAny(patterns, path) {
		return []string{path}
	}
	p := t.packages[path]
	if p == nil || seen[path] {
		return nil
	}
	seen[path] = true
	for _, i := range p.imports {
		if i.test || !own(i.path) {
			continue
		}
		if rest := t.reaches(i.path, patterns, seen); rest != nil {
			return append([]string{path}, rest...)
		}
	}
	return nil
}
