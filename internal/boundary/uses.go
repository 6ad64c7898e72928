package boundary

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

// checkUses type-checks the packages that may not touch the machine. Only they
// are read from source: what they import comes from the compiler's export data.
func (r *Rules) checkUses(t *tree) ([]Violation, error) {
	isolated := r.isolated(t)
	if len(isolated) == 0 {
		return nil, nil
	}
	loaded, err := packages.Load(&packages.Config{
		Dir:  t.dir,
		Mode: packages.NeedName | packages.NeedFiles | packages.NeedImports | packages.NeedSyntax | packages.NeedTypes | packages.NeedTypesInfo,
	}, isolated...)
	if err != nil {
		return nil, err
	}
	var found []Violation
	for _, p := range loaded {
		if len(p.Errors) > 0 {
			found = append(found, Violation{Text: fmt.Sprintf("%s does not compile, so what it uses is not checked: %v", t.relative(p.PkgPath), p.Errors[0])})
			continue
		}
		u := &uses{rules: r, tree: t, loaded: p, path: t.relative(p.PkgPath)}
		found = append(found, u.check()...)
	}
	if len(loaded) != len(isolated) {
		return nil, fmt.Errorf("of %d packages to check, %d were loaded", len(isolated), len(loaded))
	}
	return found, nil
}

func (r *Rules) isolated(t *tree) []string {
	var paths []string
	for _, p := range t.sorted() {
		if p.hasCode && matchesAny(r.Isolated, p.path) && !slices.ContainsFunc(r.Exceptions, func(e Exception) bool { return e.covers(p.path, "*") }) {
			paths = append(paths, p.path)
		}
	}
	return paths
}

// covers reports whether e lets the package at path use names of symbols.
func (e Exception) covers(path, symbols string) bool {
	return matches(e.Package, path) && (slices.Contains(e.May, symbols) || slices.Contains(e.May, "*"))
}

// uses is the check of one package.
type uses struct {
	rules  *Rules
	tree   *tree
	loaded *packages.Package
	path   string
	found  []Violation
}

func (u *uses) check() []Violation {
	u.unseenFiles()
	for id, object := range u.loaded.TypesInfo.Uses {
		u.checkUse(id, object)
	}
	for _, file := range u.loaded.Syntax {
		named := map[*ast.Ident]bool{} // type names that stand where they may
		ast.Inspect(file, func(n ast.Node) bool {
			u.checkNode(n, named)
			return true
		})
	}
	return u.found
}

func (u *uses) add(pos token.Pos, format string, args ...any) {
	position := u.loaded.Fset.Position(pos)
	if name, err := filepath.Rel(u.tree.dir, position.Filename); err == nil {
		position.Filename = filepath.ToSlash(name)
	}
	u.found = append(u.found, Violation{position, fmt.Sprintf(format, args...)})
}

// unseenFiles refuses what this machine does not build, for it is not checked.
func (u *uses) unseenFiles() {
	for _, file := range u.loaded.IgnoredFiles {
		if strings.HasSuffix(file, ".go") && !strings.HasSuffix(file, "_test.go") {
			u.found = append(u.found, Violation{Text: fmt.Sprintf("%s/%s is not built on this machine, so what it uses is not checked: what depends on the operating system belongs in host/", u.path, filepath.Base(file))})
		}
	}
	for _, file := range u.loaded.OtherFiles {
		u.found = append(u.found, Violation{Text: fmt.Sprintf("%s/%s is not Go, so what it does is not checked", u.path, filepath.Base(file))})
	}
}

func (u *uses) checkUse(id *ast.Ident, object types.Object) {
	path, name := qualified(object)
	for _, s := range u.rules.Symbols {
		if s.Package != path || !slices.ContainsFunc(s.Names, func(pattern string) bool { return namesObject(pattern, name, object) }) {
			continue
		}
		if slices.ContainsFunc(u.rules.Exceptions, func(e Exception) bool { return e.covers(u.path, path) }) {
			continue
		}
		u.add(id.Pos(), "%s may not use %s.%s: %s", u.path, path, name, s.Reason)
	}
}

// qualified returns the package of an object and its name in the tables.
func qualified(object types.Object) (path, name string) {
	if object.Pkg() == nil {
		return "builtin", object.Name()
	}
	name = object.Name()
	f, ok := object.(*types.Func)
	if !ok || f.Signature().Recv() == nil {
		return object.Pkg().Path(), name
	}
	receiver := types.Unalias(f.Signature().Recv().Type())
	if pointer, ok := receiver.(*types.Pointer); ok {
		receiver = types.Unalias(pointer.Elem())
	}
	if named, ok := receiver.(*types.Named); ok {
		name = named.Obj().Name() + "." + name
	}
	return object.Pkg().Path(), name
}

// namesObject takes fields and local names of a package for none of its names.
func namesObject(pattern, name string, object types.Object) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	f, function := object.(*types.Func)
	switch {
	case pattern == "*":
		return true
	case wild:
		return function && f.Signature().Recv() == nil && strings.HasPrefix(name, prefix)
	case object.Pkg() == nil:
		return pattern == name
	}
	return pattern == name && (function || object.Parent() == object.Pkg().Scope())
}

// checkNode looks for literals without the field they must set, and for other
// ways to such a value. Inspect reaches a literal and a pointer before the
// name of the type within, so named holds what has been judged already.
func (u *uses) checkNode(n ast.Node, named map[*ast.Ident]bool) {
	switch n := n.(type) {
	case *ast.CompositeLit:
		named[typeName(n.Type)] = true
		if rule := u.rule(u.loaded.TypesInfo.TypeOf(n)); rule != nil && !sets(n, rule.Field) {
			u.add(n.Pos(), "%s has a %s.%s without %s: %s", u.path, rule.Package, rule.Type, rule.Field, rule.Reason)
		}
	case *ast.StarExpr:
		named[typeName(n.X)] = true
	case *ast.Ident:
		object, ok := u.loaded.TypesInfo.Uses[n].(*types.TypeName)
		if !ok || named[n] {
			return
		}
		if rule := u.rule(object.Type()); rule != nil {
			u.add(n.Pos(), "%s makes a %s.%s otherwise than by a literal with %s: %s", u.path, rule.Package, rule.Type, rule.Field, rule.Reason)
		}
	}
}

// typeName returns the identifier that names a type, nil where there is none.
func typeName(e ast.Expr) *ast.Ident {
	switch e := e.(type) {
	case *ast.Ident:
		return e
	case *ast.SelectorExpr:
		return e.Sel
	}
	return nil
}

// rule returns the rule for literals of type t, or of what t points to, for
// in a slice of pointers a literal's own type is the pointer.
func (u *uses) rule(t types.Type) *Literal {
	if pointer, ok := types.Unalias(t).(*types.Pointer); ok {
		t = pointer.Elem()
	}
	named, ok := types.Unalias(t).(*types.Named)
	if !ok || named.Obj().Pkg() == nil {
		return nil
	}
	for i, rule := range u.rules.Literals {
		if rule.Type == named.Obj().Name() && rule.Package == named.Obj().Pkg().Path() && matchesAny(rule.In, u.path) {
			return &u.rules.Literals[i]
		}
	}
	return nil
}

func sets(literal *ast.CompositeLit, field string) bool {
	return slices.ContainsFunc(literal.Elts, func(e ast.Expr) bool {
		pair, ok := e.(*ast.KeyValueExpr)
		if !ok {
			return true // fields by position: all of them
		}
		key, ok := pair.Key.(*ast.Ident)
		return ok && key.Name == field
	})
}
