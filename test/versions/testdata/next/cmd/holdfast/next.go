package main

import (
	"fmt"
	"io"

	"github.com/holdfast-kms/holdfast/client"
)

// keyDisableAllCmd is `holdfast key disable-all`.
type keyDisableAllCmd struct{ connection }

// Run disables.
func (c *keyDisableAllCmd) Run(s *session) error {
	return c.with(s, func(cl *client.Client) error {
		if err := cl.DisableAllKeys(s.ctx); err != nil {
			return err
		}
		return s.show(map[string]any{"disabled": "all"}, func(w io.Writer) { fmt.Fprintln(w, "every key of the app is disabled") })
	})
}
