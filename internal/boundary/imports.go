package boundary

import (
	"fmt"
	"slices"
	"strings"
)

func (r *Rules) checkImports(t *tree) []Violation {
	var found []Violation
	for _, p := range t.sorted() {
		for _, i := range p.imports {
			for _, text := range r.faults(p.path, i) {
				found = append(found, Violation{i.pos, text})
			}
		}
	}
	return found
}

// faults returns what is wrong with one import.
func (r *Rules) faults(from string, i imported) []string {
	var faults []string
	for _, rule := range r.Imports {
		if !i.test && matchesAny(rule.From, from) && !matchesAny(rule.Except, from) && matchesAny(rule.Never, i.path) {
			faults = append(faults, fmt.Sprintf("%s may not import %s: %s", from, i.path, rule.Reason))
		}
	}
	for _, rule := range r.Reserved {
		if matches(rule.Package, i.path) && !matchesAny(append([]string{rule.Package}, rule.By...), from) && !(i.test && rule.AnyTest) {
			faults = append(faults, fmt.Sprintf("%s may not import %s, which is for %s: %s", from, i.path, rule.whom(), rule.Reason))
		}
	}
	if foreign(i.path) && !slices.ContainsFunc(r.Modules, func(m Module) bool { return m.allows(from, i) }) {
		faults = append(faults, fmt.Sprintf("%s may not import %s, for no row of Modules lets it. If the standard library will not do, add to rules.go:\n\t%s", from, i.path, row(from, i)))
	}
	return faults
}

func (r Reserved) whom() string {
	whom := strings.Join(r.By, " and ")
	switch {
	case r.AnyTest && whom != "":
		return whom + " and tests"
	case r.AnyTest:
		return "tests"
	}
	return whom
}

func (m Module) allows(from string, i imported) bool {
	return (i.test || !m.TestsOnly) && matchesAny(m.By, from) && matchesAny(m.Imports, i.path)
}

// row is the line that would let a package import something.
func row(from string, i imported) string {
	tests := ""
	if i.test {
		tests = ", TestsOnly: true"
	}
	return fmt.Sprintf("{By: []string{%q}%s, Imports: []string{%q}, Reason: %q},", from, tests, i.path, "why our own code or the standard library will not do")
}

// checkLinks follows imports from each command that there is.
func (r *Rules) checkLinks(t *tree) []Violation {
	var found []Violation
	for _, link := range r.Links {
		for _, lacks := range link.Lacks {
			if way := t.reaches(link.Command, []string{lacks}, map[string]bool{}); way != nil {
				found = append(found, Violation{Text: fmt.Sprintf("%s contains %s, by way of %s: %s", link.Command, lacks, strings.Join(way, " → "), link.Reason)})
			}
		}
	}
	return found
}

// checkTables finds packages that no area names, rules about packages that are
// not there, and rows that nothing needs.
func (r *Rules) checkTables(t *tree) []Violation {
	var found []Violation
	add := func(format string, args ...any) {
		found = append(found, Violation{Text: fmt.Sprintf(format, args...)})
	}
	for _, p := range t.sorted() {
		if !matchesAny(r.Areas, p.path) {
			add("%s lies in none of the Areas: say in rules.go what it may do", p.path)
		}
	}
	for _, pattern := range r.named() {
		future := slices.ContainsFunc(r.Future, func(f Future) bool { return f.Package == pattern })
		if !t.has(pattern) && !future {
			add("a rule names %s, and there is no such package: rename it in rules.go, or put it under Future with the issue that brings it", pattern)
		}
	}
	for _, f := range r.Future {
		if t.has(f.Package) {
			add("%s is there now: take it off Future in rules.go", f.Package)
		}
	}
	for _, m := range r.Modules {
		for _, path := range m.Imports {
			if !t.uses(Module{By: m.By, TestsOnly: m.TestsOnly, Imports: []string{path}}) {
				add("nothing under %s imports %s any more: take it out of Modules in rules.go", strings.Join(m.By, ", "), path)
			}
		}
	}
	return found
}

// named returns each pattern for packages of ours that some rule has.
func (r *Rules) named() []string {
	all := slices.Concat(r.Areas, r.Isolated)
	for _, rule := range r.Imports {
		all = slices.Concat(all, rule.From, rule.Except, rule.Never)
	}
	for _, rule := range r.Reserved {
		all = append(append(all, rule.Package), rule.By...)
	}
	for _, rule := range r.Modules {
		all = append(all, rule.By...)
	}
	for _, rule := range r.Links {
		all = append(append(all, rule.Command), rule.Lacks...)
	}
	for _, rule := range r.Literals {
		all = append(all, rule.In...)
	}
	for _, rule := range r.Exceptions {
		all = append(all, rule.Package)
	}
	all = slices.DeleteFunc(all, func(pattern string) bool { return !own(pattern) || pattern == "./..." })
	slices.Sort(all)
	return slices.Compact(all)
}

func (t *tree) has(pattern string) bool {
	for path := range t.packages {
		if matches(pattern, path) {
			return true
		}
	}
	return false
}

func (t *tree) uses(m Module) bool {
	for path, p := range t.packages {
		if slices.ContainsFunc(p.imports, func(i imported) bool { return m.allows(path, i) }) {
			return true
		}
	}
	return false
}
