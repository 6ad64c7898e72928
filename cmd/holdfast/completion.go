package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is `holdfast completion`.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"The shell: bash, zsh or fish."`
}

// Help is the rest of what --help says.
func (completionCmd) Help() string {
	return "The script is for this version of the program; make it again after an upgrade.\n\n" +
		"bash: holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast\n\n" +
		"zsh: put `source <(holdfast completion zsh)` into ~/.zshrc\n\n" +
		"fish: holdfast completion fish > ~/.config/fish/completions/holdfast.fish"
}

// Run writes the script.
func (c *completionCmd) Run(s *session) error {
	parser, err := newParser(s, func(int) {})
	if err != nil {
		return err
	}
	words := completions(parser.Model.Node, "")
	var b strings.Builder
	switch c.Shell {
	case "fish":
		fishScript(&b, words)
	case "zsh":
		b.WriteString("#compdef holdfast\nautoload -U +X compinit bashcompinit\n(( $+functions[compdef] )) || compinit\nbashcompinit\n")
		fallthrough
	default:
		bashScript(&b, words)
	}
	_, err = io.WriteString(s.stdout, b.String())
	return err
}

// A completed is what may stand behind a command.
type completed struct {
	path     string // "key create"; "" is the program itself
	commands []completedWord
	flags    []completedWord
}

type completedWord struct {
	name, help string
	values     []string // that a flag takes; none: any
	bare       bool     // the flag takes no value
}

// completions lists a command and those below it. Hidden ones are left out.
func completions(n *kong.Node, path string) (all []completed) {
	at := completed{path: path}
	for _, group := range n.AllFlags(true) {
		for _, f := range group {
			w := completedWord{name: "--" + f.Name, help: f.Help, bare: f.IsBool()}
			if f.Enum != "" {
				w.values = f.EnumSlice()
			}
			at.flags = append(at.flags, w)
		}
	}
	for _, a := range n.Positional {
		if a.Enum != "" {
			for _, v := range a.EnumSlice() {
				at.commands = append(at.commands, completedWord{name: v})
			}
		}
	}
	var below []completed
	for _, child := range n.Children {
		if child.Hidden || child.Type != kong.CommandNode {
			continue
		}
		at.commands = append(at.commands, completedWord{name: child.Name, help: child.Help})
		below = append(below, completions(child, strings.TrimSpace(path+" "+child.Name))...)
	}
	return append([]completed{at}, below...)
}

// bashScript finds out which command the line is at, and offers what may follow.
// Every word in it is of this program's own making.
func bashScript(w io.Writer, all []completed) {
	fmt.Fprint(w, "_holdfast_words() {\n  case $1 in\n")
	for _, c := range all {
		fmt.Fprintf(w, "  %s) echo %s ;;\n", shellQuoted(c.path), shellQuoted(strings.Join(append(names(c.commands), names(c.flags)...), " ")))
	}
	fmt.Fprint(w, "  esac\n}\n_holdfast_values() {\n  case $1 in\n")
	for _, c := range all {
		for _, f := range c.flags {
			switch {
			case len(f.values) > 0:
				fmt.Fprintf(w, "  %s) echo %s ;;\n", shellQuoted(c.path+" "+f.name), shellQuoted(strings.Join(f.values, " ")))
			case !f.bare:
				fmt.Fprintf(w, "  %s) echo ... ;;\n", shellQuoted(c.path+" "+f.name))
			}
		}
	}
	fmt.Fprint(w, `  esac
}
_holdfast() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} path= word i values
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    [[ $word == -* ]] && continue
    case " $(_holdfast_words "$path") " in *" $word "*) path=${path:+$path }$word ;; esac
  done
  values=$(_holdfast_values "$path $prev")
  COMPREPLY=()
  case $values in
  ...) ;; # any value: names of files are offered
  '') COMPREPLY=($(compgen -W "$(_holdfast_words "$path")" -- "$cur")) ;;
  *) COMPREPLY=($(compgen -W "$values" -- "$cur")) ;;
  esac
}
complete -o default -F _holdfast holdfast
`)
}

// fishScript is one line for each word, with what it is for.
func fishScript(w io.Writer, all []completed) {
	fmt.Fprint(w, `function __holdfast_at
    set -l path
    for word in (commandline -opc)[2..]
        string match -q -- '-*' $word; or set -a path $word
    end
    set -l want (string split -n ' ' -- $argv[1])
    test (count $want) -eq 0; and test (count $path) -eq 0; and return 0
    test (count $want) -gt 0; and test "$path[1..$(count $want)]" = "$want"
end
`)
	for _, c := range all {
		at := fmt.Sprintf("complete -c holdfast -n %s", shellQuoted("__holdfast_at "+shellQuoted(c.path)))
		for _, sub := range c.commands {
			fmt.Fprintf(w, "%s -f -a %s -d %s\n", at, sub.name, shellQuoted(sub.help))
		}
		for _, f := range c.flags {
			line := fmt.Sprintf("%s -l %s -d %s", at, strings.TrimPrefix(f.name, "--"), shellQuoted(f.help))
			switch {
			case len(f.values) > 0:
				line += " -x -a " + shellQuoted(strings.Join(f.values, " "))
			case !f.bare:
				line += " -r"
			}
			fmt.Fprintln(w, line)
		}
	}
}

func names(words []completedWord) (all []string) {
	for _, w := range words {
		all = append(all, w.name)
	}
	return all
}

// shellQuoted is s in single quotes, as all three shells read it.
func shellQuoted(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
