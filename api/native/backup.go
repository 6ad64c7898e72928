package native

import (
	"context"
	"io"

	"connectrpc.com/connect"

	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
)

// An Archivist makes backups, as orders say. Its errors are those of the orders,
// Exhausted and Unavailable, and those of w.
type Archivist interface {
	BackupDomain(ctx context.Context, order []byte, w io.Writer) error
}

// backups serves the BackupService.
type backups struct{ Archivist }

// archive serves everybody a stream: what is ordered counts, and not who hands the
// order in.
func archive(s service) service {
	s = open(s)
	s.stream = true
	return s
}

func (b backups) BackupDomain(ctx context.Context, r *connect.Request[holdfastv1.BackupDomainRequest], out *connect.ServerStream[holdfastv1.BackupDomainResponse]) error {
	send := func(piece []byte) error {
		return callOf(ctx).bounded(func() error { return out.Send(&holdfastv1.BackupDomainResponse{Piece: piece}) })
	}
	return spoken(b.Archivist.BackupDomain(ctx, []byte(r.Msg.GetOrder()), &pieces{send: send}))
}

// maxPiece is how much is sent at a time.
const maxPiece = 64 << 10

// pieces sends what is written to it.
type pieces struct{ send func([]byte) error }

func (p *pieces) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		piece := b[n:min(n+maxPiece, len(b))]
		if err = p.send(piece); err == nil {
			n += len(piece)
		}
	}
	return n, err
}
