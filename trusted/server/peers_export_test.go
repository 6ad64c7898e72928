package server

import (
	"context"
	"crypto/rand"

	"github.com/holdfast-kms/holdfast/trusted/internal/command"
)

// Append puts an entry that changes nothing into the log, without a look at what
// others have acknowledged.
func (n *Node) Append(ctx context.Context) error {
	id := make([]byte, 16)
	rand.Read(id)
	_, err := n.replica.Propose(ctx, &command.Command{Id: id, Op: &command.Command_AnnounceNode{AnnounceNode: &command.AnnounceNode{By: n.who.node[:]}}})
	return err
}
