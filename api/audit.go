package api

import (
	"context"
	"net/http"

	"github.com/holdfast-kms/holdfast/audit"
)

// AuditCheckpointPath is where CheckpointPage is served.
const AuditCheckpointPath = "/audit/checkpoint"

// A CheckpointPage answers with what the domain publishes of its audit logs, as
// audit.ParseCheckpoint reads it. It is open to anyone: who keeps it can prove later
// that nothing is missing.
type CheckpointPage struct {
	Checkpoint func(ctx context.Context) (*audit.Checkpoint, error)
}

func (p CheckpointPage) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, err := p.Checkpoint(r.Context())
	if err != nil {
		SendPage(w, http.StatusServiceUnavailable)
		return
	}
	Send(w, http.StatusOK, "application/json; charset=utf-8", c.JSON())
}
