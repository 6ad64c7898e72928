package ehsm

import (
	"context"

	"github.com/holdfast-kms/holdfast/kms"
)

// nextErrors are those of an action that not all nodes of a domain may know.
var nextErrors = map[kms.Kind]answer{
	kms.Misused: {code: 412, message: "Some nodes of the domain run a program that does not know this yet."}}

func disableAllKey(ctx context.Context, x *exchange) error {
	if err := x.caller.DisableAllKeys(ctx); err != nil {
		return err
	}
	x.begin(successful)
	return nil
}
