package client

import "context"

// DisableAllKeys stops every use of every key of the app.
func (c *Client) DisableAllKeys(ctx context.Context) error {
	_, err := call[struct{}](ctx, c, action{name: "DisableAllKey"}, nil)
	return err
}
