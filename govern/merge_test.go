package govern_test

import (
	"bytes"
	"testing"

	"github.com/holdfast-kms/holdfast/govern"
	"github.com/holdfast-kms/holdfast/kms"
)

// Signers who sign copies at the same time: together they are the threshold.
func TestMerge(t *testing.T) {
	r := newRealm(t)
	doc := r.order(govern.DeedRetire)
	a, b := signed(t, govern.OrderType, doc, r.signers[0]), signed(t, govern.OrderType, doc, r.signers[1])
	merged, err := govern.Merge(a, b)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.openOrder(merged, govern.DeedRetire); err != nil {
		t.Error(err)
	}
	if again, err := govern.Merge(merged, a); err != nil || !bytes.Equal(again, merged) {
		t.Errorf("a signature that is there: %v", err)
	}
	other := r.order(govern.DeedRetire)
	other.Generation++
	for name, with := range map[string][]byte{
		"another document": signed(t, govern.OrderType, other, r.signers[1]),
		"another type":     signed(t, govern.TicketType, doc, r.signers[1]),
	} {
		if _, err := govern.Merge(a, with); kms.KindOf(err) != kms.Conflict {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := govern.Merge(a, []byte("{}")); kms.KindOf(err) != kms.Invalid {
		t.Errorf("no envelope: %v", err)
	}
}
