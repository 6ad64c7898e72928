package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/holdfast-kms/holdfast/host/auditlog"
	"github.com/holdfast-kms/holdfast/trusted/server"
)

// makeAudit makes the folder of the audit log, if there is to be one.
func (h *devHome) makeAudit() error {
	if !h.tuning.Audit {
		return nil
	}
	return os.MkdirAll(h.path(auditDir), 0o700)
}

// audits reports whether the folder has one.
func (h *devHome) audits() bool {
	_, err := os.Stat(h.path(auditDir))
	return !errors.Is(err, fs.ErrNotExist)
}

// auditSinks is the sink of a domain that was founded with an audit log.
func (h *devHome) auditSinks() (map[string]server.AuditSink, error) {
	if !h.audits() {
		return nil, nil
	}
	f, err := auditlog.OpenFile(auditlog.FileConfig{Path: filepath.Join(h.path(auditDir), auditFile)})
	if err != nil {
		return nil, because(err, "see that the folder can be written to", "opening the audit log")
	}
	return map[string]server.AuditSink{auditSink: f}, nil
}
