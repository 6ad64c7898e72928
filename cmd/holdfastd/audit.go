package main

import (
	"os"

	"github.com/holdfast-kms/holdfast/host/auditlog"
	"github.com/holdfast-kms/holdfast/kms"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// auditSinks opens the sinks that the command line names.
func (n *node) auditSinks() (map[string]server.AuditSink, error) {
	all := map[string]server.AuditSink{}
	for _, setting := range n.set.audit {
		name, sink, err := auditlog.New(setting, os.Stdout)
		if err != nil {
			return nil, err
		}
		if all[name] != nil {
			return nil, kms.Errorf(kms.Invalid, "two audit sinks are called %q", name)
		}
		all[name] = sink
	}
	return all, nil
}
