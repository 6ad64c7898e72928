package client

import (
	"context"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"

	holdfastv1 "github.com/holdfast-kms/holdfast/proto/holdfast/v1"
	"github.com/holdfast-kms/holdfast/proto/holdfast/v1/holdfastv1connect"
)

// An order is obeyed once, so it is sent once and the outcome told.
var actBackupDomain = action{name: "BackupDomain", unsigned: true}

// maxPiece is the longest piece of a backup that is taken.
const maxPiece = 64 << 10

// BackupDomain writes a backup of all that the domain had acknowledged when it was
// asked. The order's envelope is signed by an operator or the owner; the client
// needs no credential. It is encrypted to the domain: where it is kept decides
// nothing about who can open it. What was written is whole if there is no error.
// Errors: Invalid, TooLarge, Denied (signatures, another domain), Exists (the order
// was obeyed before), Expired, Exhausted (the node makes another one), Unavailable,
// and those of w.
func (c *Client) BackupDomain(ctx context.Context, order []byte, w io.Writer) error {
	if c.v1 {
		return errNotV1(actBackupDomain, "the native API")
	}
	start, stop := context.WithTimeout(ctx, c.timeout)
	err := c.attend(start, actBackupDomain)
	stop()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer timer.Stop()
	service := holdfastv1connect.NewBackupServiceClient(nativeHTTP{client: c, unsigned: true}, c.native(), nativeOptions()...)
	stream, err := service.BackupDomain(ctx, connect.NewRequest(&holdfastv1.BackupDomainRequest{Order: string(order)}))
	if err != nil {
		return streamError(ctx, actBackupDomain, err)
	}
	defer stream.Close()
	for stream.Receive() {
		timer.Reset(silence)
		if len(stream.Msg().GetPiece()) > maxPiece {
			return garbled(actBackupDomain, 0, errors.New("a longer piece than there are"))
		}
		if _, err := w.Write(stream.Msg().GetPiece()); err != nil {
			return err
		}
	}
	if err := stream.Err(); err != nil {
		return streamError(ctx, actBackupDomain, err)
	}
	return nil
}
