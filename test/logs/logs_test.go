// Package logs_test compares docs/logs.md with the source: every line that a node
// can log has a row, with its level and attributes, and no row is of the past.
package logs_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root = "../../"
	page = root + "docs/logs.md"
)

// places are what a node is made of.
var places = []string{"trusted", "host", "api", "internal/mount", "cmd/holdfastd"}

// An event is a line of the log: its message, and what the page has of it.
type event struct{ message, level, attributes string }

func (e event) String() string {
	return fmt.Sprintf("| %s | %s | %s |", e.message, e.level, e.attributes)
}

// logged are the events in the source, each once, and where.
func logged(t *testing.T) map[event]token.Position {
	t.Helper()
	all := map[event]token.Position{}
	files := token.NewFileSet()
	for _, place := range places {
		err := filepath.WalkDir(root+place, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.Contains(path, "trustedtest") {
				return err
			}
			f, err := parser.ParseFile(files, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if e, ok := eventOf(n); ok {
					all[e] = files.Position(n.Pos())
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// eventOf is the event that a call of a logger's method logs.
func eventOf(n ast.Node) (e event, ok bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return e, false
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !isLogger(f.X) {
		return e, false
	}
	args := call.Args
	switch name := strings.TrimSuffix(f.Sel.Name, "Context"); {
	case name != f.Sel.Name && len(args) > 0:
		args = args[1:]
		fallthrough
	default:
		e.level = strings.ToLower(name)
	case f.Sel.Name == "LogAttrs" && len(args) > 2:
		level, _ := args[1].(*ast.SelectorExpr)
		if level == nil {
			return e, false
		}
		e.level, args = strings.ToLower(strings.TrimPrefix(level.Sel.Name, "Level")), args[2:]
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, e.level) || len(args) == 0 {
		return e, false
	}
	if e.message, ok = text(args[0]); !ok {
		return e, false
	}
	e.attributes = strings.Join(attributes(args[1:]), " ")
	return e, true
}

// isLogger goes by the name: there is no type information here.
func isLogger(x ast.Expr) bool {
	name := ""
	switch x := x.(type) {
	case *ast.Ident:
		name = x.Name
	case *ast.SelectorExpr:
		name = x.Sel.Name
	}
	return slices.Contains([]string{"log", "logger"}, strings.ToLower(name))
}

func attributes(args []ast.Expr) (keys []string) {
	for i := 0; i < len(args); i++ {
		if call, ok := args[i].(*ast.CallExpr); ok { // slog.String("key", …)
			if f, ok := call.Fun.(*ast.SelectorExpr); ok && fmt.Sprint(f.X) == "slog" && len(call.Args) > 0 {
				if key, ok := text(call.Args[0]); ok {
					keys = append(keys, key)
				}
			}
			continue
		}
		if key, ok := text(args[i]); ok {
			keys = append(keys, key)
			i++
		}
	}
	return keys
}

func text(x ast.Expr) (string, bool) {
	lit, ok := x.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (debug|info|warn|error) \\| ?([a-z_` ]*?) ?\\| ?(.*?) ?\\|$")

// TestLogs: the page is complete, and every warning and error says what to do.
func TestLogs(t *testing.T) {
	doc, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	told := map[event]bool{}
	for _, m := range row.FindAllStringSubmatch(string(doc), -1) {
		e := event{m[1], m[2], strings.ReplaceAll(m[3], "`", "")}
		told[e] = true
		if (e.level == "warn" || e.level == "error") && m[4] == "" {
			t.Errorf("docs/logs.md does not say what to do about %q", e.message)
		}
	}
	source := logged(t)
	if len(source) < 40 {
		t.Fatalf("only %d events were found in the source", len(source))
	}
	for e, at := range source {
		if !told[e] {
			t.Errorf("docs/logs.md lacks, of %s:\n%s", at, e)
		}
	}
	for e := range told {
		if _, ok := source[e]; !ok {
			t.Errorf("docs/logs.md has what is not logged:\n%s", e)
		}
	}
}
