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

// requiredSinks are those that the policy of a new domain requires.
func (t devTuning) requiredSinks() (names []string) {
	if t.Audit {
		names = append(names, auditSink)
	}
	if t.AuditWeb != "" {
		names = append(names, auditWebSink)
	}
	return names
}

// auditSinks are the file of a domain that was founded with an audit log, and the
// web service that the command line names.
func (h *devHome) auditSinks() (map[string]server.AuditSink, error) {
	sinks := map[string]server.AuditSink{}
	if h.audits() {
		f, err := auditlog.OpenFile(auditlog.FileConfig{Path: filepath.Join(h.path(auditDir), auditFile)})
		if err != nil {
			return nil, because(err, "see that the folder can be written to", "opening the audit log")
		}
		sinks[auditSink] = f
	}
	if h.tuning.AuditWeb != "" {
		w, err := auditlog.NewWebhook(auditlog.WebhookConfig{URL: h.tuning.AuditWeb})
		if err != nil {
			return nil, because(err, "name a web service that takes lines of JSON, as https://HOST/PATH", "--audit-web")
		}
		sinks[auditWebSink] = w
	}
	return sinks, nil
}
