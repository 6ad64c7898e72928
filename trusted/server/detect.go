package server

import (
	"context"

	"github.com/holdfast-kms/holdfast/trusted/internal/tee"
)

// Detect finds the TEE that this process runs in. The error is Unavailable,
// with a hint that says what to use.
func Detect(ctx context.Context) (Platform, error) {
	p, err := tee.Detect(ctx)
	if err != nil {
		return nil, err
	}
	return p, nil
}

// detect finds the TEE where the configuration names none.
func (c *Config) detect(ctx context.Context) (err error) {
	if c.Platform == nil {
		c.Platform, err = Detect(ctx)
	}
	return err
}
