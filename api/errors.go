package api

import "github.com/holdfast-kms/holdfast/kms"

// An ErrorTable says how a facade answers each kind of error. It must have a
// row for every kind.
type ErrorTable[A any] map[kms.Kind]A

// For returns the kind of err and the answer to it. A kind without a row is
// answered as Internal, which tells nothing.
func (t ErrorTable[A]) For(err error) (kms.Kind, A) {
	k := kms.KindOf(err)
	a, ok := t[k]
	if !ok {
		return kms.Internal, t[kms.Internal]
	}
	return k, a
}

// Missing lists the kinds that have no row, for the test that there are none.
func (t ErrorTable[A]) Missing() []kms.Kind {
	var missing []kms.Kind
	for _, k := range kms.Kinds() {
		if _, ok := t[k]; !ok {
			missing = append(missing, k)
		}
	}
	return missing
}
