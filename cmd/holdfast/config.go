package main

import (
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/host/config"
)

// configCmd is `holdfast config …`.
type configCmd struct {
	Check configCheckCmd `cmd:"" help:"Say what is wrong with a configuration file of holdfastd, and where."`
}

// configCheckCmd is `holdfast config check`.
type configCheckCmd struct {
	File string `arg:"" help:"The file that holdfastd is to be started with: holdfastd --config FILE."`
}

// Help is the rest of what --help says.
func (configCheckCmd) Help() string {
	return "It reads the file as holdfastd does, which refuses a file with any fault in it. What the file names is not looked at: " +
		"`holdfast doctor --config FILE`, on the node's machine, does that. A file without \"command\" is for serve."
}

// A configChecked is what `holdfast config check --json` prints.
type configChecked struct {
	File     string              `json:"file"`
	Valid    bool                `json:"valid"`
	Faults   []config.Fault      `json:"faults,omitempty"`
	Settings map[string][]string `json:"settings,omitempty"`
	Missing  []string            `json:"missing,omitempty"` // they have to be flags then
}

// Run shows all faults, or the settings. Faults are a result, with status 1.
func (c *configCheckCmd) Run(s *session) error {
	f, faults, err := config.Faults(c.File)
	if err != nil {
		return err
	}
	doc := configChecked{File: c.File, Valid: len(faults) == 0, Faults: faults}
	if doc.Valid {
		doc.Settings = map[string][]string{}
		for _, setting := range f {
			doc.Settings[setting.Name] = setting.Values
		}
		doc.Missing = f.Missing()
	}
	if err := s.show(doc, func(w io.Writer) { printConfig(w, doc, f) }); err != nil {
		return err
	}
	if !doc.Valid {
		return errQuiet
	}
	return nil
}

func printConfig(w io.Writer, doc configChecked, f config.File) {
	for _, fault := range doc.Faults {
		place := oneLine(doc.File)
		if fault.Line > 0 {
			place = fmt.Sprintf("%s:%d", place, fault.Line)
		}
		fmt.Fprintf(w, "%s: %s\n  hint: %s\n", place, oneLine(fault.What), oneLine(fault.Hint))
	}
	for _, setting := range f {
		for _, v := range setting.Values {
			fmt.Fprintf(w, "%s\t%s\n", setting.Name, oneLine(v))
		}
	}
	for _, name := range doc.Missing {
		fmt.Fprintf(w, "missing\t%s: holdfastd needs it as a flag then, --%s\n", name, name)
	}
	if doc.Valid {
		fmt.Fprintln(w, "verdict\tvalid")
	}
}
