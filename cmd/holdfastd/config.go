package main

import (
	"flag"
	"fmt"

	"github.com/holdfast-kms/holdfast/host/config"
	"github.com/holdfast-kms/holdfast/kms"
)

// fill sets the flags that the configuration file sets and the command line does
// not. Nothing else of the file counts, and it goes through the flags' own doors:
// what no flag can say, no file can. A file is for one command.
func (s *settings) fill(command string, f *flag.FlagSet) error {
	if s.config == "" {
		return nil
	}
	file, err := config.Read(s.config)
	if err != nil {
		return err
	}
	if is := file.Command(); is != command {
		return kms.Errorf(kms.Invalid, "the file is for the command %q, and this is %q", is, command).WithFile(s.config).
			WithHint(fmt.Sprintf("write \"command\": %q into it, or give the command that it is for", command))
	}
	given := map[string]bool{}
	f.Visit(func(one *flag.Flag) { given[one.Name] = true })
	for _, setting := range file.Flags() {
		if given[setting.Name] {
			continue
		}
		for _, v := range setting.Values {
			if err := f.Set(setting.Name, v); err != nil {
				return kms.Errorf(kms.Invalid, "line %d: %s: %w", setting.Line, setting.Name, err).WithFile(s.config)
			}
		}
	}
	return nil
}
