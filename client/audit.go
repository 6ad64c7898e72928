package client

import (
	"context"

	"github.com/holdfast-kms/holdfast/audit"
)

// AuditCheckpoint asks a node for what the domain publishes of its audit logs,
// and verifies its signatures. Who keeps it can prove later that nothing up to it is
// missing. It needs no credential. Error: Unavailable.
func (c *Client) AuditCheckpoint(ctx context.Context) (cp *audit.Checkpoint, err error) {
	err = c.roundTrip(ctx, actAuditCheckpoint, nil, func(r reply) error {
		if cp, err = audit.ParseCheckpoint(r.body); err != nil {
			return notEnvelope(actAuditCheckpoint, r, err)
		}
		return nil
	})
	return cp, err
}
