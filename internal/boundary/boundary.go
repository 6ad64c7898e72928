// Package boundary keeps the one rule that the tree is cut by: trusted/ may
// touch keys, never the machine; host/ may touch the machine, never keys; the
// shared packages at the root touch neither; client/ and cmd/ are the user's
// side of the wire. Its test checks every package of this module against the
// tables in rules.go, each line of which says why it is there.
//
// Imports are read from the source of every file, whatever it is built for,
// so that a file for another operating system is not a way around. The use of
// the machine is found by types and not by names, so that renaming an import
// is none either.
//
// In the tables a package of this module begins with "./", and a pattern that
// ends in "/..." is a package and all below it, as for the go command.
package boundary

import (
	"cmp"
	"fmt"
	"go/token"
	"slices"
	"strings"
)

// Rules is everything that is checked.
type Rules struct {
	Areas      []string     // every package of the module lies in one of these
	Imports    []ImportRule // who may not import what
	Reserved   []Reserved   // what only some may import
	Modules    []Module     // packages of other modules; what is in no row is refused
	Links      []Link       // what a command may not contain, however it came in
	Isolated   []string     // the packages that may not touch the machine
	Symbols    []Symbols    // what touching the machine is
	Literals   []Literal    // literals that must set a field
	Exceptions []Exception  // named exceptions from Symbols
	Future     []Future     // packages that rules name and that are not there yet
}

// An ImportRule forbids the files of some packages, tests apart, to import others.
type ImportRule struct {
	From   []string
	Except []string // packages among From that the rule leaves alone
	Never  []string
	Reason string
}

// Reserved lets only some packages import one. Where AnyTest is set, the test
// files of every package may as well.
type Reserved struct {
	Package string
	By      []string
	AnyTest bool
	Reason  string
}

// A Module lets packages import something that is neither ours nor the
// standard library's.
type Module struct {
	By        []string
	TestsOnly bool
	Imports   []string
	Reason    string
}

// A Link keeps packages out of a command.
type Link struct {
	Command string
	Lacks   []string
	Reason  string
}

// Symbols forbids names of one package. A name is a function, type, variable
// or constant ("Now"), a method ("Server.Serve"), every function that begins
// so ("Dial*"), or everything ("*"). The package "builtin" is the language's own.
type Symbols struct {
	Package string
	Names   []string
	Reason  string
}

// A Literal must set a field wherever it is written, and there must be no
// other way to a value without it: the type is named as T{…} or *T only.
type Literal struct {
	In      []string
	Package string
	Type    string
	Field   string
	Reason  string
}

// An Exception lets a package use what Symbols forbids.
type Exception struct {
	Package string
	May     []string // packages of Symbols; "*" is all of them
	Reason  string
}

// A Future names a package that rules name before it is built.
type Future struct {
	Package string
	Issue   string // what the work is called that brings it
}

// A Violation is one place that breaks a rule.
type Violation struct {
	Pos  token.Position // zero where the place is a table
	Text string
}

func (v Violation) String() string {
	if !v.Pos.IsValid() {
		return v.Text
	}
	return fmt.Sprintf("%s:%d: %s", v.Pos.Filename, v.Pos.Line, v.Text)
}

// Check reads the module whose root is dir and returns what breaks the rules,
// in order. The error is about reading it.
func (r *Rules) Check(dir string) ([]Violation, error) {
	tree, err := readTree(dir)
	if err != nil {
		return nil, err
	}
	found := slices.Concat(r.checkTables(tree), r.checkImports(tree), r.checkLinks(tree))
	uses, err := r.checkUses(tree)
	if err != nil {
		return nil, err
	}
	found = append(found, uses...)
	slices.SortStableFunc(found, func(a, b Violation) int {
		return cmp.Or(cmp.Compare(a.Pos.Filename, b.Pos.Filename), cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Text, b.Text))
	})
	return slices.Compact(found), nil
}

// matches reports whether path is pattern, or below it if it ends in "/...".
func matches(pattern, path string) bool {
	parent, below := strings.CutSuffix(pattern, "/...")
	return path == parent || below && strings.HasPrefix(path, parent+"/")
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}
